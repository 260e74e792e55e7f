"""Folders and files wherever they lie: on a disk, or in object storage that fsspec knows (docs/streams.md).

A place on a disk is a plain `pathlib.Path`. One in object storage is a path of `universal_pathlib`, which has the same
methods and is no `Path`; what libraries, operating systems and forked workers cannot do with it stands here.
"""

from __future__ import annotations

import os
import posixpath
import stat
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from mimi_lightning.errors import ConfigError

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # protocols, and the extra that brings what they need
TIMES = ("LastModified", "updated", "last_modified", "mtime", "created")  # what storages call the time of an object
HEADER = 2**16  # bytes that are read at once of an object whose header alone is wanted
TOGETHER = 256  # files of a disk that one thread asks for
NOWHERE = (-1, 0)  # size and time of a file that is not there


def place(address: str | Path) -> Path:
    """A file or folder by its path on a disk, or by its address such as s3://bucket/iqa; file:// is a disk's.

    Args:
        address: also a place already, which is returned.

    Returns:
        A `Path`, or a path of `universal_pathlib`, made anew: a process that was forked may not use its parent's.

    Raises:
        ConfigError: fsspec does not know the protocol, or the package that speaks it is not installed.
    """
    protocol, mark, rest = str(address).partition("://")
    if not mark:
        return Path(address)
    if protocol == "file":
        return Path(rest)
    _refuse_unspoken(protocol)
    from upath import UPath  # only now: a disk needs nothing of it

    return UPath(str(address))


def on_disk(where: Path) -> bool:
    """Whether a place lies on a disk, where files can be mapped into memory and locked."""
    return isinstance(where, Path)


@lru_cache
def _refuse_unspoken(protocol: str) -> None:
    import fsspec

    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        remedy = f'pip install "mimi-lightning[{EXTRAS[protocol]}]"' if protocol in EXTRAS else error
        raise ConfigError(f"{protocol}:// needs a package that is not installed: {remedy}") from error
    except ValueError as error:
        raise ConfigError(f"{protocol}:// is no storage that fsspec knows, such as s3://, gs:// or file://.") from error


@contextmanager
def reached(where: Path) -> Iterator[None]:
    """Raise what a storage says of credentials or networks, in kinds of its own, as an OSError that names the place."""
    try:
        yield
    except Exception as error:
        if on_disk(where) or isinstance(error, FileNotFoundError):
            raise
        raise OSError(f"{where} cannot be reached: {error}") from error


def readable(file: Path) -> Path | BytesIO:
    """What a library reads a file from: the path on a disk, or the bytes of an object.

    Raises:
        OSError: the object cannot be read.
    """
    if on_disk(file):
        return file
    with reached(file):
        return BytesIO(file.read_bytes())


def header(file: Path) -> Path | IO[bytes]:
    """What a library reads a file from that wants its first bytes alone: the path on a disk, or an open object."""
    return file if on_disk(file) else file.open("rb", block_size=HEADER)


def is_file(address: str) -> bool:
    """Whether there is a file; False of words that are too long for a name, on which `Path.is_file` fails."""
    return place(address).is_file() if "://" in address else os.path.isfile(address)


def names_in(folder: Path) -> list[str]:
    """Names of what lies in a folder.

    Raises:
        OSError: there is no such folder.
    """
    return os.listdir(folder) if on_disk(folder) else [child.name for child in folder.iterdir()]


def file_facts(addresses: Sequence[str]) -> list[tuple[int, int]]:
    """Size in bytes and time of files: what changes when they do; -1 and 0 where there is no file.

    The time is in nanoseconds on a disk, and of an object a number that stands for it. Objects are asked for by folder:
    one by one, a storage takes minutes for what it lists in seconds.

    Args:
        addresses: of files, all on a disk or all in one storage.
    """
    with ThreadPoolExecutor() as pool:  # a network's disk answers slowly, too
        if "://" not in next(iter(addresses), ""):
            pieces = [addresses[first : first + TOGETHER] for first in range(0, len(addresses), TOGETHER)]
            return [fact for piece in pool.map(_facts_on_disk, pieces) for fact in piece]
        places = [posixpath.split(address) for address in addresses]
        folders = list(dict.fromkeys(folder for folder, _ in places))
        listed = dict(zip(folders, pool.map(_facts_in_storage, folders), strict=True))
    return [listed[folder].get(name, NOWHERE) for folder, name in places]


def _facts_on_disk(paths: Sequence[str]) -> list[tuple[int, int]]:
    return [_fact_on_disk(path) for path in paths]


def _fact_on_disk(path: str) -> tuple[int, int]:
    try:
        facts = os.stat(path)
    except OSError:
        return NOWHERE
    return (facts.st_size, facts.st_mtime_ns) if stat.S_ISREG(facts.st_mode) else NOWHERE


def _facts_in_storage(folder: str) -> dict[str, tuple[int, int]]:
    """Facts of all objects in a folder, by name."""
    where = place(folder)
    try:
        with reached(where):
            entries = where.fs.ls(where.path, detail=True)
    except FileNotFoundError:
        return {}
    files = (entry for entry in entries if entry["type"] == "file")
    return {posixpath.basename(entry["name"]): (entry["size"], _time(entry)) for entry in files}


def _time(entry: Mapping[str, Any]) -> int:
    known = defaultdict(str, entry)
    return zlib.crc32(" ".join(str(known[name]) for name in TIMES).encode())
