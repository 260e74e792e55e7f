"""BID: 586 photographs with realistic blur; MOS of 0..5."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from mimi_lightning.data.owners.folder import label_file, list_pictures, match_pictures
from mimi_lightning.data.owners.sheets import read_sheet
from mimi_lightning.errors import DatasetError

FILE_NAME = re.compile(r"DatabaseImage(\d+)\.jpe?g", re.IGNORECASE)
FIRST_GRADE = 3  # the fourth column


def read(folder: Path) -> pd.DataFrame:
    """Read BID; std is the standard deviation of the single grades (of a sample, as MATLAB computes it).

    Args:
        folder: holds DatabaseGrades.xls or .xlsx and ImageDatabase.

    Raises:
        DatasetError: the sheet is missing or of another form, or the labels do not agree with the pictures.
    """
    labels = label_file(folder, "DatabaseGrades.xlsx", "DatabaseGrades.xls")
    sheet = read_sheet(labels, header=None).apply(pd.to_numeric, errors="coerce")
    rows = sheet[sheet[0].notna()]  # a header has no number
    if rows.empty or sheet.shape[1] < 2:
        raise DatasetError(f"{labels}: column 1 must hold the image number and column 2 the mean grade.")
    pictures = _pictures(folder / "ImageDatabase")
    numbers = rows[0].astype(int)
    match_pictures(labels, folder / "ImageDatabase", numbers.tolist(), pictures)
    return pd.DataFrame(
        {
            "image": [f"ImageDatabase/{pictures[number]}" for number in numbers],
            "mos": rows[1],
            "std": rows.iloc[:, FIRST_GRADE:].std(axis=1),
        }
    )


def _pictures(folder: Path) -> dict[int, str]:
    matches = [FILE_NAME.fullmatch(name) for name in list_pictures(folder)]
    return {int(match[1]): match[0] for match in matches if match}
