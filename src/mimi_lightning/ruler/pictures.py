"""Whatever somebody holds as a picture, as a view of the model takes it.

| a picture comes as | and is taken as |
|---|---|
| path | `data/decode.py` decodes it: rotated as EXIF says, transparency on grey, 16 bits of grey divided by 257 |
| PIL image | the same, of any mode |
| array `uint8` or `uint16` [H, W] or [H, W, C] | grey, grey with alpha, RGB, RGBA by its 1 to 4 channels, the same |
| tensor `uint8` or `uint16` [C, H, W] | the same |
| array or tensor of floats, shaped likewise | grey or RGB of 0..1, resized without rounding: differentiable |

Anything else is refused, and so are floats outside 0..1: nobody knows which of them is white.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from mimi_lightning.data.decode import as_seen
from mimi_lightning.data.images import Box, DecodedPicture, Picture, PictureInMemory, resized_size
from mimi_lightning.errors import DatasetError

Source = str | Path | Image.Image | np.ndarray | Tensor

GIVEN = Path("given")  # the path of a picture that came without one, in messages
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLE = (torch.uint8, torch.uint16)


class FloatPicture:
    """A picture of values in 0..1, resized as tensors are: bilinear with antialiasing, without rounding.

    Args:
        pixels: [3, H, W].
        resize: short side in pixels, at most.
    """

    path = GIVEN

    def __init__(self, pixels: Tensor, resize: int) -> None:
        height, width = pixels.shape[1:]
        self.size = resized_size((width, height), resize)
        self.pixels = 255 * pixels.float()
        if self.size != (width, height):
            self.pixels = interpolate(self.pixels[None], self.size[::-1], mode="bilinear", antialias=True)[0]

    def window(self, box: Box) -> Tensor:
        """Values of a box in 0..255, float32 [3, height, width]."""
        left, top, right, bottom = box
        return self.pixels[:, top:bottom, left:right]


def as_picture(source: Source, resize: int) -> Picture:
    """Make a picture of one of the kinds above.

    Args:
        source: of the picture.
        resize: short side in pixels, at most.

    Raises:
        DatasetError: it cannot be read, or is nothing of that kind.
    """
    if isinstance(source, (str, Path)):
        return DecodedPicture(Path(source), resize)
    if isinstance(source, Image.Image):
        return PictureInMemory(_seen(source), resize, GIVEN)
    if isinstance(source, np.ndarray):
        source = _tensor(source)
    if not isinstance(source, Tensor):
        raise DatasetError(f"A {type(source).__name__} is no picture: give a path, a PIL image, an array or a tensor.")
    if source.ndim == 2:
        source = source[None]
    if source.ndim != 3 or 0 in source.shape:
        raise DatasetError(f"A picture has the shape [C, H, W] as a tensor, [H, W, C] as an array: {_shape(source)}.")
    if source.dtype in FLOATS:
        return FloatPicture(_check_floats(source), resize)
    if source.dtype in WHOLE:
        return PictureInMemory(_seen(_image(source)), resize, GIVEN)
    raise DatasetError(f"A picture has values of uint8, uint16, or floats of 0..1, not {source.dtype}.")


def _tensor(array: np.ndarray) -> Tensor:
    """[C, H, W] of [H, W, C]; a copy, since arrays may be read-only and tensors never are."""
    if array.dtype.kind not in "uif":
        raise DatasetError(f"A picture has values of uint8, uint16, or floats of 0..1, not {array.dtype}.")
    return torch.tensor(np.ascontiguousarray(np.moveaxis(array, -1, 0) if array.ndim > 2 else array))


def _seen(image: Image.Image) -> Image.Image:
    try:
        return as_seen(image)
    except (ValueError, OSError) as error:
        raise DatasetError(f"The picture cannot be read: {error}.") from error


def _image(pixels: Tensor) -> Image.Image:
    """Of whole numbers, [C, H, W]."""
    if len(pixels) > 4:
        raise DatasetError(f"A picture has 1 to 4 channels: {_shape(pixels)}. Tensors have them first, arrays last.")
    values = pixels.detach().cpu().permute(1, 2, 0).numpy()
    if values.dtype == np.uint16:
        values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return Image.fromarray(values.squeeze(-1) if values.shape[-1] == 1 else values)


def _check_floats(pixels: Tensor) -> Tensor:
    """[3, H, W] of grey or RGB, when all values lie in 0..1."""
    if len(pixels) not in (1, 3):
        raise DatasetError(f"A picture of floats has 1 or 3 channels: {_shape(pixels)}.")
    low, high = (float(end) for end in pixels.detach().aminmax())
    if not (low >= 0 and high <= 1):
        raise DatasetError(
            f"A picture of floats has values of 0..1, not {low:g} to {high:g}: divide by 255, or clamp what overshoots."
        )
    return pixels.expand(3, -1, -1)


def _shape(pixels: Tensor) -> str:
    return f"this one has {list(pixels.shape)}"
