"""How losses that are learned together are weighed, by how fast they fall."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist

from mimi_lightning.models.monotone import FullPrecision


class DynamicWeightAverage(FullPrecision):
    """Weigh most the task whose loss falls slowest.

    weight_k = K softmax_k(r_k / T), r_k = mean loss of task k in the last epoch / in the one before; r_k = 1 where
    either is not known, as in the first two epochs.

    A task that had no label in both epochs weighs 1, and the others are weighed as if it did not exist: K is then their
    number, and all weights still sum to the number of tasks. Without any label its loss is 0, whatever it weighs.

    Source: Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019.

    All that it knows is equal on all ranks after every step and goes into the checkpoint.

    Args:
        tasks: number K of tasks.
        temperature: T > 0; higher is more even.
    """

    def __init__(self, tasks: int, temperature: float = 2.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("means", torch.full((2, tasks), torch.nan))  # of the last two epochs, the older first
        self.register_buffer("totals", torch.zeros(2, tasks))  # of this epoch: summed loss, number of labelled images
        self.register_buffer("epoch", torch.tensor(0))

    def forward(self, losses: Tensor, counts: Tensor, epoch: int) -> Tensor:
        """Weights of this step; its losses will count in the weights of later epochs.

        Args:
            losses: mean loss of each task over its labelled images, [K].
            counts: number of labelled images of each task, [K].
            epoch: number of this epoch.

        Returns:
            [K], whose sum is K.
        """
        if epoch != self.epoch:
            self._close_epoch(epoch)
        seen = torch.stack([losses.detach() * counts, counts])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(seen)
        self.totals += seen
        return self.weights()

    def weights(self) -> Tensor:
        """Weights of this epoch, [K]."""
        before, last = self.means
        ratio = last / before
        ratio = torch.where(ratio.isfinite(), ratio, 1.0)
        labelled = self.means.isfinite().any(0)
        shares = torch.softmax((ratio / self.temperature).masked_fill(~labelled, -torch.inf), dim=0)
        return torch.where(labelled, labelled.sum() * shares, 1.0)

    def _close_epoch(self, epoch: int) -> None:
        total, count = self.totals
        self.means = torch.stack([self.means[1], total / count])
        self.totals.zero_()
        self.epoch.fill_(epoch)
