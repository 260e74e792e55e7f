"""The mapper of MonotonicIQA: one increasing function of each dataset."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mimi_lightning.contracts import Mapper
from mimi_lightning.models.monotone import MonotoneStack
from mimi_lightning.models.targets import TOP


class Monotone(Mapper):
    """One integrated network of each dataset: y = phi_d(q), see `MonotoneStack`.

    The functions begin at random as published, then moved and scaled onto the span.

    Source: Feng, Zhang, Jia, Chen, Wang, "Learning from mixed datasets: A monotonic image quality assessment model",
    Electronics Letters 59(3), 2023.

    Args:
        names: of the D datasets.
        span: see `Mapper`; of a span other than 0..10, phi_d(q) is stretched to it.
        hidden: widths of the hidden layers of every integrand.
        cells: cells of the integrals' table on each side of 0.
        reach: that table spans [-reach, reach]; beyond it the functions are straight lines.
    """

    def __init__(
        self,
        names: Sequence[str],
        span: Sequence[Sequence[float]] | None = None,
        hidden: Sequence[int] = (100, 100, 100),
        cells: int = 640,
        reach: float = 64.0,
    ) -> None:
        super().__init__(names, span)
        self.functions = MonotoneStack(len(self.names), hidden, cells, reach)
        self.begin(self.span.new_tensor([0.0, 1.0]).expand_as(self.span))

    @torch.no_grad()
    def begin(self, ends: Tensor) -> None:
        """See `Mapper.begin`."""
        self.functions.lay(ends, TOP)

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        return self.stretch(self.functions(q, dataset), dataset, TOP)

    def inverse(self, y: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.inverse`."""
        y = self.shrink(y, dataset, TOP)
        return self.functions.tabulate().to(y.device, y.dtype).inverse(y, dataset)
