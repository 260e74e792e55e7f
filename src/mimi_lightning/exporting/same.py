"""Convolutions padded as TensorFlow does, for programs of pictures of any size.

Their padding depends on the size of the picture. timm's formula names it seven times; in a network with five of
these layers torch.export would carry it along 7^5 times, and work for hours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad


class SameConv(nn.Module):
    """The same function as a convolution of timm's that gives ceil(H / stride) x ceil(W / stride) positions.

    Args:
        conv: timm's; its weights are taken over.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', ceil(H / stride), ceil(W / stride)]."""
        conv = self.conv
        for axis, kernel, stride, dilation in zip((2, 3), conv.kernel_size, conv.stride, conv.dilation, strict=True):
            x = _padded(x, axis, (kernel - 1) * dilation + 1, stride)
        return conv2d(x, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def _padded(x: Tensor, axis: int, span: int, stride: int) -> Tensor:
    """Zeros on both sides of an axis, the odd one behind, so that windows of `span` fit exactly.

    The result's size is an expression with one mention of the picture's: where it begins is said by numbers that are
    read as data.
    """
    size = x.shape[axis]
    length = ((size + stride - 1) // stride - 1) * stride + span
    before = torch.sym_max(span - stride + -size % stride, 0) // 2
    margin = span - 1  # as wide as any padding is
    wide = pad(x, [0, 0] * (3 - axis) + [margin, margin])
    return wide.index_select(axis, torch.arange(length, device=x.device) + (margin - before))
