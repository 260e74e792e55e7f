"""Reading label sheets of spreadsheets and CSV files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mimi_lightning.data.places import readable
from mimi_lightning.errors import DatasetError


def read_sheet(path: Path, **options: object) -> pd.DataFrame:
    """Read one sheet of an .xls or .xlsx file with pandas, or raise a DatasetError that names the file."""
    try:
        return pd.read_excel(readable(path), **options)
    except Exception as error:  # openpyxl, xlrd, zipfile and pandas raise their own kinds
        raise DatasetError(f"{path} cannot be read as a label sheet ({error}).") from error


def read_csv(path: Path, columns: tuple[str, ...], **options: object) -> pd.DataFrame:
    """Read a CSV file that must have the given columns."""
    try:
        table = pd.read_csv(readable(path), **options)
    except (ValueError, OSError) as error:
        raise DatasetError(f"{path} cannot be read as CSV ({error}).") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes what is too much in a row for its name
        raise DatasetError(
            f"{path} has rows with more cells than its first line. Decimal commas need another separator, ; or tab."
        )
    absent = [column for column in columns if column not in table]
    if absent:
        raise DatasetError(f"{path} has no column '{absent[0]}'; it has {', '.join(map(str, table.columns))}.")
    return table
