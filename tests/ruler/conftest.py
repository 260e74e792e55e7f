"""A small model that nobody trained."""

import pytest
import torch

from mimi_lightning.module import QualityModel
from mimi_lightning.ruler.ruler import Ruler

REGRESSOR = {"_target_": "mimi_lightning.models.regressor.PooledRegressor", "name": "resnet18", "weights": "none"}
DATASETS = {"csiq": ([0, 1], [0.1, 0.8]), "live": ([0, 114.4147], [10.0, 90.0])}


@pytest.fixture(scope="session")
def model() -> QualityModel:
    """Knows csiq and live; a picture has its score within milliseconds."""
    torch.manual_seed(0)
    return QualityModel(
        regressor={**REGRESSOR, "stage": -4, "pool": "mean_std", "hidden": [4]},
        mapper={"_target_": "mimi_lightning.models.mappers.Linear"},
        objective={"_target_": "mimi_lightning.objectives.Regression"},
        datasets={
            name: {"range": ends, "labels": labels, "weight": 1, "size": 9} for name, (ends, labels) in DATASETS.items()
        },
        view={"_target_": "mimi_lightning.data.images.TestView", "resize": 48},
        marks={name: [(f"{name}/{i}.png", low + i) for i in range(3)] for name, (_, (low, _)) in DATASETS.items()},
    ).eval()


@pytest.fixture(scope="session")
def ruler(model: QualityModel) -> Ruler:
    """Of that model."""
    return Ruler(model)
