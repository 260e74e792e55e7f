"""Marks of a ruler: pictures that a model has learned from, which say what a score means."""

from __future__ import annotations

import numpy as np
import pandas as pd

MARKS = 101  # one at each percentile

Marks = dict[str, list[tuple[str, float]]]


def choose_marks(training: pd.DataFrame) -> Marks:
    """Of each dataset, the pictures at the percentiles 0..100 of its training labels.

    Args:
        training: annotations table of the training part.

    Returns:
        By dataset, 101 of (image, MOS), MOS never decreasing; a picture may stand at several.
    """
    marks = {}
    for name, rows in training.groupby("dataset"):
        rows = rows.sort_values("mos", kind="stable")
        at = np.linspace(0, len(rows) - 1, MARKS).round().astype(int)
        chosen = rows.iloc[at]
        marks[name] = list(zip(chosen["image"], chosen["mos"].astype(float), strict=True))
    return marks


def percentile(score: float, marks: list[tuple[str, float]]) -> float:
    """How many of a hundred training labels lie below a score, equal ones counting half; 0..100."""
    labels = [mos for _, mos in marks]
    below, upto = np.searchsorted(labels, score, "left"), np.searchsorted(labels, score, "right")
    return 100 * float(below + upto) / 2 / len(labels)


def nearest(score: float, marks: list[tuple[str, float]], number: int) -> list[tuple[str, float]]:
    """The pictures whose labels are nearest to a score, each once, in the order of their labels."""
    pictures = sorted({*marks}, key=lambda mark: (abs(mark[1] - score), mark))
    return sorted(pictures[:number], key=lambda mark: (mark[1], mark[0]))
