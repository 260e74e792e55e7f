"""The control without a common scale: every dataset has a head of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mimi_lightning.contracts import Judgement, Mapper
from mimi_lightning.errors import ConfigError


class Heads(Mapper):
    """One linear layer of each dataset on the last hidden layer of the regressor's head: y = q_d = w_d h + b_d.

    What is read as the score is a prediction already, and those of two datasets have nothing to do with each other: no
    labels are aligned. Pictures of an unknown dataset get the mean of all heads.

    Args:
        names: of the D datasets.
        span: see `Mapper`; heads begin around its middle.
        hidden: widths of the hidden layers of the regressor's head.

    Raises:
        ConfigError: the regressor's head has no hidden layer.
    """

    fits = False

    def __init__(
        self,
        names: Sequence[str],
        span: Sequence[Sequence[float]] | None = None,
        hidden: Sequence[int] | None = None,
    ) -> None:
        super().__init__(names, span)
        if not hidden:
            raise ConfigError(
                "mapper=heads reads the last hidden layer of the regressor's head, and this backbone has none: choose "
                "one with backbone.hidden, such as backbone=resnet34."
            )
        self.weight = nn.Parameter(nn.init.kaiming_normal_(self.span.new_empty(len(self.names), hidden[-1])))
        self.bias = nn.Parameter(self.span.mean(1))

    def read(self, judgement: Judgement, dataset: Tensor) -> Tensor:
        """What its dataset's head says of each picture; see `Mapper.read`."""
        with torch.autocast(dataset.device.type, enabled=False):
            scores = nn.functional.linear(judgement.hidden, self.weight, self.bias)
        own = scores.gather(1, dataset.clamp(min=0)[:, None]).squeeze(1)
        # DistributedDataParallel waits for the gradient of every parameter, those behind the proxy score as well.
        return torch.where(dataset < 0, scores.mean(1), own) + 0 * judgement.proxy

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        return torch.broadcast_tensors(q, dataset)[0]
