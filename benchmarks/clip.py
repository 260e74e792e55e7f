"""Time the vision-language regressor against its plain formulation: `make bench-clip`.

Plain: all 495 prompts padded to 77 tokens and encoded in every step and for every test batch, patch logits averaged
one by one. Both sides have the real ViT-B/32 architecture and the same random weights, in float32. Training steps and
test batches are each measured in a process of their own, so that peak memory is that of one side.

The plain training step needs more than 20 GB. With less memory at hand, or with --scenes 3, both sides of the step get
a third of the images and a third of the prompts, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import open_clip
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import normalize

from mimi_lightning import vocabulary
from mimi_lightning.models import clip, prompts
from mimi_lightning.tasks import distortion_fidelity, scene_fidelity

MODEL = "ViT-B-32-quickgelu"
IMAGES, PATCHES = 48, 3
TEST_IMAGES, TEST_PATCHES = 16, 15
STEP_MEMORY = 22  # GB that the plain step at full size should find free
CHUNK = 99  # prompts whose plain gradients are computed together; their sum is that of all at once


class PlainRegressor(clip.CLIPRegressor):
    """The same function, written down without any of the savings."""

    def __init__(self) -> None:
        super().__init__("plain", MODEL, "none")
        self.tokens = open_clip.get_tokenizer(MODEL)(prompts.joint_prompts())

    def judge(self, patches: Tensor) -> clip.Judgement:
        pixels = (patches.flatten(0, 1) / 255 - self.mean) / self.std
        image = normalize(self.clip.encode_image(pixels), dim=-1)
        text = normalize(self.clip.encode_text(self.tokens), dim=-1)
        logits = (self.clip.logit_scale.exp() * image @ text.T).unflatten(0, patches.shape[:2]).mean(1)
        joint = logits.softmax(-1).unflatten(-1, (len(clip.QUALITIES), len(clip.SCENES), len(clip.DISTORTIONS)))
        quality = joint.sum((2, 3))
        return clip.Judgement(quality @ self.grades, quality, joint.sum((1, 3)), joint.sum((1, 2)))


def make(side: str) -> clip.CLIPRegressor:
    torch.manual_seed(0)
    return PlainRegressor() if side == "plain" else clip.CLIPRegressor("tree", MODEL, "none")


def timed(work: Callable[[], object], times: int) -> float:
    """Median wall-clock time in seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def measure_text() -> dict[str, float]:
    """Both text passes in one process, on the same weights: seconds, and how far results differ."""
    regressor = make("plain")
    model, tower, tokens = regressor.clip, prompts.text_tower(regressor.clip), regressor.tokens
    pull = torch.randn(len(tokens), 512, generator=torch.Generator().manual_seed(1))
    found: dict[str, Tensor] = {}

    def forward(side: str, encode: Callable[[], Tensor]) -> None:
        with torch.no_grad():
            found[f"{side} features"] = encode()

    def train(side: str, parts: list[tuple[Callable[[], Tensor], Tensor]]) -> None:
        model.zero_grad()
        for encode, weights in parts:
            (encode() * weights).sum().backward()
        found.update({f"{side} {n}": p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})

    tree = [(lambda: regressor.prompts(tower), pull)]
    parts = zip(tokens.split(CHUNK), pull.split(CHUNK), strict=True)
    plain = [(lambda part=part: model.encode_text(part), weights) for part, weights in parts]
    train("tree", tree)  # warms up
    result = {
        "plain forward": timed(lambda: forward("plain", lambda: model.encode_text(tokens)), 1),
        "tree forward": timed(lambda: forward("tree", tree[0][0]), 5),
        "plain forward+backward": timed(lambda: train("plain", plain), 1),
        "tree forward+backward": timed(lambda: train("tree", tree), 5),
    }
    gap = found.pop("plain features") - found.pop("tree features")
    names = [name.removeprefix("tree ") for name in found if name.startswith("tree ")]
    relative = [(found[f"plain {n}"] - found[f"tree {n}"]).abs().max() / found[f"plain {n}"].abs().max() for n in names]
    return {
        **result,
        "feature gap": gap.abs().max().item(),
        "gradient gap": max(relative).item(),
        "parameters": len(names),
    }


