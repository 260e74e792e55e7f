"""The decoded cache: the pixels of a dataset after the adaptive resize, in one file, on a disk mapped into memory.

The file holds the pictures one after the other, each as planes [3, height, width] of uint8 so that a crop reads only
its rows; then an index as JSON; then the length of the index and a mark, which a file that was cut off lacks. The index
knows size and time of every image file, so that what changed is found at the start of a run.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mimi_lightning.data.images import Box, ImageFiles, Picture, Size
from mimi_lightning.data.places import on_disk, place, reached
from mimi_lightning.errors import DatasetError

MARK = b"MIMIPIX1"
TAIL = struct.Struct(f"<q{len(MARK)}s")  # length of the index, mark


class Entry(NamedTuple):
    """What the index knows of an image: its file, and where its pixels lie; an unreadable one has height 0."""

    bytes: int
    mtime: int  # in nanoseconds
    offset: int = 0
    height: int = 0
    width: int = 0


class PixelFile:
    """One complete cache file, mapped into memory.

    Args:
        path: the file.
        built: only this build of it; None takes any.

    Raises:
        DatasetError: there is none, it was cut off, or it is another build.
    """

    def __init__(self, path: Path, built: str | None = None) -> None:
        self.path = path
        try:
            index = _read_index(path)
            # Mapped now: another process may replace the file, but not what is mapped. Nothing writes to it; torch
            # just takes no read-only memory.
            self.pixels = np.memmap(path, np.uint8, mode="c") if on_disk(path) else StoredPixels(path)
            self.images = {image: Entry(*numbers) for image, numbers in index["images"].items()}
            self.settings, self.built = index["settings"], index["built"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"There is no complete cache {path} ({error}).") from error
        if built not in (None, self.built):
            raise DatasetError(f"Another process rebuilt the cache {path}. Start again.")

    def __reduce__(self) -> tuple:
        return PixelFile, (self.path, self.built)  # a worker that is spawned maps the file; pickled, it would be copied

    def read(self, entry: Entry) -> np.ndarray:
        """Pixels of an entry, uint8 [3, height, width], of a disk not copied."""
        _, _, offset, height, width = entry
        return self.pixels[offset : offset + 3 * height * width].reshape(3, height, width)


class StoredPixels:
    """Pixels of a cache file in object storage: each slice is one request.

    Args:
        path: the cache file.
    """

    def __init__(self, path: Path) -> None:
        self.address = str(path)

    def __getitem__(self, span: slice) -> np.ndarray:
        """Bytes of the file, or a DatasetError that names it when the storage does not give them."""
        where = place(self.address)
        try:
            found = where.fs.cat_file(where.path, start=span.start, end=span.stop)
            return np.frombuffer(bytearray(found), np.uint8)
        except Exception as error:  # each storage has its own kinds
            raise DatasetError(f"The cache {where} cannot be read: {error}") from error


class CachedImages:
    """Pictures from the cache, by row; one that could not be decoded is left to its file, which says why.

    Args:
        files: the pictures by row, undecoded.
        parts: cache files, each with its rows and the images that these are.
    """

    def __init__(self, files: ImageFiles, parts: Sequence[tuple[PixelFile, Sequence[int], Sequence[str]]]) -> None:
        self.files, self.caches = files, [cache for cache, _, _ in parts]
        # Plain numbers: workers would copy objects as they count references to them.
        self.entries = np.zeros((len(files), 1 + len(Entry._fields)), np.int64)
        for number, (cache, rows, images) in enumerate(parts):
            self.entries[rows] = [(number, *cache.images[image]) for image in images]

    @property
    def paths(self) -> np.ndarray:
        """File of each row."""
        return self.files.paths

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> Picture:
        """A picture, or a DatasetError that names it when it cannot be read."""
        number, *numbers = self.entries[row].tolist()
        entry = Entry(*numbers)
        if entry.height == 0:
            return self.files[row]
        return CachedPicture(place(self.files.paths[row]), torch.from_numpy(self.caches[number].read(entry)))

    def size(self, row: int) -> Size:
        """(width, height) of a picture; errors as above."""
        *_, height, width = self.entries[row].tolist()
        return (width, height) if height else self.files.size(row)


class CachedPicture:
    """A picture whose pixels lie in the cache."""

    def __init__(self, path: Path, pixels: torch.Tensor) -> None:
        self.path, self.pixels, self.size = path, pixels, (pixels.shape[2], pixels.shape[1])

    def window(self, box: Box) -> torch.Tensor:
        """Pixels of a box as uint8 [3, height, width], not copied."""
        left, top, right, bottom = box
        return self.pixels[:, top:bottom, left:right]


def _read_index(path: Path) -> dict[str, Any]:
    with reached(path), path.open("rb") as file:
        end = file.seek(0, os.SEEK_END) - TAIL.size
        file.seek(max(end, 0))
        tail = file.read(TAIL.size)
        if len(tail) < TAIL.size:
            raise ValueError("it was cut off")
        length, mark = TAIL.unpack(tail)
        if mark != MARK or not 0 < length <= end:
            raise ValueError("it was cut off")
        file.seek(end - length)
        return json.loads(file.read(length))
