"""From a study's predictions to the numbers that a paper prints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from mimi_lightning.errors import ScoreError
from mimi_lightning.evaluation.predictions import UNSEEN
from mimi_lightning.evaluation.protocol import BY_SPLIT, FIGURES, MEANS, OVER_DATASETS, score_run
from mimi_lightning.evaluation.statistics import LEAST, bootstrap, paired_test
from mimi_lightning.evaluation.study import Study
from mimi_lightning.metrics import FITS, srcc, weighted_mean
from mimi_lightning.progress import in_threads

OVER_SPLITS = ["median", "mean", "std", "min", "max"]


def score_splits(study: Study, fits: str = "least", progress: bool = False) -> pd.DataFrame:
    """Figures of every model, split and dataset, with bootstrap intervals.

    Args:
        study: runs and tables.
        fits: kind of the logistic fits, see `metrics.FITS`.
        progress: show a bar.

    Returns:
        One row each; columns model, split, dataset (or `weighted`, `mean`), n, the figures of `score_run`, srcc_low,
        srcc_high, plcc_low, plcc_high, note. Where the models share splits, rows of one split are comparable.
    """
    sizes = study.sizes()
    groups = list(study.tested.groupby(["model", "split"]))

    def score(group: tuple[tuple[str, int], pd.DataFrame]) -> pd.DataFrame:
        (model, split), rows = group
        table = score_run(rows, sizes, fits).join(bootstrap(rows, sizes))
        return table.rename_axis("dataset").reset_index().assign(model=model, split=split)

    table = pd.concat(in_threads(score, groups, "Scoring the splits", progress), ignore_index=True)
    front = ["model", "split", "dataset", "n"]
    return table[[*front, *(column for column in table if column not in [*front, "note"]), "note"]]


def summarise(results: pd.DataFrame, sizes: Mapping[str, int]) -> pd.DataFrame:
    """Median, mean, standard deviation (of a sample) and range over splits.

    Published tables take the median of each dataset over splits first, and weigh these: `weighted` and `mean` are such
    means of medians (and of means). How the weighted figure of each split varies is `weighted by split`: its median is
    another number.

    Args:
        results: of `score_splits`.
        sizes: images of each dataset, all parts together.

    Returns:
        Columns model, dataset (or one of `OVER_DATASETS`), figure, splits (number of them), median, mean, std, min,
        max. A figure that one split does not have is NaN, and so are those over datasets that differ in their splits:
        no split is left out silently.
    """
    long = results.replace({"dataset": BY_SPLIT}).melt(["model", "split", "dataset"], list(FIGURES), "figure")
    groups = long.sort_values("split").groupby(["model", "dataset", "figure"], sort=False)["value"]
    table = groups.agg([*OVER_SPLITS, "count", "size"]).reset_index()
    table.loc[table["count"] < table["size"], OVER_SPLITS] = np.nan
    table = table.rename(columns={"size": "splits"}).drop(columns="count")
    table = pd.concat([table, _over_datasets(table, sizes)], ignore_index=True)
    over_datasets = table["dataset"].isin(OVER_DATASETS)
    table.loc[over_datasets & table.groupby("model")["splits"].transform("nunique").gt(1), OVER_SPLITS] = np.nan
    rms = table["figure"].str.startswith("rmse") & over_datasets  # of native units there is no mean
    means_last = table["dataset"].map({name: place for place, name in enumerate(OVER_DATASETS, 1)}).fillna(0)
    order = ["model", "figure", "place", "dataset"]
    return table.assign(place=means_last)[~rms].sort_values(order, ignore_index=True).drop(columns="place")


def _over_datasets(table: pd.DataFrame, sizes: Mapping[str, int]) -> pd.DataFrame:
    """Rows `weighted` and `mean` of a table over splits: of its medians and means; of nothing else is it one."""
    rows = []
    for (model, figure), group in table[~table["dataset"].isin(OVER_DATASETS)].groupby(["model", "figure"]):
        key = {"model": model, "figure": figure, "splits": group["splits"].max()}
        figures = group.set_index("dataset")[["median", "mean"]]
        rows.append({**key, "dataset": "weighted", **weighted_mean(dict(figures.iterrows()), sizes)})
        rows.append({**key, "dataset": "mean", **figures.mean(skipna=False)})
    return pd.DataFrame(rows)


def compare(study: Study, results: pd.DataFrame, figure: str = "srcc") -> tuple[pd.DataFrame, list[str]]:
    """Paired test of every two models that share splits.

    The means of each split are compared where both models have the same datasets, and splits where both were tested on
    the same images.

    Returns:
        Columns first, second, dataset, figure, splits, difference, p (see `paired_test`); and what is said of datasets
        that are refused, since the partitions differ.
    """
    series = results.set_index(["model", "dataset", "split"])[figure]
    images = study.tested.groupby(["model", "dataset", "split"])["image"].agg(frozenset)
    rows, refused = [], []
    for first, second in combinations(sorted(results["model"].unique()), 2):
        common = images[first].index.intersection(images[second].index)
        other = common[images[first][common] != images[second][common]].unique("dataset")
        refused += [f"{first} and {second} are not compared on {name}: other test images" for name in other]
        same_mix = set(series[first].index.unique("dataset")) == set(series[second].index.unique("dataset"))
        means = MEANS if same_mix and other.empty else ()
        for dataset in [*common.unique("dataset").difference(other), *means]:
            found = paired_test(series[first][dataset], series[second][dataset])
            name = BY_SPLIT.get(dataset, dataset)
            rows.append({"first": first, "second": second, "dataset": name, "figure": figure, **found})
    return pd.DataFrame(rows, columns=["first", "second", "dataset", "figure", "splits", "difference", "p"]), refused


def cross_test(study: Study) -> pd.DataFrame:
    """Every model on every dataset that it was tested on, trained on it or not.

    Returns:
        Columns model, trained (its mix), dataset, part (test or unseen), splits, n (images over all splits), srcc
        (median over splits). Empty when every model was tested on its own datasets alone.
    """
    rows = study.predictions[study.predictions["part"].isin(["test", UNSEEN])]
    columns = ["model", "trained", "dataset", "part", "splits", "n", "srcc"]
    if not rows["part"].eq(UNSEEN).any():
        return pd.DataFrame(columns=columns)
    mixes = rows[rows["part"] == "test"].groupby("model")["dataset"].unique()
    found = []
    for (model, dataset, part), group in rows.groupby(["model", "dataset", "part"]):
        figures = [_srcc(split) for _, split in group.groupby("split")]
        trained = "+".join(sorted(mixes.get(model, ["?"])))
        found.append([model, trained, dataset, part, len(figures), len(group), float(np.median(figures))])
    return pd.DataFrame(found, columns=columns)


def break_down(study: Study) -> pd.DataFrame:
    """SRCC within one distortion, and within one level of it.

    Returns:
        Columns model, dataset, distortion, level (NaN: all levels), n (images over all splits), splits, srcc (median
        over the splits with 5 images or more; NaN where there is none). Empty when no distortion is known.
    """
    rows = study.tested[study.tested["distortion"] != ""]
    whole = rows.assign(level=np.nan)
    parts = pd.concat([whole, rows[rows["level"].notna()]])
    keys = ["model", "dataset", "distortion", "level"]
    found = []
    for key, group in parts.groupby(keys, dropna=False):
        figures = [_srcc(split) for _, split in group.groupby("split")]
        known = [figure for figure in figures if not math.isnan(figure)]
        median = float(np.median(known)) if known else math.nan
        found.append({**dict(zip(keys, key, strict=True)), "n": len(group), "splits": len(known), "srcc": median})
    return pd.DataFrame(found, columns=[*keys, "n", "splits", "srcc"])


def add_errors(predictions: pd.DataFrame, fits: str = "least") -> pd.DataFrame:
    """Add `error`: predicted MOS - MOS, as a share of the range of the dataset's labels.

    Where no prediction is known, the proxy score is mapped to MOS by the 4-parameter logistic fit of that split (`fits`
    is its kind, see `metrics.FITS`), and by nothing (NaN) where there is no fit.
    """
    table = predictions.copy()
    for _, rows in predictions.groupby(["model", "split", "dataset"]):
        predicted = rows["prediction"]
        if predicted.isna().any():
            predicted = predicted.fillna(_fitted(rows, fits))
        table.loc[rows.index, "error"] = (predicted - rows["mos"]) / (np.ptp(rows["mos"]) or np.nan)
    return table


def _fitted(rows: pd.DataFrame, fits: str) -> pd.Series:
    try:
        fit = FITS[fits]["4p"](rows["proxy"].to_numpy(), rows["mos"].to_numpy())
        return pd.Series(fit(rows["proxy"].to_numpy()), index=rows.index)
    except ScoreError:
        return pd.Series(np.nan, index=rows.index)


def _srcc(rows: pd.DataFrame) -> float:
    if len(rows) < LEAST:
        return math.nan
    try:
        return srcc(rows["proxy"].to_numpy(), rows["mos"].to_numpy())
    except ScoreError:
        return math.nan
