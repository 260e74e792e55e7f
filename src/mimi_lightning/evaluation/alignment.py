"""Alignment: do scores of different datasets compare? Judged by one quality that was rated across all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mimi_lightning.data.published import LISTED, read_listed_labels
from mimi_lightning.errors import DatasetError, ScoreError
from mimi_lightning.evaluation.study import Run, Study
from mimi_lightning.metrics import plcc, rmse, srcc

IMAGE_KEY = ["dataset", "image"]
POOLED_FIGURES = ["scores", "n", "srcc", "plcc", "rmse"]
STUDY_FIGURES = ["model", "split", *POOLED_FIGURES, "excluded"]
LISTS_ALONE = "labels alone"  # stands for the model where there is none
BASELINES = ("native labels", "min-max labels", "z-score labels", "oracle line")  # what labels say without a model


def read_quality(file: Path, images: pd.DataFrame, folders: Mapping[str, str]) -> pd.Series:
    """Read a quality that compares across datasets.

    Args:
        file: the re-annotated set's list, rows `<folder>_<path with / as _> TAB <MOS>`, or a CSV with columns dataset,
            image and hidden_quality (the miniature's pseudo-MOS in JOD: a full-reference score, no human's).
        images: dataset and image of all that may be rated.
        folders: folder of each dataset, as it stands in the names.

    Returns:
        Quality of those rated images that are among `images`, indexed by (dataset, image).

    Raises:
        ScoreError: the file cannot be read, has another form or no finite number somewhere, or no image is known.
    """
    try:
        if file.suffix == ".csv":
            table = pd.read_csv(file, dtype={"image": str})
            quality = table.set_index(IMAGE_KEY)["hidden_quality"].astype("float64")
        else:
            quality = pd.read_csv(file, sep="\t", header=None, index_col=0, names=["name", "mos"], dtype={"name": str})
            quality = quality["mos"].astype("float64")
    except (OSError, ValueError, KeyError) as error:
        raise ScoreError(f"{file} is no list of ratings: {error}") from error
    if not np.isfinite(quality).all():
        raise ScoreError(f"{file}: the rating of {quality.index[~np.isfinite(quality)][0]} is not a finite number.")
    if quality.index.has_duplicates:
        raise ScoreError(f"{file} rates {quality.index[quality.index.duplicated()][0]} twice.")
    known = pd.MultiIndex.from_frame(images[IMAGE_KEY])
    if file.suffix != ".csv":
        names = [f"{folders.get(dataset, dataset)}_{image.replace('/', '_')}" for dataset, image in known]
        known, names = known[pd.Index(names).isin(quality.index)], [name for name in names if name in quality.index]
        quality = pd.Series(quality[names].to_numpy(), index=known)
    quality = quality[quality.index.isin(known)]
    if quality.empty:
        raise ScoreError(f"{file} rates none of the images of {', '.join(sorted(images['dataset'].unique()))}.")
    return quality


def pooled(scores: Mapping[str, pd.Series], quality: pd.Series) -> pd.DataFrame:
    """SRCC, PLCC and RMSE of scores against the common quality, over all datasets together.

    Args:
        scores: each indexed by (dataset, image); must have all images of `quality`.
        quality: indexed by (dataset, image).

    Returns:
        Columns scores, n, srcc, plcc, rmse (after the least-squares line, in units of the quality).

    Raises:
        ScoreError: a score is not finite or all are alike.
    """
    rows = []
    for name, values in scores.items():
        x, y = values.loc[quality.index].to_numpy(np.float64), quality.to_numpy()
        row = {"scores": name, "n": len(y), "srcc": srcc(x, y), "plcc": plcc(x, y)}
        rows.append({**row, "rmse": rmse(np.polynomial.Polynomial.fit(x, y, 1)(x), y)})
    return pd.DataFrame(rows, columns=POOLED_FIGURES)


def label_baselines(labels: pd.DataFrame, quality: pd.Series) -> dict[str, pd.Series]:
    """What labels say without any model.

    Args:
        labels: dataset, image and native mos of whole datasets, which give minimum, maximum, mean and deviation.
        quality: of the rated images among them; the oracle's lines are fitted to it.

    Returns:
        Native, min-max, z-score, and each dataset's own least-squares line to the quality ("oracle line": the most that
        one line a dataset can do), indexed by (dataset, image).
    """
    mos = labels.set_index(IMAGE_KEY)["mos"]
    groups = mos.groupby("dataset")
    low, high = groups.transform("min"), groups.transform("max")
    lines = pd.concat(_line(mos.loc[rated.index], rated) for _, rated in quality.groupby("dataset", sort=False))
    scores = mos, (mos - low) / (high - low), (mos - groups.transform("mean")) / groups.transform("std"), lines
    return dict(zip(BASELINES, scores, strict=True))


def align_run(predictions: pd.DataFrame, labels: pd.DataFrame, quality: pd.Series) -> tuple[pd.DataFrame, int]:
    """Alignment of one run on the rated images of its test part.

    Args:
        predictions: predictions table of the run.
        labels: dataset, image, mos and part of all images of the run.
        quality: of rated images, indexed by (dataset, image).

    Returns:
        `pooled` of proxy scores, aligned labels (where the run has them) and label baselines, all on the same images;
        and how many rated images were left out since the model was trained or selected on them.

    Raises:
        ScoreError: no rated image is in the test part, or the table of predictions is of another partition.
    """
    part = labels.set_index(IMAGE_KEY)["part"]
    rows = predictions.set_index(IMAGE_KEY)
    tested = rows.index[rows["part"] == "test"]
    if len(stray := tested[part.reindex(tested).ne("test")]):
        raise ScoreError(
            f"The predictions are of another partition than the labels: {'/'.join(stray[0])} was tested, but is "
            f"{part.get(stray[0], 'not there')} by the labels."
        )
    rated = quality[quality.index.isin(part.index)]
    used = rated[rated.index.isin(tested)]
    excluded = int(part.loc[rated.index].ne("test").sum())
    if used.empty:
        raise ScoreError(f"None of {len(rated)} rated images is in the test part; {excluded} are in train or val.")
    scores = label_baselines(labels, used)
    if rows.loc[used.index, "aligned"].notna().all():
        scores["aligned labels"] = rows["aligned"]
    return pooled({**scores, "proxy scores": rows["proxy"]}, used), excluded


def align_study(study: Study, quality: Path, lists: Path | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Alignment of every model and split with ratings that compare across datasets.

    Labels and parts are those that the run recorded. For a table of another program they are those of the published
    lists, or else those in the table itself.

    Returns:
        Columns model, split, scores, n, srcc, plcc, rmse, excluded; and what is said of splits that were refused.

    Raises:
        ScoreError: every split was refused; says why.
    """
    runs = {(run.model, run.split): run for run in study.runs}
    aligned, refused = [], []
    for (model, split), rows in study.predictions.groupby(["model", "split"]):
        try:
            labels, folders = _labels(runs.get((model, split)), rows, lists)
            found, excluded = align_run(rows, labels, read_quality(quality, labels, folders))
        except (DatasetError, ScoreError) as error:
            refused.append(f"{model}, split {split}: no alignment. {error}")
            continue
        aligned.append(found.assign(model=model, split=split, excluded=excluded))
    if not aligned:
        raise ScoreError("\n".join(refused))
    return pd.concat(aligned, ignore_index=True)[STUDY_FIGURES], refused


