"""A ruler beside the training of another network: the mean score of what that makes, and a loss that improves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from mimi_lightning.errors import ConfigError
from mimi_lightning.ruler.pictures import Source
from mimi_lightning.ruler.ruler import PROXY, Ruler

REDUCTIONS = {"mean": torch.mean, "sum": torch.sum, "none": lambda loss: loss}


class _Holder(nn.Module):
    """A module that holds a ruler.

    The ruler goes where the module goes, and that is all: it is no submodule, so that `train`, `half`, optimisers and
    checkpoints of what is trained never reach its network.
    """

    ruler: Ruler

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> nn.Module:
        self.ruler.to(fn(torch.empty(0, device=self.ruler.device)).device)
        return super()._apply(fn, *args, **kwargs)

    def _hold(self, ruler: Ruler, scale: str | None) -> None:
        """Hold a ruler and the scale it reads, or refuse a scale that it does not know."""
        if scale not in (None, PROXY):
            ruler.number(scale)
        self.ruler, self.scale = ruler, scale


class RulerScore(_Holder, Metric):
    """Mean score of a stream of pictures, over all batches and processes.

    Sums are kept in float64, so that neither the order nor the number of batches shows.

    Args:
        ruler: of a checkpoint, see `load`.
        scale: name of a dataset; proxy scores if it is None.
        more: arguments of `torchmetrics.Metric`.

    Raises:
        ConfigError: a scale that the ruler does not know.

    Example:
        >>> from torch import rand
        >>> metric = RulerScore(load(checkpoint), scale="live")
        >>> for batch in rand(3, 2, 3, 64, 64):  # three batches of two pictures
        ...     metric.update(batch)
        >>> metric.compute().shape
        torch.Size([])
    """

    is_differentiable = False  # `RulerLoss` is
    higher_is_better = True
    full_state_update = False

    def __init__(self, ruler: Ruler, scale: str | None = None, **more: Any) -> None:
        super().__init__(**more)
        self._hold(ruler, scale)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.to(ruler.device)

    def update(self, pictures: Source | Sequence[Source]) -> None:
        """Score pictures of any kind that `Ruler.score` takes, such as tensors uint8, or float of 0..1, [B, 3, H, W].

        Raises:
            DatasetError: a picture that cannot be read, or is none.
        """
        with torch.no_grad():
            scores = torch.as_tensor(self.ruler.score(pictures, self.scale), dtype=torch.float64, device=self.device)
        self.total += scores.sum()
        self.count += scores.numel()

    def compute(self) -> Tensor:
        """Mean score so far, float64 []; NaN before any picture."""
        return self.total / self.count


class RulerLoss(_Holder):
    """A loss that falls when the quality of pictures rises.

    l = -score, or max(target - score, 0): who has reached the target gains nothing more. That matters, since pictures
    can be changed so that a network likes them while nobody else does; use it beside a loss that keeps the content.

    The gradient reaches pictures of floats alone. The ruler does not learn.

    Args:
        ruler: of a checkpoint, see `load`.
        scale: name of a dataset; proxy scores if it is None.
        target: score that suffices, on that scale.
        reduction: `mean`, `sum` or `none` over the pictures.

    Raises:
        ConfigError: a scale that the ruler does not know, or another reduction.

    Example:
        >>> from torch import rand
        >>> loss = RulerLoss(load(checkpoint), scale="live", target=90)
        >>> pictures = rand(2, 3, 64, 64, requires_grad=True)
        >>> loss(pictures).backward()
        >>> pictures.grad.shape
        torch.Size([2, 3, 64, 64])
    """

    def __init__(
        self, ruler: Ruler, scale: str | None = None, target: float | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ConfigError(f"There is no reduction {reduction}; there are {', '.join(REDUCTIONS)}.")
        self._hold(ruler, scale)
        self.target, self.reduction = target, reduction

    def forward(self, pictures: Tensor) -> Tensor:
        """Loss of pictures in 0..1, float [B, 3, H, W]: [] or, without a reduction, [B].

        Raises:
            DatasetError: values outside 0..1; clamp what a network makes.
        """
        scores = self.ruler.score(pictures, self.scale)
        loss = -scores if self.target is None else (self.target - scores).clamp(min=0)
        return REDUCTIONS[self.reduction](loss)
