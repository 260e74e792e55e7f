"""Label files in the owners' formats, the same bytes for the same labels: no dates, no machine."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import savemat

from mimi_lightning.data.miniature.contents import INSTALL
from mimi_lightning.errors import DatasetError

MAT_HEADER = b"MATLAB 5.0 MAT-file".ljust(116)  # SciPy's own says when and where it was written


def write_mat(path: Path, variables: Mapping[str, np.ndarray]) -> None:
    """Write a MATLAB 5 file without the date in its header."""
    buffer = io.BytesIO()
    savemat(buffer, variables)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MAT_HEADER + buffer.getvalue()[len(MAT_HEADER) :])


def write_sheet(path: Path, sheet: str, rows: Iterable[Iterable[object]], row: int = 0, column: int = 0) -> None:
    """Write rows into a sheet of an .xlsx file, their first cell at (row, column) counted from 0."""
    try:
        import xlsxwriter
    except ImportError as error:
        raise DatasetError(f"The miniature datasets need {error.name}: {INSTALL}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with xlsxwriter.Workbook(str(path)) as book:
        book.set_properties({"created": datetime(2025, 1, 1)})
        worksheet = book.add_worksheet(sheet)
        for offset, cells in enumerate(rows):
            worksheet.write_row(row + offset, column, cells)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV file with the same line ends on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, lineterminator="\n")