def align_lists(lists: Path, quality: Path) -> pd.DataFrame:
    """Alignment of the published labels alone: native, min-max, z-score, oracle line."""
    labels = read_listed_labels(lists)
    rated = read_quality(quality, labels, {dataset: folder for dataset, (folder, _) in LISTED.items()})
    found = pooled(label_baselines(labels, rated), rated)
    return found.assign(model=LISTS_ALONE, split=0, excluded=0)[STUDY_FIGURES]


def told_by_runs(runs: Sequence[Run]) -> pd.DataFrame:
    """Alignment that the runs told of themselves, on the miniature datasets; columns as `align_study`."""
    rows: list[Mapping[str, object]] = [
        {"model": run.model, "split": run.split, "excluded": 0, **row}
        for run in runs
        for row in run.metrics["alignment"]
    ]
    return pd.DataFrame(rows, columns=STUDY_FIGURES)


def _labels(run: Run | None, rows: pd.DataFrame, lists: Path | None) -> tuple[pd.DataFrame, dict[str, str]]:
    if run is not None:
        folders = {name: node["folder"] for name, node in run.settings["datasets"].items()}
        return run.read_labels(), folders
    folders = {dataset: folder for dataset, (folder, _) in LISTED.items()}
    return read_listed_labels(lists, int(rows["split"].iloc[0])) if lists else rows, folders


def _line(mos: pd.Series, quality: pd.Series) -> pd.Series:
    """Least-squares line from mos to quality; the mean quality where all mos are alike."""
    degree = int(mos.nunique() > 1)
    fit = np.polynomial.Polynomial.fit(mos.to_numpy(), quality.to_numpy(), degree)
    return pd.Series(fit(mos.to_numpy()), index=mos.index)
