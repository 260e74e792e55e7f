"""Fixtures of the whole suite."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest

SMALL = {"side": 64, "references": 10, "scenes": 10, "per_content": 2, "progress": False}
RUN = Path("outputs/mimi/resnet18/split01")

# Processes of tests begin with all imports done.
multiprocessing.set_forkserver_preload(["experiments.chaos"])


@pytest.fixture(scope="session", autouse=True)
def _options_are_composed_once() -> None:
    """The chosen options alone, which every configuration is checked against: half of the time of a check."""
    from mimi_lightning import config

    compose = config.compose
    known = functools.cache(lambda *words: compose("config", [*words]))
    config.compose = lambda name, words, **more: compose(name, words, **more) if more else known(*words)


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six miniature datasets of about twenty pictures each; copy what you want to change.

    Built once a session. Under pytest-xdist every worker is a session of its own and builds its own.
    """
    from mimi_lightning.data.miniature import make_miniature

    return make_miniature(tmp_path_factory.mktemp("datasets") / "miniature", **SMALL)


@pytest.fixture(scope="session")
def published() -> Path:
    """The authors' lists and ratings, which are not ours to distribute: MIMI_REFERENCE, or beside the checkout."""
    beside = Path(__file__).parents[2] / "shared" / "reference" / "published"
    folder = Path(os.environ.get("MIMI_REFERENCE", beside))
    if not folder.is_dir():
        pytest.skip("needs the published lists: MIMI_REFERENCE=DIR")
    return folder


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of an open_clip model like ViT-B-32-quickgelu in all but its size; looks at patches of 32 pixels."""
    import open_clip

    vision = {"image_size": 32, "patch_size": 16, "layers": 2, "width": 32, "head_width": 16}
    text = {"context_length": 77, "vocab_size": 49408, "layers": 2, "width": 32, "heads": 2}
    file = tmp_path_factory.mktemp("open_clip") / "tiny-test.json"
    file.write_text(json.dumps({"embed_dim": 16, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(file)
    return file.stem


@pytest.fixture(scope="session")
def fast() -> list[str]:
    """Overrides with which the whole main job takes seconds."""
    return [
        "backbone=resnet18",
        "backbone.weights=none",
        "backbone.stage=-3",
        "backbone.hidden=[16]",
        "trainer=cpu",
        "trainer.precision=32-true",
        "trainer.max_epochs=2",
        "trainer.enable_progress_bar=false",
        "view.train.crop=48",
        "data.quota=2",
        "data.epoch=3",
        "data.workers=0",
    ]


@pytest.fixture(scope="session")
def train_in(miniature, fast):
    """Compose and train, as the command does, MINN small unless it is asked for; all results go below a folder."""

    def train(folder, *overrides, datasets=miniature):
        from mimi_lightning import config
        from mimi_lightning.train import train

        asked = any(word.startswith(("mapper=", "mapper.hidden", "experiment=")) for word in overrides)
        small = [] if asked else ["mapper.hidden=[8]"]
        paths = [f"paths.datasets={datasets}", f"splits.store={folder}/splits", f"paths.outputs={folder}/outputs"]
        train(config.load([*fast, *small, *paths, *overrides]))
        return folder / RUN

    return train


@pytest.fixture(scope="session")
def trained(train_in, tmp_path_factory):
    """Folder of a run of these words, made once, to be read; see `again`."""

    @functools.cache
    def find(*overrides):
        return train_in(tmp_path_factory.mktemp("trained"), *overrides)

    return find


@pytest.fixture
def again(trained, tmp_path):
    """A copy of such a run, to be changed, where `run` looks for it."""

    def copy(*overrides):
        return shutil.copytree(trained(*overrides), tmp_path / RUN)

    return copy


@pytest.fixture
def blank(monkeypatch):
    """The picture of the mappers, a third of the time of a small run, stays blank."""
    from matplotlib.figure import Figure

    monkeypatch.setattr("mimi_lightning.results.draw_mappings", lambda *told: Figure())


@pytest.fixture
def run(train_in, blank, tmp_path, monkeypatch):
    """Train with results below tmp_path."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    return functools.partial(train_in, tmp_path)
