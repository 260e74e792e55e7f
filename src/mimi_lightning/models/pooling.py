"""Poolings: what a backbone sees at all positions of a picture, as one vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import gcd

import torch
from torch import Tensor, nn


class Pooling(nn.Module, ABC):
    """From feature maps to one vector a picture.

    Args:
        channels: C.
    """

    out_features: int  # length of its vectors

    @abstractmethod
    def forward(self, maps: Tensor, token: Tensor | None = None) -> Tensor:
        """Pool the features of B pictures.

        Args:
            maps: at h x w positions, [B, C, h, w].
            token: the class token of a transformer, [B, C].

        Returns:
            [B, out_features].
        """

    def begin(self, layer: nn.Linear) -> None:
        """Set the weights that a layer behind it starts with, where the usual ones do not suit."""


class SymmetricBilinearPool(Pooling):
    r"""Packed bilinear pooling: second-order statistics, without the half that says nothing new.

    With features X in R^{C x hw}: G = X X^T / (hw), Z = sign(G) sqrt(|G| + 1e-8), Z / ||Z||_2. Z is symmetric: of its
    upper triangle, C (C + 1) / 2 inputs instead of C^2, with off-diagonals times 2, a linear layer computes the same
    function with the weights w_packed[i, j] = (w[i, j] + w[j, i]) / 2.

    It learns the same function, too: Adam moves w[i, j] and w[j, i] by one step each, and w_packed by one step that
    counts twice. Half of the factor 2 keeps the norm of the whole Z, the other half stands behind it.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        rows, columns = torch.triu_indices(channels, channels)
        self.register_buffer("index", rows * channels + columns, persistent=False)
        self.register_buffer("scale", torch.where(rows == columns, 1.0, 2.0**0.5), persistent=False)

    @property
    def out_features(self) -> int:
        """C (C + 1) / 2."""
        return len(self.index)

    def forward(self, maps: Tensor, token: Tensor | None = None) -> Tensor:
        """[B, C, h, w] to [B, C (C + 1) / 2]."""
        x = maps.flatten(2)
        gram = (x @ x.transpose(1, 2) / x.shape[-1]).flatten(1)[:, self.index]
        packed = gram.sign() * (gram.abs() + 1e-8).sqrt() * self.scale
        return nn.functional.normalize(packed) * self.scale

    def fold(self, weight: Tensor) -> Tensor:
        """Weights behind this pooling, of a layer behind the whole Z: [out, C^2] to [out, C (C + 1) / 2]."""
        whole = weight.unflatten(1, (self.channels, self.channels))
        return ((whole + whole.mT) / 2).flatten(1)[:, self.index]

    def begin(self, layer: nn.Linear) -> None:
        """Kaiming's weights of the unpacked layer, with its C^2 inputs: a packed one is the mean of two of them."""
        nn.init.normal_(layer.weight, std=2**0.5 / self.channels)
        layer.weight.data /= self.scale


class MeanStdPool(Pooling):
    """Mean and standard deviation of every channel over all positions: sqrt(mean (x - mean x)^2 + 1e-8).

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_features = 2 * channels

    def forward(self, maps: Tensor, token: Tensor | None = None) -> Tensor:
        """[B, C, h, w] to [B, 2 C], the means first."""
        variance, mean = torch.var_mean(maps.flatten(2), dim=2, correction=0)
        return torch.cat([mean, (variance + 1e-8).sqrt()], dim=1)


class ClassTokenPool(Pooling):
    """The class token, by which a transformer sums a picture up itself.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_features = channels

    def forward(self, maps: Tensor, token: Tensor | None = None) -> Tensor:
        """The token, [B, C]."""
        return token


class AttentionPool(Pooling):
    """A learned query attends to all positions; a small network follows (timm's AttentionPoolLatent).

    Source: Zhai et al., "Scaling Vision Transformers", CVPR 2022.

    Args:
        channels: C; the number of heads is the largest of 8, 4, 2 and 1 that divides it.
    """

    def __init__(self, channels: int) -> None:
        from timm.layers import AttentionPoolLatent  # only now: timm takes a second to import

        super().__init__()
        self.attend = AttentionPoolLatent(channels, num_heads=gcd(channels, 8), norm_layer=nn.LayerNorm)
        self.out_features = channels

    def forward(self, maps: Tensor, token: Tensor | None = None) -> Tensor:
        """[B, C, h, w] to [B, C]."""
        return self.attend(maps.flatten(2).transpose(1, 2))


POOLS = {"bilinear": SymmetricBilinearPool, "mean_std": MeanStdPool, "cls": ClassTokenPool, "attention": AttentionPool}