def measure_step(side: str, scenes: int) -> dict[str, float]:
    """A full training step: forward, three losses, backward, AdamW."""
    clip.SCENES = prompts.SCENES = vocabulary.SCENES[:scenes]  # a smaller joint grid of the same kind
    images = IMAGES * scenes // len(vocabulary.SCENES)
    regressor = make(side)
    learning = [p for p in regressor.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=5e-6, weight_decay=1e-3, fused=side == "tree" or None)
    patches = torch.randint(0, 256, (images, PATCHES, 3, 224, 224), dtype=torch.uint8)
    shown, distortion = torch.zeros(images, scenes), torch.arange(images) % len(vocabulary.DISTORTIONS)
    shown[:, 0] = 1

    def step() -> None:
        judgement = regressor.judge(patches)
        tasks = scene_fidelity(judgement.scene, shown) + distortion_fidelity(judgement.distortion, distortion)
        (judgement.proxy + tasks).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()  # makes the optimiser's state
    return {"seconds": timed(step, 1 if side == "plain" else 3), "memory": peak()}


def measure_test(side: str) -> dict[str, float]:
    """A batch of test images, not the first one."""
    regressor = make(side).eval()
    patches = torch.randint(0, 256, (TEST_IMAGES, TEST_PATCHES, 3, 224, 224), dtype=torch.uint8)
    with torch.inference_mode():
        regressor.judge(patches[:1])
        return {"seconds": timed(lambda: regressor.judge(patches), 2 if side == "plain" else 3), "memory": peak()}


def peak() -> float:
    """Peak memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def in_process(*words: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def free_memory() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20


def report(scenes: int, threads: int) -> None:
    console = Console()
    if os.getloadavg()[0] > 1:
        console.print(f"The machine is busy (load {os.getloadavg()[0]:.1f}): these times will be distorted.")
    with console.status("") as status:

        def run(what: str, *words: str) -> dict[str, float]:
            status.update(f"{what} ...")
            return in_process(*words, "--threads", str(threads))

        text = run("Text passes", "--job", "text")
        step = {s: run(f"Training step, {s}", "--job", "step", "--side", s, "--scenes", str(scenes)) for s in SIDES}
        test = {s: run(f"Test batch, {s}", "--job", "test", "--side", s) for s in SIDES}
    images, prompt_count = IMAGES * scenes // 9, 55 * scenes
    table = Table(title=f"ViT-B/32, random weights, float32, {threads} threads")
    for column in ("", "plain", "prompt tree", "ratio"):
        table.add_column(column, justify="left" if not column else "right")

    def row(name: str, plain: float, ours: float, unit: str) -> None:
        table.add_row(name, f"{plain:.2f} {unit}", f"{ours:.2f} {unit}", f"{plain / ours:.1f}x")

    row("text, forward", text["plain forward"], text["tree forward"], "s")
    row("text, forward and backward", text["plain forward+backward"], text["tree forward+backward"], "s")
    size = f"{images} images x {PATCHES} patches, {prompt_count} prompts"
    row(f"training step, {size}", step["plain"]["seconds"], step["tree"]["seconds"], "s")
    row("  its peak memory", step["plain"]["memory"], step["tree"]["memory"], "GB")
    row(
        f"test batch, {TEST_IMAGES} images x {TEST_PATCHES} patches",
        test["plain"]["seconds"],
        test["tree"]["seconds"],
        "s",
    )
    console.print(table)
    console.print(f"Text features differ by {text['feature gap']:.1e} at most,")
    console.print(
        f"gradients of the {text['parameters']:.0f} text parameters by {text['gradient gap']:.1e} of their largest."
    )
    if scenes < 9:
        console.print(
            f"The plain step at full size needs {STEP_MEMORY} GB: it was measured at a third of images and prompts."
        )


SIDES = ("plain", "tree")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, choices=(3, 9), help="9: full size; default: as memory allows")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--job", choices=("text", "step", "test"), help="measure only this and print JSON")
    parser.add_argument("--side", choices=SIDES, default="tree")
    words = parser.parse_args()
    scenes = words.scenes or (9 if free_memory() > STEP_MEMORY else 3)
    torch.set_num_threads(words.threads)
    if words.job is None:
        report(scenes, words.threads)
    else:
        jobs = {
            "text": measure_text,
            "step": lambda: measure_step(words.side, scenes),
            "test": lambda: measure_test(words.side),
        }
        print(json.dumps(jobs[words.job]()))


if __name__ == "__main__":
    main()
