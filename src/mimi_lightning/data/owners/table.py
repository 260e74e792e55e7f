"""Any dataset that comes as a table of images and scores: CSV, text or Excel."""

from __future__ import annotations

import os
from pathlib import Path
from string import Formatter

import pandas as pd

from mimi_lightning.data.names import Folder
from mimi_lightning.data.owners.folder import label_file
from mimi_lightning.data.owners.sheets import read_csv, read_sheet
from mimi_lightning.errors import DatasetError


def read(folder: Path, *, file: str, **columns: str | int) -> pd.DataFrame:
    """Read a table; each column of the annotations is told by where its values stand.

    That is the name of a column, as in `mos: MOS`; its number from 0 in a table without a header, as in `mos: 0`; or
    a text around columns in braces, as in `image: "TestImage/{Image name}"` or, for the first three letters of column
    1, `reference: "reference_images/{1:.3}.BMP"`.

    Args:
        folder: the dataset's folder.
        file: the table in it: .xls, .xlsx, or text separated by comma, semicolon, tab or spaces.
        columns: where `image` and `mos` stand, and any other column of the annotations.

    Raises:
        DatasetError: the table or a column is missing, or an image is not there.
    """
    path = label_file(folder, file)
    numbered = any(field.isdigit() for where in columns.values() for field in _fields(where))
    table = _read_table(path, None if numbered else 0)
    rows = pd.DataFrame({column: _fill(table, where, column, path) for column, where in columns.items()})
    if "part" in rows:
        rows["part"] = rows["part"].str.lower().replace({"training": "train", "validation": "val", "valid": "val"})
    find = Folder(folder).find
    for image in rows.get("image", ()):
        found = find(str(image))
        if found is None or not os.path.isfile(f"{folder}/{found}"):
            raise DatasetError(f"{path} labels {image}, but there is no such file in {folder}.")
    return rows


def _fields(where: str | int) -> list[str]:
    """Names of the columns that a value is made of."""
    inside = [field for _, field, _, _ in Formatter().parse(str(where)) if field is not None]
    return inside or [str(where)]


def _read_table(path: Path, header: int | None) -> pd.DataFrame:
    """Read all cells as text, so that names of pictures keep their zeros."""
    if path.suffix.lower() in (".xlsx", ".xls"):
        table = read_sheet(path, header=header, dtype=str)
    else:
        table = read_csv(path, (), header=header, dtype=str, sep=_separator(path), skipinitialspace=True)
    return table.rename(columns=lambda name: str(name).strip())


def _separator(path: Path) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        line = file.readline()
    return next((separator for separator in "\t;," if separator in line), r"\s+")


def _fill(table: pd.DataFrame, where: str | int, column: str, path: Path) -> pd.Series:
    for field in _fields(where):
        if field not in table:
            raise DatasetError(f"{path} has no column '{field}' for {column}; it has {', '.join(table)}.")
    if str(where) in table:
        return table[str(where)]
    return pd.Series([str(where).format(*cells, **dict(zip(table, cells, strict=True))) for cells in table.to_numpy()])
