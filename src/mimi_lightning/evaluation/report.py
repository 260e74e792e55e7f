"""From runs to a report: numbers, tables, figures, and a page to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.console import Console

from mimi_lightning.errors import ScoreError
from mimi_lightning.evaluation import tables
from mimi_lightning.evaluation.figures import (
    draw_curves,
    draw_distortions,
    draw_labels,
    draw_scatter,
    draw_splits,
    draw_training,
    draw_uncertainty,
)
from mimi_lightning.evaluation.findings import Report, make_report
from mimi_lightning.evaluation.page import write_page
from mimi_lightning.evaluation.protocol import titled
from mimi_lightning.evaluation.study import collect
from mimi_lightning.evaluation.uncertainty import standardised
from mimi_lightning.files import folder_aside


def report(
    sources: Sequence[Path],
    out: Path | None = None,
    expected: Sequence[int] = (),
    quality: Path | None = None,
    lists: Path | None = None,
    images: Path | None = None,
    fits: str = "least",
    config_dir: Path | None = None,
) -> Report:
    """Make, write and show the report of some runs.

    Args:
        sources: folders of runs, tables of predictions; see `collect`.
        out: where to write; `report` in the first of the folders, or beside the first table, when it is None.
        expected: splits that each model should have.
        quality: ratings that compare across datasets, see `make_report`.
        lists: published lists, see `make_report`.
        images: root of the datasets' folders, for tables that belong to no run.
        fits: kind of the logistic fits, see `metrics.FITS`.
        config_dir: holds dataset/NAME.yaml of datasets of one's own.

    Raises:
        ScoreError: nothing to report, or something wrong in it.
    """
    if quality is not None and not quality.is_file():
        raise ScoreError(f"There is no {quality}: --alignment names the file of ratings.")
    for option, root in {"--lists": lists, "--images": images}.items():
        if root is not None and not root.is_dir():
            raise ScoreError(f"There is no folder {root} for {option}.")
    first = sources[0]
    folder = out or (first if first.is_dir() else first.parent) / "report"
    made = make_report(collect(sources, expected, config_dir), quality, lists, fits, progress=True)
    write_report(made, folder, images)
    show_report(made, folder)
    return made


def write_report(report: Report, folder: Path, images: Path | None = None) -> None:
    """Write report.html, figures/, report.md, report.tex, report.json, results.csv and breakdown.csv.

    Where a model states deviations, uncertainty.csv as well. They appear together, when all of them are there.
    """
    with folder_aside(folder) as work:
        _write(report, work, images)


def _write(report: Report, folder: Path, images: Path | None) -> None:
    report.results.to_csv(folder / "results.csv", index=False)
    report.breakdown.to_csv(folder / "breakdown.csv", index=False)
    recorded = ["summary", "comparisons", "alignment", "cross"]
    if len(report.uncertainty):
        report.uncertainty.to_csv(folder / "uncertainty.csv", index=False)
        recorded.append("uncertainty")
    records = {
        name: json.loads(getattr(report, name).to_json(orient="records", double_precision=15)) for name in recorded
    }
    numbers = {"fits": report.fits, **records, "notes": list(report.notes)}
    (folder / "report.json").write_text(json.dumps(numbers, indent=2) + "\n")
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    for name, figure in draw_report(report):
        for suffix in ("pdf", "png"):
            figure.savefig(figures / f"{name}.{suffix}", dpi=200)
    (folder / "report.md").write_text(tables.markdown(report))
    (folder / "report.tex").write_text(tables.latex(report))
    write_page(report, folder / "report.html", images, progress=True)


def draw_report(report: Report) -> Iterator[tuple[str, Figure]]:
    """Draw all that the study has data for; a model's own figures show its first split.

    Yields:
        File name without suffix, figure.
    """
    with rc_context({"text.parse_math": False}):  # a dollar in a name is a dollar
        yield from _draw(report)


def _draw(report: Report) -> Iterator[tuple[str, Figure]]:
    for figure in ("srcc", "plcc_4p"):
        yield f"splits-{figure}", draw_splits(report.results, figure, titled(figure, report.fits))
    if report.breakdown["srcc"].notna().any():
        yield "distortions", draw_distortions(report.breakdown)
    if len(report.uncertainty):
        yield "uncertainty", draw_uncertainty(standardised(report.study.tested))
    for (model, split), rows in report.study.tested.groupby(["model", "split"]):
        if split == report.study.splits[model][0]:
            name, title = _file_name(model), f"{model}, split {split}"
            of_split = report.results[(report.results["model"] == model) & (report.results["split"] == split)]
            yield f"scatter-{name}", draw_scatter(rows, of_split.set_index("dataset"), title, report.fits)
            if rows["aligned"].notna().all():
                yield f"labels-{name}", draw_labels(rows, title)
    for model in report.study.models:
        runs = sorted((run for run in report.study.runs if run.model == model), key=lambda run: run.split)
        if not runs:
            continue
        name, title = _file_name(model), f"{model}, split {runs[0].split}"
        yield f"mappings-{name}", draw_curves(runs[0].read_mappings(), runs[0].ranges, title)
        if logs := {run.split: log for run in runs if (log := run.read_log()) is not None}:
            yield f"training-{name}", draw_training(logs, model)


def _file_name(model: str) -> str:
    """As disks take it: folders of a name are told by dashes, and 255 bytes are the most."""
    return model.replace("/", "-").encode()[-200:].decode(errors="ignore")


def show_report(report: Report, folder: Path) -> None:
    """Print the numbers, what is missing, and where the report lies."""
    console = Console(soft_wrap=True)
    for table in tables.terminal(report):
        console.print(table)
        console.print()
    for note in report.notes:
        console.print(note, style="yellow", markup=False, highlight=False)
    console.print(f"report      {folder / 'report.html'}", highlight=False)


def show_alignment(alignment: pd.DataFrame) -> None:
    """Print alignment figures alone."""
    Console(soft_wrap=True).print(tables.alignment_table(alignment))
