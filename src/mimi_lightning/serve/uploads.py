"""Pictures that strangers send: what is refused, and in memory alone; nothing is written to a disk.

A picture is refused by its size in bytes while it arrives, and by its pixels from its header, before any is decoded. So
a decompression bomb, a small file of very many pixels, costs nothing.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import AsyncIterator

from fastapi import Request
from PIL import Image, UnidentifiedImageError
from starlette.formparsers import MultiPartException, MultiPartParser

from mimi_lightning.data.images import PictureInMemory
from mimi_lightning.errors import DatasetError, MimiError
from mimi_lightning.ruler.pictures import as_picture

MAX_PICTURES = 16  # in a request
MAX_BYTES = 32 * 2**20  # of a picture, and of a request
MAX_PIXELS = 50_000_000  # of a picture; 150 MB when decoded
MAX_ASPECT = 10  # long side over short: views shrink by the short side alone
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "AVIF", "PPM")  # none that starts a program


class UploadError(MimiError):
    """A request that cannot be read as pictures; `status` is its HTTP code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _InMemory(MultiPartParser):
    spool_max_size = 0  # of a SpooledTemporaryFile: it never goes over to a file


async def read_uploads(request: Request) -> list[tuple[str, bytes]]:
    """Names and bytes of the pictures of a multipart request.

    Raises:
        UploadError: it is no multipart form, has no picture, too many, or too many bytes.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise UploadError(415, "Send the pictures as multipart/form-data, each in a field `pictures`.")
    try:
        form = await _InMemory(request.headers, _bounded(request), max_files=MAX_PICTURES, max_fields=0).parse()
    except MultiPartException as error:
        raise UploadError(400, f"The form cannot be read: {error.message}") from error
    files = form.getlist("pictures")
    if not files:
        raise UploadError(400, "There is no picture: send each in a field `pictures`, with its file name.")
    return [(file.filename, await file.read()) for file in files]


async def _bounded(request: Request) -> AsyncIterator[bytes]:
    """The body, as long as it is not too long."""
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > MAX_BYTES:
            raise UploadError(413, f"A request may have {MAX_BYTES >> 20} MB of pictures at most. Send fewer at once.")
        yield chunk


def read_picture(data: bytes, resize: int) -> PictureInMemory:
    """Decode a picture that is small enough.

    Args:
        data: of an image file.
        resize: short side in pixels, at most.

    Raises:
        DatasetError: it cannot be read, has too many pixels, or is too long and narrow.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_size(*image.size)
        return as_picture(image, resize)
    except DatasetError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DatasetError(f"The picture has too many pixels: {MAX_PIXELS // 10**6} million at most.") from error
    except UnidentifiedImageError as error:
        raise DatasetError(f"This is no picture of the kinds {', '.join(FORMATS)}.") from error
    except Exception as error:  # decoders raise whatever they come across in a broken file
        raise DatasetError(f"The picture cannot be read: {error}.") from error


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DatasetError(
            f"The picture has {width} x {height} pixels: {MAX_PIXELS // 10**6} million at most. Make it smaller."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise DatasetError(
            f"The picture has {width} x {height} pixels: one side is more than {MAX_ASPECT} times the other."
        )
