"""Files of other authors against a direct evaluation of their formulas, and files that are refused."""

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from writers import CLIP, CNN, BaseCNN, ClipMinn, randomise, tensors

from mimi_lightning import cli
from mimi_lightning.errors import ConfigError
from mimi_lightning.foreign import import_checkpoint
from mimi_lightning.foreign.layouts import LIQE, MIMICLIP
from mimi_lightning.module import QualityModel

ENDS = {"live": (3.5, 99.0), "koniq": (1.25, 4.25)}
PICTURES = torch.randint(0, 256, (3, 3, 80, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
PATCHES = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("foreign")


@pytest.fixture(scope="module")
def cnn():
    torch.manual_seed(0)
    return randomise(BaseCNN())


@pytest.fixture(scope="module")
def cnn_content(cnn):
    """All that `BaseCNN-best.pt` holds."""
    figures = {"live": [np.float64(0.9)]}
    return {"epoch": 3, "state_dict": tensors(cnn), "optimizer": {"state": {}}, "test_results_srcc": figures}


@pytest.fixture(scope="module")
def imported_cnn(cnn_content, folder):
    return imported(cnn_content, folder / "cnn", ENDS)


@pytest.fixture(scope="module")
def clip(tiny_clip):
    torch.manual_seed(0)
    network = ClipMinn(tiny_clip)
    network.clip_model.half().float()  # as OpenAI's CLIP leaves a GPU
    return randomise(network)


@pytest.fixture(scope="module", autouse=True)
def narrow_clip(tiny_clip):
    """Files of a narrow CLIP count as files of ViT-B/32."""
    with pytest.MonkeyPatch.context() as patch:
        for layout in (MIMICLIP, LIQE):
            words = layout.words
            own = [f"backbone.model={tiny_clip}", "view.train.side=32"]
            patch.setattr(layout, "words", lambda self, weights, words=words, own=own: [*words(self, weights), *own])
        yield


def write(content, file: Path) -> Path:
    file.parent.mkdir(exist_ok=True)
    torch.save(content, file)
    return file


def imported(content, folder: Path, ends=None) -> QualityModel:
    """What the checkpoint says that becomes of a file."""
    out = folder / "best.ckpt"
    import_checkpoint(write(content, folder / "theirs.pt"), out, ends)
    return QualityModel.load(out)


def close(found, expected, tolerance=1e-4):
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)


@torch.no_grad()
def same_scores(model, network, images, order):
    """Proxy scores of pictures, and the score mapper of every dataset on a grid."""
    expected = network.proxy(images)
    assert expected.std() > 1e-2
    close(model(images), expected)
    q = torch.linspace(-2, 5, 29, dtype=torch.float64)
    for number, name in enumerate(order, 1):
        close(model.mapper(q.float(), model.number([name])), network.map(q, number))


def test_mimi_cnn_says_what_its_formulas_say(imported_cnn, cnn):
    same_scores(imported_cnn, cnn, PICTURES, CNN)


def test_mimi_cnn_with_vgg16_and_several_blocks(folder):
    torch.manual_seed(1)
    network = randomise(BaseCNN("vgg16", blocks=2))
    model = imported({"state_dict": tensors(network)}, folder / "vgg")
    assert model.mapper.blocks == 2
    same_scores(model, network, PICTURES[:2], CNN)


def test_mimi_clip_says_what_its_formulas_say(clip, folder):
    content = {"model_state_dict": tensors(clip), "epoch": 3, "optimizer_state_dict": {}, "all_results": {"quality": {}}}
    same_scores(imported(content, folder / "clip"), clip, PATCHES, CLIP)


@pytest.mark.parametrize("home", [None, "model_state_dict"])
def test_liqe_gives_proxy_scores(clip, folder, home):
    state = tensors(clip.clip_model)
    model = imported(state if home is None else {home: state}, folder / f"liqe-{home}")
    close(model(PATCHES), clip.proxy(PATCHES))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_unique_gives_proxy_scores_and_deviations(folder, prefix):
    torch.manual_seed(2)
    network = randomise(BaseCNN(fc=nn.Linear(512 * 512, 2)))
    model = imported(tensors(network, prefix), folder / f"unique-{prefix}")
    with torch.no_grad():
        judgement = model.judge(PICTURES)
    close(judgement.proxy, network.proxy(PICTURES))
    close(judgement.std, network.std(PICTURES) + 1e-3)


@torch.no_grad()
def test_native_scores_are_known_where_somebody_tells_the_labels(imported_cnn, cnn):
    q, model = torch.linspace(-2, 5, 8), imported_cnn
    for name, (low, high) in ENDS.items():
        y = cnn.map(q.double(), CNN.index(name) + 1)
        mos = model.predict_mos(q, model.number([name]))
        close(mos, low + y * (high - low) / 10, 1e-4 * (high - low))
        close(model.align(mos, model.number([name])), q.double())
    for name in {*CNN} - {*ENDS}:
        assert model.predict_mos(q, model.number([name])).isnan().all()
        assert model.align(q, model.number([name])).isnan().all()
