"""The target scale: every dataset's MOS on [0, 10]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mimi_lightning.models.monotone import FullPrecision

TOP = 10.0


class TargetScale(FullPrecision):
    """Native MOS of dataset d to 10 (MOS - low_d) / (high_d - low_d), and back.

    Args:
        labels: lowest and highest MOS of each dataset's training part, native scale, [D][2].
        ranges: published range of each dataset, native scale, [D][2].
    """

    def __init__(self, labels: Sequence[Sequence[float]], ranges: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.register_buffer("labels", torch.tensor(labels, dtype=torch.float32))
        self.register_buffer("ranges", torch.tensor(ranges, dtype=torch.float32))

    def normalise(self, mos: Tensor, dataset: Tensor) -> Tensor:
        """Native MOS to the target scale of its dataset (an index 0..D-1), elementwise."""
        low, high = self.labels[dataset].unbind(-1)
        return TOP * (mos - low) / (high - low)

    def restore(self, target: Tensor, dataset: Tensor) -> Tensor:
        """Inverse of `normalise`."""
        low, high = self.labels[dataset].unbind(-1)
        return low + target * (high - low) / TOP

    def ends(self) -> Tensor:
        """Ends of the published ranges on the target scale, [D, 2]."""
        low, high = self.labels.split(1, dim=1)
        return TOP * (self.ranges - low) / (high - low)
