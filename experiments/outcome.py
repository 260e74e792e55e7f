"""What a study comes to: a table of all runs, means with error bars, ranks, figures, a page."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scikit_posthocs as posthocs
from matplotlib.figure import Figure
from scipy import stats

from mimi_lightning.evaluation.predictions import read_predictions
from mimi_lightning.evaluation.statistics import corrected_t
from mimi_lightning.run_folder import RunFolder

if TYPE_CHECKING:
    from experiments.study import Job

TOLD = "study.json"  # in a run's folder: which run of the study it is, and its seconds
KEY = ["condition", "variant", "split", "seed"]
MEASURES = {
    "srcc": "mean test SRCC",
    "aligned": "pooled SRCC of aligned labels",
    "proxy": "pooled SRCC of proxy scores",
    "error": "RMSE of predictions / std of MOS",
}
LOWER = ("error",)  # is better
RATIO = 2 / 7  # of the test part to the training part


def record(folder: RunFolder, job: Job, seconds: float) -> None:
    """Note in the folder of a finished run which one it is."""
    told = {key: value for key, value in dataclasses.asdict(job).items() if key in KEY}
    (folder.path / TOLD).write_text(json.dumps({**told, "seconds": seconds}))


def report(study: Mapping[str, Any], out: Path) -> None:
    """Write results.csv, summary.csv, figures and page.md of all runs below a folder, and say where."""
    runs = pd.DataFrame([_read(file) for file in sorted(out.rglob(TOLD))])
    if runs.empty:
        raise SystemExit(f"There is no finished run in {out}.")
    if chosen_on := study.get("chosen_on"):
        parts = np.where(runs["split"] <= chosen_on, f"splits 1 to {chosen_on}", f"splits {chosen_on + 1} on")
        runs["condition"] += ", " + pd.Series(parts, index=runs.index)
    measures = _measures(study, runs)
    summary = summarise(runs, study["reference"], measures)
    if summary.empty:
        raise SystemExit(
            f"Nothing can be compared yet: two splits are needed, and {study['reference']} in each of them."
        )
    runs.to_csv(out / "results.csv", index=False)
    summary.to_csv(out / "summary.csv", index=False)
    order = [name for name in study["variants"] if name in set(runs["variant"])]
    draw_means(summary, order, measures).savefig(out / "means.png", dpi=150)
    for condition, rows in runs.groupby("condition"):
        if "srcc" in measures and (figure := draw_ranks(rows)) is not None:
            figure.savefig(out / f"ranks-{condition}.png".replace(", ", "-").replace(" ", "_"), dpi=150)
    (out / "page.md").write_text(page(study, runs, summary, order, measures))
    print((out / "page.md").read_text())
    print(f"{len(runs)} runs: {out}/results.csv, summary.csv, means.png, ranks-*.png, page.md")


def _measures(study: Mapping[str, Any], runs: pd.DataFrame) -> dict[str, str]:
    """What variants are compared by, and how it is called; where they hold other datasets, that of each dataset."""
    if not study.get("by_dataset"):
        return MEASURES
    return {column: column.removeprefix("srcc_") for column in sorted(runs) if column.startswith("srcc_")}


def _read(file: Path) -> dict[str, Any]:
    """What one run of a study says."""
    folder = RunFolder(file.parent)
    metrics = folder.read_metrics()
    srcc = {name: row["srcc"] for name, row in metrics["figures"].items()}
    pooled = {row["scores"]: row["srcc"] for row in metrics["alignment"]}
    return {
        **json.loads(file.read_text()),
        "srcc": srcc.pop("mean"),
        "weighted": srcc.pop("weighted"),
        "aligned": pooled.get("aligned labels"),
        "proxy": pooled.get("proxy scores"),
        "z-scores": pooled.get("z-score labels"),
        "error": _error(read_predictions(folder.file("predictions"))),
        **{f"srcc_{name}": value for name, value in srcc.items()},
    }


def _error(predictions: pd.DataFrame) -> float:
    """Mean over datasets of the RMSE of native predictions, in units of the standard deviation of the MOS."""
    squared = (predictions["prediction"] - predictions["mos"]) ** 2
    groups = predictions["dataset"]
    return float((squared.groupby(groups).mean() ** 0.5 / predictions["mos"].groupby(groups).std()).mean())


def over_splits(runs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """One measure, splits by variants: seeds of one split share its test part, so that splits are the samples."""
    return runs.groupby(["split", "variant"])[measure].mean().unstack("variant").dropna(axis=1)


def summarise(runs: pd.DataFrame, reference: str, measures: Iterable[str] = MEASURES) -> pd.DataFrame:
    """Means over splits, their difference from a reference with its 95 % interval, and mean ranks.

    Returns:
        Columns condition, measure, variant, mean, difference, half, p (of `corrected_t`), rank (1 is best), friedman
        (p of Friedman's test that all variants are alike), splits, seeds.
    """
    rows = []
    for (condition, of), measure in ((group, m) for group in runs.groupby("condition") for m in measures):
        table = over_splits(of, measure)
        if len(table) < 2 or reference not in table:
            continue
        ranks = table.rank(axis=1, ascending=measure in LOWER).mean()
        alike = stats.friedmanchisquare(*table.to_numpy().T).pvalue if table.shape[1] > 2 else np.nan
        for variant, values in table.items():
            compared = corrected_t(values - table[reference], RATIO)
            row = {"condition": condition, "measure": measure, "variant": variant, "mean": values.mean(), **compared}
            row |= {"rank": ranks[variant], "friedman": alike, "splits": len(table), "seeds": of["seed"].nunique()}
            rows.append(row)
    return pd.DataFrame(rows)


def draw_means(summary: pd.DataFrame, order: list[str], titles: Mapping[str, str] = MEASURES) -> Figure:
    """Means of all variants; bars are the 95 % intervals of their differences from the reference, which has none."""
    conditions = summary["condition"].unique()
    measures = [measure for measure in titles if measure in set(summary["measure"])]
    size = 2.2 + 2.6 * len(measures), 0.9 + 0.26 * len(order) * len(conditions)
    figure, axes = plt.subplots(len(conditions), len(measures), figsize=size, sharey=True, squeeze=False)
    place = {name: -number for number, name in enumerate(order)}
    for axis, (condition, measure) in zip(axes.flat, itertools.product(conditions, measures), strict=True):
        rows = summary.query("condition == @condition and measure == @measure")
        heights = rows["variant"].map(place)
        axis.errorbar(rows["mean"], heights, xerr=rows["half"], fmt="o", markersize=4, linewidth=1, color="#20508c")
        for _, base in rows[rows["half"] == 0].iterrows():
            axis.axvline(base["mean"], color="0.7", linewidth=1, zorder=0)
        axis.set_yticks(list(place.values()), list(place))
        axis.set_title(f"{titles[measure]}\n{condition}" if len(conditions) > 1 else titles[measure], fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(axis="x", color="0.9", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def draw_ranks(runs: pd.DataFrame) -> Figure | None:
    """Critical-difference diagram of the test SRCC: variants that a bar joins cannot be told apart (Nemenyi, .05)."""
    table = over_splits(runs, "srcc")
    if table.shape[1] < 3 or len(table) < 3:
        return None
    alike = posthocs.posthoc_nemenyi_friedman(table)
    figure, axis = plt.subplots(figsize=(9, 0.6 + 0.22 * table.shape[1]))
    ranks = table.rank(axis=1, ascending=False).mean()
    posthocs.critical_difference_diagram(ranks, alike, ax=axis, label_props={"fontsize": 8})
    figure.tight_layout()
    return figure


def page(
    study: Mapping[str, Any],
    runs: pd.DataFrame,
    summary: pd.DataFrame,
    order: list[str],
    titles: Mapping[str, str] = MEASURES,
) -> str:
    """The question and the numbers, as Markdown."""
    lines = [f"# {study['question']}", ""]
    for condition, rows in summary.groupby("condition", sort=False):
        told = runs[runs["condition"] == condition]
        measures = [measure for measure in titles if measure in set(rows["measure"])]
        ranked = rows[rows["measure"] == "srcc"].set_index("variant")
        said = (
            "SRCC of each dataset's test part."
            if ranked.empty
            else (f"Mean rank of the SRCC. All variants alike: p = {ranked['friedman'].iloc[0]:.2g} (Friedman).")
        )
        lines += [
            f"## {condition}: {told['split'].nunique()} splits, {told['seed'].nunique()} seeds, "
            f"{told['seconds'].median():.1f} s a run",
            "",
            f"Mean, and difference from `{study['reference']}` with its 95 % interval (corrected resampled t-test). "
            f"{said}",
            "",
            "| | " + " | ".join([*(titles[m] for m in measures), *(["rank"] if len(ranked) else [])]) + " |",
            "|---|" + "---|" * (len(measures) + (len(ranked) > 0)),
        ]
        for variant in order:
            of = rows[rows["variant"] == variant].set_index("measure")
            cells = [_cell(of.loc[m]) if m in of.index else "" for m in measures]
            if len(ranked):
                cells.append(f"{ranked.loc[variant, 'rank']:.1f}" if variant in ranked.index else "")
            lines.append(f"| {variant} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(row: pd.Series) -> str:
    text = f"{row['mean']:.3f}"
    if row["half"]:
        text += f" ({row['difference']:+.3f} ± {row['half']:.3f})"
    return f"**{text}**" if row["half"] and abs(row["difference"]) > row["half"] else text
