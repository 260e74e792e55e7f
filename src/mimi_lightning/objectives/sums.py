"""Objectives that are made of others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from mimi_lightning.contracts import Judgement, Objective, Opinions
from mimi_lightning.errors import ConfigError
from mimi_lightning.objectives.correlation import PLCC, NormInNorm, plcc_loss
from mimi_lightning.objectives.levels import EMD, Ordinal
from mimi_lightning.objectives.ranking import Fidelity, FidelityBinary, Margin, RankHinge, rank_loss
from mimi_lightning.objectives.regression import MIMI, Regression
from mimi_lightning.objectives.within import Within, WithinDatasets
from mimi_lightning.weighting import DynamicWeightAverage

BALANCES = ("fixed", "dwa")


class Mixed(WithinDatasets):
    """L_d = (1 - rho) / 2 + rank + mean |y^ - y| / width_d, of predictions y^, proxy scores and labels y.

    rho is Pearson's correlation of predictions and labels (`plcc_loss`), rank says how far proxy scores are in the
    wrong order (`rank_loss`), width_d is that of the span of the training labels. As published with mapper=mdtvsfa,
    but for its ranking the sigmoid of the proxy scores.

    Source: Li, Jiang, Jiang, "Unified Quality Assessment of In-the-Wild Videos with Mixed Datasets Training", IJCV
    129(4), 2021 (MDTVSFA).

    Args:
        weights: see `WithinDatasets`.
        span: see `Objective`.
        balance: see `WithinDatasets`.
    """

    def __init__(
        self, weights: Sequence[float], span: Sequence[Sequence[float]] | None = None, balance: str = "loss"
    ) -> None:
        super().__init__(weights, span, balance)

    def losses(
        self, judgement: Judgement, prediction: Tensor, opinions: Opinions, within: Within
    ) -> tuple[dict[str, Tensor], Tensor]:
        """See `WithinDatasets.losses`."""
        width = self.span.to(prediction.dtype).diff(dim=1).squeeze(1)
        terms = {
            "plcc": plcc_loss(prediction, opinions.score, within),
            "rank": rank_loss(judgement.proxy, opinions.score, within),
            "l1": within.mean((prediction - opinions.score).abs()) / width,
        }
        return terms, within.count > 0


# By the names of their options.
TERMS: dict[str, type[Objective]] = {
    "emd": EMD,
    "fidelity": Fidelity,
    "fidelity_binary": FidelityBinary,
    "margin": Margin,
    "mimi": MIMI,
    "mixed": Mixed,
    "norm_in_norm": NormInNorm,
    "ordinal": Ordinal,
    "plcc": PLCC,
    "rank_hinge": RankHinge,
    "regression": Regression,
}


class Sum(Objective):
    """Several objectives together: L = sum_k v_k f_k L_k.

    balance fixed: v_k = 1
    balance dwa: v_k by `DynamicWeightAverage`, most for the one that falls slowest; their sum is the number of terms

    Args:
        weights: w_d of every dataset, which all terms are told.
        span: see `Objective`; all terms are told.
        terms: L_k: names of options, such as `plcc`, or mappings of `name` and arguments, such as
            {name: regression, loss: l1}.
        factors: f_k of each of them.
        balance: `fixed` or `dwa`.
        temperature: of the dynamic weight average; higher is more even.

    Raises:
        ConfigError: a name that is not known, or another number of factors than of terms.
    """

    def __init__(
        self,
        weights: Sequence[float],
        span: Sequence[Sequence[float]] | None = None,
        terms: Sequence[str | Mapping[str, Any]] = ("plcc", "regression"),
        factors: Sequence[float] = (1.0, 1.0),
        balance: str = "fixed",
        temperature: float = 2.0,
    ) -> None:
        super().__init__(weights, span)
        specs = [dict(term) if isinstance(term, Mapping) else {"name": term} for term in terms]
        if unknown := [spec for spec in specs if spec.get("name") not in TERMS]:
            raise ConfigError(f"objective.terms: {unknown[0].get('name')} is none of {', '.join(TERMS)}.")
        if not specs or len(factors) != len(specs):
            raise ConfigError(f"objective.factors={list(factors)}: expected as many as there are terms, {len(specs)}.")
        if not all(isinstance(factor, (int, float)) and 0 < factor < math.inf for factor in (*factors, temperature)):
            raise ConfigError(f"objective.factors={list(factors)}, temperature={temperature}: expected more than 0.")
        if balance not in BALANCES:
            raise ConfigError(f"objective.balance={balance}: expected {' or '.join(BALANCES)}.")
        self.labels = ["_".join(map(str, spec.values())) for spec in specs]
        try:
            self.terms = nn.ModuleList(TERMS[spec.pop("name")](weights, span, **spec) for spec in specs)
        except TypeError as error:
            raise ConfigError(f"objective.terms: an argument is not known ({error}).") from error
        self.weighting = DynamicWeightAverage(len(specs), temperature) if balance == "dwa" else None
        self.register_buffer("factors", torch.tensor(factors, dtype=torch.float32), persistent=False)
        self.needs = tuple(dict.fromkeys(chain.from_iterable(term.needs for term in self.terms)))
        self.sees = tuple(dict.fromkeys(chain.from_iterable(term.sees for term in self.terms)))
        self.teaches = any(term.teaches for term in self.terms)
        self.through_mapper = any(term.through_mapper for term in self.terms)
        self.collapses = all(term.collapses for term in self.terms)

    def forward(
        self, judgement: Judgement, prediction: Tensor, opinions: Opinions, own: Mapping[str, Tensor], epoch: int = 0
    ) -> dict[str, Tensor]:
        """Compute `loss` and the terms it is the sum of, by name and arguments; see `Objective.forward`.

        Of a dynamic weight average come the weights beside, such as `weight_plcc`.
        """
        parts = (term(judgement, prediction, opinions, own, epoch)["loss"] for term in self.terms)
        losses = self.factors.to(prediction.dtype) * torch.stack(list(parts))
        weighed = {}
        if self.weighting is not None:
            weights = self.weighting(losses, torch.full_like(losses, len(prediction)), epoch)
            losses = weights * losses
            weighed = {f"weight_{label}": weight for label, weight in zip(self.labels, weights, strict=True)}
        return {"loss": losses.sum(), **dict(zip(self.labels, losses, strict=True)), **weighed}
