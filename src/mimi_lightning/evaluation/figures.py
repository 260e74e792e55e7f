"""Figures of runs and of reports, for papers: told apart by the colour-blind and in greyscale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimi_lightning.errors import ScoreError
from mimi_lightning.evaluation.protocol import BY_SPLIT, FITTED, MEANS
from mimi_lightning.evaluation.uncertainty import coverage, risk_curve
from mimi_lightning.metrics import FITS

POINT, CURVE, SECOND, RANGE = "#0072B2", "#D55E00", "#000000", "#999999"
# One a dataset or model: colours of Okabe and Ito, with a line, a marker and a hatch of its own.
COLOURS = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"
LINES = "-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (9, 3)), (0, (1, 4))
HATCHES = "", "//", "..", "xx", "\\\\", "++", "oo"

# Points of a panel that a PDF holds one by one. It takes a bitmap of the whole figure to draw more of them as one.
SHARP = 3000


def draw_mappings(
    curves: pd.DataFrame, predictions: pd.DataFrame, ranges: Mapping[str, tuple[float, float]], figures: pd.DataFrame
) -> Figure:
    """One panel a dataset: MOS over proxy score, with the curve of the score mapper.

    Args:
        curves: of `mapping_curves`.
        predictions: predictions table of one run and part.
        ranges: published range of each dataset, native scale.
        figures: result of `score_run`, for the titles.
    """
    names = list(dict.fromkeys(predictions["dataset"]))
    margin = 0.05 * np.ptp(predictions["proxy"])
    low, high = predictions["proxy"].min() - margin, predictions["proxy"].max() + margin
    figure, axes = _panels(names)
    for axis, name in zip(axes, names, strict=True):
        group, curve = predictions[predictions["dataset"] == name], curves[curves["dataset"] == name]
        for end, label in zip(ranges[name], ("published range", None), strict=True):
            axis.axhline(end, color=RANGE, linewidth=0.9, linestyle=":", label=label)
        axis.scatter(group["proxy"], group["mos"], s=14, color=POINT, alpha=0.7, linewidths=0, label="test images")
        seen = curve[curve["proxy"].between(low, high)]
        axis.plot(seen["proxy"], seen["mos"], color=CURVE, linewidth=1.8, label="score mapper")
        axis.set_title(_told(name, figures.at[name, "srcc"], len(group)), fontsize=10)
        axis.set_ylabel("MOS (native)")
    figure.supxlabel("proxy score")
    _head(figure, axes, predictions["run"].iloc[0])
    return figure


def draw_scatter(predictions: pd.DataFrame, figures: pd.DataFrame, title: str, fits: str = "least") -> Figure:
    """MOS over proxy score, one panel a dataset, with both logistic curves that the protocol fits.

    Args:
        predictions: test rows of one model and split.
        figures: of `score_splits`, the rows of that model and split, by dataset.
        title: names model and split.
        fits: kind of the logistic fits, see `metrics.FITS`.
    """
    names = sorted(predictions["dataset"].unique())
    figure, axes = _panels(names)
    for axis, name in zip(axes, names, strict=True):
        group = predictions[predictions["dataset"] == name]
        score, mos = group["proxy"].to_numpy(), group["mos"].to_numpy()
        many = len(group) > SHARP
        axis.scatter(score, mos, s=10, color=POINT, alpha=0.5, linewidths=0, rasterized=many, label="test images")
        grid = np.linspace(score.min(), score.max(), 300)
        for (curve, fit), style in zip(FITS[fits].items(), ((CURVE, "-"), (SECOND, "--")), strict=True):
            try:
                fitted = fit(score, mos)(grid)
            except ScoreError:  # the results say why
                continue
            axis.plot(grid, fitted, color=style[0], linestyle=style[1], label=f"{curve} {FITTED[fits]}")
        axis.set_title(_told(name, figures.at[name, "srcc"], len(group)), fontsize=10)
        axis.set_ylabel("MOS (native scale)")
        axis.set_ylim(*_padded(mos))
    figure.supxlabel("proxy score")
    _head(figure, axes, title)
    return figure


def draw_curves(curves: pd.DataFrame, ranges: Mapping[str, tuple[float, float]], title: str) -> Figure:
    """All score mappers on the one proxy axis, and where the ends of the datasets' ranges fall on it.

    Args:
        curves: of `mapping_curves`.
        ranges: published range of each dataset, native scale.
        title: names model and split.
    """
    names = sorted(curves["dataset"].unique())
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True, height_ratios=[3, 0.25 * len(names) + 0.3])
    for number, name in enumerate(names):
        curve, (low, high) = curves[curves["dataset"] == name], ranges[name]
        style = {"color": COLOURS[number % 7], "linestyle": LINES[number % 7]}
        top.plot(curve["proxy"], (curve["mos"] - low) / (high - low), linewidth=1.8, label=name, **style)
        if curve["mos"].is_monotonic_increasing:  # otherwise no proxy score is that of an end
            ends = np.interp([low, high], curve["mos"], curve["proxy"])
            bottom.plot(ends, [number, number], linewidth=5, solid_capstyle="butt", color=style["color"])
    top.set_title(title, fontsize=10)
    top.set_ylabel("MOS as a share of the\npublished range")
    for end in (0, 1):
        top.axhline(end, color=RANGE, linewidth=0.9, linestyle=":")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, handlelength=3.5)
    bottom.set_yticks(range(len(names)), names)
    bottom.set_ylim(len(names) - 0.5, -0.5)
    bottom.set_xlabel("proxy score (below: the published ranges, as far as the curves are known)")
    _bare(top, bottom)
    return figure


def draw_labels(predictions: pd.DataFrame, title: str) -> Figure:
    """Labels of each dataset before and after alignment: native by range, and on the proxy axis.

    Args:
        predictions: test rows of one model and split, with `aligned`.
        title: names model and split.
    """
    names = sorted(predictions["dataset"].unique())
    groups = {name: predictions[predictions["dataset"] == name] for name in names}
    shares = [(group["mos"] - group["mos"].min()) / np.ptp(group["mos"]) for group in groups.values()]
    aligned = [group["aligned"] for group in groups.values()]
    figure = Figure(figsize=(8.4, 0.5 * len(names) + 1.4), layout="constrained")
    for axis, labels, heading, unit in zip(
        figure.subplots(1, 2, sharey=True),
        (shares, aligned),
        ("native labels", "aligned labels"),
        ("MOS as a share of the labels' range", "proxy score that the mapper takes to the MOS"),
        strict=True,
    ):
        axis.boxplot(labels, orientation="horizontal", widths=0.6, **_box(COLOURS[5]))
        axis.set_title(heading, fontsize=10)
        axis.set_xlabel(unit)
        _bare(axis)
    axis.set_yticks(range(1, len(names) + 1), names)
    axis.invert_yaxis()
    figure.suptitle(title, fontsize=10)
    return figure


def draw_splits(results: pd.DataFrame, figure_name: str, label: str) -> Figure:
    """Box plot of one figure over splits: each dataset, then the two means of each split; one box a model.

    Args:
        results: of `score_splits`.
        figure_name: column of it.
        label: of the axis.
    """
    models = sorted(results["model"].unique())
    names = [*sorted(set(results["dataset"]) - set(MEANS)), *MEANS]
    figure = Figure(figsize=(1.0 + len(names) * (0.6 + 0.3 * len(models)), 4.0), layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(models)
    for number, model in enumerate(models):
        values = results[results["model"] == model].dropna(subset=figure_name).groupby("dataset")[figure_name]
        there = [name for name in names if name in values.groups]
        if not there:  # a model that collapsed; the notes say why
            continue
        places = np.array([names.index(name) for name in there]) + (number - (len(models) - 1) / 2) * width
        boxes = axis.boxplot(
            [values.get_group(name) for name in there],
            positions=places,
            widths=0.8 * width,
            **_box(COLOURS[number % 7], HATCHES[number % 7]),
        )
        boxes["boxes"][0].set_label(model)
    axis.set_xticks(range(len(names)), [BY_SPLIT.get(name, name).replace(" by", "\nby") for name in names])
    axis.axvline(len(names) - len(MEANS) - 0.5, color=RANGE, linewidth=0.9, linestyle=":")
    axis.set_ylabel(f"{label}\n(test part, over splits)")
    handles, labels = _handles([axis])
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=min(3, len(models)), frameon=False)
    _bare(axis)
    return figure


def draw_distortions(breakdown: pd.DataFrame) -> Figure:
    """SRCC within one distortion as bars, one panel a dataset.

    Args:
        breakdown: of `break_down`, with at least one figure of all levels.
    """
    whole = breakdown[breakdown["level"].isna()].dropna(subset="srcc")
    names, models = sorted(whole["dataset"].unique()), sorted(whole["model"].unique())
    counts = [whole.loc[whole["dataset"] == name, "distortion"].nunique() for name in names]
    height = 0.14 * sum(counts) * (1 + len(models)) + 1.0 + 0.4 * len(names)
    figure = Figure(figsize=(7.2, height), layout="constrained")
    axes = figure.subplots(len(names), squeeze=False, sharex=True, height_ratios=counts)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        table = whole[whole["dataset"] == name].pivot(index="distortion", columns="model", values="srcc")
        for number, model in enumerate(models):
            if model in table:
                place = np.arange(len(table)) + (number - (len(models) - 1) / 2) * 0.8 / len(models)
                style = {"color": COLOURS[number % 7], "hatch": HATCHES[number % 7], "edgecolor": "white"}
                axis.barh(place, table[model], 0.8 / len(models), label=model, **style)
        axis.axvline(0, color=RANGE, linewidth=0.9)
        axis.set_yticks(range(len(table)), table.index)
        axis.set_ylim(len(table) - 0.4, -0.6)
        axis.set_title(name, fontsize=10, loc="left")
        _bare(axis)
    axes[-1].set_xlabel("SRCC within one distortion, median over splits")
    figure.legend(*_handles(axes), loc="outside upper right", ncols=min(3, len(models)), frameon=False)
    return figure


def draw_uncertainty(rows: pd.DataFrame) -> Figure:
    """How well stated deviations are calibrated, and what leaving out the least sure images is worth; a line a model.

    All datasets pooled, medians over splits.

    Args:
        rows: of `standardised`.
    """
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    nominal, share = np.linspace(0.01, 0.99, 99), np.linspace(0.02, 1, 99)
    for number, (model, of_model) in enumerate(rows.groupby("model")):
        style = {"color": COLOURS[number % 7], "linestyle": LINES[number % 7], "linewidth": 1.8, "label": model}
        splits = [(group["error"].to_numpy(), group["std"].to_numpy()) for _, group in of_model.groupby("split")]
        left.plot(nominal, np.median([coverage(error, std, nominal) for error, std in splits], axis=0), **style)
        right.plot(share, _over_splits(share, [risk_curve(error, std) for error, std in splits]), **style)
        oracle = _over_splits(share, [risk_curve(error, np.abs(error)) for error, _ in splits])
        right.plot(share, oracle, color=style["color"], linewidth=0.9, linestyle=":")
    left.plot([0, 1], [0, 1], color=RANGE, linewidth=0.9, linestyle=":")
    left.set_xlabel("nominal coverage of the central interval")
    left.set_ylabel("empirical coverage")
    right.set_xlabel("share of images, the surest first\n(dotted: the least errors first)")
    right.set_ylabel("RMSE (deviations of MOS)")
    right.set_ylim(bottom=0)
    figure.legend(*_handles([left]), loc="outside upper center", ncols=3, frameon=False, handlelength=3.5)
    _bare(left, right)
    return figure


def draw_training(logs: Mapping[int, pd.DataFrame], title: str) -> Figure:
    """Training loss and validation SRCC over epochs, a line a split.

    Args:
        logs: of each split, what CSVLogger wrote: epoch, perhaps train/loss, perhaps val/srcc_weighted.
        title: names the model.
    """
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    axes = figure.subplots(1, 2)
    columns = {"train/loss": "training loss", "val/srcc_weighted": "validation SRCC, weighted"}
    for axis, (column, label) in zip(axes, columns.items(), strict=True):
        for number, (split, log) in enumerate(sorted(logs.items())):
            if column not in log:  # an epoch shorter than the logging interval
                continue
            values = log.groupby("epoch")[column].mean().dropna()
            style = {"color": COLOURS[number % 7], "linestyle": LINES[number % 7], "marker": "os"[number // 7 % 2]}
            axis.plot(values.index + 1, values, markersize=3, linewidth=1.2, label=f"split {split}", **style)
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        _bare(axis)
    figure.suptitle(title, fontsize=10)
    figure.legend(*_handles(axes[:1]), loc="outside right upper", frameon=False)
    return figure


def _over_splits(share: np.ndarray, curves: Sequence[np.ndarray]) -> np.ndarray:
    """Median of curves whose values belong to the shares 1/n..1 of n images."""
    return np.median([np.interp(share, np.arange(1, len(curve) + 1) / len(curve), curve) for curve in curves], axis=0)


def _panels(names: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """A panel for each name, three in a row, proxy axis in common."""
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(3.6 * columns, 3.0 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
    _bare(*axes)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    return figure, axes[: len(names)]


def _head(figure: Figure, axes: Sequence[Axes], title: str) -> None:
    """Title and legend above the panels, none of them wider than these."""
    columns = min(3, len(axes))
    handles, labels = _handles(axes)
    style = {"ncols": columns, "frameon": False, "alignment": "right"}
    figure.legend(handles, labels, loc="outside upper right", title=fill(title, 42 * columns), **style)


def _told(name: str, srcc: float, n: int) -> str:
    return f"{name}   SRCC {srcc:.3f}   n {n:,}"


def _bare(*axes: Axes) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)


def _box(colour: str, hatch: str = "") -> dict[str, object]:
    return {
        "patch_artist": True,
        "manage_ticks": False,
        "boxprops": {"facecolor": colour, "alpha": 0.75, "hatch": hatch},
        "medianprops": {"color": "black", "linewidth": 1.6},
        "flierprops": {"marker": ".", "markersize": 4},
    }


def _handles(axes: Sequence[Axes]) -> tuple[list, list[str]]:
    """Legend entries of all axes, each once."""
    pairs = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    return list(pairs.values()), list(pairs)


def _padded(values: np.ndarray) -> tuple[float, float]:
    margin = 0.06 * (np.ptp(values) or 1)
    return values.min() - margin, values.max() + margin
