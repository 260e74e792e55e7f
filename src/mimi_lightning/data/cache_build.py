"""Building the decoded cache: once, whole or not at all, whoever asks.

Images that changed are decoded again, the rest is copied from the cache before. A cache is written under another name
and renamed when it is complete; processes that still read the one before keep it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import PIL
from filelock import FileLock, Timeout
from rich.console import Console

from mimi_lightning.data.cache import MARK, TAIL, CachedImages, Entry, PixelFile
from mimi_lightning.data.decode import is_plain
from mimi_lightning.data.images import ImageFiles
from mimi_lightning.data.places import file_facts, on_disk, place
from mimi_lightning.errors import DatasetError
from mimi_lightning.progress import in_threads

REMEDY = "Set data.cache=DIR to a folder with more room, or data.cache=null to do without."

RECIPE = 2  # counts changes of what is stored
FORMER = 1  # recipe of caches that hold the same pixels of plain pictures, and others of the rest

console = Console(stderr=True)


def open_cache(
    table: pd.DataFrame,
    root: Path,
    folders: Mapping[str, str],
    files: ImageFiles,
    store: Path,
    larger: CachedImages | None = None,
) -> CachedImages:
    """Open the caches of all datasets, after building what is missing, cut off or out of date.

    Any number of processes may ask for the same cache at once: one builds it, the others wait.

    Args:
        table: columns dataset and image; its index counts the rows of `files`.
        root: folder of all datasets.
        folders: folder of each dataset below the root.
        files: the pictures by row, undecoded.
        store: folder of the caches.
        larger: the same pictures, shrunk to a larger size; those too small for either are not decoded again.

    Raises:
        DatasetError: the store cannot be written or has no room; what was there before remains.
    """
    parts = []
    for number, (dataset, rows) in enumerate(table.groupby("dataset", sort=True)):
        images, folder = rows["image"].tolist(), root / folders[dataset]
        path = store / f"{dataset}-{files.resize}.pixels"
        cache = ensure(path, folder, images, files.resize, larger.caches[number] if larger else None)
        parts.append((cache, rows.index.to_numpy(), images))
    return CachedImages(files, parts)


def ensure(path: Path, folder: Path, images: Sequence[str], resize: int, larger: PixelFile | None = None) -> PixelFile:
    """Open one cache, after building it when it does not hold these images as they are now.

    Args:
        path: the cache file.
        folder: folder of the dataset.
        images: paths relative to the folder.
        resize: short side of a picture in pixels, at most.
        larger: a cache of the same images as they are now, of a larger size.

    Raises:
        DatasetError: as `open_cache`.
    """
    wanted = Wanted(images, ImageFiles([f"{folder}/{image}" for image in images], resize), larger)
    if not on_disk(path):
        return _open_stored(path, wanted)
    cache = wanted.current(path)
    if wanted.all_found(cache):
        return cache
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            cache = wanted.current(path)  # another process may have built it while this one waited
            if not wanted.all_found(cache):
                _build(path, wanted, cache)
    except OSError as error:
        raise DatasetError(
            f"The cache {path} cannot be written: {error.strerror or error}. What was there before is still there.\n"
            f"{REMEDY}"
        ) from error
    return PixelFile(path)


def _open_stored(path: Path, wanted: Wanted) -> PixelFile:
    """Open a cache in object storage, where none is built: nothing there can be locked or grows while it is written."""
    remedy = "Build it on a disk (data.cache=DIR, the same paths.datasets) and copy it from there."
    try:
        cache = PixelFile(path)
    except DatasetError as error:
        raise DatasetError(f"{error} {remedy}") from error
    if not wanted.all_found(cache):
        raise DatasetError(f"The cache {path} holds other pictures than the datasets do now. {remedy}")
    return cache


class Wanted:
    """What a cache has to hold: images as they are on disk now, resized and decoded in one way.

    Args:
        images: paths relative to the dataset's folder.
        files: the same images, undecoded.
        larger: a cache of them as they are now, of a larger size.
    """

    def __init__(self, images: Sequence[str], files: ImageFiles, larger: PixelFile | None = None) -> None:
        self.images, self.files, self.larger = images, files, larger
        self.settings = {"recipe": RECIPE, "pillow": PIL.__version__, "resize": files.resize}
        self.facts = file_facts(files.paths)

    def __len__(self) -> int:
        return len(self.images)

    def current(self, path: Path) -> PixelFile | None:
        """The cache that is there, if it is complete and was made in the same way, or nearly."""
        try:
            cache = PixelFile(path)
        except DatasetError:
            return None
        return cache if cache.settings in (self.settings, {**self.settings, "recipe": FORMER}) else None

    def found(self, cache: PixelFile | None, row: int) -> Entry | None:
        """Entry of an image in a cache, unless its file has changed or is read in another way since."""
        entry = cache.images.get(self.images[row]) if cache else None
        if entry is None or (entry.bytes, entry.mtime) != self.facts[row]:
            return None
        return entry if cache.settings == self.settings or is_plain(place(self.files.paths[row])) else None

    def unshrunk(self, row: int) -> Entry | None:
        """Entry of an image in the larger cache, if it is too small to be shrunk for either."""
        entry = self.larger.images.get(self.images[row]) if self.larger else None
        if entry is None or (entry.bytes, entry.mtime) != self.facts[row]:
            return None
        return entry if 0 < min(entry.height, entry.width) <= self.files.resize else None

    def all_found(self, cache: PixelFile | None) -> bool:
        """Whether a cache holds every image as it is now."""
        if cache is None or cache.settings != self.settings:
            return False
        return all(self.found(cache, row) for row in range(len(self)))


def _build(path: Path, wanted: Wanted, old: PixelFile | None) -> None:
    rows = range(len(wanted))
    needed = sum(in_threads(lambda row: _measure(wanted, old, row), rows, f"Measuring {path.stem}"))
    _announce(path, len(rows), needed)
    index, offset = {}, 0
    pictures = in_threads(lambda row: _load(wanted, old, row), rows, f"Decoding {path.stem}")
    with closing(pictures), _draft(path) as file:
        for row, pixels in zip(rows, pictures, strict=True):
            file.write(pixels.data)
            index[wanted.images[row]] = Entry(*wanted.facts[row], offset, *pixels.shape[1:])
            offset += pixels.size
        text = json.dumps({"built": uuid.uuid4().hex, "settings": wanted.settings, "images": index}).encode()
        file.write(text + TAIL.pack(len(text), MARK))


def _measure(wanted: Wanted, old: PixelFile | None, row: int) -> int:
    """Bytes of a decoded picture."""
    if entry := wanted.found(old, row):
        return 3 * entry.height * entry.width
    try:
        return 3 * math.prod(wanted.files.size(row))
    except DatasetError:
        return 0


def _load(wanted: Wanted, old: PixelFile | None, row: int) -> np.ndarray:
    """Planes of a picture, uint8 [3, height, width]; of height 0 if it cannot be decoded."""
    if entry := wanted.found(old, row):
        return old.read(entry)
    if entry := wanted.unshrunk(row):
        return wanted.larger.read(entry)
    try:
        picture = wanted.files[row]
    except DatasetError:
        return np.empty((3, 0, 0), np.uint8)
    return np.ascontiguousarray(picture.window((0, 0, *picture.size)).numpy())


def _announce(path: Path, number: int, needed: int) -> None:
    """Say what will be written, or that there is no room for it."""
    free = shutil.disk_usage(path.parent).free
    sizes = f"{number:,} pictures of {path.stem} need {needed / 1e9:.2f} GB; {path.parent} has {free / 1e9:.2f} GB free"
    if needed > free:
        raise DatasetError(f"No room for the decoded cache: {sizes}.\n{REMEDY}")
    console.print(f"Decoded cache: {sizes}.")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the right to build a cache; the system gives it back when a process dies."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        console.print(f"Waiting for another process that builds {path}.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _draft(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that appears whole or not at all; the lock keeps others from the same draft."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        with open(draft, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
