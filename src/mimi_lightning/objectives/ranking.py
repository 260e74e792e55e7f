"""Objectives that compare every picture of a dataset with every other: which is better, how surely, by how much."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.special import ndtr

from mimi_lightning.contracts import Judgement, Opinions
from mimi_lightning.objectives.within import EPSILON, Within, WithinDatasets, differences


def rank_loss(scores: Tensor, labels: Tensor, within: Within) -> Tensor:
    """sum_ij relu((q_i - q_j) sgn(y_j - y_i)) / (N (N - 1)) of each dataset's N scores and labels [B], [D]."""
    return within.pair_mean((-differences(scores) * differences(labels).sign()).relu())


def fidelity(p: Tensor, g: Tensor) -> Tensor:
    """How far apart two probabilities of the same are: 1 - sqrt(p g + e) - sqrt((1 - p)(1 - g) + e), e = 1e-8."""
    return 1 - (p * g + EPSILON).sqrt() - ((1 - p) * (1 - g) + EPSILON).sqrt()


class RankHinge(WithinDatasets):
    """L_d: how far proxy scores are in the wrong order; see `rank_loss`.

    It is 0 as well where all scores are equal, which a gauge has to prevent.

    Source: Li, Jiang, Jiang, "Unified Quality Assessment of In-the-Wild Videos with Mixed Datasets Training", IJCV
    129(4), 2021 (MDTVSFA).
    """

    teaches = through_mapper = False
    collapses = True

    def losses(
        self, judgement: Judgement, prediction: Tensor, opinions: Opinions, within: Within
    ) -> tuple[dict[str, Tensor], Tensor]:
        """See `WithinDatasets.losses`."""
        return {"rank": rank_loss(judgement.proxy, opinions.score, within)}, within.count > 1


class FidelityBinary(WithinDatasets):
    """L_d: mean over pairs of the `fidelity` of p = Phi(q_i - q_j) and g = (1 + sgn(y_i - y_j)) / 2.

    q are proxy scores, y labels.

    Source: Zhang, Zhai, Wei, Yang, Ma, "Blind Image Quality Assessment via Vision-Language Correspondence: A Multitask
    Learning Perspective", CVPR 2023 (LIQE).
    """

    teaches = through_mapper = False

    def losses(
        self, judgement: Judgement, prediction: Tensor, opinions: Opinions, within: Within
    ) -> tuple[dict[str, Tensor], Tensor]:
        """See `WithinDatasets.losses`."""
        better = (1 + differences(opinions.score).sign()) / 2
        loss = fidelity(ndtr(differences(judgement.proxy)), better)
        return {"fidelity": within.pair_mean(loss)}, within.count > 1


class Fidelity(WithinDatasets):
    """L_d: how far what raters would say of two pictures is from what the model says, and whether it knows its doubts.

    The mean over pairs of the `fidelity` of p = Phi((q_i - q_j) / sqrt(s_i^2 + s_j^2 + 1e-8)) and
    g = Phi((y_i - y_j) / sqrt(sigma_i^2 + sigma_j^2)). Of a regressor that gives deviations s, plus the mean over pairs
    whose sigma are known of max(0, margin - sgn(sigma_i - sigma_j) (s_i - s_j)).

    q are proxy scores; s their deviations, which learn by the second mean alone, or 1; y labels; sigma the standard
    deviations of opinions, 0 where they are not known.

    Source: Zhang, Ma, Zhai, Yang, "Uncertainty-Aware Blind Image Quality Assessment in the Laboratory and Wild", IEEE
    TIP 30, 2021 (UNIQUE).

    Args:
        weights: see `WithinDatasets`.
        span: see `Objective`.
        balance: see `WithinDatasets`.
        margin: by which deviations should differ, in units of the proxy score.
    """

    teaches = through_mapper = False

    def __init__(
        self,
        weights: Sequence[float],
        span: Sequence[Sequence[float]] | None = None,
        balance: str = "fixed",
        margin: float = 0.025,
    ) -> None:
        super().__init__(weights, span, balance)
        self.margin = margin

    def losses(
        self, judgement: Judgement, prediction: Tensor, opinions: Opinions, within: Within
    ) -> tuple[dict[str, Tensor], Tensor]:
        """See `WithinDatasets.losses`."""
        q, y, sigma, s = judgement.proxy, opinions.score, opinions.std.nan_to_num(0.0), judgement.std
        doubt = torch.ones_like(q) if s is None else s.detach()
        p = ndtr(differences(q) / (_sums(doubt**2) + EPSILON).sqrt())
        g = ndtr(differences(y) / _sums(sigma**2).sqrt().clamp(min=torch.finfo(y.dtype).tiny))
        terms = {"fidelity": within.pair_mean(fidelity(p, g))}
        if s is not None:
            known = opinions.std.isfinite()
            order = (self.margin - differences(sigma).sign() * differences(s)).relu()
            terms["deviation"] = within.pair_mean(order, known[:, None] & known)
        return terms, within.count > 1


class Margin(WithinDatasets):
    """L_d: mean over pairs of ((y^_i - y^_j) - (y_i - y_j))^2 / (2 tau^2).

    y^ are predictions, y labels. tau is 1, or `by_std` the root of sigma_i^2 + sigma_j^2, the variances of opinions,
    where both are known and not 0.

    It teaches a mapper by how much predictions differ, but not where they lie: that is fitted after training.

    Compare: "MR-IQA: A Unified Margin View of Regression and Ranking", arXiv 2606.29760, 2026.

    Args:
        weights: see `WithinDatasets`.
        span: see `Objective`.
        balance: see `WithinDatasets`.
        by_std: whether a difference counts less where raters were of different opinions.
    """

    teaches = False

    def __init__(
        self,
        weights: Sequence[float],
        span: Sequence[Sequence[float]] | None = None,
        balance: str = "fixed",
        by_std: bool = False,
    ) -> None:
        super().__init__(weights, span, balance)
        self.by_std = by_std

    def losses(
        self, judgement: Judgement, prediction: Tensor, opinions: Opinions, within: Within
    ) -> tuple[dict[str, Tensor], Tensor]:
        """See `WithinDatasets.losses`."""
        error = (differences(prediction) - differences(opinions.score)) ** 2 / 2
        if self.by_std:
            variance = _sums(opinions.std**2)
            error = error / variance.where(variance > 0, 1.0)
        return {"margin": within.pair_mean(error)}, within.count > 1


def _sums(values: Tensor) -> Tensor:
    """Of all pairs of values [B]: x_i + x_j, [B, B]."""
    return values[:, None] + values
