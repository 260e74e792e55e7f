"""Pictures that look alike and count as two contents: recompressed or resized copies, in whichever datasets.

Pictures with the same pixels are one content anyway (`splits.py`). Copies that were compressed or resized once more are
not, and may stand in two parts: a perceptual hash finds them. It does not find what was cropped by more than about a
hundredth, turned or mirrored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mimi_lightning.data.decode import read_image
from mimi_lightning.errors import ConfigError, DatasetError
from mimi_lightning.progress import in_threads

SIDE = 16  # of the hash: 16 x 16 bits, signs of the lowest frequencies
ALIKE = 40  # of 256 bits that may differ; JPEG at quality 10 turned up to 34, other photographs 104 or more
ROWS = 1024  # pictures that are compared with all others at once; bounds memory


def find_near(
    annotations: pd.DataFrame, contents: pd.Series, root: Path, folders: Mapping[str, str], progress: bool = True
) -> list[str]:
    """Find contents that look alike.

    Args:
        annotations: annotations table of all datasets.
        contents: content of every row.
        root: folder of all datasets.
        folders: folder of each dataset below the root.
        progress: show a bar.

    Returns:
        What is said of every two of them.

    Raises:
        ConfigError: imagehash is not installed.
    """
    shown = _one_of_each(annotations.assign(content=contents), root, folders)
    paths = [root / folders[dataset] / name for dataset, name, _ in shown]
    hashes = in_threads(perceptual_hash, paths, "Comparing contents", progress)
    known = [(place, bits) for place, bits in zip(shown, hashes, strict=True) if bits is not None]
    said = []
    for a, b, differing in close_pairs([bits for _, bits in known]):
        (*first, content), (*second, other) = known[a][0], known[b][0]
        if content != other:
            said.append(
                f"{'/'.join(first)} and {'/'.join(second)} look alike ({differing} of {SIDE**2} bits differ) and count "
                "as two contents: if they show one picture, give their references one name in contents.csv."
            )
    return said


def perceptual_hash(path: Path) -> NDArray[np.bool_] | None:
    """The 256 bits of a picture's hash; None of one that cannot be read, which the check says elsewhere."""
    try:
        from imagehash import phash
    except ImportError as error:
        raise ConfigError("data check --near needs imagehash: pip install 'mimi-lightning[near]'.") from error
    try:
        return phash(read_image(path), hash_size=SIDE).hash.ravel()
    except DatasetError:
        return None


def close_pairs(hashes: Sequence[NDArray[np.bool_]], most: int = ALIKE) -> list[tuple[int, int, int]]:
    """Every two hashes of which at most so many bits differ: both places, and how many do."""
    if not len(hashes):
        return []
    signs = np.array(hashes, dtype=np.float32) * 2 - 1
    pairs = []
    for start in range(0, len(signs), ROWS):
        differing = (signs.shape[1] - signs[start : start + ROWS] @ signs.T) / 2
        first, second = np.nonzero(differing <= most)
        later = second > first + start
        pairs += zip(
            first[later] + start, second[later], differing[first[later], second[later]].astype(int), strict=True
        )
    return [tuple(map(int, pair)) for pair in pairs]


def _one_of_each(table: pd.DataFrame, root: Path, folders: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Dataset, file and content of one picture of each reference: its own, or else the best rated of its images."""
    best = table.sort_values("mos", ascending=False, kind="stable").drop_duplicates(["dataset", "reference"])
    shown = []
    for row in best.sort_index().itertuples():
        there = (root / folders[row.dataset] / row.reference).is_file()
        shown.append((row.dataset, row.reference if there else row.image, row.content))
    return shown
