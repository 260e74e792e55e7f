"""Kill a training run again and again, and see whether it ends as if nobody had.

    make chaos                                  50 kills on two filesystems, some minutes on two cores
    python experiments/chaos.py --kills 500 --on /scratch /tmp
    python experiments/chaos.py trainer.precision=bf16-mixed

Every run is killed (SIGKILL) in life after life until it has ended: at a random moment, or amid the writing of a file.
The next life is the same command. At the end predictions.csv has to have the bytes, and every tensor of both
checkpoints the digits, of a run that was left alone. Runs write on one of the filesystems and have TMPDIR on the other.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import itertools
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch.utils._pytree import tree_leaves

import mimi_lightning.models.regressor  # noqa: F401, what a run imports late, once for all lives
from mimi_lightning import config, train
from mimi_lightning.data.miniature import make_miniature
from mimi_lightning.files import DRAFT

SECONDS = 6.0  # within which random moments lie: most of a life on two cores
RUN = Path("mimi/resnet18/split01")
# Every part of a run that could be forgotten: an average of the weights, early stopping, workers, a cache.
WORDS = [
    *("dataset=[csiq,koniq,live]", "backbone=resnet18", "backbone.weights=none", "backbone.stage=-3"),
    *("backbone.hidden=[16]", "mapper.hidden=[8]", "view.train.crop=48", "data.quota=2", "data.epoch=4"),
    *("data.workers=1", "trainer=cpu", "trainer.max_epochs=4", "trainer.enable_progress_bar=false"),
    *("callbacks=[ema,early_stopping]", "checkpoint.every_minutes=0"),
]
# Of a run: what comes to an end in the last digit. Paths and clocks are its own.
PARTS = ("state_dict", "optimizer_states", "lr_schedulers", "random", "loops", "epoch", "global_step")


@dataclass(frozen=True)
class Death:
    """When a process kills itself: at the n-th call of a function that has a word among its arguments.

    Args:
        function: dotted name, of a module's function or of a class's method.
        number: n, from 1.
        about: the word.
    """

    function: str
    number: int = 1
    about: str = ""

    def await_(self) -> None:
        """Put the function's executioner into its place."""
        owner, _, name = self.function.rpartition(".")
        try:
            place = importlib.import_module(owner)
        except ModuleNotFoundError:
            module, _, cls = owner.rpartition(".")
            place = getattr(importlib.import_module(module), cls)
        called, calls = getattr(place, name), itertools.count(1)

        @functools.wraps(called)
        def counted(*args, **options):
            if self.about in str(args) and next(calls) == self.number:
                os.kill(os.getpid(), signal.SIGKILL)
            return called(*args, **options)

        setattr(place, name, counted)


# Where a run is most vulnerable; the number of the call is drawn.
WRITING = ("os.fsync", "pathlib.Path.replace", "pathlib.Path.write_bytes")


def live(
    words: Sequence[str], outputs: Path, scratch: Path, death: Death | None = None, seconds: float | None = None
) -> bool:
    """Run the main job in a process of its own, perhaps until it is killed.

    Args:
        words: of the command line.
        outputs: where runs write.
        scratch: TMPDIR.
        death: when it kills itself.
        seconds: after which it is killed from outside.

    Returns:
        Whether it came to its end.

    Raises:
        RuntimeError: it neither came to its end nor was killed.
    """
    context = multiprocessing.get_context("forkserver")  # each life begins with all imports done, and nothing else
    context.set_forkserver_preload([__name__ if __name__ != "__main__" else "experiments.chaos"])
    process = context.Process(target=_live, args=(list(words), outputs, scratch, death))
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"exit code {process.exitcode}\n{(outputs / 'log').read_text()}")
    return process.exitcode == 0


