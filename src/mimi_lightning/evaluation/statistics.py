"""How sure the figures are: bootstrap intervals of one split, and a paired test over splits."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mimi_lightning.metrics import weighted_mean

Array = NDArray[np.float64]

RESAMPLES, CONFIDENCE = 999, 0.95
BATCH = 4_000_000  # numbers that are resampled at once
LEAST = 5  # images; a rank correlation of fewer, and its spread, say nothing


def bootstrap(predictions: pd.DataFrame, sizes: Mapping[str, int], seed: int = 0) -> pd.DataFrame:
    """Percentile intervals of SRCC and PLCC of the proxy scores (images drawn again, with replacement).

    The means over datasets resample every dataset by itself, so that the mix stays as it is.

    Args:
        predictions: test rows of one model and split.
        sizes: images of each dataset; they weigh the weighted mean.
        seed: of the resampling.

    Returns:
        Index: the datasets, then `weighted` and `mean`. Columns srcc_low, srcc_high, plcc_low, plcc_high; NaN for
        datasets with fewer than 5 images or constant scores.
    """
    rows: dict[str, dict[str, float]] = {}
    for name, figure in {"srcc": srcc_of, "plcc": plcc_of}.items():
        draws = {
            dataset: _resample(figure, group["proxy"].to_numpy(), group["mos"].to_numpy(), (seed, number))
            for number, (dataset, group) in enumerate(predictions.groupby("dataset"))
        }
        draws |= {"weighted": weighted_mean(draws, sizes), "mean": sum(draws.values()) / len(draws)}
        for dataset, drawn in draws.items():
            low, high = _percentiles(drawn)
            rows.setdefault(dataset, {}).update({f"{name}_low": low, f"{name}_high": high})
    return pd.DataFrame.from_dict(rows, orient="index")


def interval(figure: Callable[..., Array], score: Array, mos: Array) -> tuple[float, float]:
    """Percentile interval of a figure of scores [N] (images drawn again, with replacement).

    Args:
        figure: `srcc_of`, `plcc_of` or `rmse_of`.
        score: predicted.
        mos: to compare with.

    Returns:
        Its ends; NaN for fewer than 5 images.
    """
    return _percentiles(_resample(figure, score, mos, (0,)))


def paired_test(first: pd.Series, second: pd.Series) -> dict[str, float]:
    """Compare two models on the splits that both have: Wilcoxon's signed-rank test, two-sided, exact where it can be.

    The parts of different splits overlap, so p is too small rather than too large: read it as a screening. With fewer
    than six splits no difference can reach p < .05.

    Args:
        first: one figure of a model, by split.
        second: the same figure of another model.

    Returns:
        splits: number of common splits; difference: median of first - second; p: NaN without any difference.
    """
    difference = (first - second).dropna()
    p = float(stats.wilcoxon(difference).pvalue) if difference.any() else np.nan
    return {"splits": len(difference), "difference": float(difference.median()), "p": p}


def corrected_t(differences: Sequence[float], ratio: float) -> dict[str, float]:
    """Compare two models on splits whose parts overlap: Student's test with a variance that allows for that.

    t = mean / sqrt((1/n + ratio) var), n - 1 degrees of freedom: n splits share most of their training images, so that
    their differences vary less than those of n fresh samples would.

    Source: Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003.

    Args:
        differences: of one figure, of each of n >= 2 splits.
        ratio: size of the test part over that of the training part.

    Returns:
        difference: their mean; half: half the width of its 95 % interval; p, two-sided (1 without any difference).
    """
    values = np.asarray(differences, dtype=np.float64)
    n, mean = len(values), float(values.mean())
    error = float(np.sqrt((1 / n + ratio) * values.var(ddof=1)))
    p = 2 * stats.t.sf(abs(mean) / error, n - 1) if error else float(mean == 0)
    return {"difference": mean, "half": error * float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)), "p": float(p)}


def rmse_of(score: Array, mos: Array, axis: int) -> Array:
    """Root mean squared difference along an axis."""
    return np.sqrt(((score - mos) ** 2).mean(axis))


def plcc_of(score: Array, mos: Array, axis: int) -> Array:
    """Pearson's correlation along an axis; NaN of constant scores."""
    score, mos = (values - values.mean(axis, keepdims=True) for values in (score, mos))
    return (score * mos).sum(axis) / np.sqrt((score**2).sum(axis) * (mos**2).sum(axis))


def srcc_of(score: Array, mos: Array, axis: int) -> Array:
    """Spearman's correlation along the last axis, of scores by their places (see `_places`); NaN of constant ones."""
    return plcc_of(_ranks(score), _ranks(mos), axis)


def _percentiles(drawn: Array) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _resample(figure: Callable[..., Array], score: Array, mos: Array, seed: Sequence[int]) -> Array:
    if len(score) < LEAST or np.ptp(score) == 0 or np.ptp(mos) == 0:
        return np.full(RESAMPLES, np.nan)
    if figure is srcc_of:
        score, mos = _places(score), _places(mos)  # ranks depend on nothing else
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant resample of a small part; it becomes NaN and is left out below
        drawn = stats.bootstrap(
            (score, mos),
            figure,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=max(1, BATCH // len(score)),
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    return np.where(np.isfinite(drawn), drawn, np.nanmedian(drawn))


def _places(values: Array) -> NDArray[np.int64]:
    """Place of each value among the different ones, in order: all that ranks depend on."""
    return np.unique(values, return_inverse=True)[1]


def _ranks(places: NDArray[np.int64]) -> Array:
    """Ranks of every resample, ties at their mean rank, by counting: sorting takes several times as long.

    Args:
        places: 0..k-1, [..., n].

    Returns:
        `scipy.stats.rankdata(places, axis=-1)`, to the last digit.
    """
    rows = places.reshape(-1, places.shape[-1])
    many, kinds = len(rows), int(rows.max()) + 1
    counts = np.bincount((rows + kinds * np.arange(many)[:, None]).ravel(), minlength=many * kinds)
    counts = counts.reshape(many, kinds)
    ranks = counts.cumsum(axis=1) - (counts - 1) / 2
    return np.take_along_axis(ranks, rows, axis=1).reshape(places.shape)
