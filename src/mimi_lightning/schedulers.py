"""Learning-rate schedules that torch does not have."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class OscillatingCosine(LRScheduler):
    """Half a cosine down, half a cosine up, and so on, without the epochs at which the rate would be zero.

    rate(t) = base (1 + cos(pi t / half)) / 2, where t counts epochs and leaps over half, 3 half, 5 half, ...

    Source: the training script of LIQE, which MIMI-CLIP follows.

    Args:
        optimizer: whose rates it sets.
        half: epochs from the highest rate to zero.
    """

    def __init__(self, optimizer: Optimizer, half: int) -> None:
        self.half = half
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """Rates of this epoch, one for each parameter group."""
        epoch = self.last_epoch
        # The first zero lies `half` epochs ahead, each further one 2 half - 1 remaining epochs after the last.
        leapt = (epoch + self.half - 1) // (2 * self.half - 1)
        factor = (1 + math.cos(math.pi * (epoch + leapt) / self.half)) / 2
        return [base * factor for base in self.base_lrs]
