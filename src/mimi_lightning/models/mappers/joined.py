"""Several mappers side by side, each of datasets of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mimi_lightning.contracts import Judgement, Mapper
from mimi_lightning.specs import build

STRANGER = -1  # place of a dataset in a part that does not map it


class Joined(Mapper):
    """Mappers of several kinds, the parts, as one; every dataset is mapped by one of them, as if it were alone.

    What the first part reads as the score of a picture, all others map from.

    Args:
        names: of the D datasets.
        span: see `Mapper`.
        parts: of each part `mapper`, its specification (conf/mapper), and `datasets`, the names of those that it maps.
    """

    def __init__(
        self,
        names: Sequence[str],
        span: Sequence[Sequence[float]] | None = None,
        parts: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(names, span)
        datasets = [list(part["datasets"]) for part in parts]
        spans = [self.span[self.number(own)].tolist() for own in datasets]
        self.parts = nn.ModuleList(
            build(part["mapper"], Mapper, own, span=own_span)
            for part, own, own_span in zip(parts, datasets, spans, strict=True)
        )
        self.monotone = all(part.monotone for part in self.parts)
        self.fits = any(part.fits for part in self.parts)
        self.refits = any(part.refits for part in self.parts)
        self.offers = tuple(dict.fromkeys(term for part in self.parts for term in part.offers))
        self.shared = tuple(f"parts.{p}.{key}" for p, part in enumerate(self.parts) for key in part.shared)
        # Place of every dataset in every part, [P, D + 1]; the last column is that of the number -1.
        places = [[part.names.index(n) if n in part.names else STRANGER for n in self.names] for part in self.parts]
        self.register_buffer("places", torch.tensor([[*row, STRANGER] for row in places]), persistent=False)

    @property
    def invertible(self) -> bool:
        """Whether all parts are."""
        return all(part.invertible for part in self.parts)

    def begin(self, ends: Tensor) -> None:
        """See `Mapper.begin`."""
        for part in self.parts:
            part.begin(ends[self.number(part.names)])

    def read(self, judgement: Judgement, dataset: Tensor) -> Tensor:
        """As the first part; the datasets of the others are unknown to it. See `Mapper.read`."""
        return self.parts[0].read(judgement, self.places[0][dataset])

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        return self._choose([part(q, place) for part, place in self._places(dataset)], dataset)

    def inverse(self, y: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.inverse`."""
        found = []
        for number, (part, place) in enumerate(self._places(dataset)):
            # Scores of other datasets may be out of its reach, hence one that it reaches in their stead.
            reached = torch.where(self._own(number, dataset), y, part(torch.zeros_like(y), place))
            found.append(part.inverse(reached, place))
        return self._choose(found, dataset)

    def nearest(self, y: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.nearest`."""
        return self._choose([part.nearest(y, place) for part, place in self._places(dataset)], dataset)

    def learn(self, q: Tensor, dataset: Tensor, ends: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Predictions, and of every term the sum over the parts that offer it for their scores; see `Mapper.learn`."""
        terms = {name: q.new_zeros(()) for name in self.offers}
        for number, (part, place) in enumerate(self._places(dataset)):
            if (own := self._own(number, dataset)).any():
                offered = part.learn(q[own], place[own], ends[self.number(part.names)])[1]
                terms |= {name: terms[name] + value for name, value in offered.items()}
        return self(q, dataset), terms

    def fit(self, q: Tensor, y: Tensor, dataset: Tensor) -> None:
        """Fit every part to its datasets; see `Mapper.fit`."""
        for number, (part, place) in enumerate(self._places(dataset)):
            own = self._own(number, dataset)
            if part.fits and own.any():
                part.fit(q[own], y[own], place[own])

    def rows(self, names: Iterable[str]) -> dict[str, Tensor]:
        """See `Mapper.rows`; of parts that map none of these datasets there are none."""
        return {
            f"{prefix}{key}": value for prefix, part, own in self._among(names) for key, value in part.rows(own).items()
        }

    def put(self, names: Iterable[str], rows: Mapping[str, Tensor]) -> None:
        """See `Mapper.put`."""
        for prefix, part, own in self._among(names):
            part.put(own, {key.removeprefix(prefix): rows[key] for key in rows if key.startswith(prefix)})

    def freeze(self, names: Iterable[str], optimizer: Optimizer) -> None:
        """See `Mapper.freeze`."""
        for _, part, own in self._among(names):
            part.freeze(own, optimizer)

    def _places(self, dataset: Tensor) -> Iterator[tuple[Mapper, Tensor]]:
        """Every part, and the number that each score's dataset has in it; 0 if it is a stranger there."""
        for part, places in zip(self.parts, self.places, strict=True):
            yield part, places[dataset].clamp(min=0)

    def _own(self, number: int, dataset: Tensor) -> Tensor:
        return self.places[number][dataset] != STRANGER

    def _choose(self, values: Sequence[Tensor], dataset: Tensor) -> Tensor:
        """Of each score, what the part says that maps its dataset."""
        chosen = values[0]
        for number, value in enumerate(values[1:], 1):
            chosen = torch.where(self._own(number, dataset), value, chosen)
        return chosen

    def _among(self, names: Iterable[str]) -> Iterator[tuple[str, Mapper, list[str]]]:
        """The parts that map some of these datasets: the prefix of their keys, and which of them."""
        names = list(names)
        self.number(names)
        for number, part in enumerate(self.parts):
            if own := [name for name in names if name in part.names]:
                yield f"parts.{number}.", part, own
