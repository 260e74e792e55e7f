"""The processes that train together."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import util
from typing import Any

from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only
from torch import distributed as dist

# By what processes find each other that Lightning starts.
MEETING = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")

LONGEST = 70  # bytes of TMPDIR: with 32 more it is the path of a socket, which systems allow about a hundred


@contextmanager
def of_this_job() -> Iterator[None]:
    """Leave nothing of the processes that Lightning starts here: the next job of a multirun needs its own.

    Where something else started the processes of this job, all of them go on to the next one together.
    """
    absent = [name for name in MEETING if name not in os.environ]
    try:
        yield
    finally:
        if "LOCAL_RANK" in absent and "LOCAL_RANK" in os.environ:
            if dist.is_available() and dist.is_initialized():
                dist.destroy_process_group()
            for name in absent:
                os.environ.pop(name, None)


def leads() -> bool:
    """Whether this process looks after the run's folder; of several that train together, the first one does."""
    return rank_zero_only.rank == 0 and LightningEnvironment().node_rank() == 0


def gathered(own: Any) -> list[Any]:
    """What each process has to tell, by rank; all of them have to ask."""
    if not (dist.is_available() and dist.is_initialized()):
        return [own]
    told = [None] * dist.get_world_size()
    dist.all_gather_object(told, own)
    return told


def keep_sockets_short() -> None:
    """Let loader workers talk in /tmp where TMPDIR is too long a path for a socket: training would wait for ever.

    A process chooses the folder of its sockets once, and those that it starts have the same.
    """
    if len(os.fsencode(tempfile.gettempdir())) > LONGEST:
        before, tempfile.tempdir = tempfile.tempdir, "/tmp"
        try:
            util.get_temp_dir()
        finally:
            tempfile.tempdir = before
