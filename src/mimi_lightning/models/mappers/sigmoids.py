"""Mappers with two asymptotes, which no score of a dataset leaves."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mimi_lightning.contracts import Mapper
from mimi_lightning.errors import ScoreError
from mimi_lightning.models.roots import first

NEAR = 1e-3  # of the distance between asymptotes: as near as `nearest` goes
LOGISTIC_ENDS = 2.0  # the span begins at sigmoid(-2) and ends at sigmoid(2)
MDTVSFA_ENDS = 3.0  # of the inner sigmoid


class Bounded(Mapper):
    """A mapper that comes near two asymptotes and passes neither."""

    @abstractmethod
    def asymptotes(self, dataset: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper one of each score's dataset, on the target scale; in the dataset index's shape."""

    @abstractmethod
    def solve(self, y: Tensor, dataset: Tensor) -> Tensor:
        """Inverse of `forward` between the asymptotes."""

    def inverse(self, y: Tensor, dataset: Tensor) -> Tensor:
        """Proxy scores of scores between the asymptotes; see `Mapper.inverse`."""
        low, high = self.asymptotes(dataset)
        if not (reached := (low < y) & (y < high)).all():
            low, high, y = (x.expand_as(reached)[~reached][0].item() for x in (low, high, y))
            raise ScoreError(
                f"cannot invert the mapping: score {first(~reached)} is {y:.6g}, and no proxy score reaches anything "
                f"but {low:.6g} to {high:.6g}."
            )
        return self.solve(y, dataset)

    def nearest(self, y: Tensor, dataset: Tensor) -> Tensor:
        """Scores kept away from the asymptotes by a thousandth of their distance; see `Mapper.nearest`."""
        low, high = self.asymptotes(dataset)
        margin = NEAR * (high - low)
        return y.clamp(low + margin, high - margin)


class Logistic(Bounded):
    """A logistic function of each dataset: y = l_d + exp(r_d) sigmoid((q - c_d) / exp(w_d)), stretched to the span.

    Four parameters: lower asymptote, distance of the upper one, centre and width.

    Args:
        names: of the D datasets.
        span: see `Mapper`.
    """

    def __init__(self, names: Sequence[str], span: Sequence[Sequence[float]] | None = None) -> None:
        super().__init__(names, span)
        self.low, self.rise, self.centre, self.width = (nn.Parameter(torch.empty_like(self.span[:, 0])) for _ in "lrcw")
        self.begin(self.span.new_tensor([0.0, 1.0]).expand_as(self.span))

    @torch.no_grad()
    def begin(self, ends: Tensor) -> None:
        """See `Mapper.begin`."""
        low, high = ends.unbind(1)
        share = 1 / (1 + math.exp(LOGISTIC_ENDS))  # below the span
        rise = 1 / (1 - 2 * share)
        self.low.fill_(-share * rise)
        self.rise.fill_(math.log(rise))
        self.centre.copy_((low + high) / 2)
        self.width.copy_(((high - low) / (2 * LOGISTIC_ENDS)).log())

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        share = torch.sigmoid((q - self.centre[dataset]) / self.width.exp()[dataset])
        return self.stretch(self.low[dataset] + self.rise.exp()[dataset] * share, dataset)

    def asymptotes(self, dataset: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bounded.asymptotes`."""
        low, high = self.low, self.low + self.rise.exp()
        return self.stretch(low[dataset], dataset), self.stretch(high[dataset], dataset)

    def solve(self, y: Tensor, dataset: Tensor) -> Tensor:
        """See `Bounded.solve`."""
        share = (self.shrink(y, dataset) - self.low[dataset]) / self.rise.exp()[dataset]
        return self.centre[dataset] + self.width.exp()[dataset] * share.logit()


class MDTVSFA(Bounded):
    """One curve of all datasets, and a straight line of each: y = exp(a_d) sigmoid(exp(w) r + c) + b_d.

    r = sigmoid(exp(u) q + v); y is stretched to the span. u, v, w and c are the same for all datasets.

    Source: Li, Jiang, Jiang, "Unified Quality Assessment of In-the-Wild Videos with Mixed Datasets Training", IJCV
    129(4), 2021. There u and v belong to the last layer of its network, and lines begin so that 0 and 1 of the outer
    sigmoid, which w = 2 sqrt 3 and c = -sqrt 3 keep away from both, are the ends of the span.

    Args:
        names: of the D datasets.
        span: see `Mapper`.
    """

    shared = ("slope", "shift", "weight", "bias")

    def __init__(self, names: Sequence[str], span: Sequence[Sequence[float]] | None = None) -> None:
        super().__init__(names, span)
        self.slope, self.shift, self.weight, self.bias = (nn.Parameter(self.span.new_empty(())) for _ in "uvwc")
        self.rise, self.offset = (nn.Parameter(torch.empty_like(self.span[:, 0])) for _ in "ab")
        self.begin(self.span.new_tensor([0.0, 1.0]).expand_as(self.span))

    @torch.no_grad()
    def begin(self, ends: Tensor) -> None:
        """See `Mapper.begin`."""
        low, high = ends.min(), ends.max()
        self.slope.copy_((2 * MDTVSFA_ENDS / (high - low)).log())
        self.shift.copy_(-MDTVSFA_ENDS * (high + low) / (high - low))
        self.weight.fill_(math.log(2 * 3**0.5))
        self.bias.fill_(-(3**0.5))
        low, high = self._curve(ends).unbind(1)
        self.rise.copy_(-(high - low).log())
        self.offset.copy_(-low / (high - low))

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        return self._line(self._curve(q), dataset)

    def asymptotes(self, dataset: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bounded.asymptotes`."""
        low, high = torch.sigmoid(self.bias), torch.sigmoid(self.bias + self.weight.exp())
        return self._line(low, dataset), self._line(high, dataset)

    def solve(self, y: Tensor, dataset: Tensor) -> Tensor:
        """See `Bounded.solve`."""
        curve = (self.shrink(y, dataset) - self.offset[dataset]) / self.rise.exp()[dataset]
        r = (curve.logit() - self.bias) / self.weight.exp()
        return (r.logit() - self.shift) / self.slope.exp()

    def _curve(self, q: Tensor) -> Tensor:
        """What all datasets have in common."""
        r = torch.sigmoid(self.slope.exp() * q + self.shift)
        return torch.sigmoid(self.weight.exp() * r + self.bias)

    def _line(self, curve: Tensor, dataset: Tensor) -> Tensor:
        return self.stretch(self.rise.exp()[dataset] * curve + self.offset[dataset], dataset)
