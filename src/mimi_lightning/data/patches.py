"""Stacks of small patches from a regular grid: what a vision transformer of fixed size sees of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from mimi_lightning.data.images import adaptive_resize, read_image
from mimi_lightning.errors import DatasetError

LARGE = 1024  # pictures with a side of this many pixels or more get the wider grid
STRIDE, WIDE_STRIDE = 32, 48

Size = tuple[int, int]


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
        """Size of the view of a picture of `size` (width, height): the same for all."""
        return self.side, self.side

    def _open(self, path: Path) -> Image.Image:
        image = adaptive_resize(read_image(path), self.resize)
        if min(image.size) >= self.side:
            return image
        if self.small_images == "pad":
            return reflect(image, self.side)
        width, height = image.size
        raise DatasetError(
            f"The image {path} is {width}x{height} after resizing, smaller than a patch of {self.side} pixels. "
            "data.small_images=pad enlarges such images by reflection."
        )

    def _cut(self, image: Image.Image, choice: Sequence[int]) -> torch.Tensor:
        corners = grid(image.size, self.side)
        patches = [image.crop((x, y, x + self.side, y + self.side)) for x, y in (corners[i] for i in choice)]
        return torch.stack([F.pil_to_tensor(patch) for patch in patches])


class TrainPatches(PatchView):
    """Random patches of the grid, of the picture or its mirror image."""

    def __call__(self, path: Path, seed: int) -> torch.Tensor:
        """Read a picture; the same seed gives the same patches.

        Returns:
            uint8 tensor [patches, 3, side, side].

        Raises:
            DatasetError: unreadable, or smaller than a patch.
        """
        rng = np.random.default_rng(seed)
        image = self._open(path)
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return self._cut(image, rng.integers(len(grid(image.size, self.side)), size=self.patches))


class TestPatches(PatchView):
    """Every floor(N / patches)-th of the N patches of the grid; a picture with fewer repeats them."""

    __test__ = False  # not a pytest class

    def __call__(self, path: Path, seed: int = 0) -> torch.Tensor:
        """Read a picture as uint8 [patches, 3, side, side]. Raises DatasetError when it cannot be read."""
        image = self._open(path)
        count = len(grid(image.size, self.side))
        step = max(1, count // self.patches)
        return self._cut(image, [i * step % count for i in range(self.patches)])


def grid(size: Size, side: int) -> list[tuple[int, int]]:
    """Upper left corners (x, y) of all patches of a picture of `size` (width, height), row by row."""
    width, height = size
    stride = WIDE_STRIDE if max(size) >= LARGE else STRIDE
    return [(x, y) for y in range(0, height - side + 1, stride) for x in range(0, width - side + 1, stride)]


def reflect(image: Image.Image, side: int) -> Image.Image:
    """Continue a picture beyond its edges, as in a mirror, until both sides measure `side` pixels or more."""
    width, height = image.size
    lacking = max(0, side - height), max(0, side - width)
    margins = [(pixels // 2, pixels - pixels // 2) for pixels in lacking]
    return Image.fromarray(np.pad(np.asarray(image), [*margins, (0, 0)], mode="reflect"))
