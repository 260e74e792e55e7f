"""CSIQ: six distortions of 30 references in up to five levels; DMOS of 0..1, where lower is better."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mimi_lightning.data.owners.folder import label_file, list_pictures, match_pictures
from mimi_lightning.data.owners.sheets import read_sheet
from mimi_lightning.errors import DatasetError

SHEET, HEADER_ROW, SHEET_COLUMNS = "all_by_image", 4, "D:I"
NEEDED = ("image", "dst_type", "dst_lev", "dmos_std", "dmos")
KINDS = {  # in the sheet: folder, token in the file name, distortion
    "noise": ("awgn", "AWGN", "white noise"),
    "blur": ("blur", "BLUR", "gaussian blur"),
    "jpeg": ("jpeg", "JPEG", "jpeg compression"),
    "jpeg 2000": ("jpeg2000", "jpeg2000", "jpeg2000 compression"),
    "fnoise": ("fnoise", "fnoise", "fnoise"),
    "contrast": ("contrast", "contrast", "contrast"),
}


def read(folder: Path) -> pd.DataFrame:
    """Read CSIQ: mos = 1 - dmos.

    Args:
        folder: holds csiq.DMOS.xlsx, src_imgs and dst_imgs.

    Raises:
        DatasetError: the sheet is missing or of another form, or the labels do not agree with the pictures.
    """
    labels = label_file(folder, "csiq.DMOS.xlsx")
    sheet = read_sheet(labels, sheet_name=SHEET, header=HEADER_ROW - 1, usecols=SHEET_COLUMNS)
    sheet.columns = [str(column).strip() for column in sheet.columns]
    if not set(NEEDED) <= set(sheet.columns):
        raise DatasetError(
            f"{labels}: sheet '{SHEET}' must have the header {', '.join(NEEDED)} on row {HEADER_ROW} within the "
            f"columns {SHEET_COLUMNS}; found {', '.join(sheet.columns)}."
        )
    sheet = sheet.dropna(subset=["image", "dmos"])
    names = sheet["image"].map(_name)
    kinds = sheet["dst_type"].astype(str).str.strip().str.lower()
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise DatasetError(f"{labels}: unknown dst_type '{unknown[0]}'; known are {', '.join(KINDS)}.")
    levels = pd.to_numeric(sheet["dst_lev"], errors="coerce")
    images = [
        f"dst_imgs/{KINDS[kind][0]}/{name}.{KINDS[kind][1]}.{level:g}.png"
        for name, kind, level in zip(names, kinds, levels, strict=True)
    ]
    match_pictures(labels, folder / "dst_imgs", images, _pictures(folder))
    return pd.DataFrame(
        {
            "image": images,
            "mos": 1 - pd.to_numeric(sheet["dmos"], errors="coerce"),
            "std": sheet["dmos_std"],
            "reference": "src_imgs/" + names + ".png",
            "distortion": [KINDS[kind][2] for kind in kinds],
            "level": levels,
        }
    )


def _name(cell: object) -> str:
    """Name a picture as its file: the cell of picture 1600 is a number."""
    return str(int(cell)) if isinstance(cell, int | float) else str(cell).strip()


def _pictures(folder: Path) -> list[str]:
    kinds = [kind for kind, _, _ in KINDS.values() if (folder / "dst_imgs" / kind).is_dir()]
    return [f"dst_imgs/{kind}/{name}" for kind in kinds for name in list_pictures(folder / "dst_imgs" / kind)]
