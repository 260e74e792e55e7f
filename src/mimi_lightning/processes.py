"""The processes that train together."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only
from torch import distributed as dist


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
