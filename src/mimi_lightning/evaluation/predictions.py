"""The predictions table: one row an image and run, all that evaluation ever reads."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from torch import Tensor

COLUMNS = ["run", "dataset", "split", "part", "image", "mos", "proxy", "prediction"]


def make_predictions(annotations: pd.DataFrame, scores: Mapping[str, Tensor], run: str, split: int) -> pd.DataFrame:
    """Join collected scores with the annotations they belong to.

    Args:
        annotations: annotations table with the split's `part`.
        scores: `index` (row of the annotations), `proxy` and `prediction` (native scale), each [N].
        run: name of the run.
        split: 1..10.

    Returns:
        Columns run, dataset, split, part, image, mos, proxy, prediction; sorted by dataset and image.
    """
    rows = annotations.loc[scores["index"].numpy(), ["dataset", "part", "image", "mos"]]
    return (
        rows.assign(
            run=run, split=split, proxy=scores["proxy"].numpy(), prediction=scores["prediction"].double().numpy()
        )
        .sort_values(["dataset", "image"])
        .reset_index(drop=True)[COLUMNS]
    )
