"""CLIVE, LIVE In the Wild: 1,162 photographs from phones; MOS of 0..100."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from mimi_lightning.data.owners.folder import label_file, list_pictures, match_pictures
from mimi_lightning.data.owners.matlab import read_vector, require_equal_lengths

TRAINING_NAME = re.compile(r"t\d+\.\w+")


def read(folder: Path) -> pd.DataFrame:
    """Read CLIVE; the pictures that trained the raters are left out.

    Args:
        folder: holds Data with three .mat files, and Images.

    Raises:
        DatasetError: a file is missing or the labels do not agree with the pictures.
    """
    labels = label_file(folder, "Data/AllMOS_release.mat")
    rows = {
        "image": read_vector(label_file(folder, "Data/AllImages_release.mat"), "AllImages_release"),
        "mos": read_vector(labels, "AllMOS_release"),
        "std": read_vector(label_file(folder, "Data/AllStdDev_release.mat"), "AllStdDev_release"),
    }
    require_equal_lengths(labels.parent, **rows)
    table = pd.DataFrame(rows)
    training = _training_pictures(folder)
    table = table[~table["image"].isin(training | set(filter(TRAINING_NAME.fullmatch, table["image"])))]
    pictures = list_pictures(folder / "Images")
    rated = [name for name in pictures if name not in training and not TRAINING_NAME.fullmatch(name)]
    match_pictures(labels, folder / "Images", table["image"].tolist(), rated)
    table = table.assign(image="Images/" + table["image"])
    if misplaced := sorted({*pictures} - {*rated}):
        table.attrs["notes"] = [
            f"Images holds {', '.join(misplaced)}, which trained the raters and belong into Images/trainingImages: "
            "they are left out."
        ]
    return table


def _training_pictures(folder: Path) -> set[str]:
    """Names of those in their own folder; where it was not unpacked, t1.bmp, t2.bmp, ... are known by their names."""
    training = folder / "Images" / "trainingImages"
    return set(list_pictures(training)) if training.is_dir() else set()
