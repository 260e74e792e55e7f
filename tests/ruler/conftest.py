"""A small model that nobody trained."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from mimi_lightning.evaluation.predictions import PREDICTION_COLUMNS
from mimi_lightning.evaluation.protocol import score_run
from mimi_lightning.module import QualityModel
from mimi_lightning.ruler.ruler import Ruler
from mimi_lightning.run_folder import SETTINGS, RunFolder

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


@pytest.fixture
def finished(model: QualityModel, tmp_path: Path) -> RunFolder:
    """The folder of a run of that model, as training leaves it, but for mappings and model card."""
    run = RunFolder(tmp_path / "outputs" / "mix" / "resnet18" / "split02")
    run.file("checkpoint").parent.mkdir(parents=True)
    described = {"hyper_parameters": dict(model.hparams), "state_dict": model.state_dict()}
    model.on_save_checkpoint(described)
    torch.save(described, run.file("checkpoint"))
    predictions, labels = _tables()
    predictions.to_csv(run.file("predictions"), index=False)
    labels.to_csv(run.file("labels"), index=False)
    sizes = {"csiq": 100, "live": 100}
    metrics = {
        "run": "mix/resnet18/split02",
        "figures": json.loads(score_run(predictions, sizes).to_json(orient="index", double_precision=15)),
        "tasks": {},
        "alignment": [],
        "best_epoch": 7,
        "skipped": 0,
        "partition": {
            "protocol": "liqe",
            "sha256": "ab" * 32,
            "sources": {"csiq": "generated-7", "live": "liqe"},
            "left_out": {"live": 3},
        },
        "sizes": sizes,
        "seed": 1,
        "versions": {"mimi_lightning": "0.1.0"},
        "commit": "0123456789ab",
    }
    run.file("figures").write_text(json.dumps(metrics))
    OmegaConf.save(OmegaConf.create(_settings()), run.path / SETTINGS)
    return run


def _tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions that are off by 2 points of the scale of LIVE; the labels of all parts."""
    numbers = range(20)
    tested = pd.DataFrame({"image": [f"{i}.png" for i in numbers], "mos": [float(i) for i in numbers]})
    tested = tested.assign(run="mix/resnet18/split02", split=2, part="test", distortion="", level=None, std=None)
    live = tested.assign(dataset="live", proxy=tested["mos"], prediction=tested["mos"] + 2, aligned=tested["mos"])
    csiq = live.assign(dataset="csiq", proxy=-live["proxy"], mos=live["mos"] / 20, prediction=live["mos"] / 20)
    predictions = pd.concat([csiq, live])[PREDICTION_COLUMNS]
    train = predictions.assign(part="train", image="train/" + predictions["image"])
    val = train.head(5).assign(part="val", image=[f"val/{i}.png" for i in range(5)])
    return predictions, pd.concat([predictions, train, val])[["dataset", "image", "part", "mos"]]


def _settings() -> dict:
    datasets = {
        name: {"url": f"https://{name}.example", "range": [0, 1], "quota": 8, "weight": 1} for name in ("csiq", "live")
    }
    datasets["live"]["licence"] = "free with its notice"
    return {
        "split": 2,
        "published_splits": "liqe",
        "datasets": datasets,
        "data": {"miniature": None},
        "backbone": {"name": "resnet18", "weights": "imagenet"},
        "mapper": {"_target_": "mimi_lightning.models.mappers.Linear"},
        "objective": {"_target_": "mimi_lightning.objectives.Regression"},
        "trainer": {"max_epochs": 9},
    }
