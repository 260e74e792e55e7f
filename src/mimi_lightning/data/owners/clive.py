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
    table = table[~table["image"].map(_training_pictures(folder))]
    match_pictures(labels, folder / "Images", table["image"].tolist(), list_pictures(folder / "Images"))
    return table.assign(image="Images/" + table["image"])


def _training_pictures(folder: Path):
    """Tell training pictures by their folder, or by their names t1.bmp, t2.bmp, ... where it was not unpacked."""
    training = folder / "Images" / "trainingImages"
    if training.is_dir():
        return set(list_pictures(training)).__contains__
    return lambda name: TRAINING_NAME.fullmatch(name) is not None
