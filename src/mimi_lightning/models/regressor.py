"""Quality regressors: from a picture to the one proxy score that is comparable across datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mimi_lightning.contracts import Judgement, Regressor
from mimi_lightning.errors import ConfigError
from mimi_lightning.models.backbones import make_backbone
from mimi_lightning.models.pooling import SymmetricBilinearPool


class BilinearRegressor(Regressor):
    """Backbone, bilinear pooling, fully connected head (MIMI-ResNet and MIMI-VGG).

    Args:
        name: of the backbone, see `make_backbone`.
        weights: `imagenet`, a file, or `none`.
        stage: level of the backbone's feature maps, counted from the last (-1).
        freeze: `none`; `norm` keeps the statistics of pretrained batch normalisation, which few pictures would spoil;
            `all` trains only what comes after the backbone.
        max_channels: a 1x1 convolution reduces a backbone with more features to this many before pooling.
        hidden: widths of the head's hidden layers.
    """

    def __init__(
        self,
        name: str,
        weights: str = "imagenet",
        stage: int = -1,
        freeze: str = "none",
        max_channels: int = 512,
        hidden: Sequence[int] = (512, 64),
    ) -> None:
        super().__init__()
        if freeze not in ("none", "norm", "all"):
            raise ConfigError(f"backbone.freeze={freeze}: expected none, norm or all.")
        self.backbone = make_backbone(name, weights, stage).requires_grad_(freeze != "all")
        self.name, self.freeze = name, freeze
        channels = min(self.backbone.channels, max_channels)
        reduces = self.backbone.channels > max_channels
        self.reduce = nn.Conv2d(self.backbone.channels, channels, 1) if reduces else nn.Identity()
        self.pool = SymmetricBilinearPool(channels)
        self.head = _mlp([self.pool.out_features, *hidden, 1])
        # Kaiming's variance counts the C^2 inputs of the unpacked layer; a packed weight is the mean of two of its own.
        nn.init.normal_(self.head[0].weight, std=2**0.5 / channels)
        self.head[0].weight.data /= self.pool.scale
        self.train()  # Lightning does not call it: what is frozen has to be in evaluation from the beginning

    def forward(self, images: torch.Tensor) -> Judgement:
        """Proxy scores of uint8 images [B, 3, H, W].

        Only backbone and reduction follow autocast: Gram matrices overflow in float16, and scores in half precision
        collapse to a handful of ranks.
        """
        if images.ndim != 4:
            raise ConfigError(f"backbone {self.name} looks at pictures, not at stacks of patches: choose view=crop.")
        features = self.reduce(self.backbone(images))
        with torch.autocast(images.device.type, enabled=False):
            return Judgement(self.head(self.pool(features.float())).squeeze(-1))

    def train(self, mode: bool = True) -> BilinearRegressor:
        """Switch to training or evaluation; what is frozen stays in evaluation."""
        super().train(mode)
        for module in self.backbone.modules():
            if self.freeze == "all" or (self.freeze == "norm" and isinstance(module, _BatchNorm)):
                module.eval()
        return self

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that come pretrained; they learn at a rate of their own."""
        return self.backbone.parameters()


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        linear = nn.Linear(inputs, outputs)
        nn.init.kaiming_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
