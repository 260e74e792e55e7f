"""KADID-10k: 25 distortions of 81 references in five levels; scores of 1..5."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from mimi_lightning.data.owners.folder import label_file, list_pictures, match_pictures
from mimi_lightning.data.owners.sheets import read_csv
from mimi_lightning.errors import DatasetError

CODES = (  # code 01 first
    "gaussian blur",
    "lens",
    "motion",
    "diffusion",
    "shifting",
    "color quantization",
    "oversaturation",
    "desaturation",
    "jpeg2000 compression",
    "jpeg compression",
    "white noise",
    "white with color",
    "impulse",
    "multiplicative",
    "white noise with denoise",
    "brighten",
    "darken",
    "shifting the mean",
    "jitter",
    "noneccentricity patch",
    "pixelate",
    "quantization",
    "color blocking",
    "sharpness",
    "contrast",
)
DISTORTED = re.compile(r"I\d+_(\d\d)_(\d\d)\.png", re.IGNORECASE)


def read(folder: Path, root_of_var: bool = False) -> pd.DataFrame:
    """Read KADID-10k; its column `dmos` is higher for better pictures and its `var` is a standard deviation.

    Args:
        folder: holds dmos.csv and images, where the references lie as well.
        root_of_var: take the root of `var` for the deviation, as if it were a variance: UNIQUE did.

    Raises:
        DatasetError: a file is missing, a name is unknown, or the labels do not agree with the pictures.
    """
    labels = label_file(folder, "dmos.csv")
    table = read_csv(labels, ("dist_img", "ref_img", "dmos", "var"))
    codes = table["dist_img"].map(lambda name: _codes(str(name), labels))
    pictures = [name for name in list_pictures(folder / "images") if DISTORTED.fullmatch(name)]
    match_pictures(labels, folder / "images", table["dist_img"].tolist(), pictures)
    return pd.DataFrame(
        {
            "image": "images/" + table["dist_img"],
            "mos": table["dmos"],
            "std": table["var"] ** 0.5 if root_of_var else table["var"],
            "reference": "images/" + table["ref_img"],
            "distortion": [CODES[distortion - 1] for distortion, _ in codes],
            "level": [level for _, level in codes],
        }
    )


def _codes(name: str, labels: Path) -> tuple[int, int]:
    match = DISTORTED.fullmatch(name)
    if not match or not 1 <= int(match[1]) <= len(CODES):
        raise DatasetError(f"{labels}: '{name}' is not a name like I01_25_05.png (reference, distortion, level).")
    return int(match[1]), int(match[2])
