"""The published protocol on one predictions table: figures of every dataset, weighted and plain means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import pandas as pd
from rich import box
from rich.table import Table

from mimi_lightning.errors import ScoreError
from mimi_lightning.metrics import FITS, correlations, fitted_figures, weighted_mean

MEANS = ("weighted", "mean")  # rows over all datasets
BY_SPLIT = {name: f"{name} by split" for name in MEANS}  # over splits: how the figure of each split varies
OVER_DATASETS = (*MEANS, *BY_SPLIT.values())
FIGURES = {
    "srcc": "SRCC",
    "krcc": "KRCC",
    "plcc": "PLCC",
    "plcc_4p": "PLCC 4p",
    "plcc_5p": "PLCC 5p",
    "rmse_4p": "RMSE 4p",
    "rmse_5p": "RMSE 5p",
}
FITTED = {"least": "least-residual fit", "published": "published fit"}  # what kinds of `metrics.FITS` are called


def titled(figure: str, fits: str) -> str:
    """Heading of a figure: where it follows a fit, with the kind of that."""
    return FIGURES[figure] + (f" ({FITTED[fits]})" if figure.endswith(("4p", "5p")) else "")


def score_run(predictions: pd.DataFrame, sizes: Mapping[str, int], fits: str = "least") -> pd.DataFrame:
    """Figures of the proxy scores against MOS.

    Args:
        predictions: predictions table of one run and part.
        sizes: images of each dataset, all parts together; they weigh the weighted mean.
        fits: kind of the logistic fits, see `metrics.FITS`.

    Returns:
        One row a dataset, then `weighted` and `mean`; the published figures and a column `note` that says
        why a figure of this dataset is nan. A mean over nan is nan.
    """
    rows = {name: _figures(group, fits) for name, group in predictions.groupby("dataset")}
    table = pd.DataFrame.from_dict(rows, orient="index")
    comparable = table[[name for name in FIGURES if not name.startswith("rmse")]]  # RMSE has native units
    table.loc["weighted"] = {name: weighted_mean(comparable[name].to_dict(), sizes) for name in comparable}
    table.loc["mean"] = comparable.mean(skipna=False)
    table.loc[["weighted", "mean"], "n"] = table["n"].sum()
    table["note"] = table["note"].fillna("")
    return table.astype({"n": int})


def _figures(group: pd.DataFrame, fits: str) -> dict[str, float | str]:
    row = {"n": len(group), "note": "", **dict.fromkeys(FIGURES, math.nan)}
    notes = {}  # a dictionary, since one cause may spoil all
    for figures in (correlations, *(partial(fitted_figures, curve=curve, fits=fits) for curve in FITS[fits])):
        try:
            row |= figures(group["proxy"].to_numpy(), group["mos"].to_numpy())
        except ScoreError as error:
            notes[str(error)] = None
    return {**row, "note": "; ".join(notes)}


def terminal_table(figures: pd.DataFrame, title: str) -> Table:
    """The figures as a table for the terminal."""
    shown = {key: heading for key, heading in FIGURES.items() if key != "rmse_5p"}  # 80 columns have no room for it
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("dataset", no_wrap=True)
    for heading in ("images", *shown.values()):
        table.add_column(heading, justify="right")
    for name, row in figures.iterrows():
        if name == "weighted":
            table.add_section()
        cells = ["" if math.isnan(row[key]) and name in ("weighted", "mean") else f"{row[key]:.4f}" for key in shown]
        table.add_row(str(name), str(row["n"]), *cells)
    notes = [f"{name}: {note}" for name, note in figures["note"].items() if note]
    table.caption = "\n".join(notes) or None
    return table
