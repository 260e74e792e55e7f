"""KonIQ-10k: 10,073 photographs from Flickr; MOS of 1..5."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mimi_lightning.data.owners.folder import label_file, list_pictures, match_pictures
from mimi_lightning.data.owners.sheets import read_csv


def read(folder: Path) -> pd.DataFrame:
    """Read KonIQ-10k with its large pictures, or with the small ones where only these were unpacked.

    Args:
        folder: holds koniq10k_scores_and_distributions.csv and 1024x768 or 512x384.

    Raises:
        DatasetError: a file is missing or the labels do not agree with the pictures.
    """
    labels = label_file(folder, "koniq10k_scores_and_distributions.csv")
    table = read_csv(labels, ("image_name", "MOS", "SD"), dtype={"image_name": str})
    size = "512x384" if (folder / "512x384").is_dir() and not (folder / "1024x768").is_dir() else "1024x768"
    match_pictures(labels, folder / size, table["image_name"].tolist(), list_pictures(folder / size))
    return pd.DataFrame({"image": f"{size}/" + table["image_name"], "mos": table["MOS"], "std": table["SD"]})
