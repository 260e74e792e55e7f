"""Stacks of small patches from a regular grid: what a vision transformer of fixed size sees of a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mimi_lightning.data.images import Picture, Size, mirrored
from mimi_lightning.errors import DatasetError

LARGE = 1024  # pictures with a side of this many pixels or more get the wider grid
STRIDE, WIDE_STRIDE = 32, 48


class PatchView:
    """Patches of a picture after an adaptive resize; see `TrainPatches` and `TestPatches`.

    The grid starts at the upper left corner with a stride of 32 pixels, 48 for large pictures. Only patches that are
    chosen are cut out.

    Args:
        resize: short side in pixels; pictures with a shorter side are not enlarged.
        patches: number of patches.
        side: of a patch in pixels.
        small_images: `raise`, or `pad` pictures that are smaller than a patch by reflection.
    """

    def __init__(self, resize: int, patches: int, side: int = 224, small_images: str = "raise") -> None:
        self.resize, self.patches, self.side, self.small_images = resize, patches, side, small_images

    def size(self, size: Size) -> Size:
        """Size of the view of a picture of `size` (width, height), its patches in a row: the same for all."""
        return self.side * self.patches, self.side

    def _pixels(self, picture: Picture) -> torch.Tensor:
        width, height = picture.size
        pixels = picture.window((0, 0, width, height))
        if min(picture.size) >= self.side:
            return pixels
        if self.small_images == "pad":
            return reflect(pixels, self.side)
        raise DatasetError(
            f"The image {picture.path} is {width}x{height} after resizing, smaller than a patch of {self.side} pixels. "
            "view.train.small_images=pad enlarges such images by reflection."
        )

    def _cut(self, pixels: torch.Tensor, corners: Sequence[tuple[int, int]]) -> torch.Tensor:
        return torch.stack([pixels[:, y : y + self.side, x : x + self.side] for x, y in corners])


class TrainPatches(PatchView):
    """Random patches of the grid, of the picture or its mirror image."""

    def __call__(self, picture: Picture, seed: int) -> torch.Tensor:
        """Cut out of a picture; the same seed gives the same patches.

        Returns:
            uint8 tensor [patches, 3, side, side].

        Raises:
            DatasetError: smaller than a patch.
        """
        pixels = self._pixels(picture)
        corners = grid(_size(pixels), self.side)
        if mirrored(seed):  # the batch mirrors each patch: together, patches of the mirrored picture
            corners = [(pixels.shape[2] - self.side - x, y) for x, y in corners]
        chosen = np.random.default_rng(seed).integers(len(corners), size=self.patches)
        return self._cut(pixels, [corners[i] for i in chosen])


class TestPatches(PatchView):
    """Every floor(N / patches)-th of the N patches of the grid; a picture with fewer repeats them."""

    __test__ = False  # not a pytest class

    def __call__(self, picture: Picture, seed: int = 0) -> torch.Tensor:
        """Cut out of a picture: uint8 [patches, 3, side, side]; errors as `TrainPatches`."""
        pixels = self._pixels(picture)
        corners = grid(_size(pixels), self.side)
        step = max(1, len(corners) // self.patches)
        return self._cut(pixels, [corners[i * step % len(corners)] for i in range(self.patches)])


def grid(size: Size, side: int) -> list[tuple[int, int]]:
    """Upper left corners (x, y) of all patches of a picture of `size` (width, height), row by row."""
    width, height = size
    stride = WIDE_STRIDE if max(size) >= LARGE else STRIDE
    return [(x, y) for y in range(0, height - side + 1, stride) for x in range(0, width - side + 1, stride)]


def reflect(pixels: torch.Tensor, side: int) -> torch.Tensor:
    """Continue a picture [3, H, W] beyond its edges, as in a mirror, until both sides measure `side` pixels or more."""
    rows, columns = (torch.from_numpy(_reflected(length, side)) for length in pixels.shape[1:])
    return pixels[:, rows][:, :, columns]


def _reflected(length: int, side: int) -> np.ndarray:
    """Which of `length` pixels stands at each of `side` or more."""
    lacking = max(0, side - length)
    return np.pad(np.arange(length), (lacking // 2, lacking - lacking // 2), mode="reflect")


def _size(pixels: torch.Tensor) -> Size:
    return pixels.shape[2], pixels.shape[1]
