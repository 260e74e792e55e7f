"""From an image file to the uint8 tensor that a network sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from mimi_lightning.errors import DatasetError


def read_image(path: Path) -> Image.Image:
    """Decode a picture to RGB.

    Raises:
        DatasetError: the file is missing, truncated or no picture; names the path.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except FileNotFoundError as error:
        raise DatasetError(f"The image {path} is missing.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"The image {path} cannot be read: {error}") from error


def resized_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(width, height) after `adaptive_resize`."""
    width, height = size
    if min(size) <= side:
        return width, height
    return (side, int(side * height / width)) if width < height else (int(side * width / height), side)


def adaptive_resize(image: Image.Image, side: int) -> Image.Image:
    """Shrink so that the short side measures `side` pixels; a picture with a shorter side stays as it is."""
    width, height = resized_size(image.size, side)
    if (width, height) == image.size:
        return image
    return F.resize(image, [height, width], InterpolationMode.BILINEAR)


class TrainView:
    """What training sees of a picture: adaptive resize, random crop, random horizontal flip.

    Args:
        resize: short side in pixels; pictures with a shorter side are not enlarged.
        crop: side of the square crop in pixels.
    """

    def __init__(self, resize: int, crop: int) -> None:
        self.resize, self.crop = resize, crop

    def __call__(self, path: Path, seed: int) -> torch.Tensor:
        """Read a picture; the same seed gives the same crop.

        Returns:
            uint8 tensor [3, crop, crop].

        Raises:
            DatasetError: unreadable, or smaller than the crop.
        """
        rng = np.random.default_rng(seed)
        image = adaptive_resize(read_image(path), self.resize)
        width, height = image.size
        if min(width, height) < self.crop:
            raise DatasetError(
                f"The image {path} is {width}x{height} after resizing, smaller than the training crop. "
                f"Set data.crop to {min(width, height)} or less."
            )
        left, top = rng.integers(width - self.crop + 1), rng.integers(height - self.crop + 1)
        view = F.pil_to_tensor(image.crop((left, top, left + self.crop, top + self.crop)))
        return view.flip(-1) if rng.random() < 0.5 else view


class TestView:
    """What testing sees of a picture: the whole, after an adaptive resize.

    Args:
        resize: short side in pixels.
    """

    __test__ = False  # not a pytest class

    def __init__(self, resize: int) -> None:
        self.resize = resize

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Size of the view of a picture of `size` (width, height); only views of one size share a batch."""
        return resized_size(size, self.resize)

    def __call__(self, path: Path, seed: int = 0) -> torch.Tensor:
        """Read a picture as uint8 [3, height, width]. Raises DatasetError when it cannot be read."""
        return F.pil_to_tensor(adaptive_resize(read_image(path), self.resize))
