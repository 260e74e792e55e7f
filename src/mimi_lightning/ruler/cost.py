"""What became of a test part: figures of a checkpoint, and of what was made of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from mimi_lightning.errors import ScoreError
from mimi_lightning.metrics import rmse, srcc
from mimi_lightning.run_folder import Settings
from mimi_lightning.scoring import evaluate

FIGURES = {"SRCC": (srcc, "proxy"), "RMSE": (rmse, "prediction")}


def before_and_after(before: Path, after: Path, settings: Settings, labels: Path) -> pd.DataFrame:
    """Figures of two checkpoints on the test parts of datasets that both know.

    Args:
        before: one of them.
        after: the other.
        settings: of the datasets, see `evaluate`.
        labels: labels.csv of a run; both learned from no image that is in its test part.

    Returns:
        Index: the datasets. Columns `SRCC before`, `SRCC after`, `RMSE before`, `RMSE after`; NaN where too few or
        equal scores have no figure.
    """
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for when, checkpoint in (("before", before), ("after", after)):
            table = pd.read_csv(evaluate(checkpoint, settings, labels, Path(folder) / "scores.csv"))
            rows[when] = dict(list(table[table["part"] == "test"].groupby("dataset")))
    return pd.DataFrame(
        {
            f"{name} {when}": {dataset: _figure(figure, test, column) for dataset, test in rows[when].items()}
            for name, (figure, column) in FIGURES.items()
            for when in rows
        }
    )


def show(table: pd.DataFrame) -> None:
    """Print what `before_and_after` gave."""
    shown = Table(title="Test parts, before and after", title_justify="left")
    shown.add_column("dataset")
    for column in table:
        shown.add_column(column, justify="right")
    for dataset, *figures in table.itertuples():
        shown.add_row(dataset, *(f"{figure:.4g}" for figure in figures))
    Console(soft_wrap=True).print(shown)


def _figure(figure: Callable[..., float], rows: pd.DataFrame, column: str) -> float:
    try:
        return figure(rows[column], rows["mos"])
    except ScoreError:
        return float("nan")
