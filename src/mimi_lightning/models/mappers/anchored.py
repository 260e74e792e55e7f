"""A mapper bound by a gauge: one dataset keeps its straight line."""

from __future__ import annotations

import torch
from torch import Tensor

from mimi_lightning.contracts import Judgement, Mapper


class Anchored(Mapper):
    """A mapper in which one dataset keeps the straight line from the ends of `begin` to its span.

    Args:
        free: maps all other datasets.
        anchor: name of that dataset.
    """

    def __init__(self, free: Mapper, anchor: str) -> None:
        super().__init__(free.names, free.span.tolist())
        self.free, self.anchor = free, free.names.index(anchor)
        self.offers = free.offers
        self.shared = tuple(f"free.{key}" for key in free.shared)
        self.monotone, self.refits = free.monotone, free.refits
        self.register_buffer("ends", torch.tensor([0.0, 1.0]), persistent=False)

    def begin(self, ends: Tensor) -> None:
        """See `Mapper.begin`."""
        self.free.begin(ends)
        self.ends.copy_(ends[self.anchor])

    @property
    def invertible(self) -> bool:
        """Whether the mapper of the others is."""
        return self.free.invertible

    def read(self, judgement: Judgement, dataset: Tensor) -> Tensor:
        """See `Mapper.read`."""
        return self.free.read(judgement, dataset)

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        return torch.where(dataset == self.anchor, self._line(q, dataset), self.free(q, dataset))

    def inverse(self, y: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.inverse`."""
        anchored = dataset == self.anchor
        reached = torch.where(anchored, self.free(torch.zeros_like(y), dataset), y)
        low, high = self.ends
        line = low + (high - low) * self.shrink(y, dataset)
        return torch.where(anchored, line, self.free.inverse(reached, dataset))

    def nearest(self, y: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.nearest`."""
        return torch.where(dataset == self.anchor, y, self.free.nearest(y, dataset))

    def learn(self, q: Tensor, dataset: Tensor, ends: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Mapper.learn`."""
        prediction, own = self.free.learn(q, dataset, ends)
        return torch.where(dataset == self.anchor, self._line(q, dataset), prediction), own

    def fit(self, q: Tensor, y: Tensor, dataset: Tensor) -> None:
        """Fit the mapper of the others; see `Mapper.fit`."""
        others = dataset != self.anchor
        self.free.fit(q[others], y[others], dataset[others])

    def _line(self, q: Tensor, dataset: Tensor) -> Tensor:
        low, high = self.ends
        return self.stretch((q - low) / (high - low), dataset)
