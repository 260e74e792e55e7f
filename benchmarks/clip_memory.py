"""Peak memory of the vision-language regressor's training step, each in a process of its own: `make bench-clip-memory`.

The plain one is extrapolated from a third and two thirds of images and prompts, where it runs as a whole.
"""

import resource
import subprocess
import sys

from benchmarks.clip import IMAGES, MODEL, PlainRegressor, Step, make
from mimi_lightning import vocabulary
from mimi_lightning.memory import keep_memory
from mimi_lightning.models import clip, prompts


def peak(kind: type[clip.CLIPRegressor], scenes: int) -> float:
    """Peak memory of this process in GB, the optimiser's state included.

    Args:
        kind: of regressor.
        scenes: of the nine; a smaller joint grid of the same kind, and as many fewer images.
    """
    clip.SCENES = prompts.SCENES = vocabulary.SCENES[:scenes]
    step = Step(make(kind, MODEL), IMAGES * scenes // len(vocabulary.SCENES), whole=True)
    step()
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    if sys.argv[1:]:
        side, scenes = sys.argv[1:]
        if side == "ours":
            keep_memory()
        print(peak(clip.CLIPRegressor if side == "ours" else PlainRegressor, int(scenes)))
        return

    def run(side: str, scenes: int) -> float:
        words = [sys.executable, "-m", "benchmarks.clip_memory", side, str(scenes)]
        return float(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])

    third, two_thirds, ours = run("plain", 3), run("plain", 6), run("ours", 9)
    whole = 2 * two_thirds - third
    print(
        f"plain {whole:.1f} GB (extrapolated from {third:.1f} GB at a third and {two_thirds:.1f} GB at two thirds), "
        f"ours {ours:.1f} GB: {ours / whole:.0%}"
    )


if __name__ == "__main__":
    main()
