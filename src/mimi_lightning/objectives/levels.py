"""Objectives of regressors that judge five levels of quality: what share of raters would choose each of them."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.special import ndtr

from mimi_lightning.contracts import Judgement, Opinions
from mimi_lightning.objectives.within import EPSILON, Within, WithinDatasets

LEVELS = 5
SURE = 0.2  # deviation in levels below which raters choose the two next levels alone, as published
NARROW = 0.5  # below it the density at the levels misses what lies between them


def soft_labels(score: Tensor, std: Tensor) -> Tensor:
    """Shares of the levels 1..5 whose sum is 1 and whose mean is the score.

    They are a p_k + b, p_k being the density of a normal distribution at k, or its integral over k -+ 1/2 where its
    deviation is below half a level. a and b are those of the wanted sum and mean; levels that would get a negative
    share are left out, and the others corrected alone. Of a deviation below 0.2, one that is not known, and where no a
    and b do it, the two levels next to the score share by nearness.

    Source: You, Cai, Gu, Xue, Dong, "Teaching Large Language Models to Regress Accurate Image Quality Scores Using
    Score Distribution", CVPR 2025 (DeQA-Score). There, negative shares become 0, and sum and mean are off by as much.

    Args:
        score: 1..5, [B].
        std: deviation of opinions in levels, NaN where it is not known, [B].

    Returns:
        From the worst level to the best, [B, 5].
    """
    level = torch.arange(1, LEVELS + 1, dtype=score.dtype, device=score.device)
    distance, width = level - score[:, None], std.clamp(min=SURE)[:, None]
    bins = ndtr((distance + 0.5) / width) - ndtr((distance - 0.5) / width)
    density = (-((distance / width) ** 2) / 2).exp()
    raw = bins.where(width < NARROW, density)
    kept = torch.ones_like(raw, dtype=torch.bool)
    for _ in range(LEVELS - 2):  # two levels are left at least, where there is a solution
        shares = _corrected(raw, kept, level, score)
        kept = kept & (shares > 0)
    off = (shares.sum(1) - 1).abs() + ((shares * level).sum(1) - score).abs()
    fails = (std < SURE) | std.isnan() | (shares < 0).any(1) | ~(off < 1e-4)
    return (1 - distance.abs()).clamp(min=0).where(fails[:, None], shares)


def _corrected(raw: Tensor, kept: Tensor, level: Tensor, score: Tensor) -> Tensor:
    """Shares a p_k + b of the levels that are kept, 0 of the others, whose sum is 1 and whose mean is the score."""
    p = raw * kept
    total, moment = p.sum(1), (p * level).sum(1)
    number, ranks = kept.sum(1), (kept * level).sum(1)
    # Where p lies as evenly about the middle of these levels as they do themselves, only b = 0 gives its mean.
    determinant = moment * number - total * ranks
    even = determinant.abs() < 1e-5
    a = (1 / total).where(even, (score * number - ranks) / determinant)
    return (a[:, None] * p + ((1 - a * total) / number)[:, None]) * kept


class OfLevels(WithinDatasets):
    """L_d: mean error of the levels that the regressor sees against `soft_labels`.

    Target scales are taken to 1..5 by the span of the training labels: its lower end is 1, its upper end 5.
    """

    sees = ("quality",)
    teaches = through_mapper = False
    name: ClassVar[str]

    @staticmethod
    @abstractmethod
    def error(levels: Tensor, label: Tensor) -> Tensor:
        """Of each picture, [B]: how far levels are from labels, both [B, 5], from the worst to the best."""

    def losses(
        self, judgement: Judgement, prediction: Tensor, opinions: Opinions, within: Within
    ) -> tuple[dict[str, Tensor], Tensor]:
        """See `WithinDatasets.losses`."""
        low, high = self.span.to(opinions.score.dtype)[opinions.dataset].unbind(-1)
        step = (high - low) / (LEVELS - 1)
        label = soft_labels((1 + (opinions.score - low) / step).clamp(1, LEVELS), opinions.std / step)
        return {self.name: within.mean(self.error(judgement.tasks["quality"], label))}, within.count > 0


class Ordinal(OfLevels):
    """L_d: mean Kullback-Leibler divergence sum_k p_k log(p_k / (P_k + 1e-8)) of levels P from `soft_labels` p.

    Source: see `soft_labels`.
    """

    name = "ordinal"

    @staticmethod
    def error(levels: Tensor, label: Tensor) -> Tensor:
        """See `OfLevels.error`."""
        return (torch.xlogy(label, label) - label * (levels + EPSILON).log()).sum(1)


class EMD(OfLevels):
    """L_d: mean earth mover's distance sqrt((1/5) sum_k (C_k - c_k)^2 + 1e-8), C and c cumulative shares of levels.

    Those of the levels that the regressor sees, and those of `soft_labels`.

    Source: Talebi, Milanfar, "NIMA: Neural Image Assessment", IEEE TIP 27(8), 2018.
    """

    name = "emd"

    @staticmethod
    def error(levels: Tensor, label: Tensor) -> Tensor:
        """See `OfLevels.error`."""
        return ((levels.cumsum(1) - label.cumsum(1)).square().mean(1) + EPSILON).sqrt()
