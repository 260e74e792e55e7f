"""A small model as a ruler, and pictures to lay it on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from mimi_lightning.evaluation.predictions import PREDICTION_COLUMNS
from mimi_lightning.evaluation.protocol import score_run
from mimi_lightning.module import QualityModel
from mimi_lightning.ruler.ruler import Ruler, load
from mimi_lightning.run_folder import SETTINGS, RunFolder

REGRESSOR = {
    "_target_": "mimi_lightning.models.regressor.PooledRegressor",
    "name": "test_resnet",
    "weights": "none",
    "stage": -2,
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


@pytest.fixture
def finished(ruler: Ruler, tmp_path: Path) -> RunFolder:
    """The folder of a run of that model, as training leaves it, but for pictures and the model card."""
    run = RunFolder(tmp_path / "outputs" / "mix" / "resnet18" / "split02")
    run.file("checkpoint").parent.mkdir(parents=True)
    ruler.model.save(run.file("checkpoint"))
    predictions, labels = _tables()
    predictions.to_csv(run.file("predictions"), index=False)
    labels.to_csv(run.file("labels"), index=False)
    predictions[["dataset", "proxy", "mos"]].to_csv(run.file("mappings"), index=False)
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
        name: {"url": f"https://{name}.example", "folder": name, "range": [0, 1], "quota": 8, "weight": 1}
        for name in ("csiq", "live")
    }
    datasets["live"]["licence"] = "free with its notice"
    return {
        "split": 2,
        "published_splits": "liqe",
        "datasets": datasets,
        "data": {"miniature": None, "root": "datasets"},
        "backbone": {"name": "resnet18", "weights": "imagenet"},
        "mapper": {"_target_": "mimi_lightning.models.mappers.Linear"},
        "objective": {"_target_": "mimi_lightning.objectives.Regression"},
        "trainer": {"max_epochs": 9},
    }
