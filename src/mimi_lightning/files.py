"""Writing files that others may read at any moment, and that a kill or a full disk never leaves half written."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DRAFT = ".part"  # ends the names of files that are being written
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def aside(file: Path, draft: Path | None = None, former: Path | None = None) -> Iterator[Path]:
    """Write a file that appears whole or not at all: yields where to write it, in the same folder.

    Args:
        file: what appears, with the rights that any new file gets.
        draft: where to write, if several processes may write the file at once.
        former: what the file that was there before is renamed to, if it is to be kept.

    Raises:
        OSError: it cannot be written; names the file. What was there before is still there.
    """
    if not isinstance(file, Path):  # an object of a storage, which appears whole by itself
        yield file
        return
    draft = draft or file.with_name(file.name + DRAFT)
    try:
        yield draft
        with draft.open("rb+") as written:
            os.fsync(written.fileno())
        if former and file.exists():
            file.replace(former)
        draft.replace(file)
    except OSError as error:
        error.filename = error.filename or str(file)  # a disk that is full does not say of which file
        raise
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def no_empty_folders(folder: Path) -> Iterator[None]:
    """Take away a folder, and those above it, that were not there before and into which nothing was written."""
    absent = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield
    finally:
        for each in absent:
            with suppress(OSError):  # there is something in it, or it was not made
                each.rmdir()


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """Make a folder beside the final one; it never outlives this process for long.

    Args:
        folder: the final one. What killed processes left beside it is removed.
    """
    prefix = f".{folder.name}.building-{socket.gethostname()}-"
    folder.parent.mkdir(parents=True, exist_ok=True)
    for stale in folder.parent.glob(f"{prefix}*"):
        if not _is_alive(stale.name.removeprefix(prefix)):
            shutil.rmtree(stale, ignore_errors=True)
    work = folder.parent / f"{prefix}{os.getpid()}"
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """Write files that appear together, when all of them are there: yields where to write them.

    A folder that is new appears at once. In one that is there, they take the places of files of the same names.
    """
    folder = folder.absolute()
    with work_folder(folder) as work:
        yield work
        if not folder.exists():
            work.rename(folder)
            return
        for file in sorted(path for path in work.rglob("*") if path.is_file()):
            place = folder / file.relative_to(work)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)


def explain(error: OSError) -> str:
    """One message for what the system refused, with the file that it is about."""
    what = f"{error.filename}: " if error.filename else ""
    said = f"{what}{error.strerror or error}."
    if error.errno in FULL:
        said += "\nMake room, and the same command goes on: what was written before is whole."
    return said


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except PermissionError:  # somebody else's
        return True
    except (ValueError, OSError):
        return False
    return True