def _live(words: list[str], outputs: Path, scratch: Path, death: Death | None) -> None:
    outputs.mkdir(parents=True, exist_ok=True)
    log = os.open(outputs / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ["TMPDIR"], tempfile.tempdir = str(scratch), None
    multiprocessing.set_start_method("fork", force=True)  # of loader workers, as in a process that nobody forked
    torch.set_num_threads(1)
    config.register_resolvers()
    with initialize_config_dir(str(config.conf_dir()), version_base="1.3"):
        cfg = compose("config", [*words, f"paths.outputs={outputs}"])
    if death:
        death.await_()
    train.train(cfg)


def differences(one: Path, other: Path) -> list[str]:
    """What two runs do not have in common to the last digit, and what one has left over."""
    found = []
    if (one / "predictions.csv").read_bytes() != (other / "predictions.csv").read_bytes():
        found.append("predictions.csv")
    for name in ("best.ckpt", "last.ckpt"):
        states = [torch.load(folder / "checkpoints" / name, weights_only=True) for folder in (one, other)]
        found += [f"{part} of {name}" for part in PARTS if not _equal(*(state[part] for state in states))]
    left = [path.name for path in one.rglob("*") if path.name.endswith(DRAFT) or path.name == "former.ckpt"]
    return found + left


def _equal(one: object, other: object) -> bool:
    leaves = tree_leaves(one), tree_leaves(other)
    return len(leaves[0]) == len(leaves[1]) and all(map(_equal_leaves, *leaves))


def _equal_leaves(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one.nan_to_num(), other.nan_to_num()) and torch.equal(one.isnan(), other.isnan())
    return one == other


def main(argv: Sequence[str]) -> int:
    """Kill runs until so many kills are done, and print how many of them were survived."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="%(default)s")
    parser.add_argument("--on", type=Path, nargs=2, default=(Path("/dev/shm"), Path("/var/tmp")), metavar="DIR")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="of the run, beside its own")
    args = parser.parse_args(argv)
    places = [Path(tempfile.mkdtemp(prefix="chaos-", dir=place)) for place in args.on]
    try:
        return _main(args.kills, places, random.Random(args.seed), args.words)
    finally:
        for place in places:
            shutil.rmtree(place)


def _main(kills: int, places: list[Path], dice: random.Random, more: Sequence[str]) -> int:
    data = make_miniature(places[0] / "datasets", side=64, references=10, scenes=10, per_content=2, progress=False)
    words = [*WORDS, f"paths.datasets={data}", *more]
    alone = places[0] / "alone"
    live([*words, f"data.cache={alone}/cache", f"splits.store={alone}/splits"], alone, places[1])
    done = survived = runs = 0
    while done < kills:
        place, other = places[runs % 2], places[1 - runs % 2]
        runs, killed, outputs = runs + 1, 0, place / f"run{runs}"
        own = [*words, f"data.cache={outputs}/cache", f"splits.store={outputs}/splits"]
        while not live(own, outputs, other, **_moment(dice) if done + killed < kills else {}):
            killed += 1
        done += killed
        if wrong := differences(outputs / RUN, alone / RUN):
            print(f"run {runs} on {place}, killed {killed} times: other {', '.join(wrong)}", flush=True)
        elif left := [path.name for path in other.iterdir() if path.name.startswith("tmp")]:
            print(f"run {runs} left in TMPDIR: {', '.join(left)}", flush=True)
        else:
            survived += killed
            print(f"run {runs} on {place}: killed {killed} times, ended in the same last digit", flush=True)
            shutil.rmtree(outputs)
    print(
        f"{survived} of {done} kills survived, in {runs} runs that write on {places[0].parent} and {places[1].parent}"
    )
    return int(survived < done)


def _moment(dice: random.Random) -> dict[str, object]:
    """Every second kill at any moment, the others amid the writing of a file."""
    if dice.random() < 0.5:
        return {"seconds": dice.uniform(0.2, SECONDS)}
    return {"death": Death(dice.choice(WRITING), dice.randint(1, 12))}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # where a life finds this module
    sys.exit(main(sys.argv[1:]))
