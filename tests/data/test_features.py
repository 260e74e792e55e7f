"""Frozen features: the same scores as from images, computed once, anew when anything has changed."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from mimi_lightning.data.features import FeatureRows
from mimi_lightning.data.images import DecodedPicture, TestView
from mimi_lightning.errors import ConfigError
from mimi_lightning.module import QualityModel

SHORT = ["dataset=[koniq,live]", "trainer.max_epochs=1", "backbone.pool=mean_std", "backbone.freeze=all"]
WHOLE = ["view.train.crop=64", "data.views=2"]


@pytest.fixture
def features(run, tmp_path):
    def start(*words, **more):
        folder = run(*SHORT, *WHOLE, "data.features=true", f"data.feature_store={tmp_path}/features", *words, **more)
        return folder, sorted((tmp_path / "features").glob("*.npy"))

    return start


def test_a_run_on_features_tells_what_its_checkpoint_says_of_the_images(features, miniature):
    folder, files = features()
    assert [file.name.partition("-")[0] for file in files] == ["koniq", "koniq", "live", "live"]
    assert {np.load(file).shape for file in files} == {(2, 20, 256), (1, 20, 256)}
    told = pd.read_csv(folder / "predictions.csv")
    model = QualityModel.load(folder / "checkpoints" / "best.ckpt")
    folders = {"koniq": "koniq-10k", "live": "databaserelease2"}
    paths = [miniature / folders[row.dataset] / row.image for row in told.itertuples()]
    with torch.no_grad():
        proxy = [model(TestView(768)(DecodedPicture(path, 768))[None]).item() for path in paths]
    assert proxy == pytest.approx(told["proxy"].tolist(), abs=1e-5)


def test_training_images_have_views_and_every_second_one_is_mirrored(features):
    _, files = features()
    views = np.load(next(file for file in files if "TrainView" in file.name))
    whole = np.load(next(file for file in files if "TestView" in file.name))
    assert abs(views[0] - whole[0]).max() < 1e-4  # a crop of all of the picture
    assert abs(views[1] - whole[0]).max() > 1e-3


def test_features_are_computed_once_and_anew_when_weights_views_or_images_change(features, miniature, tmp_path):
    datasets = shutil.copytree(miniature, tmp_path / "datasets")
    _, first = features(datasets=datasets)
    times = [file.stat().st_mtime_ns for file in first]
    _, again = features("name=other", "backbone.hidden=[8]", "mapper=linear", "objective=regression", datasets=datasets)
    assert [file.stat().st_mtime_ns for file in again] == times
    _, more = features("name=third", "data.views=1", datasets=datasets)
    assert len(more) == len(first) + 2  # those of testing are as they were
    picture = next((datasets / "databaserelease2").rglob("*.bmp"))
    os.utime(picture, (1, 1))
    _, changed = features("name=fourth", datasets=datasets)
    assert len(changed) in (len(more), len(more) + 2)  # two, unless that picture is a reference


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01", None])
def test_a_damaged_file_is_computed_anew(features, damage):
    _, files = features()
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:-100] if damage is None else damage)
    _, again = features("name=again")
    assert again == files
    assert files[0].read_bytes() == whole


def test_another_head_and_its_averages_are_the_same_network(features):
    folder, files = features()
    _, again = features("name=goes_on", f"init={folder}/checkpoints/best.ckpt")
    assert again == files


def test_every_view_is_used_and_every_image_has_its_own():
    features = [
        np.arange(12.0, dtype=np.float32).reshape(2, 3, 2),
        100 + np.arange(8.0, dtype=np.float32).reshape(2, 2, 2),
    ]
    rows = FeatureRows(features, np.array([0, 0, 0, 1, 1]), {"mos": np.arange(5.0)})
    batch = rows.__getitems__([(1, 4), (1, 5), (4, 3), (0, 0)])
    assert batch["features"].tolist() == [[2, 3], [8, 9], [106, 107], [0, 1]]
    assert batch["mos"].tolist() == [1, 1, 4, 0]


def test_what_learns_before_the_head_is_refused(run, tmp_path):
    store = f"data.feature_store={tmp_path}/features"
    with pytest.raises(ConfigError, match=r"backbone.freeze=all"):
        run("dataset=[koniq,live]", "data.features=true", store)
