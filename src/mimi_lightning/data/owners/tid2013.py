"""TID2013: 24 distortions of 25 references in five levels; MOS of 0..9."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from mimi_lightning.data.owners.folder import label_file, list_pictures, match_pictures
from mimi_lightning.data.owners.sheets import read_csv
from mimi_lightning.errors import DatasetError

CODES = (  # code 01 first; the owners' words where no published one says the same
    "white noise",
    "additive noise in color components",
    "spatially correlated noise",
    "masked noise",
    "high frequency noise",
    "impulse",
    "quantization noise",
    "gaussian blur",
    "image denoising",
    "jpeg compression",
    "jpeg2000 compression",
    "jpeg transmission errors",
    "jpeg2000 transmission errors",
    "noneccentricity patch",
    "local block-wise distortions",
    "shifting the mean",
    "contrast",
    "change of color saturation",
    "multiplicative",
    "comfort noise",
    "lossy compression of noisy images",
    "color quantization",
    "chromatic aberrations",
    "sparse sampling and reconstruction",
)
DISTORTED = re.compile(r"(i\d\d)_(\d\d)_(\d)\.bmp")


def read(folder: Path) -> pd.DataFrame:
    """Read TID2013; its labels and files spell names with large or small letters, which does not matter.

    The std of mos_std.txt is far below the spread of single opinions, which are whole numbers: it must be that of
    their mean.

    Args:
        folder: holds mos_with_names.txt, perhaps mos_std.txt, distorted_images and reference_images.

    Raises:
        DatasetError: a file is missing, a name is unknown, or the labels do not agree with the pictures.
    """
    labels = label_file(folder, "mos_with_names.txt")
    table = read_csv(labels, (0, 1), header=None, sep=r"\s+")
    names = table[1].astype(str).str.lower()
    codes = [_codes(name, labels) for name in names]
    references = [f"{reference}.bmp" for reference, _, _ in codes]
    rows = {
        "image": _spell(names, folder / "distorted_images", labels),
        "mos": table[0],
        "reference": _spell(references, folder / "reference_images", labels),
        "distortion": [CODES[distortion - 1] for _, distortion, _ in codes],
        "level": [level for _, _, level in codes],
    }
    return pd.DataFrame(rows | _read_std(folder / "mos_std.txt", len(table)))


def _codes(name: str, labels: Path) -> tuple[str, int, int]:
    match = DISTORTED.fullmatch(name)
    if not match or not 1 <= int(match[2]) <= len(CODES):
        raise DatasetError(f"{labels}: '{name}' is not a name like i01_24_5.bmp (reference, distortion, level).")
    return match[1], int(match[2]), int(match[3])


def _spell(names: list[str] | pd.Series, folder: Path, labels: Path) -> list[str]:
    """Paths of the files that have these names, in small letters."""
    files = {name.lower(): f"{folder.name}/{name}" for name in list_pictures(folder)}
    match_pictures(labels, folder, names, files)
    return [files[name] for name in names]


def _read_std(file: Path, number: int) -> dict[str, pd.Series]:
    if not file.is_file():
        return {}
    std = read_csv(file, (0,), header=None)[0]
    if len(std) != number:
        raise DatasetError(f"{file} has {len(std)} numbers for {number} pictures. Unpack the dataset again.")
    return {"std": std}
