"""Alignment: do scores of different datasets compare, once they stand on the proxy scale?"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from mimi_lightning.metrics import srcc
from mimi_lightning.module import QualityModel


@torch.no_grad()
def pooled_srcc(
    model: QualityModel, predictions: pd.DataFrame, annotations: pd.DataFrame, common: pd.Series
) -> dict[str, float]:
    """SRCC against one common quality over all datasets together.

    Args:
        model: the trained model; its score mapper aligns the labels.
        predictions: predictions table of one part.
        annotations: annotations of the same datasets; their extremes give the min-max baseline.
        common: quality that compares across datasets, indexed by (dataset, image).

    Returns:
        Of native labels, of labels rescaled by each dataset's minimum and maximum, of labels aligned by the mapper
        (true inverse), and of proxy scores.

    Raises:
        ScoreError: a score is not finite or all are alike.
    """
    quality = common.loc[pd.MultiIndex.from_frame(predictions[["dataset", "image"]])].to_numpy()
    mos = predictions["mos"]
    extremes = annotations.groupby("dataset")["mos"].agg(["min", "max"]).loc[predictions["dataset"]].to_numpy()
    number = torch.tensor(predictions["dataset"].map(model.names.index).to_numpy())
    aligned = model.align(torch.tensor(mos.to_numpy()), number)
    scores = {
        "native labels": mos,
        "min-max labels": (mos - extremes[:, 0]) / (extremes[:, 1] - extremes[:, 0]),
        "aligned labels": aligned.numpy(),
        "proxy scores": predictions["proxy"],
    }
    return {name: srcc(score, quality) for name, score in scores.items()}


def read_hidden_quality(path: Path) -> pd.Series:
    """The miniature's pseudo-MOS in JOD (a full-reference score, no human's), indexed by (dataset, image)."""
    table = pd.read_csv(path, dtype={"image": str})
    return table.set_index(["dataset", "image"])["hidden_quality"]
