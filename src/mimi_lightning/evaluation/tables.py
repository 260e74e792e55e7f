"""The numbers of a report as tables: for the terminal, Markdown, LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import pandas as pd
from rich import box
from rich.table import Table

from mimi_lightning.evaluation.alignment import BASELINES, LISTS_ALONE
from mimi_lightning.evaluation.findings import Report
from mimi_lightning.evaluation.predictions import UNSEEN
from mimi_lightning.evaluation.protocol import BY_SPLIT, FIGURES, FITTED, OVER_DATASETS, titled
from mimi_lightning.evaluation.uncertainty import CALIBRATION, RANKING

Grid = list[list[str]]
CROSS = "SRCC of every train mix on every test set (in brackets: trained on it too)"
PAIRED = "Paired differences of SRCC (Wilcoxon's signed-rank test)"
ALIGNED = "Alignment: pooled over the datasets, against their common quality"
CALIBRATED = "Calibration of stated deviations: coverage of central intervals, and NLL (medians over splits)"
RANKED = "Stated deviations against sizes of errors: SRCC, and AURC of their order (medians over splits)"
UNCERTAINTY = {CALIBRATED: "calibration", RANKED: "ranking"}  # how LaTeX labels them
WITHIN_DISTORTIONS = "SRCC within one distortion, median over splits"
ALIGNMENT = ["srcc", "plcc", "rmse"]
LOWER_IS_BETTER = ("rmse_4p", "rmse_5p")


def overview(summary: pd.DataFrame, figure: str, value: str = "median") -> pd.DataFrame:
    """One figure of all models: rows models, columns datasets, then `OVER_DATASETS`."""
    rows = summary[summary["figure"] == figure]
    table = rows.pivot(index="model", columns="dataset", values=value)
    datasets = [name for name in table if name not in OVER_DATASETS]
    return table[[*datasets, *(name for name in OVER_DATASETS if name in table)]].rename_axis(index=None, columns=None)


def best(table: pd.DataFrame, figure: str) -> pd.DataFrame:
    """Which cells of an overview are the best of their column, to the digits that are shown; none of a single model."""
    shown = table.round(4)
    extreme = shown.min() if figure in LOWER_IS_BETTER else shown.max()
    return shown.eq(extreme) & (len(table) > 1)


def markdown(report: Report) -> str:
    """All numbers as a Markdown page, the best of several models in bold."""
    lines = ["# Report", ""]
    for figure in FIGURES:
        medians, deviations = overview(report.summary, figure), overview(report.summary, figure, "std")
        bold = best(medians, figure)
        cells = [
            [name, *(_bold(_spread(medians.at[name, c], deviations.at[name, c]), bold.at[name, c]) for c in medians)]
            for name in medians.index
        ]
        grid = [["model", *medians], *cells]
        title = f"{titled(figure, report.fits)}, median (standard deviation) over splits"
        lines += [f"## {title}", "", *_markdown_table(grid), ""]
    for title, grid in details(report):
        lines += [f"## {title}", "", *_markdown_table(grid), ""]
    return "\n".join([*lines, *(f"- {note}" for note in report.notes), ""])


def latex(report: Report) -> str:
    """SRCC and PLCC after the 4-parameter fit, medians over splits, as booktabs tables; the best in bold.

    Stated deviations as well, where there are some.
    """
    tables = []
    for figure in ("srcc", "plcc_4p"):
        medians = overview(report.summary, figure).drop(columns=BY_SPLIT.values())
        bold = best(medians, figure)
        style = (
            medians.style.format(precision=3, na_rep="--")
            .format_index(escape="latex", axis=0)
            .format_index(escape="latex", axis=1)
            .apply(lambda _, bold=bold: bold.replace({True: "textbf:--rwrap", False: ""}), axis=None)
        )
        caption = f"Median {titled(figure, report.fits)} over splits."
        columns = "l" + "r" * medians.shape[1]
        tables.append(style.to_latex(hrules=True, column_format=columns, caption=caption, label=f"tab:{figure}"))
    for title, (headings, *rows) in details(report):
        if title in UNCERTAINTY:
            style = pd.DataFrame(rows, columns=headings).style.hide(axis="index")
            style = style.format(escape="latex").format_index(escape="latex", axis=1)
            columns, label = "ll" + "r" * (len(headings) - 2), f"tab:{UNCERTAINTY[title]}"
            tables.append(style.to_latex(hrules=True, column_format=columns, caption=f"{title}.", label=label))
    return "% \\usepackage{booktabs}\n" + "\n".join(tables)


def terminal(report: Report) -> Iterator[Table]:
    """What a reader of the terminal wants to see, the most wanted last."""
    for title, grid in details(report):
        yield _grid(title, grid)
    for model, rows in report.summary.groupby("model", sort=False):
        splits = int(rows["splits"].max())
        over = f"median of {splits} split{'s' * (splits > 1)}"
        title = f"{model}: proxy score against MOS, {over}, {FITTED[report.fits]}s"
        yield _grid(title, _of_model(rows), sections=[len(rows["dataset"].unique()) - len(OVER_DATASETS)])


def alignment_table(alignment: pd.DataFrame) -> Table:
    """Alignment figures alone, for the terminal."""
    return _grid(ALIGNED, aligned(alignment))


def details(report: Report) -> Iterator[tuple[str, Grid]]:
    """What there is beside the figures of each dataset: title and cells."""
    grids = {
        WITHIN_DISTORTIONS: distortions(report.breakdown),
        CROSS: crossed(report.cross),
        RANKED: uncertain(report.uncertainty, RANKING),
        CALIBRATED: uncertain(report.uncertainty, CALIBRATION),
        PAIRED: compared(report.comparisons),
        ALIGNED: aligned(report.alignment),
    }
    return ((title, grid) for title, grid in grids.items() if len(grid) > 1)


def crossed(cross: pd.DataFrame) -> Grid:
    """Train mix x test set, heading first: SRCC, in brackets where the model was trained on the dataset."""
    cells = [_short(row.srcc) if row.part == UNSEEN else f"({_short(row.srcc)})" for row in cross.itertuples()]
    table = cross.assign(cell=cells).pivot(index=["model", "trained"], columns="dataset", values="cell").fillna("")
    rows = [[*key, *row] for key, row in zip(table.index, table.to_numpy(), strict=True)]
    return [["model", "trained on", *table], *rows]


def compared(comparisons: pd.DataFrame) -> Grid:
    """Paired tests, heading first."""
    rows = [
        [row.first, row.second, row.dataset, str(row.splits), f"{row.difference:+.4f}", _number(row.p)]
        for row in comparisons.itertuples()
    ]
    return [["first", "second", "dataset", "splits", "median", "p"], *rows]


def aligned(alignment: pd.DataFrame) -> Grid:
    """Alignment figures, heading first: medians over the splits of a model, after what the labels of its images say.

    Labels of the same images say the same whatever the model, and stand once above all models that were tested on
    these in every split.
    """
    labels = alignment["scores"].isin(BASELINES)
    sets: dict[tuple, list[str]] = {}
    for model, rows in alignment[labels].groupby("model", sort=False):
        said = rows[["split", "scores", "n", *ALIGNMENT]].round(9).sort_values(["split", "scores"])
        sets.setdefault(tuple(said.itertuples(index=False, name=None)), []).append(model)
    grid = [["model", "scores", "splits", "images", "SRCC", "PLCC", "RMSE"]]
    for models in sets.values():
        grid += _medians(alignment[labels & (alignment["model"] == models[0])].assign(model=LISTS_ALONE))
        grid += _medians(alignment[~labels & alignment["model"].isin(models)])
    return grid


def _medians(alignment: pd.DataFrame) -> Grid:
    groups = alignment.groupby(["model", "scores"], sort=False)[["n", *ALIGNMENT]]
    splits, table = groups.size(), groups.median()
    return [
        [*key, str(splits[key]), f"{n:.0f}", *map(_number, figures)]
        for key, (n, *figures) in zip(table.index, table.to_numpy(), strict=True)
    ]


def uncertain(uncertainty: pd.DataFrame, figures: Mapping[str, str]) -> Grid:
    """Some figures of stated deviations, heading first: medians over the splits of a model, none that lack one.

    Args:
        uncertainty: of `score_deviations`.
        figures: columns of it and their headings.
    """
    groups = uncertainty.groupby(["model", "dataset"], sort=False)[list(figures)]
    table = groups.agg(lambda values: values.median(skipna=False))
    rows = [[*key, *map(_short, row)] for key, row in zip(table.index, table.to_numpy(), strict=True)]
    return [["model", "dataset", *figures.values()], *rows]


def distortions(breakdown: pd.DataFrame) -> Grid:
    """SRCC within each distortion, heading first."""
    whole = breakdown[breakdown["level"].isna()].dropna(subset="srcc")
    table = whole.pivot(index=["dataset", "distortion"], columns="model", values="srcc")
    cells = [[*key, *map(_number, row)] for key, row in zip(table.index, table.to_numpy(), strict=True)]
    return [["dataset", "distortion", *table], *cells]


def _of_model(rows: pd.DataFrame) -> Grid:
    """Fits 80 columns; report.md has all figures."""
    median = rows.pivot(index="dataset", columns="figure", values="median")
    spread = rows[rows["figure"] == "srcc"].set_index("dataset")
    grid = [["dataset", "SRCC", "mean", "std", "min", "max", "KRCC", "PLCC", "PLCC\n4p", "PLCC\n5p", "RMSE\n4p"]]
    for name, srcc in spread.iterrows():
        over_splits = [_short(srcc[value]) for value in ("median", "mean", "std", "min", "max")]
        others = [_short(median.at[name, figure]) for figure in ("krcc", "plcc", "plcc_4p", "plcc_5p", "rmse_4p")]
        grid.append([name, *over_splits, *others])
    return grid


def _grid(title: str, cells: Grid, sections: Sequence[int] = ()) -> Table:
    """Cells, heading first, as a table in which what repeats in the first column is named once."""
    narrow = {"collapse_padding": True, "pad_edge": False, "show_edge": False}
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, **narrow)
    for number, heading in enumerate(cells[0]):
        numeric = all(_is_number(row[number]) for row in cells[1:])
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for number, ((before, *_), (first, *rest)) in enumerate(pairwise(cells)):
        if number in sections:
            table.add_section()
        table.add_row("" if first == before else first, *rest)
    return table


def _is_number(cell: str) -> bool:
    return not cell or cell[0] in "0123456789.+-("


def _markdown_table(cells: Grid) -> list[str]:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return [lines[0], "|---" * len(cells[0]) + "|", *lines[1:]]


def _spread(value: float, deviation: float) -> str:
    return _number(value) if math.isnan(deviation) else f"{_number(value)} ({_number(deviation)})"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _short(value: float) -> str:
    return "" if math.isnan(value) else re.sub(r"^(-?)0\.", r"\1.", f"{value:.3f}")


def _bold(cell: str, bold: bool) -> str:
    return f"**{cell}**" if bold and cell else cell
