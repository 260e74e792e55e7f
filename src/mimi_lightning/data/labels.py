"""Labels of the scene and distortion tasks, as numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mimi_lightning.errors import DatasetError
from mimi_lightning.vocabulary import DISTORTIONS, GROUP_OF, SCENES

UNKNOWN = -1


def scene_labels(scenes: pd.Series) -> np.ndarray:
    """Which scenes an image shows.

    Args:
        scenes: labels joined by ";", "" when unknown, [N].

    Returns:
        float32 [N, 9] of ones and zeros; a row of zeros has no label.

    Raises:
        DatasetError: a word that is not in the vocabulary.
    """
    labels = np.zeros((len(scenes), len(SCENES)), np.float32)
    for row, text in enumerate(scenes):
        for scene in filter(None, text.split(";")):
            labels[row, _position(scene, SCENES, "scene")] = 1
    return labels


def distortion_labels(distortions: pd.Series) -> np.ndarray:
    """Which of the 11 groups a fine distortion label belongs to.

    Args:
        distortions: fine labels, "" when unknown, [N].

    Returns:
        int64 [N]; -1 where there is no label.

    Raises:
        DatasetError: a label that is not in the vocabulary.
    """
    numbers = {"": UNKNOWN}
    for fine in distortions.unique():
        if fine:
            _position(fine, tuple(GROUP_OF), "distortion")
            numbers[fine] = DISTORTIONS.index(GROUP_OF[fine])
    return distortions.map(numbers).to_numpy(np.int64)


def add_scenes(annotations: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Take the scenes of contents from a CSV file, if there is one; the owners publish none.

    Args:
        annotations: annotations table.
        file: columns dataset, reference and scenes (joined by ";").

    Returns:
        The table; rows that the file does not speak of keep their scenes.

    Raises:
        DatasetError: the file lacks a column.
    """
    if not file.is_file():
        return annotations
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    absent = {"dataset", "reference", "scenes"} - set(table.columns)
    if absent:
        raise DatasetError(f"{file} lacks the column {', '.join(sorted(absent))}.")
    known = {(row.dataset, row.reference): row.scenes for row in table.itertuples()}
    keys = zip(annotations["dataset"], annotations["reference"], annotations["scenes"], strict=True)
    return annotations.assign(scenes=[known.get((dataset, reference), own) for dataset, reference, own in keys])


def _position(word: str, words: tuple[str, ...], kind: str) -> int:
    if word not in words:
        raise DatasetError(f"There is no {kind} '{word}'; leave it empty or choose from: {', '.join(words)}.")
    return words.index(word)
