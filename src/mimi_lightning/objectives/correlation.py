"""Objectives that want proxy scores to lie on a straight line over the labels of each dataset, on whichever line."""

from __future__ import annotations

import torch
from torch import Tensor

from mimi_lightning.contracts import Judgement, Opinions
from mimi_lightning.objectives.within import EPSILON, Within, WithinDatasets


def plcc_loss(scores: Tensor, labels: Tensor, within: Within) -> Tensor:
    """(1 - rho) / 2 of each dataset, rho being Pearson's correlation of scores and labels [B]; 0 of equal labels, [D].

    The root of the scores' squares, by which rho divides, is that of sum (q - m)^2 + 1e-8: where all scores are equal
    its gradient is finite, and rho is 0.
    """
    rho = within.sum(_direction(scores, within, EPSILON) * _direction(labels, within))
    return ((1 - rho) / 2).where(within.differ(labels), 0.0)


class PLCC(WithinDatasets):
    """L_d = (1 - rho) / 2, rho being Pearson's correlation of proxy scores and labels; see `plcc_loss`."""

    teaches = through_mapper = False

    def losses(
        self, judgement: Judgement, prediction: Tensor, opinions: Opinions, within: Within
    ) -> tuple[dict[str, Tensor], Tensor]:
        """See `WithinDatasets.losses`."""
        return {"plcc": plcc_loss(judgement.proxy, opinions.score, within)}, within.differ(opinions.score)


class NormInNorm(WithinDatasets):
    """L_d = || (q - m_q) / ||q - m_q||_2 - (y - m_y) / ||y - m_y||_2 ||_1 / (2 sqrt N) of N proxy scores and labels.

    m are means. The published norms p = 1 and q = 2; p = q = 2 would be `PLCC`.

    Source: Li, Jiang, Jiang, "Norm-in-Norm Loss with Faster Convergence and Better Performance for Image Quality
    Assessment", ACM MM 2020.
    """

    teaches = through_mapper = False

    def losses(
        self, judgement: Judgement, prediction: Tensor, opinions: Opinions, within: Within
    ) -> tuple[dict[str, Tensor], Tensor]:
        """See `WithinDatasets.losses`."""
        gap = _direction(judgement.proxy, within, EPSILON) - _direction(opinions.score, within)
        present = within.differ(opinions.score)
        scale = 2 * within.count.clamp(min=1).to(gap.dtype).sqrt()
        return {"norm_in_norm": (within.sum(gap.abs()) / scale).where(present, 0.0)}, present


def _direction(values: Tensor, within: Within, epsilon: float = 0.0) -> Tensor:
    """(x - m) / sqrt(sum (x - m)^2 + epsilon) within each dataset, [B]."""
    centred = within.centred(values)
    norm = (within.sum(centred**2) + epsilon).sqrt()
    return centred / norm.clamp(min=torch.finfo(values.dtype).tiny)[within.dataset]
