"""Gauges: what pins the proxy axis, which score mappers leave free up to an increasing map."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mimi_lightning.contracts import Gauge, Mapper
from mimi_lightning.errors import ConfigError
from mimi_lightning.models.mappers import Anchored, range_spread


class Free(Gauge):
    """Nothing pins it."""

    def forward(
        self, terms: Mapping[str, Tensor], mapper: Mapper, proxy: Tensor, ends: Tensor, own: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """See `Gauge.forward`."""
        return dict(terms)


class Weighed(Gauge):
    """A gauge that is a term of the loss.

    Args:
        weight: of this term.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight


class Range(Weighed):
    """The published ranges of all datasets, pulled back to the proxy axis, should coincide: see `range_spread`.

    Source: Chen, Xiao, Shen, Wang, "Monotonic and Invertible Network", IJCV 133(11), 2025.
    """

    through_mapper = True

    def pin(self, mapper: Mapper) -> Mapper:
        """Refuse a mapper without an inverse; see `Gauge.pin`."""
        if not mapper.invertible:
            raise ConfigError(
                f"gauge=range pulls published ranges back to the proxy axis, but mapper {type(mapper).__name__} has no "
                "inverse: set gauge=none."
            )
        _refuse_settled(mapper, "range")
        return mapper

    def forward(
        self, terms: Mapping[str, Tensor], mapper: Mapper, proxy: Tensor, ends: Tensor, own: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Add `range`; see `Gauge.forward`."""
        spread = own["range"] if "range" in own else range_spread(_pulled_back(mapper, ends))
        return _extended(terms, "range", self.weight * spread)


class Anchor(Gauge):
    """One dataset's mapper is no unknown: the straight line from `Regressor.ends` to its span.

    Args:
        dataset: name of that dataset.
    """

    through_mapper = True

    def __init__(self, dataset: str) -> None:
        super().__init__()
        self.dataset = dataset

    def pin(self, mapper: Mapper) -> Mapper:
        """Bind the mapper of the anchor; see `Gauge.pin`."""
        if self.dataset not in mapper.names:
            raise ConfigError(f"gauge.dataset={self.dataset}: expected one of the mix, {', '.join(mapper.names)}.")
        _refuse_settled(mapper, "anchor")
        return Anchored(mapper, self.dataset)

    forward = Free.forward


class Moments(Weighed):
    """The proxy scores of a batch should have mean m = 0 and standard deviation s = 1: m^2 + (s - 1)^2."""

    spreads = True

    def pin(self, mapper: Mapper) -> Mapper:
        """Refuse a mapper that keeps scores on the target scale; see `Gauge.pin`."""
        _refuse_settled(mapper, "moments")
        return mapper

    def forward(
        self, terms: Mapping[str, Tensor], mapper: Mapper, proxy: Tensor, ends: Tensor, own: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Add `moments`; see `Gauge.forward`."""
        std = (proxy.var(correction=0) + 1e-12).sqrt()  # whose gradient is finite where all scores are equal
        return _extended(terms, "moments", self.weight * (proxy.mean() ** 2 + (std - 1) ** 2))


def _refuse_settled(mapper: Mapper, gauge: str) -> None:
    if not mapper.fits:
        raise ConfigError(
            f"gauge={gauge}: with mapper {type(mapper).__name__} proxy scores are predictions, and labels pin them "
            "already: set gauge=none."
        )


def _pulled_back(mapper: Mapper, ends: Tensor) -> Tensor:
    every = torch.arange(len(ends), device=ends.device)[:, None]
    return mapper.inverse(mapper.nearest(ends, every), every)


def _extended(terms: Mapping[str, Tensor], name: str, term: Tensor) -> dict[str, Tensor]:
    return {**terms, "loss": terms["loss"] + term, name: term}
