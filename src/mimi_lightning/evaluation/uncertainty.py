"""How well a model knows what it does not know: the deviations that it states, against its errors.

Both count in units of the deviation of MOS of their dataset, in the test part of that split, so that datasets compare:
an RMSE of 1 is that of always predicting the mean MOS.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from mimi_lightning.evaluation.statistics import LEAST

Array = NDArray[np.float64]

POOLED = "pooled"  # row over all datasets, every image alike
INTERVALS = {"covered_50": 0.5, "covered_68": 0.683, "covered_90": 0.9, "covered_95": 0.95}
CALIBRATION = {  # figures and their headings
    "covered_50": "50 %",
    "covered_68": "68.3 %",
    "covered_90": "90 %",
    "covered_95": "95 %",
    "nll": "NLL",
    "nll_constant": "constant",
}
RANKING = {"srcc": "SRCC", "aurc": "AURC", "aurc_random": "random", "aurc_oracle": "oracle"}
KEYS = ["model", "split", "dataset"]
FLOOR = 0.01  # deviations of MOS; a smaller std counts as this in the likelihood, where 0 would cost infinitely much


def score_deviations(tested: pd.DataFrame) -> pd.DataFrame:
    """Judge the stated deviations of every model, split and dataset, and of all datasets pooled.

    Args:
        tested: test rows of predictions tables, with `model`.

    Returns:
        Columns model, split, dataset (or `pooled`), n (images with a std); covered_50, covered_68, covered_90 and
        covered_95 (see `coverage`); nll, and nll_constant, that of the RMSE as everybody's std: the best constant
        there is, known only afterwards; srcc of std with |error| (NaN of fewer than 5 images, or a constant std);
        aurc, the mean of `risk_curve`, aurc_random and aurc_oracle, those of a random order and of that of |error|.
        Empty where no model states a std.
    """
    rows = standardised(tested)
    groups = [*rows.groupby(KEYS), *rows.assign(dataset=POOLED).groupby(KEYS)]
    found = [{**dict(zip(KEYS, key, strict=True)), "n": len(group), **_figures(group)} for key, group in groups]
    table = pd.DataFrame(found, columns=[*KEYS, "n", *CALIBRATION, *RANKING])
    return table.sort_values("model", kind="stable", ignore_index=True)


def standardised(tested: pd.DataFrame) -> pd.DataFrame:
    """Errors and stated deviations in units of the deviation of MOS.

    Args:
        tested: test rows of predictions tables, with `model`; also those without a std, which tell how MOS vary.

    Returns:
        Columns model, split, dataset, error (prediction - mos) and std of the other rows. None of a dataset whose MOS
        are all alike.
    """
    spread = tested.groupby(KEYS)["mos"].transform("std", ddof=0)
    spread = spread.where(spread > 0)
    error, std = (tested["prediction"] - tested["mos"]) / spread, tested["std"] / spread
    return tested[KEYS].assign(error=error, std=std).dropna(subset=["error", "std"])


def unstated(tested: pd.DataFrame) -> list[str]:
    """What is said of models that state a std of only a part of their test rows."""
    said = []
    for model, rows in tested.groupby("model"):
        without = rows[["prediction", "std"]].isna().any(axis=1).sum()
        if without and rows["std"].notna().any():
            fault = f"{without} of {len(rows)} test rows have no std or no prediction"
            said.append(f"{model}: {fault}; coverage, NLL and AURC leave them out")
    return said


def coverage(error: Array, std: Array, nominal: ArrayLike) -> Array:
    """Share of images whose MOS lies in the central interval, prediction -+ z std, z = Phi^-1((1 + nominal) / 2).

    Args:
        error: prediction - mos, [n].
        std: stated deviations in the same units, [n].
        nominal: what the interval should cover, 0..1, any shape.

    Returns:
        Shares 0..1 in the shape of `nominal`.
    """
    z = norm.ppf((1 + np.asarray(nominal)) / 2)
    return (np.abs(error) <= np.multiply.outer(z, std)).mean(axis=-1)


def gaussian_nll(error: Array, std: ArrayLike) -> float:
    """Mean of log(s) + (error / s)^2 / 2 + log(2 pi) / 2, in nats, with s = max(std, .01).

    Args:
        error: prediction - mos in deviations of MOS, [n].
        std: stated deviations in the same units, [n] or one of all.
    """
    return float(-norm.logpdf(error, scale=np.maximum(std, FLOOR)).mean())


def risk_curve(error: Array, doubt: Array) -> Array:
    """RMSE of the k images with the least doubt, for k = 1..n; its mean over k is the area under it, AURC.

    Images of equal doubt come in a random order: each counts with the mean squared error of them all, so that a
    constant doubt gives the RMSE of all images for every k.

    Source: Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019.

    Args:
        error: prediction - mos, [n].
        doubt: any number that orders images, [n].
    """
    squared = pd.Series(error**2).groupby(doubt).transform("mean").to_numpy()
    return np.sqrt(squared[np.argsort(doubt)].cumsum() / np.arange(1, len(error) + 1))


def _figures(rows: pd.DataFrame) -> dict[str, float]:
    error, std = rows["error"].to_numpy(), rows["std"].to_numpy()
    rmse, size = float(np.sqrt(np.mean(error**2))), np.abs(error)
    return {
        **dict(zip(INTERVALS, coverage(error, std, list(INTERVALS.values())), strict=True)),
        "nll": gaussian_nll(error, std),
        "nll_constant": gaussian_nll(error, rmse),
        "srcc": pd.DataFrame({"std": std, "size": size}).corr("spearman", min_periods=LEAST).at["std", "size"],
        "aurc": risk_curve(error, std).mean(),
        "aurc_random": rmse,
        "aurc_oracle": risk_curve(error, size).mean(),
    }
