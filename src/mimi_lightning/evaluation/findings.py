"""All that a report says of a study: its numbers, and what a reader has to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from mimi_lightning.evaluation.alignment import align_study, told_by_runs
from mimi_lightning.evaluation.study import Study
from mimi_lightning.evaluation.summary import add_errors, break_down, compare, cross_test, score_splits, summarise
from mimi_lightning.evaluation.uncertainty import score_deviations, unstated


@dataclass(frozen=True)
class Report:
    """All that is reported of a study.

    Args:
        study: its runs; `study.predictions` have the column `error` of `add_errors`.
        results: figures of every model, split and dataset; see `score_splits`.
        summary: over splits; see `summarise`.
        breakdown: by distortion and level; see `break_down`.
        comparisons: of every two models; see `compare`.
        alignment: model, split, scores, n, srcc, plcc, rmse, excluded (rated images that were trained on).
        cross: every model on every dataset, also unseen ones; see `cross_test`.
        uncertainty: stated deviations against errors; see `score_deviations`.
        fits: kind of the logistic fits, see `metrics.FITS`.
        notes: what a reader has to know: missing splits, partitions other than published, figures that could not be
            computed, exclusions.
    """

    study: Study
    results: pd.DataFrame
    summary: pd.DataFrame
    breakdown: pd.DataFrame
    comparisons: pd.DataFrame
    alignment: pd.DataFrame
    cross: pd.DataFrame
    uncertainty: pd.DataFrame
    fits: str
    notes: Sequence[str]


def make_report(
    study: Study,
    quality: Path | None = None,
    lists: Path | None = None,
    fits: str = "least",
    progress: bool = False,
) -> Report:
    """Compute all numbers of a study.

    Args:
        study: runs and tables.
        quality: ratings that compare across datasets (see `read_quality`); without it the alignment is what the runs
            told of themselves, on the miniature datasets.
        lists: published lists, for tables that belong to no run; see `align_study`.
        fits: kind of the logistic fits, see `metrics.FITS`.
        progress: show a bar.
    """
    alignment, refused = align_study(study, quality, lists) if quality else (told_by_runs(study.runs), [])
    study = replace(study, predictions=add_errors(study.predictions, fits))
    results = score_splits(study, fits, progress)
    comparisons, other_parts = compare(study, results)
    failed = results[results["note"] != ""].groupby(["model", "dataset", "note"])["split"].agg(list)
    notes = [
        *study.missing,
        *study.departures,
        *refused,
        *other_parts,
        *unstated(study.tested),
        *(
            f"{model}, {dataset}, splits {', '.join(map(str, splits))}: {note}"
            for (model, dataset, note), splits in failed.items()
        ),
        *(
            f"{row.model}, split {row.split}: {row.excluded} rated images were in train or val and are left out"
            for row in alignment.drop_duplicates(["model", "split"]).itertuples()
            if row.excluded
        ),
    ]
    summary, breakdown, cross = summarise(results, study.sizes()), break_down(study), cross_test(study)
    uncertainty = score_deviations(study.tested)
    return Report(study, results, summary, breakdown, comparisons, alignment, cross, uncertainty, fits, notes)
