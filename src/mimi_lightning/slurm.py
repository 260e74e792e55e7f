"""A batch job under Slurm: its warning ends a run as SIGTERM does, and the job goes back into the queue."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities import rank_zero_warn


def job() -> str | None:
    """Number of the batch job that this process belongs to, as `scontrol` takes it; None outside of Slurm."""
    if task := os.environ.get("SLURM_ARRAY_TASK_ID"):
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{task}"
    return os.environ.get("SLURM_JOB_ID")


@contextmanager
def warned() -> Iterator[None]:
    """Take the warning before the time limit, SIGUSR1 by `#SBATCH --signal=SIGUSR1@90`, for SIGTERM.

    Lightning's own handler would write a checkpoint amid a step; it stands back where there is another one.
    """
    if job() is None:
        yield
        return
    before = signal.signal(signal.SIGUSR1, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def requeue() -> None:
    """Ask Slurm to run the job again; `sbatch --no-requeue` forbids it."""
    if (number := job()) is None:
        return
    try:
        done = subprocess.run(["scontrol", "requeue", number], capture_output=True, text=True)
        said = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        said = str(error)
    if said:
        rank_zero_warn(f"Slurm did not put job {number} back into the queue: {said}")
