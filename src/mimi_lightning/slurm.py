"""A batch job under Slurm: its warning ends a run as SIGTERM does, and the job goes back into the queue."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities import rank_zero_warn

# What warns of the time limit: `#SBATCH --signal=SIGUSR1@90` of one's own script, and submitit.
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)


def job() -> str | None:
    """Number of the batch job that this process belongs to, as `scontrol` takes it; None outside of Slurm."""
    if task := os.environ.get("SLURM_ARRAY_TASK_ID"):
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{task}"
    return os.environ.get("SLURM_JOB_ID")


@contextmanager
def warned() -> Iterator[None]:
    """Take the warning before the time limit for SIGTERM, which saves the state first.

    Lightning's own handler would write a checkpoint amid a step; it stands back where there is another one. That of
    submitit would requeue the job with what was saved minutes ago.
    """
    if job() is None:
        yield
        return
    before = {warning: signal.signal(warning, _terminate) for warning in WARNINGS}
    try:
        yield
    finally:
        for warning, handler in before.items():
            signal.signal(warning, handler)


def _terminate(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


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
