"""From an image file to RGB of 8 bits, by one rule for each kind of picture (docs/datasets.md has all of them).

Nearly all pictures are RGB in their files and are passed on as the decoder gives them, without a copy.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from mimi_lightning.data.places import header, reached, readable
from mimi_lightning.errors import DatasetError

GROUND = (128, 128, 128)  # what shows through where a picture is transparent
TURNS = {  # what undoes each EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LYING = (5, 6, 7, 8)  # orientations whose pictures lie on their side


def read_image(path: Path) -> Image.Image:
    """Decode a picture to RGB, as it is to be seen.

    Raises:
        DatasetError: the file is missing, truncated, no picture, or of numbers without a known white; names the path.
    """
    try:
        with Image.open(readable(path)) as image:
            return as_seen(image)
    except _UNREADABLE as error:
        raise _explained(path, error) from error


def as_seen(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGB, as it is to be seen.

    Raises:
        ValueError: its numbers have no known white.
    """
    turn = TURNS.get(_orientation(image))  # before the pixels, so that the size from the header agrees
    image.load()
    image = _to_rgb(image)
    return image if turn is None else image.transpose(turn)


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of a picture as it is to be seen, from its header alone.

    Raises:
        DatasetError: the file is missing or no picture; names the path.
    """
    try:
        with reached(path), Image.open(header(path)) as image:
            return image.size[::-1] if _orientation(image) in LYING else image.size
    except _UNREADABLE as error:
        raise _explained(path, error) from error


def is_plain(path: Path) -> bool:
    """Whether a picture is opaque and upright RGB by its header, so that it is passed on as its decoder gives it."""
    try:
        with reached(path), Image.open(header(path)) as image:
            return image.mode == "RGB" and not image.has_transparency_data and _orientation(image) not in TURNS
    except _UNREADABLE:
        return False


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.format, image.mode) == (
        "PNG",
        "I",
    ):  # as older versions of Pillow call it
        image = Image.fromarray(((np.asarray(image, np.uint32) + 128) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError("its numbers have 32 bits, and which of them is white is not known. Save it with 8 or 16 bits")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image.convert("RGBA")
    shown = Image.new("RGB", image.size, GROUND)
    shown.paste(image, mask=image)
    return shown


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 where nothing readable tells. A TIFF has been turned by its decoder."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif"))
        return exif.get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return 1


# Decoders raise whatever they come across in a broken file.
_UNREADABLE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, AssertionError),
    *(ArithmeticError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError),
)


def _explained(path: Path, error: Exception) -> DatasetError:
    if isinstance(error, FileNotFoundError):
        return DatasetError(f"The image {path} is missing.")
    return DatasetError(f"The image {path} cannot be read: {str(error) or type(error).__name__}")
