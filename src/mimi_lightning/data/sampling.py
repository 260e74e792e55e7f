"""Which images make a batch: mixed by quota in training, of one size in testing.

Samplers yield lists of draws (row, seed): the row of the annotations table and the seed of the random view, so that
what is drawn depends on neither the number of workers nor on what was drawn before.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
from torch.utils.data import Sampler

from mimi_lightning.errors import ConfigError

Draw = tuple[int, int]


class MixedBatchSampler(Sampler[list[Draw]]):
    """Batches of `quota[d]` images of every dataset d.

    Every dataset is an endless stream of passes, each pass in a new order; batch b of epoch e on rank r takes the next
    piece of every stream: a pure function of (seed, e, b, r).

    Args:
        rows: rows of the annotations table of each dataset.
        quota: images of each dataset in a batch.
        seed: of the orders and of the views.
        steps: batches in an epoch; None takes one pass over the dataset that needs most.
        rank: of this process.
        world: number of processes; each takes its own part of every stream.
    """

    def __init__(
        self,
        rows: Mapping[str, Sequence[int]],
        quota: Mapping[str, int],
        seed: int,
        steps: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.rows = {name: np.asarray(rows[name]) for name in sorted(rows)}
        self.quota, self.seed, self.rank, self.world = dict(quota), seed, rank, world
        self.steps = steps or max(-(-len(r) // (quota[name] * world)) for name, r in self.rows.items())
        self.epoch = 0
        self.first = 0  # the batch with which the next iteration begins

    @property
    def sampler(self) -> MixedBatchSampler:
        """Itself: of a batch sampler, Lightning tells only what it finds under this name the epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is drawn next; Lightning calls it, also after a resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[Draw]]:
        streams = [self._stream(name) for name in self.rows]
        for pieces in zip(*streams, strict=True):
            yield [draw for piece in pieces for draw in piece]

    def _stream(self, name: str) -> Iterator[list[Draw]]:
        """This rank's pieces of one dataset's stream, over one epoch."""
        rows, quota, key = self.rows[name], self.quota[name], zlib.crc32(name.encode())
        order, drawn = np.empty(0, int), -1
        for step in range(self.first, self.steps):
            first = ((self.epoch * self.steps + step) * self.world + self.rank) * quota
            piece = []
            for position in range(first, first + quota):
                turn, place = divmod(position, len(rows))
                if turn != drawn:
                    order, drawn = np.random.default_rng([self.seed, key, turn]).permutation(rows), turn
                piece.append((int(order[place]), zlib.crc32(f"{self.seed} {name} {position}".encode())))
            yield piece


def share_quota(quota: Mapping[str, int], world: int, least: int = 1) -> dict[str, int]:
    """Quotas of each process, whose batches together are one of these quotas.

    They are shared evenly or not at all: the loss of a process is a mean over its own pictures, and the mean of these
    means is that of the whole batch only where all processes have as many of a dataset.

    Args:
        quota: images of each dataset in a batch of all processes.
        world: number of processes.
        least: images of a dataset that a process needs.

    Raises:
        ConfigError: a quota that cannot be shared so; names one that can.
    """
    for name, images in quota.items():
        if images % world or images < least * world:
            fitting = world * max(least, -(-images // world))
            raise ConfigError(
                f"datasets.{name}.quota={images} with data.quota_scope=global: each of {world} processes needs as many "
                f"images of a dataset, {least} or more. Set datasets.{name}.quota={fitting}, or data.quota."
            )
    return {name: images // world for name, images in quota.items()}


class SizeBatchSampler(Sampler[list[Draw]]):
    """Each image once, images of one size together; no image is repeated to fill up a batch or a rank.

    Args:
        rows: rows of the annotations table.
        sizes: size of each row's picture; only equal sizes share a batch.
        batch: images in a batch at most.
        rank: of this process.
        world: number of processes; images are dealt out in turn.
    """

    def __init__(
        self, rows: Sequence[int], sizes: Sequence[Hashable], batch: int, rank: int = 0, world: int = 1
    ) -> None:
        groups: dict[Hashable, list[int]] = {}
        for row, size in zip(rows, sizes, strict=True):
            groups.setdefault(size, []).append(int(row))
        # Images are dealt out, not batches: no rank is left without work while another has several images.
        dealt = [(size, row) for size, group in groups.items() for row in group][rank::world]
        self.batches = [
            [(row, 0) for _, row in chunk]
            for _, group in groupby(dealt, key=lambda pair: pair[0])
            for chunk in _chunks(list(group), batch)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self.batches)


def _chunks(items: list, size: int) -> Iterator[list]:
    return (items[i : i + size] for i in range(0, len(items), size))
