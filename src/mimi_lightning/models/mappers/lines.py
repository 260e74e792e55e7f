"""Mappers that are straight lines: none at all, learned by gradient, or by least squares after every epoch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from mimi_lightning.contracts import Mapper
from mimi_lightning.models.fitting import least_squares_lines


class Identity(Mapper):
    """No mapper: y = q, the regressor predicts the target scale of every dataset itself."""

    fits = False

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        return torch.broadcast_tensors(q, dataset)[0]

    inverse = forward


class Linear(Mapper):
    """A straight line of each dataset: y = low_d + (high_d - low_d) (softplus(a_d) q + b_d).

    In units of its span [low_d, high_d] a step of the optimiser means the same on every scale.
    """

    def __init__(self, names: Sequence[str], span: Sequence[Sequence[float]] | None = None) -> None:
        super().__init__(names, span)
        self.slope, self.offset = (nn.Parameter(torch.empty_like(self.span[:, 0])) for _ in "ab")
        self.begin(self.span.new_tensor([0.0, 1.0]).expand_as(self.span))

    @torch.no_grad()
    def begin(self, ends: Tensor) -> None:
        """See `Mapper.begin`."""
        low, high = ends.unbind(1)
        self.slope.copy_(softplus_inverse(1 / (high - low)))
        self.offset.copy_(-low / (high - low))

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        return self.stretch(softplus(self.slope)[dataset] * q + self.offset[dataset], dataset)

    def inverse(self, y: Tensor, dataset: Tensor) -> Tensor:
        """Proxy score q = ((y - low_d) / (high_d - low_d) - b_d) / softplus(a_d)."""
        return (self.shrink(y, dataset) - self.offset[dataset]) / softplus(self.slope)[dataset]

    @torch.no_grad()
    def fit(self, q: Tensor, y: Tensor, dataset: Tensor) -> None:
        """The least-squares line of each dataset, in closed form; slopes stay positive. See `Mapper.fit`."""
        slope, offset, r = least_squares_lines(q, self.shrink(y, dataset), dataset, len(self.names))
        _set(self.slope, softplus_inverse(slope), r.isfinite())
        _set(self.offset, offset, r.isfinite())


class LeastSquares(Mapper):
    """A straight line of each dataset, y = a_d q + b_d, which no gradient reaches: fitted after every epoch.

    Lines begin as those of `Linear`. That of a dataset stays as it is until its scores and labels correlate.

    Source: Mittag, Zadtootaghaj, Michael, Naderi, Möller, "Bias-Aware Loss for Training Image and Speech Quality
    Prediction Models from Multiple Datasets", 2021 (arXiv 2104.10217, NISQA). There all datasets are fitted from when
    their scores and labels, taken together, correlate so much.

    Args:
        names: of the D datasets.
        span: see `Mapper`.
        min_r: Pearson's correlation of a dataset from which on its line is fitted, above 0.
    """

    refits = True

    def __init__(self, names: Sequence[str], span: Sequence[Sequence[float]] | None = None, min_r: float = 0.7) -> None:
        super().__init__(names, span)
        low, high = self.span.unbind(1)
        self.min_r = min_r
        self.register_buffer("slope", high - low)
        self.register_buffer("offset", low.clone())

    def begin(self, ends: Tensor) -> None:
        """See `Mapper.begin`."""
        low, high = ends.unbind(1)
        self.slope.copy_(self.span.diff(dim=1).squeeze(1) / (high - low))
        self.offset.copy_(self.span[:, 0] - self.slope * low)

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        return self.slope[dataset] * q + self.offset[dataset]

    def inverse(self, y: Tensor, dataset: Tensor) -> Tensor:
        """Proxy score q = (y - b_d) / a_d."""
        return (y - self.offset[dataset]) / self.slope[dataset]

    def fit(self, q: Tensor, y: Tensor, dataset: Tensor) -> None:
        """The least-squares line of each dataset whose scores and labels correlate enough. See `Mapper.fit`."""
        slope, offset, r = least_squares_lines(q, y, dataset, len(self.names))
        _set(self.slope, slope, r > self.min_r)
        _set(self.offset, offset, r > self.min_r)


def _set(rows: Tensor, found: Tensor, chosen: Tensor) -> None:
    rows.copy_(torch.where(chosen, found.to(rows.dtype), rows))


def softplus_inverse(x: Tensor) -> Tensor:
    """log(e^x - 1) of x > 0, in x's precision; it does not overflow."""
    wide = x.double()
    return (wide + (-(-wide).expm1()).log()).to(x.dtype)
