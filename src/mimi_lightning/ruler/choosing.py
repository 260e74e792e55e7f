"""Choosing a score mapper for few scores by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mimi_lightning.contracts import Mapper
from mimi_lightning.evaluation.statistics import interval, rmse_of
from mimi_lightning.models.targets import TargetScale
from mimi_lightning.specs import Spec, build

FOLDS = 10
WHOLE = "whole"  # beside the folds

# From the simplest to the richest. Few scores tell no more than a narrow MINN and a spline of few pieces can say.
KINDS: dict[str, Spec] = {
    "linear": {"_target_": "mimi_lightning.models.mappers.Linear"},
    "logistic": {"_target_": "mimi_lightning.models.mappers.Logistic"},
    "spline": {"_target_": "mimi_lightning.models.mappers.Spline", "bins": 4},
    "minn": {"_target_": "mimi_lightning.models.mappers.MINN", "hidden": [16, 16], "cells": 160, "reach": 16.0},
}


@dataclass(frozen=True)
class Candidate:
    """A kind of mapper on given scores.

    Args:
        kind: of `KINDS`.
        mos: the scores, [N].
        predicted: of every score, what a mapper predicts that was fitted without its fold, [N].
        rows: of the mapper that was fitted to all scores, see `Mapper.rows`.
    """

    kind: str
    mos: np.ndarray
    predicted: np.ndarray
    rows: dict[str, Tensor]

    @property
    def squares(self) -> np.ndarray:
        """Squared errors, [N]."""
        return (self.predicted - self.mos) ** 2

    @property
    def rmse(self) -> float:
        """Cross-validated, in units of the scores."""
        return float(np.sqrt(self.squares.mean()))

    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of `rmse`."""
        return interval(rmse_of, self.predicted, self.mos)

    def hardly_worse(self, best: Candidate) -> bool:
        """Whether the mean squared error is above that of the best by no more than its standard error tells."""
        more = self.squares - best.squares
        return more.mean() <= more.std(ddof=1) / np.sqrt(len(more))


def cross_validate(kind: str, q: Tensor, mos: Tensor, scale: TargetScale, folds: int = FOLDS) -> Candidate:
    """Fit a kind of mapper to scores, and to all but those of a fold for every fold.

    The folds, and all scores, are so many datasets of one mapper, whose rows are fitted together.

    Args:
        kind: of `KINDS`.
        q: proxy scores, [N].
        mos: scores, native, [N].
        scale: target scale, of the new dataset alone.
        folds: number of them.
    """
    fold = _folds(len(q), folds)
    one = torch.zeros_like(fold)
    target = scale.normalise(mos, one)
    left_in = torch.stack([fold != k for k in range(folds)] + [torch.ones_like(fold, dtype=torch.bool)])
    dataset, image = left_in.nonzero(as_tuple=True)
    mapper = make_mapper(kind, scale, [*(f"fold{k}" for k in range(folds)), WHOLE])
    mapper.fit(q[image], target[image], dataset)
    with torch.no_grad():
        left_out = scale.restore(mapper(q, fold), one)
    return Candidate(kind, mos.double().numpy(), left_out.double().numpy(), mapper.rows([WHOLE]))


def make_mapper(kind: str, scale: TargetScale, names: Sequence[str]) -> Mapper:
    """A mapper of this kind whose datasets have all the same scale; begins alike every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(KINDS[kind], Mapper, names, span=scale.span().tolist() * len(names))


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """The first, and simplest, that is hardly worse than the best.

    Source: the one-standard-error rule of Breiman, Friedman, Olshen, Stone, "Classification and Regression Trees",
    1984; here of paired differences.
    """
    best = min(candidates, key=lambda candidate: candidate.rmse)
    return next(candidate for candidate in candidates if candidate.hardly_worse(best))


def _folds(number: int, folds: int) -> Tensor:
    """Number of each score's fold, as equal in size as can be; the same every time."""
    return torch.randperm(number, generator=torch.Generator().manual_seed(0)) % folds
