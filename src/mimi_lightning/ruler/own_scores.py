"""Scores of one's own: a table of pictures, of which a scale is made."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mimi_lightning.data.annotations import complete
from mimi_lightning.data.owners import table
from mimi_lightning.errors import DatasetError
from mimi_lightning.ruler.ruler import PROXY

LEAST = 10  # scores; fewer tell nothing of a scale
TAKEN = (PROXY, "all", "null", "true", "false")  # words that mean something else
COLUMNS = ("path", "width", "height", "std", "error", "image")  # stand beside scales in tables and exported files


class OwnScores(NamedTuple):
    """A scale of one's own.

    Args:
        name: of the scale.
        rows: annotations table of its pictures.
        images: folder that they lie in.
        range: lowest and highest score that can be given.
    """

    name: str
    rows: pd.DataFrame
    images: Path
    range: tuple[float, float]

    @property
    def paths(self) -> list[Path]:
        """Of the pictures."""
        return [self.images / image for image in self.rows["image"]]


def read_scores(
    file: Path,
    name: str,
    known: Collection[str],
    images: Path | None = None,
    ends: tuple[float, float] | None = None,
    columns: Mapping[str, str] | None = None,
) -> OwnScores:
    """Read a table of pictures and scores.

    Args:
        file: .csv, .txt, .xlsx or .xls.
        name: of the scale.
        known: names of the scales that there are.
        images: folder that the names of the pictures are relative to; that of the table if it is None.
        ends: lowest and highest score that can be given; those that were given if it is None.
        columns: where `image` and `mos` stand, see `owners.table.read`; in columns of these names by default.

    Raises:
        DatasetError: a name that is taken or no word, a table that cannot be read, a picture that is not there or
            listed twice, scores that are too few, all alike or beyond the ends, ends that are not finite.
    """
    if not name.isidentifier() or name in (*TAKEN, *COLUMNS):
        raise DatasetError(
            f"--name {name}: a scale is called by a word of letters, digits and _, such as mine, with no other meaning."
        )
    if name in known:
        raise DatasetError(f"The checkpoint has a scale '{name}' already: choose another --name.")
    images = file.parent if images is None else images
    where = {"image": "image", "mos": "mos", **(columns or {})}
    rows = complete(table.read(images, file=str(file.absolute()), **where), name, images)
    scores = rows["mos"].to_numpy()
    if len(scores) < LEAST:
        raise DatasetError(f"{file} has {len(scores)} scores: {LEAST} are the least, 50 make a good scale.")
    if np.ptp(scores) == 0:
        raise DatasetError(f"{file}: all {len(scores)} scores are {scores[0]:g}. There must be better and worse ones.")
    found = float(scores.min()), float(scores.max())
    low, high = ends or found
    if not np.isfinite([low, high]).all():
        raise DatasetError(f"--range {low:g} {high:g}: expected two numbers.")
    if not low <= found[0] < found[1] <= high:
        raise DatasetError(f"{file}: scores run from {found[0]:g} to {found[1]:g}, beyond --range {low:g} {high:g}.")
    return OwnScores(name, rows, images, (low, high))
