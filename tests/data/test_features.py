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
HEAD = ["mapper=linear", "objective=regression"]
WHOLE = ["view.train.crop=64", "data.views=2"]


@pytest.fixture(scope="module")
def train_on_features(train_in, tmp_path_factory):
    """Run on features; returns the run's folder, and all files of the store."""

    def start(store, *words, **more):
        kept = ["data.features=true", f"data.feature_store={store}"]
        folder = train_in(tmp_path_factory.mktemp("run"), *SHORT, *HEAD, *WHOLE, *kept, *words, **more)
        return folder, sorted(store.glob("*.npy"))

    return start


@pytest.fixture(scope="module")
def first(train_on_features, tmp_path_factory):
    """Folder and features of a run, to read only."""
    return train_on_features(tmp_path_factory.mktemp("features"))


@pytest.fixture
def store(first, tmp_path):
    """A copy of its features."""
    return shutil.copytree(first[1][0].parent, tmp_path / "features")


def test_a_run_on_features_tells_what_its_checkpoint_says_of_the_images(first, miniature):
    folder, files = first
    assert [file.name.partition("-")[0] for file in files] == ["koniq", "koniq", "live", "live"]
    assert {np.load(file).shape for file in files} == {(2, 20, 256), (1, 20, 256)}
    told = pd.read_csv(folder / "predictions.csv")
    model = QualityModel.load(folder / "checkpoints" / "best.ckpt")
    folders = {"koniq": "koniq-10k", "live": "databaserelease2"}
    paths = [miniature / folders[row.dataset] / row.image for row in told.itertuples()]
    with torch.no_grad():
        proxy = [model(TestView(768)(DecodedPicture(path, 768))[None]).item() for path in paths]
    assert proxy == pytest.approx(told["proxy"].tolist(), abs=1e-5)


def test_training_images_have_views_and_every_second_one_is_mirrored(first):
    _, files = first
    views = np.load(next(file for file in files if "TrainView" in file.name))
    whole = np.load(next(file for file in files if "TestView" in file.name))
    assert abs(views[0] - whole[0]).max() < 1e-4  # a crop of all of the picture
    assert abs(views[1] - whole[0]).max() > 1e-3


def test_features_are_computed_once_and_anew_when_weights_views_or_images_change(
    first, store, train_on_features, miniature, tmp_path
):
    times = [file.stat().st_mtime_ns for file in first[1]]
    datasets = shutil.copytree(miniature, tmp_path / "datasets")
    _, again = train_on_features(store, "backbone.hidden=[8]", "mapper=bernstein", datasets=datasets)
    assert [file.stat().st_mtime_ns for file in again] == times
    table = pd.read_csv(first[0] / "labels.csv")
    picture = datasets / "databaserelease2" / table.loc[table["dataset"] == "live", "image"].iloc[0]
    os.utime(picture, (1, 1))
    _, changed = train_on_features(store, datasets=datasets)
    assert len(changed) == len(first[1]) + 2
    _, more = train_on_features(store, "data.views=1", datasets=datasets)
    assert len(more) == len(changed) + 2  # those of testing are as they were


def test_damaged_files_are_computed_anew(first, store, train_on_features):
    files = sorted(store.glob("*.npy"))
    whole = [file.read_bytes() for file in files]
    for file, damaged in zip(files, (b"", b"\x93NUMPY\x01", whole[2][:-100]), strict=False):
        file.write_bytes(damaged)
    _, again = train_on_features(store)
    assert again == files
    assert [file.read_bytes() for file in files] == whole


def test_another_head_and_its_averages_are_the_same_network(first, store, train_on_features):
    _, again = train_on_features(store, f"init={first[0]}/checkpoints/best.ckpt")
    assert len(again) == len(first[1])


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
