"""A small model as a ruler, and pictures to lay it on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mimi_lightning.module import QualityModel
from mimi_lightning.ruler.ruler import Ruler, load

REGRESSOR = {
    "_target_": "mimi_lightning.models.regressor.PooledRegressor",
    "name": "resnet18",
    "weights": "none",
    "stage": -3,
    "hidden": [8],
}
MARKS = {"live": [(f"marks/{i}.bmp", float(i)) for i in range(101)]}


def make_model(mapper: str = "logistic", **parts) -> QualityModel:
    """A model of two datasets that was never trained."""
    mappers = {"logistic": "Logistic", "linear": "Linear", "minn": "MINN"}
    torch.manual_seed(0)
    facts = {"weight": 1.0, "size": 10}
    return QualityModel(
        **{
            "regressor": REGRESSOR,
            "mapper": {"_target_": f"mimi_lightning.models.mappers.{mappers.get(mapper, mapper)}"},
            "objective": {"_target_": "mimi_lightning.objectives.regression.Regression"},
            "datasets": {
                "csiq": {"range": [0.0, 1.0], "labels": [0.1, 0.9], **facts},
                "live": {"range": [0.0, 100.0], "labels": [3.0, 90.0], **facts},
            },
            "view": {"_target_": "mimi_lightning.data.images.TestView", "resize": 48},
            "marks": MARKS,
            **parts,
        }
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "best.ckpt"
    make_model().save(path)
    return path


@pytest.fixture(scope="module")
def ruler(checkpoint) -> Ruler:
    return load(checkpoint, "cpu")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A picture whose short side is resized: uint8 [64, 80, 3], smooth, so that rounding does not matter much."""
    y, x = np.mgrid[:64, :80]
    waves = [np.sin(x / 9 + i) + np.cos(y / (7 + i)) for i in range(3)]
    return ((np.stack(waves, -1) + 2) * 63).astype(np.uint8)


@pytest.fixture(scope="module")
def picture(pixels, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "waves.png"
    Image.fromarray(pixels).save(path)
    return path
