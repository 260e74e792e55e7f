"""The predictions table: one row an image and run, all that evaluation ever reads.

| column | meaning |
|---|---|
| run | name of the run, ends in its split: mimi/resnet34/split03 |
| dataset, image | as in the annotations table |
| split | 1..10 |
| part | train, val, test, or unseen: of a dataset that the model was not trained on |
| mos | native scale, higher is better |
| proxy | proxy score |
| prediction | predicted MOS on the native scale, NaN when unknown |
| std | standard deviation of the prediction, native, 0 or more, NaN when unknown |
| aligned | label on the proxy scale: inverse of the score mapper at mos, NaN when unknown |
| distortion, level | as in the annotations table |
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from mimi_lightning.config import SPLITS
from mimi_lightning.data.annotations import PARTS
from mimi_lightning.errors import ScoreError
from mimi_lightning.evaluation.protocol import OVER_DATASETS
from mimi_lightning.evaluation.uncertainty import POOLED

PREDICTION_COLUMNS = [
    *("run", "dataset", "split", "part", "image", "mos", "proxy", "prediction", "aligned"),
    *("distortion", "level", "std"),
]
UNSEEN = "unseen"  # part of a dataset that the model was not trained on
NEEDED = ("dataset", "split", "mos", "proxy")
NUMBERS = ("mos", "proxy", "prediction", "aligned", "level", "std")
ROW = ["run", "dataset", "split", "image"]
RESERVED = (*OVER_DATASETS, POOLED)
REPEATED = "no image, in a split whose rows stand there twice: each would count as a picture of its own"


def read_predictions(file: Path) -> pd.DataFrame:
    """Read a predictions table of this or any other program.

    Args:
        file: CSV with columns dataset, split, mos and proxy; others may be absent. Rows without a part count as test.

    Returns:
        All `PREDICTION_COLUMNS` and `model`: the run's name without its split, or the file's name where the table has
        no runs.

    Raises:
        ScoreError: a file that cannot be read, a column absent, a row with a missing or wrong value, an image twice.
    """
    try:
        table = pd.read_csv(file, dtype=dict.fromkeys(("run", "dataset", "part", "image", "distortion"), str))
    except (OSError, ValueError) as error:
        raise ScoreError(f"{file} cannot be read as a table: {error}") from error
    if absent := [column for column in NEEDED if column not in table]:
        raise ScoreError(f"{file} has no column '{absent[0]}'; it needs {', '.join(NEEDED)}.")
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes what is too much in a row for its name
        raise ScoreError(f"{file} has rows with more cells than its header.")
    if table.empty:
        raise ScoreError(f"{file} holds no rows.")
    table = table.assign(**{column: None for column in PREDICTION_COLUMNS if column not in table})
    for column in NUMBERS:
        table[column] = pd.to_numeric(table[column], errors="coerce").astype("float64")
    named = table["image"].notna()
    table = table.fillna({"part": "test", "image": "", "distortion": "", "run": file.stem})
    _refuse(~np.isfinite(table["mos"]), table, file, "a MOS that is not a finite number")
    _refuse(~np.isfinite(table["proxy"]), table, file, "a proxy score that is not a finite number")
    bad_std = table["std"].lt(0) | np.isinf(table["std"])
    _refuse(bad_std, table, file, "a std that is negative or infinite; leave it empty where it is not known")
    _refuse(~table["split"].isin(SPLITS), table, file, f"a split that is not one of {SPLITS.start} to {SPLITS[-1]}")
    _refuse(table["dataset"].isna(), table, file, "no dataset")
    _refuse(~table["part"].isin([*PARTS, UNSEEN]), table, file, f"a part other than {', '.join(PARTS)}, {UNSEEN}")
    _refuse(table.duplicated(ROW) & named, table, file, "an image that stands in this split twice")
    _refuse(table["dataset"].isin(RESERVED), table, file, "a dataset called like a row over datasets; rename it")
    _refuse(_repeated(table, ~named), table, file, REPEATED)
    model = pd.Series([re.sub(r"/split\d+$", "", run) for run in table["run"]], index=table.index)
    _refuse(model == "", table, file, "a run without a name before its split")
    return table[PREDICTION_COLUMNS].astype({"split": int}).assign(model=model)


def _repeated(table: pd.DataFrame, nameless: pd.Series) -> pd.Series:
    """Whether a row without an image stands in a part of which the second half says again what the first one does."""
    groups = table[nameless].groupby(["run", "dataset", "split", "part"])[["mos", "proxy"]]
    double = [row for _, rows in groups if _is_double(rows.to_numpy()) for row in rows.index]
    return pd.Series(table.index.isin(double))


def _is_double(values: np.ndarray) -> bool:
    half, odd = divmod(len(values), 2)
    again = half > 1 and not odd and bool((values[:half] == values[half:]).all())
    return again and bool((values != values[0]).any())  # rows that are all alike repeat nothing


def _refuse(bad: pd.Series, table: pd.DataFrame, file: Path, fault: str) -> None:
    if bad.any():
        row = table.iloc[int(bad.to_numpy().argmax())]
        place = f"{file}:{int(row.name) + 2}"
        raise ScoreError(
            f"{place} has {fault} (dataset '{row['dataset']}', split {row['split']}, image '{row['image']}', "
            f"mos {row['mos']}, proxy {row['proxy']})."
        )
