"""Quality regressors: from a picture to the one proxy score that is comparable across datasets."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mimi_lightning.contracts import Judgement, Regressor
from mimi_lightning.errors import ConfigError
from mimi_lightning.models.backbones import make_backbone
from mimi_lightning.models.heads import HEADS
from mimi_lightning.models.lora import adapt, adapters
from mimi_lightning.models.pooling import POOLS


class PooledRegressor(Regressor):
    """Backbone, pooling, fully connected head: with bilinear pooling MIMI-ResNet and MIMI-VGG.

    Args:
        name: of the backbone, see `make_backbone`.
        weights: `imagenet`, `pretrained`, a file, or `none`.
        stage: level of the backbone's feature maps, counted from the last (-1).
        freeze: `none`; `norm` keeps the statistics of pretrained batch normalisation, which few pictures would spoil;
            `early` also all but the last quarter of the backbone's layers; `all` trains only what comes after it.
        max_channels: before bilinear pooling, a 1x1 convolution reduces more features to this many.
        hidden: widths of the head's hidden layers.
        pool: `bilinear`, `mean_std`, `attention`, or `cls` of a backbone with a class token.
        says: what the head gives: a `score`, a score with its `deviation`, or five `levels`.
        keep_scaling: of `mean_std`, the statistics by which features are scaled stay; those of a checkpoint, which few
            pictures would spoil.
        lora: `rank` and `alpha` of adapters (see `adapt`), which learn instead of the backbone; without a rank there
            are none.

    Raises:
        ConfigError: a word that is not known, or choices that do not go together.
    """

    trunk = ("backbone", "reduce", "pool")

    def __init__(
        self,
        name: str,
        weights: str = "imagenet",
        stage: int = -1,
        freeze: str = "none",
        max_channels: int = 512,
        hidden: Sequence[int] = (512, 64),
        pool: str = "bilinear",
        says: str = "score",
        lora: Mapping[str, Any] | None = None,
        keep_scaling: bool = False,
    ) -> None:
        super().__init__()
        _check("freeze", freeze, ("none", "norm", "early", "all"))
        _check("pool", pool, POOLS)
        _check("says", says, HEADS)
        self.backbone = make_backbone(name, weights, stage)
        if freeze == "all":
            self.backbone.requires_grad_(False)
        if freeze == "early":
            _freeze_early(self.backbone)
        self.name, self.freeze, self.keep_scaling, self.reading = name, freeze, keep_scaling, HEADS[says]
        self.judges, self.deviates, self.ends = self.reading.judges, self.reading.deviates, self.reading.ends
        if lora and lora["rank"]:
            self._adapt(lora)
        if pool == "cls" and not self.backbone.class_token:
            raise ConfigError(f"backbone.pool=cls: {name} has no class token. Choose attention, mean_std or bilinear.")
        reduces = pool == "bilinear" and self.backbone.channels > max_channels
        channels = max_channels if reduces else self.backbone.channels
        self.reduce = nn.Conv2d(self.backbone.channels, channels, 1) if reduces else nn.Identity()
        self.pool = POOLS[pool](channels)
        self.head = _mlp([self.pool.out_features, *hidden, self.reading.outputs])
        self.pool.begin(self.head[0])
        # Means and deviations of channels differ by orders of magnitude, which a head would have to learn first.
        self.scaling = nn.BatchNorm1d(self.pool.out_features, affine=False) if pool == "mean_std" else nn.Identity()
        self.train()  # Lightning does not call it: what is frozen has to be in evaluation from the beginning

    def forward(self, images: Tensor) -> Judgement:
        """Judge uint8 images [B, 3, H, W].

        Only backbone and reduction follow autocast: Gram matrices overflow in float16, and scores in half precision
        collapse to a handful of ranks.
        """
        return self.judge(self._pooled(images))

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Pooled features [B, F] of uint8 images [B, 3, H, W], float32; nothing before them may learn.

        Raises:
            ConfigError: something does.
        """
        if learning := self._learning():
            raise ConfigError(f"Features of backbone {self.name} cannot be kept: {learning}.")
        return self._pooled(images)

    def judge(self, features: Tensor) -> Judgement:
        """Judge pooled features [B, F]."""
        if self.scaling.training and len(features) == 1 and isinstance(self.scaling, nn.BatchNorm1d):
            raise ConfigError(
                "backbone.pool=mean_std learns means over a batch: two pictures at least, see data.quota."
            )
        with torch.autocast(features.device.type, enabled=False):
            hidden = self.head[:-1](self.scaling(features))
            return replace(self.reading.read(self.head[-1](hidden)), hidden=hidden)

    def train(self, mode: bool = True) -> PooledRegressor:
        """Switch to training or evaluation; what is frozen stays in evaluation."""
        super().train(mode)
        for module in self.backbone.modules():
            if self.freeze == "all" or (self.freeze in ("norm", "early") and isinstance(module, _BatchNorm)):
                module.eval()
        if self.keep_scaling:
            self.scaling.eval()
        return self

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that learn at a rate of their own: those that come pretrained, or their adapters."""
        return iter(adapters(self.backbone) or self.backbone.parameters())

    def _pooled(self, images: Tensor) -> Tensor:
        if images.ndim != 4:
            raise ConfigError(f"backbone {self.name} looks at pictures, not at stacks of patches: choose view=crop.")
        maps, token = self.backbone(images)
        maps = self.reduce(maps)
        with torch.autocast(images.device.type, enabled=False):
            return self.pool(maps.float(), None if token is None else token.float())

    def _adapt(self, lora: Mapping[str, Any]) -> None:
        if self.freeze == "all":
            raise ConfigError(
                f"backbone.freeze=all leaves the adapters of backbone.lora.rank={lora['rank']} nothing to learn: set "
                "backbone.freeze=none. The backbone's own weights stay as they are all the same."
            )
        adapt(self.backbone.features, **lora)
        self.freeze = "norm"  # not only weights stay as they were pretrained

    def _learning(self) -> str | None:
        """What learns before the head, and how to do without it."""
        if adapters(self.backbone):
            return "the adapters learn. Set backbone.lora.rank=null backbone.freeze=all"
        if self.freeze != "all":
            return f"the backbone learns (backbone.freeze={self.freeze}). Set backbone.freeze=all"
        if isinstance(self.reduce, nn.Conv2d):
            most = self.backbone.channels
            return f"a convolution learns to reduce them. Set backbone.max_channels={most}, or backbone.pool=mean_std"
        if any(True for _ in self.pool.parameters()):
            return "the attention learns. Set backbone.pool=mean_std, or cls"
        return None


def _check(key: str, word: str, known: Collection[str]) -> None:
    if word not in known:
        raise ConfigError(f"backbone.{key}={word}: expected {', '.join(known)}.")


def _freeze_early(network: nn.Module) -> None:
    """Freeze all layers but the last quarter, in the order in which the network names them."""
    layers = [module for module in network.modules() if any(True for _ in module.parameters(recurse=False))]
    for layer in layers[: len(layers) - max(1, len(layers) // 4)]:
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(False)


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        linear = nn.Linear(inputs, outputs)
        nn.init.kaiming_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
