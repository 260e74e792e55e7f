"""Target scales: what the labels of every dataset become before a prediction is compared with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimi_lightning.models.monotone import FullPrecision

TOP = 10.0
KNOTS = 65  # of a quantile scale, at most


class TargetScale(FullPrecision, ABC):
    """An increasing map of every dataset from its native MOS to the target scale, and back.

    Args:
        datasets: of each of the D datasets, in their order, `labels` (what `learn` made of its training part) and
            `range` (published, native). NaN among the labels: nobody knows them.
    """

    def __init__(self, datasets: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.register_buffer("ranges", torch.tensor([d["range"] for d in datasets], dtype=torch.float32))
        known = [bool(np.isfinite(d["labels"]).all()) for d in datasets]
        self.register_buffer("known", torch.tensor(known), persistent=False)  # whether its labels are, [D]

    @staticmethod
    def learn(mos: np.ndarray) -> list[float]:
        """What the scale has to know of the labels [N] of a training part: the lowest and the highest."""
        return [float(mos.min()), float(mos.max())]

    @abstractmethod
    def normalise(self, mos: Tensor, dataset: Tensor) -> Tensor:
        """Native MOS to the target scale of its dataset (an index 0..D-1), elementwise."""

    @abstractmethod
    def restore(self, target: Tensor, dataset: Tensor) -> Tensor:
        """Inverse of `normalise`."""

    @abstractmethod
    def span(self) -> Tensor:
        """Targets of the lowest and the highest training label of each dataset, [D, 2]."""

    def spread(self, mos: Tensor, std: Tensor, dataset: Tensor) -> Tensor:
        """Standard deviations of labels on the target scale: half the distance from mos - std to mos + std, [B]."""
        return (self.normalise(mos + std, dataset) - self.normalise(mos - std, dataset)) / 2

    def ends(self) -> Tensor:
        """Ends of the published ranges on the target scale, [D, 2]."""
        return self.normalise(self.ranges, torch.arange(len(self.ranges), device=self.ranges.device)[:, None])


class Straight(TargetScale):
    """Straight lines: target = top (MOS - low_d) / (high_d - low_d).

    Args:
        datasets: see `TargetScale`; `labels` begin with the lowest and the highest label.
        lines: low_d and high_d of each dataset, [D][2].
        top: target of high_d.
    """

    def __init__(self, datasets: Sequence[Mapping[str, Any]], lines: Sequence[Sequence[float]], top: float) -> None:
        super().__init__(datasets)
        self.top = top
        self.register_buffer("labels", torch.tensor([d["labels"][:2] for d in datasets], dtype=torch.float32))
        self.register_buffer("lines", torch.tensor(lines, dtype=torch.float32), persistent=False)

    def normalise(self, mos: Tensor, dataset: Tensor) -> Tensor:
        """See `TargetScale.normalise`."""
        low, high = self.lines[dataset].unbind(-1)
        return self.top * (mos - low) / (high - low)

    def restore(self, target: Tensor, dataset: Tensor) -> Tensor:
        """See `TargetScale.restore`."""
        low, high = self.lines[dataset].unbind(-1)
        return low + target * (high - low) / self.top

    def span(self) -> Tensor:
        """See `TargetScale.span`."""
        return self.normalise(self.labels, torch.arange(len(self.labels), device=self.labels.device)[:, None])


class MinMax(Straight):
    """The training labels of every dataset span 0..10, as published."""

    def __init__(self, datasets: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(datasets, [d["labels"] for d in datasets], TOP)

    def span(self) -> Tensor:
        """0 and 10, without the rounding of a division."""
        return self.labels.new_tensor([0.0, TOP]).expand(len(self.labels), 2)


class PublishedRange(Straight):
    """The published range of every dataset is 0..10."""

    def __init__(self, datasets: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(datasets, [d["range"] for d in datasets], TOP)


class Native(Straight):
    """Labels as they are: target = MOS. Of the datasets together, those with large numbers weigh most."""

    def __init__(self, datasets: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(datasets, [(0.0, 1.0)] * len(datasets), 1.0)


class ZScore(Straight):
    """The training labels of every dataset have mean 0 and standard deviation 1."""

    def __init__(self, datasets: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(datasets, [(mean, mean + std) for *_, mean, std in (d["labels"] for d in datasets)], 1.0)

    @staticmethod
    def learn(mos: np.ndarray) -> list[float]:
        """Lowest, highest, mean and standard deviation of the training labels [N]."""
        return [*TargetScale.learn(mos), float(mos.mean()), float(mos.std())]


class Quantile(TargetScale):
    """Ranks: the target is 10 times the share of training labels below, equal ones counting half.

    Lines join at most 65 labels of equal distance in rank, the lowest at 0 and the highest at 10; beyond them the
    outermost lines go on.

    Args:
        datasets: see `TargetScale`.
    """

    def __init__(self, datasets: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(datasets)
        self.register_buffer("knots", torch.stack([_knots(d["labels"]) for d in datasets]), persistent=False)

    @staticmethod
    def learn(mos: np.ndarray) -> list[float]:
        """Labels at the knots, then their targets."""
        labels, counts = np.unique(mos, return_counts=True)
        below = counts.cumsum() - (counts + counts[0]) / 2  # 0 for the lowest
        targets = TOP * below / below[-1]
        chosen = np.unique(targets.searchsorted(np.linspace(0, TOP, KNOTS)))
        return [*labels[chosen].tolist(), *targets[chosen].tolist()]

    def normalise(self, mos: Tensor, dataset: Tensor) -> Tensor:
        """See `TargetScale.normalise`."""
        return _along_lines(mos, self.knots[dataset])

    def restore(self, target: Tensor, dataset: Tensor) -> Tensor:
        """See `TargetScale.restore`."""
        return _along_lines(target, self.knots[dataset].flip(-2))

    def span(self) -> Tensor:
        """0 and 10."""
        return self.knots.new_tensor([0.0, TOP]).expand(len(self.knots), 2)


def _knots(labels: Sequence[float]) -> Tensor:
    """Labels and targets, float32 [2, KNOTS]; where there are fewer, the last line goes on through the others."""
    knots = torch.tensor(labels, dtype=torch.float64).view(2, -1)
    more = torch.arange(1, 1 + KNOTS - knots.shape[1])
    return torch.cat([knots, knots[:, -1:] + more * (knots[:, -1:] - knots[:, -2:-1])], dim=1).float()


def _along_lines(x: Tensor, knots: Tensor) -> Tensor:
    """Read the lines through knots [..., 2, KNOTS], which increase in both rows, at x [...]."""
    x, _ = torch.broadcast_tensors(x, knots[..., 0, 0])
    xs, ys = knots.expand(*x.shape, *knots.shape[-2:]).unbind(-2)
    left = (x[..., None] >= xs[..., 1:-1]).sum(-1, keepdim=True)
    (x0, y0), (x1, y1) = ((xs.gather(-1, i).squeeze(-1), ys.gather(-1, i).squeeze(-1)) for i in (left, left + 1))
    return y0 + (x - x0) * (y1 - y0) / (x1 - x0)
