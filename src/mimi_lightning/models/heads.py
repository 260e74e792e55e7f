"""What the outputs of a regressor's last layer say: a score, a score and its deviation, or five levels of quality."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mimi_lightning.contracts import Judgement
from mimi_lightning.vocabulary import QUALITIES

LEAST = 1e-3  # deviation, in units of the proxy score: losses divide by it


class Head(NamedTuple):
    """A way of reading outputs."""

    outputs: int  # how many there are of each picture
    read: Callable[[Tensor], Judgement]  # of [B, outputs]
    judges: tuple[str, ...] = ()
    deviates: bool = True
    ends: tuple[float, float] = (-2.0, 2.0)  # see `Regressor`


def score(outputs: Tensor) -> Judgement:
    """The one output is the proxy score."""
    return Judgement(outputs.squeeze(-1))


def deviation(outputs: Tensor) -> Judgement:
    """The first output is the proxy score, softplus of the second its standard deviation.

    Source: Zhang et al., "Uncertainty-Aware Blind Image Quality Assessment in the Laboratory and Wild", IEEE TIP 2021
    (UNIQUE).
    """
    proxy, doubt = outputs.unbind(-1)
    return Judgement(proxy, softplus(doubt) + LEAST)


def levels(outputs: Tensor) -> Judgement:
    """Five logits of the levels of quality, from the worst to the best."""
    probability = outputs.softmax(-1)
    return Judgement(*moments(probability), tasks={"quality": probability})


def moments(probability: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a level: q = sum_k k p_k, s = sqrt(sum_k p_k (k - q)^2), k = 1..K.

    Args:
        probability: p of the levels, from the worst to the best, [B, K].

    Returns:
        q, 1..K, and s, which is kept above 1e-3, both [B].
    """
    level = torch.arange(1, probability.shape[-1] + 1, dtype=probability.dtype, device=probability.device)
    mean = probability @ level
    variance = (probability * (level - mean[:, None]).square()).sum(-1)
    return mean, variance.clamp_min(LEAST**2).sqrt()


HEADS = {
    "score": Head(1, score, deviates=False),
    "deviation": Head(2, deviation),
    "levels": Head(len(QUALITIES), levels, judges=("quality",), ends=(1.0, 5.0)),
}
