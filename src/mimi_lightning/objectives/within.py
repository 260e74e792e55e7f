"""What objectives have in common that compare the pictures of a dataset with each other, and never those of two."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from mimi_lightning.contracts import Judgement, Objective, Opinions
from mimi_lightning.errors import ConfigError

EPSILON = 1e-8  # keeps roots and logarithms differentiable at 0
BALANCES = ("fixed", "loss")


class Within:
    """Sums and means within the datasets of one mixed batch, all at once.

    Args:
        dataset: index 0..D-1 of each picture's dataset, int64 [B].
        datasets: number D of datasets.
    """

    def __init__(self, dataset: Tensor, datasets: int) -> None:
        self.dataset, self.datasets = dataset, datasets
        self.count = self.sum(torch.ones_like(dataset))  # pictures, [D]

    def sum(self, values: Tensor) -> Tensor:
        """Sum of the values [B] of each dataset, [D]."""
        return values.new_zeros(self.datasets).index_add(0, self.dataset, values)

    def mean(self, values: Tensor) -> Tensor:
        """Mean of the values [B] of each dataset, [D]; 0 of none."""
        return self.sum(values) / self.count.clamp(min=1)

    def centred(self, values: Tensor) -> Tensor:
        """Values [B] less the mean of their dataset."""
        return values - self.mean(values)[self.dataset]

    @cached_property
    def pairs(self) -> Tensor:
        """Whether two pictures are two, and of the same dataset, [B, B]."""
        return (self.dataset[:, None] == self.dataset).fill_diagonal_(False)

    def pair_mean(self, values: Tensor, pairs: Tensor | None = None) -> Tensor:
        """Mean of the values [B, B] of each dataset's pairs, of all or of these, [D]; 0 of none."""
        pairs = self.pairs if pairs is None else self.pairs & pairs
        return self.sum(values.where(pairs, 0.0).sum(1)) / self.sum(pairs.sum(1)).clamp(min=1)

    def differ(self, values: Tensor) -> Tensor:
        """Whether a dataset has different values [B], [D]."""
        return self.sum((self.pairs & (values[:, None] != values)).sum(1)) > 0


def differences(values: Tensor) -> Tensor:
    """Of all pairs of values [B]: x_i - x_j, [B, B]."""
    return values[:, None] - values


class WithinDatasets(Objective):
    """A loss L_d within every dataset d, and one number of them.

    balance fixed: L = (1/D) sum_d w_d L_d
    balance loss: L = sum_d w_d e^L_d L_d / sum_d w_d e^L_d, where the dataset that is learned worst weighs most

    D counts all datasets of the mix. Where a batch does not hold what L_d is computed from, such as two pictures, L_d
    is 0, and `loss` passes over the dataset.

    Source of `loss`: Li, Jiang, Jiang, "Unified Quality Assessment of In-the-Wild Videos with Mixed Datasets Training",
    IJCV 129(4), 2021 (MDTVSFA).

    Args:
        weights: w_d of every dataset, in the order of the dataset indices, [D].
        span: see `Objective`.
        balance: `fixed` or `loss`.
    """

    pictures = 2

    def __init__(
        self, weights: Sequence[float], span: Sequence[Sequence[float]] | None = None, balance: str = "fixed"
    ) -> None:
        super().__init__(weights, span)
        if balance not in BALANCES:
            raise ConfigError(f"objective.balance={balance}: expected {' or '.join(BALANCES)}.")
        self.balance = balance

    @abstractmethod
    def losses(
        self, judgement: Judgement, prediction: Tensor, opinions: Opinions, within: Within
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The terms that L_d is the sum of, by name, [D], and which datasets have what they are computed from, [D].

        Opinions come in the precision of the proxy scores; terms are 0 where they cannot be computed.
        """

    def forward(
        self, judgement: Judgement, prediction: Tensor, opinions: Opinions, own: Mapping[str, Tensor], epoch: int = 0
    ) -> dict[str, Tensor]:
        """Compute `loss` and the terms it is the sum of. See `Objective.forward`."""
        dtype = judgement.proxy.dtype
        opinions = Opinions(opinions.score.to(dtype), opinions.std.to(dtype), opinions.dataset)
        within = Within(opinions.dataset, len(self.weights))
        terms, present = self.losses(judgement, prediction, opinions, within)
        share = self._shares(sum(terms.values()), present)
        terms = {name: (share * term).sum() for name, term in terms.items()}
        return {"loss": sum(terms.values()), **terms}

    def _shares(self, loss: Tensor, present: Tensor) -> Tensor:
        weights = self.weights.to(loss.dtype) * present
        if self.balance == "fixed":
            return weights / len(weights)
        weights = weights * (loss - loss.detach().max()).exp()  # less the largest, which changes no share
        return weights / weights.sum().clamp(min=torch.finfo(loss.dtype).tiny)
