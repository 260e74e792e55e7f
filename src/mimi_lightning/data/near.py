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
    shown = _one_of_each(annotations, contents, root, folders)
    hashes = in_threads(
        perceptual_hash, [root / folders[d] / name for d, name in shown], "Comparing contents", progress
    )
    known = [(place, bits) for place, bits in zip(shown, hashes, strict=True) if bits is not None]
    return [
        f"{'/'.join(known[a][0])} and {'/'.join(known[b][0])} look alike ({differing} of {SIDE**2} bits differ) and "
        "count as two contents: if they show one picture, give their references one name in contents.csv."
        for a, b, differing in close_pairs([bits for _, bits in known])
    ]


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


def _one_of_each(
    annotations: pd.DataFrame, contents: pd.Series, root: Path, folders: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Dataset and file of one picture of each content: the reference where it lies there, else the best rated image."""
    best = annotations.assign(content=contents).sort_values("mos", ascending=False, kind="stable")
    rows = best.drop_duplicates("content").sort_index()
    return [
        (dataset, reference if (root / folders[dataset] / reference).is_file() else image)
        for dataset, image, reference in zip(rows["dataset"], rows["image"], rows["reference"], strict=True)
    ]
