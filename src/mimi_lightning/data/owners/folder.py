"""What all owners' folders have in common: label files, directories of pictures, and their agreement."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from mimi_lightning.data.names import plain_name
from mimi_lightning.data.places import names_in, on_disk
from mimi_lightning.errors import DatasetError

# What systems leave in folders: macOS a companion of every file, `._img1.bmp`, and Windows its thumbnails.
LEAVINGS = ("._*", ".DS_Store", "__MACOSX", "Thumbs.db", "desktop.ini")
PICTURES = (".bmp", ".png", ".jpg", ".jpeg")


def label_file(folder: Path, *names: str) -> Path:
    """Find the first of several label files, or raise a DatasetError that names them all."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DatasetError(f"There is no label file {' or '.join(str(folder / name) for name in names)}.")


def is_leaving(name: str) -> bool:
    """Whether a name is that of a file which a system left, not the owner."""
    return any(fnmatchcase(name, pattern) for pattern in LEAVINGS)


def list_pictures(folder: Path) -> list[str]:
    """List the names of the pictures in a directory in natural order (img2 before img10)."""
    if not folder.is_dir():
        raise DatasetError(f"There is no folder of pictures {folder}.")
    return sorted(filter(_is_picture, names_in(folder)), key=_natural)


def match_pictures(labels: Path, folder: Path, labelled: Collection[str], found: Collection[str]) -> None:
    """Refuse labels and pictures that do not belong together, however their names are spelt.

    Args:
        labels: the label file, named in the error.
        folder: where the pictures lie, named in the error.
        labelled: names of the pictures with a label.
        found: names of the pictures on disk.

    Raises:
        DatasetError: a label without a picture or a picture without a label; gives both counts and an example.
    """
    missing, unlabelled = (
        {plain_name(str(name)): name for name in some}
        for some in (set(labelled) - set(found), set(found) - set(labelled))
    )
    if missing.keys() == unlabelled.keys():
        return
    absent = sorted(missing[name] for name in missing.keys() - unlabelled.keys())
    fault = f"no picture {absent[0]}" if absent else f"no label for {unlabelled[min(unlabelled.keys() - missing)]}"
    raise DatasetError(
        f"{labels} labels {len(set(labelled))} pictures, but {folder} holds {len(set(found))}: there is {fault}. "
        "Unpack the dataset again."
    )


def leaves_folder(folder: Path, names: Iterable[str]) -> dict[str, bool]:
    """Tell of each name whether it leads out of the folder: absolute, through `..`, or by a symbolic link.

    Args:
        folder: a dataset's folder; may be a link itself.
        names: paths relative to it; need not exist.
    """
    if not on_disk(folder):  # storages have no links
        return {name: name.startswith("/") or posixpath.normpath(name).split("/")[0] == ".." for name in names}
    root = os.path.realpath(folder)
    parents: dict[str, str] = {}

    def leaves(name: str) -> bool:
        parent = os.path.dirname(name)
        if parent not in parents:  # following links is slow, and pictures share few directories
            parents[parent] = os.path.realpath(os.path.join(root, parent))
        path = os.path.join(parents[parent], os.path.basename(name))
        if os.path.islink(path):
            path = os.path.realpath(path)
        return os.path.isabs(name) or not os.path.normpath(path).startswith(root + os.sep)

    return {name: leaves(name) for name in names}


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PICTURES and not is_leaving(name)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
