"""Bilinear pooling: second-order statistics of a feature map, without the half that says nothing new."""

from __future__ import annotations

import torch
from torch import nn


class SymmetricBilinearPool(nn.Module):
    r"""Packed bilinear pooling.

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
        rows, columns = torch.triu_indices(channels, channels)
        self.register_buffer("index", rows * channels + columns, persistent=False)
        self.register_buffer("scale", torch.where(rows == columns, 1.0, 2.0**0.5), persistent=False)

    @property
    def out_features(self) -> int:
        """C (C + 1) / 2."""
        return len(self.index)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[B, C, h, w] to [B, C (C + 1) / 2]."""
        x = features.flatten(2)
        gram = (x @ x.transpose(1, 2) / x.shape[-1]).flatten(1)[:, self.index]
        packed = gram.sign() * (gram.abs() + 1e-8).sqrt() * self.scale
        return nn.functional.normalize(packed) * self.scale
