"""Any dataset that comes as a table of images and scores: CSV, text or Excel."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from string import Formatter

import pandas as pd

from mimi_lightning.data.names import Folder
from mimi_lightning.data.owners.folder import label_file
from mimi_lightning.data.owners.sheets import read_csv, read_sheet
from mimi_lightning.data.places import NOWHERE, file_facts
from mimi_lightning.errors import DatasetError

COLUMNS = ("image", "mos", "std", "reference", "distortion", "level", "scenes", "part")
NUMBERS = ("mos", "std", "level")
PATHS = ("image", "reference")
DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")


def read(folder: Path, *, file: str, **columns: str | int) -> pd.DataFrame:
    r"""Read a table; each column of the annotations is told by where its values stand.

    That is the name of a column, as in `mos: MOS`; its number from 0 in a table without a header, as in `mos: 0`; or
    a text around columns in braces, as in `image: "TestImage/{Image name}"` or, for the first three letters of column
    1, `reference: "reference_images/{1:.3}.BMP"`. Decimal commas and paths with `\` are understood.

    Args:
        folder: the dataset's folder.
        file: the table in it: .xls, .xlsx, or text separated by comma, semicolon, tab or spaces, in UTF-8, UTF-16 or
            Latin-1. `Labels/*.txt` is all these tables, one after the other.
        columns: where `image` and `mos` stand, and any other column of the annotations.

    Raises:
        DatasetError: the table or a column is missing, or an image is not there.
    """
    if unknown := sorted(columns.keys() - {*COLUMNS}):
        raise DatasetError(f"table has no key {unknown[0]}: expected file, {', '.join(COLUMNS)}.")
    if absent := [column for column in ("image", "mos") if columns.get(column) is None]:
        raise DatasetError(f"table lacks {absent[0]}: where does it stand in {file}?")
    columns = {column: where for column, where in columns.items() if where is not None}
    rows = pd.concat([_read_rows(path, columns) for path in _files(folder, file)], ignore_index=True)
    if "part" in rows:
        rows["part"] = rows["part"].str.lower().replace({"training": "train", "validation": "val", "valid": "val"})
    find = Folder(folder).find
    found = [find(str(image)) for image in rows["image"]]
    facts = file_facts([f"{folder}/{name}" for name in found])
    for image, name, fact in zip(rows["image"], found, facts, strict=True):
        if name is None or fact == NOWHERE:
            raise DatasetError(f"{folder / file} labels {image}, but there is no such file in {folder}.")
    return rows


def _files(folder: Path, file: str) -> list[Path]:
    """The table, or all of a pattern."""
    if not any(letter in file for letter in "*?["):
        return [label_file(folder, file)]
    if found := sorted(path for path in folder.glob(file) if path.is_file()):
        return found
    raise DatasetError(f"There is no label file {folder / file}.")


def _read_rows(path: Path, columns: dict[str, str | int]) -> pd.DataFrame:
    numbered = any(field.isdigit() for where in columns.values() for field in _fields(where))
    table = _read_table(path, None if numbered else 0)
    rows = pd.DataFrame({column: _fill(table, where, column, path) for column, where in columns.items()})
    for column in rows.columns.intersection(NUMBERS):
        rows[column] = rows[column].str.replace(DECIMAL_COMMA, ".", regex=True)
    for column in rows.columns.intersection(PATHS):
        rows[column] = rows[column].str.replace("\\", "/")
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
        encoding = _encoding(path)
        options = {"header": header, "dtype": str, "skipinitialspace": True, "encoding": encoding}
        table = read_csv(path, (), sep=_separator(path, encoding), **options)
    return table.rename(columns=lambda name: str(name).strip())


def _encoding(path: Path) -> str:
    """UTF-16 by its first bytes, UTF-8 where it can be, else Latin-1, which any text can be."""
    text = path.read_bytes()
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


def _separator(path: Path, encoding: str) -> str:
    with path.open(encoding=encoding, errors="replace") as file:
        line = file.readline()
    if separator := next((separator for separator in "\t;" if separator in line), None):
        return separator
    plain = DECIMAL_COMMA.sub("", line.strip())
    return "," if "," in plain or not re.search(r"\s", plain) else r"\s+"


def _fill(table: pd.DataFrame, where: str | int, column: str, path: Path) -> pd.Series:
    for field in _fields(where):
        if field not in table:
            raise DatasetError(f"{path} has no column '{field}' for {column}; it has {', '.join(table)}.")
    if str(where) in table:
        return table[str(where)]
    return pd.Series([str(where).format(*cells, **dict(zip(table, cells, strict=True))) for cells in table.to_numpy()])
