"""Sweep through a Slurm of this machine, kill what runs there, and see whether anything is missing at the end.

    make test-slurm     installs Debian's slurm-wlm and munge; needs root; four minutes on two cores

A sweep of two splits goes through submitit. The first job gets the warning that comes before a time limit: it has to
save its state, to go back into the queue and on from there. The second one is killed, and so is the sweep. The same
command then has to skip the finished split, to go on with the other and to report both. Predictions have to have the
bytes of a sweep that was left alone, without any Slurm.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mimi_lightning.data.miniature import make_miniature
from mimi_lightning.run_folder import RunFolder
from tests.slurm.cluster import one_node

T = TypeVar("T")
PATIENCE = 180  # seconds for anything to happen
WORDS = [
    *("-m", "split=1,2", "dataset=[csiq,live]", "backbone=resnet18", "backbone.weights=none", "backbone.stage=-3"),
    *("backbone.hidden=[16]", "mapper.hidden=[8]", "view.train.crop=48", "data.quota=2", "data.epoch=20"),
    *("data.workers=0", "trainer=cpu", "trainer.max_epochs=6", "trainer.enable_progress_bar=false"),
    "checkpoint.every_minutes=0",  # a state with every step
]
SLURM = [
    *("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.gpus_per_node=null"),
    "hydra.launcher.array_parallelism=1",  # one job at a time
]


def main() -> int:
    """Raises AssertionError where something is missing."""
    with tempfile.TemporaryDirectory(prefix="mimi-slurm-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # munged runs as a user of its own
        datasets = make_miniature(
            folder / "miniature", side=64, references=10, scenes=10, per_content=2, progress=False
        )
        words = [*WORDS, f"paths.datasets={datasets}", f"splits.store={folder}/splits"]
        (folder / "cluster").mkdir()
        with one_node(folder / "cluster"):
            swept = _drill([*words, *SLURM, f"paths.outputs={folder}/swept"], folder / "swept/mimi")
        alone = folder / "alone/mimi"
        with _sweep([*words, f"paths.outputs={folder}/alone"]) as sweep:
            assert sweep.wait() == 0
        for split in (1, 2):
            one, other = (_run(each, split).file("predictions").read_bytes() for each in (swept, alone))
            assert one == other, f"split {split} came to other predictions than where nobody killed it"
        print("predictions have the bytes of a sweep that was left alone")
        summaries = [json.loads((each / "report/report.json").read_text())["summary"] for each in (swept, alone)]
        assert summaries[0] == summaries[1]
        assert {row["splits"] for row in summaries[0]} == {2}
        print("so has the report's summary, of two splits")
    return 0


def _drill(command: list[str], folder: Path) -> Path:
    """Sweep twice with the same command, and kill on the way; returns the folder of the runs."""
    with _sweep(command):
        _warn(_await("the first job trains, and is warned", lambda: _running(folder, 1)))
        _kill(_await("the second job trains, and is killed", lambda: _running(folder, 2)))
        _await("the first job went back into the queue, and has ended", lambda: _run(folder, 1).finished)
    assert not _run(folder, 2).finished, "it ended before it was killed"
    _await("nothing is left in the queue", lambda: not _jobs())
    before = _run(folder, 1).file("figures").stat().st_mtime_ns
    with _sweep(command) as again:
        assert again.wait() == 0
    assert _run(folder, 1).file("figures").stat().st_mtime_ns == before, "a finished split was run again"
    for split in (1, 2):
        assert len(_run(folder, split).logs) == 2, f"split {split} began anew instead of going on"
    print("the same command skipped the first split, and went on with the second")
    return folder


@contextmanager
def _sweep(words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a sweep, and kill it at the end of the block."""
    command = [sys.executable, "-m", "mimi_lightning", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _run(folder: Path, split: int) -> RunFolder:
    return RunFolder(folder / f"resnet18/split{split:02}")


def _jobs(*states: str) -> dict[str, str]:
    """Numbers of the jobs that Slurm knows, or of those in a state, by their place in the array of the sweep."""
    command = ["squeue", "--noheader", "--array", "--format=%K %A", *(f"--states={state}" for state in states)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(line.split() for line in said.splitlines())


def _running(folder: Path, split: int) -> str | None:
    """Number of a split's job when that is amid its training."""
    return _jobs("RUNNING").get(str(split - 1)) if _run(folder, split).logs else None


def _warn(job: str) -> None:
    """Send what submitit asks Slurm to send before the time limit."""
    subprocess.run(["scancel", "--signal=USR2", job], check=True)


def _kill(job: str) -> None:
    """Kill a job's processes; `scancel --signal=KILL` would say SIGTERM first."""
    said = subprocess.run(["scontrol", "listpids", f"{job}.0"], capture_output=True, text=True, check=True).stdout
    for line in said.splitlines()[1:]:
        os.kill(int(line.split()[0]), signal.SIGKILL)


def _await(what: str, happened: Callable[[], T]) -> T:
    """Wait until something has happened, and say so; returns what it came to."""
    end = time.monotonic() + PATIENCE
    while not (outcome := happened()):
        assert time.monotonic() < end, f"{PATIENCE} seconds went by before this: {what}"
        time.sleep(0.1)
    print(what, flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
