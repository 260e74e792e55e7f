"""KonIQ-10k: 10,073 photographs from Flickr; MOS of 1..5."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mimi_lightning.data.owners.folder import label_file, list_pictures, match_pictures
from mimi_lightning.data.owners.sheets import read_csv

SETS = "koniq10k_distributions_sets.csv"


def read(folder: Path) -> pd.DataFrame:
    """Read KonIQ-10k with its large pictures, or with the small ones where only these were unpacked.

    Args:
        folder: holds koniq10k_scores_and_distributions.csv and 1024x768 or 512x384.

    Raises:
        DatasetError: a file is missing or the labels do not agree with the pictures.
    """
    labels = label_file(folder, "koniq10k_scores_and_distributions.csv")
    table = read_csv(labels, ("image_name", "MOS", "SD"), dtype={"image_name": str})
    pictures = _pictures(folder)
    match_pictures(labels, pictures, table["image_name"].tolist(), list_pictures(pictures))
    return pd.DataFrame({"image": f"{pictures.name}/" + table["image_name"], "mos": table["MOS"], "std": table["SD"]})


def read_official_parts(folder: Path) -> pd.DataFrame:
    """Read the partition that KonIQ-10k's owners publish: columns image and part.

    Args:
        folder: holds koniq10k_distributions_sets.csv. The scores in it are on another scale and not read.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    table = read_csv(label_file(folder, SETS), ("image_name", "set"), dtype=str)
    parts = table["set"].replace({"training": "train", "validation": "val"})
    return pd.DataFrame({"image": f"{_pictures(folder).name}/" + table["image_name"], "part": parts})


def _pictures(folder: Path) -> Path:
    large = folder / "1024x768"
    return folder / "512x384" if (folder / "512x384").is_dir() and not large.is_dir() else large
