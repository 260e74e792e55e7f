"""Callbacks that need more than Lightning's own."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import lightning
import torch
from lightning.pytorch.callbacks import RichProgressBar, WeightAveraging
from rich.console import Console
from torch import Tensor


class EMA(WeightAveraging):
    """Exponential moving average of the weights, which validation, testing and best.ckpt take; training takes its own.

    a <- decay a + (1 - decay) w after every step, from the first step's w. Buffers such as the statistics of batch
    normalisation are averaged as well.

    Args:
        decay: 0 or more, below 1.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(avg_fn=partial(_ema, decay=decay))

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on from both kinds of weights; testing has the averaged ones, and Lightning would put the others back."""
        if not trainer.testing:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


class Bar(RichProgressBar):
    """Lightning's bar, with the loss and the validation SRCC in one line also where a terminal has 80 columns."""

    shown: ClassVar[dict[str, str]] = {"loss": "loss", "val/srcc_weighted": "val SRCC"}
    roomy = 110  # columns of a terminal in which there is room for all

    def configure_columns(self, trainer: lightning.Trainer) -> list[Any]:
        """What stands before the metrics: neither bar nor speed where room is short."""
        description, bar, batches, time, speed = super().configure_columns(trainer)
        short = Console().width < self.roomy
        return [description, batches, time] if short else [description, bar, batches, time, speed]

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> dict[str, Any]:
        """The metrics that are shown, by short names."""
        metrics = super().get_metrics(trainer, pl_module)
        return {short: metrics[name] for name, short in self.shown.items() if name in metrics}


def _ema(averaged: Tensor, current: Tensor, count: Tensor | int, decay: float) -> Tensor:
    # Unlike a sum of two products, constants stay as they are: indices, masks of -inf, the ranges of the target scale.
    if not current.is_floating_point():
        return current
    return torch.where(averaged.isfinite() & current.isfinite(), averaged.lerp(current, 1 - decay), current)
