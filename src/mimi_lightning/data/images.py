"""From an image file to the uint8 tensor that a network sees.

A *picture* is an image file after the adaptive resize, of which windows can be read. What is cut out of it (the views)
does not know whether it comes from the file or from the decoded cache: the pixels are the same, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from PIL import Image

from mimi_lightning.data.decode import image_size, read_image
from mimi_lightning.data.places import place
from mimi_lightning.errors import DatasetError

Size = tuple[int, int]  # width, height
Box = tuple[int, int, int, int]  # left, top, right, bottom
Seed = TypeVar("Seed", int, torch.Tensor)

BILINEAR = Image.Resampling.BILINEAR


class Picture(Protocol):
    """A picture after the adaptive resize: `path` and `size`, and windows of its pixels."""

    path: Path
    size: Size

    def window(self, box: Box) -> torch.Tensor:
        """Pixels of a box as uint8 [3, height, width]; to be read, not written."""


class ImageFiles:
    """Pictures decoded from their files, by row.

    Args:
        paths: file of each row. One array, not objects: workers would copy those as they count references to them.
        resize: short side of a picture in pixels, at most.
    """

    def __init__(self, paths: Sequence[Path | str], resize: int) -> None:
        self.paths, self.resize = np.array([str(path) for path in paths]), resize

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Picture:
        """Decode a picture, or raise a DatasetError that names it."""
        return DecodedPicture(place(self.paths[row]), self.resize)

    def size(self, row: int) -> Size:
        """Size of a picture, from its header alone, or a DatasetError that names it."""
        return picture_size(place(self.paths[row]), self.resize)


class PictureInMemory:
    """An RGB image and its adaptive resize; only what a window needs is resized.

    Args:
        image: RGB of 8 bits.
        resize: short side of the picture in pixels, at most.
        path: where it comes from, for messages.
    """

    def __init__(self, image: Image.Image, resize: int, path: Path) -> None:
        self.image, self.path = image, path
        self.size = resized_size(image.size, resize)

    def window(self, box: Box) -> torch.Tensor:
        """Pixels of a box as uint8 [3, height, width]."""
        image = resize_window(self.image, self.size, box)
        planes = np.empty((3, image.height, image.width), np.uint8)
        # Band by band: turning interleaved pixels into planes takes torch more than twice as long.
        for plane, band in zip(planes, image.split(), strict=True):
            plane[:] = np.asarray(band)
        return torch.from_numpy(planes)


class DecodedPicture(PictureInMemory):
    """A picture decoded from its file, or a DatasetError that names it."""

    def __init__(self, path: Path, resize: int) -> None:
        super().__init__(read_image(path), resize, path)


def picture_size(path: Path, resize: int) -> Size:
    """(width, height) of a picture after the adaptive resize, from its header; errors as `image_size`."""
    return resized_size(image_size(path), resize)


def resized_size(size: Size, side: int) -> Size:
    """(width, height) after the adaptive resize: the short side is shrunk to `side`, and never enlarged."""
    width, height = size
    if min(size) <= side:
        return width, height
    return (side, int(side * height / width)) if width < height else (int(side * width / height), side)


def resize_window(image: Image.Image, size: Size, box: Box) -> Image.Image:
    """Resize a picture, bilinear with antialiasing, but only as much of it as a window needs.

    The same pixels as `image.resize(size, BILINEAR).crop(box)`, in two passes, columns first: Pillow 13 takes the rows
    of tall pictures first, which rounds differently.

    Args:
        image: the picture.
        size: (width, height) of the whole after resizing.
        box: the window, in pixels of the resized picture.
    """
    if image.size == size:
        return _crop(image, box)
    (width, height), (left, top, right, bottom) = image.size, box
    x0, x1 = _exact_span(width, size[0], left, right)
    y0, y1 = _exact_span(height, size[1], top, bottom)
    scale = height / size[1]
    reach = max(1.0, scale) + 1  # of the filter, and a pixel for the rounding of its bounds
    first, last = max(0, math.floor(y0 * scale - reach)), min(height, math.ceil(y1 * scale + reach))
    rows = _crop(image, (0, first, width, last))
    columns = (x0 * width / size[0], 0, x1 * width / size[0], last - first)
    rows = _crop(rows.resize((x1 - x0, last - first), BILINEAR, columns), (left - x0, 0, right - x0, last - first))
    lines = (0, y0 * height / size[1] - first, right - left, y1 * height / size[1] - first)
    return _crop(rows.resize((right - left, y1 - y0), BILINEAR, lines), (0, top - y0, right - left, bottom - y0))


def _crop(image: Image.Image, box: Box) -> Image.Image:
    """A window of a picture; all of it is not copied."""
    return image if box == (0, 0, *image.size) else image.crop(box)


def _exact_span(length: int, resized: int, first: int, last: int) -> tuple[int, int]:
    """Span of resized pixels to compute for [first, last), so that rounding is that of the whole.

    Pillow takes the ends of a box in float32 and finds the filter's weights from them. When the scale length/resized is
    a binary fraction, as along a short side of 512, all of this is exact and the span alone can be computed; otherwise
    it is the whole.
    """
    denominator = resized // math.gcd(length, resized)
    exact = denominator & (denominator - 1) == 0 and length * denominator <= 2**24
    return (first, last) if exact else (0, resized)


def mirrored(seed: Seed) -> Seed:
    """1 where the view of a draw is mirrored: half of all seeds, but never 0, the seed of testing.

    Args:
        seed: of one draw, or int64 [B] of a batch.
    """
    return (seed * 2654435761 >> 16) & 1  # Knuth's multiplicative hash


def mirror(image: torch.Tensor, seed: torch.Tensor) -> torch.Tensor:
    """Mirror the views that their draws want mirrored, on whatever device they are; on a CPU in place.

    Args:
        image: views [B, ..., W].
        seed: of each draw, int64 [B].
    """
    if image.device.type != "cpu":  # a list would wait for the device
        rows = mirrored(seed).bool().view(-1, *[1] * (image.ndim - 1))
        return torch.where(rows, image.flip(-1), image)
    for row in mirrored(seed).nonzero().flatten().tolist():  # on a CPU 20 times faster than torch.where on bytes
        image[row] = image[row].flip(-1)
    return image


class TrainView:
    """What training sees of a picture: a random crop; the random horizontal flip is made on the batch, by `mirror`.

    Args:
        resize: short side in pixels; pictures with a shorter side are not enlarged.
        crop: side of the square crop in pixels.
    """

    def __init__(self, resize: int, crop: int) -> None:
        self.resize, self.crop = resize, crop

    def __call__(self, picture: Picture, seed: int) -> torch.Tensor:
        """Cut out of a picture; the same seed gives the same crop.

        Returns:
            uint8 tensor [3, crop, crop].

        Raises:
            DatasetError: smaller than the crop.
        """
        width, height = picture.size
        if min(width, height) < self.crop:
            raise DatasetError(
                f"The image {picture.path} is {width}x{height} after resizing, smaller than the training crop. "
                f"Set view.train.crop to {min(width, height)} or less."
            )
        left, top = np.random.default_rng(seed).integers((width - self.crop + 1, height - self.crop + 1)).tolist()
        return picture.window((left, top, left + self.crop, top + self.crop))


class TestView:
    """What testing sees of a picture: the whole, after an adaptive resize.

    Args:
        resize: short side in pixels.
    """

    __test__ = False  # not a pytest class

    def __init__(self, resize: int) -> None:
        self.resize = resize

    def size(self, size: Size) -> Size:
        """Size of the view of a picture of `size`; only views of one size share a batch."""
        return size

    def __call__(self, picture: Picture, seed: int = 0) -> torch.Tensor:
        """Take all of a picture: uint8 [3, height, width]."""
        return picture.window((0, 0, *picture.size))
