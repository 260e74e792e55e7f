"""Figures of a run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from mimi_lightning.module import QualityModel

POINT, CURVE, RANGE = "#0072B2", "#D55E00", "#999999"  # told apart by the colour-blind and in grey


def draw_mappings(model: QualityModel, predictions: pd.DataFrame, figures: pd.DataFrame, path: Path) -> None:
    """Write one panel a dataset: MOS over proxy score, with the curve of the score mapper.

    Args:
        model: the trained model.
        predictions: predictions table of one run and part.
        figures: result of `score_run`, for the titles.
        path: PNG to write.
    """
    names = list(dict.fromkeys(predictions["dataset"]))
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(3.6 * columns, 3.0 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
    margin = 0.05 * np.ptp(predictions["proxy"])
    grid = torch.linspace(float(predictions["proxy"].min() - margin), float(predictions["proxy"].max() + margin), 400)
    for axis, name in zip(axes, names, strict=False):
        group = predictions[predictions["dataset"] == name]
        number = model.names.index(name)
        with torch.no_grad():
            curve = model.predict_mos(grid, torch.full(grid.shape, number)).numpy()
        low, high = model.scale.ranges[number].tolist()
        axis.axhline(low, color=RANGE, linewidth=0.9, linestyle=":", label="published range")
        axis.axhline(high, color=RANGE, linewidth=0.9, linestyle=":")
        axis.scatter(group["proxy"], group["mos"], s=14, color=POINT, alpha=0.7, linewidths=0, label="test images")
        axis.plot(grid.numpy(), curve, color=CURVE, linewidth=1.8, label="score mapper")
        axis.set_title(f"{name}   SRCC {figures.loc[name, 'srcc']:.3f}   n {len(group)}", fontsize=10)
        axis.set_ylabel("MOS (native)")
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    figure.supxlabel("proxy score")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False)
    figure.savefig(path, dpi=150)
