"""Mappers that bend a straight line of each dataset by a transformation of zuko's."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from zuko.transforms import BernsteinTransform, MonotonicRQSTransform

from mimi_lightning.contracts import Mapper
from mimi_lightning.models.mappers.lines import softplus_inverse

HALF = 0.5  # lines are bent on [-1/2, 1/2], and go on straight beyond
SHORT = 1e-12  # of intervals that hold a root


class Bent(Mapper):
    """A straight line of each dataset, bent: y = T_d(exp(a_d) q + b_d) + 1/2, stretched to the span.

    T_d increases strictly, begins as the identity on [-1/2, 1/2], and is a straight line beyond.

    Args:
        names: of the D datasets.
        span: see `Mapper`.
    """

    def __init__(self, names: Sequence[str], span: Sequence[Sequence[float]] | None = None) -> None:
        super().__init__(names, span)
        self.slope, self.offset = (nn.Parameter(torch.empty_like(self.span[:, 0])) for _ in "ab")

    @torch.no_grad()
    def begin(self, ends: Tensor) -> None:
        """See `Mapper.begin`."""
        low, high = ends.unbind(1)
        self.slope.copy_(-(high - low).log())
        self.offset.copy_(-low / (high - low) - HALF)
        self.straighten()

    @abstractmethod
    def straighten(self) -> None:
        """Make T_d the identity on [-1/2, 1/2]."""

    @abstractmethod
    def bend(self, x: Tensor, dataset: Tensor) -> Tensor:
        """T_d(x)."""

    @abstractmethod
    def unbend(self, y: Tensor, dataset: Tensor) -> Tensor:
        """Inverse of `bend`."""

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        x = self.slope.exp()[dataset] * q + self.offset[dataset]
        return self.stretch(self.bend(x, dataset) + HALF, dataset)

    def inverse(self, y: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.inverse`."""
        x = self.unbend(self.shrink(y, dataset) - HALF, dataset)
        return (x - self.offset[dataset]) / self.slope.exp()[dataset]

    def _row(self, *columns: int) -> nn.Parameter:
        """A parameter that has so many numbers of each dataset, all 0."""
        return nn.Parameter(self.span.new_zeros(len(self.names), *columns))


class Spline(Bent):
    """A line bent by a monotonic rational-quadratic spline; beyond its ends the line goes on.

    Source: Durkan, Bekasov, Murray, Papamakarios, "Neural Spline Flows", NeurIPS 2019.

    Args:
        names: of the D datasets.
        span: see `Mapper`.
        bins: K of the spline; it has 3 K - 1 parameters.
    """

    def __init__(self, names: Sequence[str], span: Sequence[Sequence[float]] | None = None, bins: int = 8) -> None:
        super().__init__(names, span)
        self.widths, self.heights, self.derivatives = map(self._row, (bins, bins, bins - 1))
        self.begin(self.span.new_tensor([0.0, 1.0]).expand_as(self.span))

    def straighten(self) -> None:
        """See `Bent.straighten`."""
        for parameter in (self.widths, self.heights, self.derivatives):
            parameter.zero_()

    def bend(self, x: Tensor, dataset: Tensor) -> Tensor:
        """See `Bent.bend`."""
        return self._spline(dataset)(x)

    def unbend(self, y: Tensor, dataset: Tensor) -> Tensor:
        """See `Bent.unbend`."""
        return self._spline(dataset).inv(y)

    def _spline(self, dataset: Tensor) -> MonotonicRQSTransform:
        return MonotonicRQSTransform(self.widths[dataset], self.heights[dataset], self.derivatives[dataset], bound=HALF)


class Bernstein(Bent):
    """A line bent by a Bernstein polynomial with increasing coefficients; beyond its ends go its tangents.

    Source: Sick, Hothorn, Dürr, "Deep transformation models", ICPR 2020.

    Args:
        names: of the D datasets.
        span: see `Mapper`.
        degree: of the polynomial, 3 or more; it has one parameter less.
    """

    def __init__(self, names: Sequence[str], span: Sequence[Sequence[float]] | None = None, degree: int = 10) -> None:
        super().__init__(names, span)
        self.coefficients = self._row(degree - 1)
        self.begin(self.span.new_tensor([0.0, 1.0]).expand_as(self.span))

    def straighten(self) -> None:
        """See `Bent.straighten`."""
        parameters = self.coefficients.shape[1]
        step = softplus_inverse(self.coefficients.new_tensor(1 / (parameters + 1)))
        self.coefficients.copy_(step)
        self.coefficients[:, 0] = math.log(2) * parameters / 2 - HALF  # zuko takes the first term off again

    def bend(self, x: Tensor, dataset: Tensor) -> Tensor:
        """See `Bent.bend`; what is not finite stays as it is, where zuko would refuse it."""
        finite = x.isfinite()
        return torch.where(finite, BernsteinTransform(self.coefficients[dataset], bound=HALF)(x.where(finite, 0.0)), x)

    def unbend(self, y: Tensor, dataset: Tensor) -> Tensor:
        """See `Bent.unbend`; zuko halves intervals, here in double precision until they are that short."""
        coefficients = self.coefficients.double()[dataset]
        return BernsteinTransform(coefficients, bound=HALF, eps=SHORT).inv(y.double()).to(y.dtype)
