"""Figures of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

POINT, CURVE, RANGE = "#0072B2", "#D55E00", "#999999"  # told apart by the colour-blind and in grey


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
        axis.set_title(f"{name}   SRCC {figures.loc[name, 'srcc']:.3f}   n {len(group)}", fontsize=10)
        axis.set_ylabel("MOS (native)")
    figure.supxlabel("proxy score")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False)
    return figure


def _panels(names: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """A panel for each name, three in a row, proxy axis in common."""
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(3.6 * columns, 3.0 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    return figure, axes[: len(names)]
