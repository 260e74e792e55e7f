"""Exported files give the scores of their checkpoint, by programs that know nothing of this project."""

import copy
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.layers import Conv2dSame

from mimi_lightning import cli, load
from mimi_lightning.contracts import Judgement, Regressor
from mimi_lightning.errors import ConfigError
from mimi_lightning.exporting.onnx_file import _largest_difference, quantise, views, write_int8, write_onnx
from mimi_lightning.exporting.program import write_program
from mimi_lightning.exporting.same import SameConv
from mimi_lightning.exporting.scorer import Scorer
from mimi_lightning.exporting.settle import settle
from mimi_lightning.exporting.weights import write_safetensors
from mimi_lightning.models import mappers
from mimi_lightning.module import QualityModel

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

EXAMPLE = Path(__file__).parents[2] / "docs" / "score_onnx.py"
RANGES = {"koniq": [1, 5], "live": [0, 100]}
PATCHES = {"_target_": "mimi_lightning.data.patches.TestPatches", "resize": 64, "patches": 3, "side": 32}
WHOLE = {"_target_": "mimi_lightning.data.images.TestView", "resize": 64}
RESNET = {"_target_": "mimi_lightning.models.regressor.PooledRegressor", "name": "resnet18", "weights": "none"}
TRANSFORMER = {**RESNET, "name": "test_vit", "stage": -6, "pool": "cls", "hidden": [8]}
BRIGHTNESS = {"_target_": f"{__name__}.Brightness", "name": "brightness"}
SHORT = {"hidden": [8], "reach": 4.0}  # pictures go beyond the table
PARTS = [
    {"mapper": {"_target_": "mimi_lightning.models.mappers.MINN", **SHORT}, "datasets": ["koniq"]},
    {"mapper": {"_target_": "mimi_lightning.models.mappers.Bernstein"}, "datasets": ["live"]},
]
MORE = {"Heads": {"hidden": [2]}, "Joined": {"parts": PARTS}, "MINN": SHORT, "Monotone": SHORT}  # what they are told
SMALL = {**RESNET, "stage": -4, "hidden": [8], "says": "deviation", "pool": "mean_std"}


class Brightness(Regressor):
    """The mean of a picture, from -8 to 8, and hidden layers of it."""

    def __init__(self, name: str = "brightness", weights: str = "none") -> None:
        super().__init__()

    def forward(self, images):
        proxy = images.float().mean((1, 2, 3)) / 16 - 8
        return Judgement(proxy, hidden=torch.stack([proxy, proxy.square()], dim=1))

    def backbone_parameters(self):
        return iter(())


def make(regressor: dict, mapper: str = "Linear", view: dict | None = WHOLE, **more) -> QualityModel:
    """A model of random weights, in which no two rows of the mapper are alike."""
    torch.manual_seed(0)
    datasets = {name: {"range": ends, "labels": ends, "weight": 1, "size": 9} for name, ends in RANGES.items()}
    mapper = {"_target_": f"mimi_lightning.models.mappers.{mapper}", **more}
    model = QualityModel(regressor, mapper, {"_target_": "mimi_lightning.objectives.Regression"}, datasets, view=view)
    with torch.no_grad():
        for tensor in model.mapper.parameters():
            tensor += 0.1 * torch.randn_like(tensor)
    return model.eval()


def save(model: QualityModel, file: Path) -> Path:
    checkpoint = {"hyper_parameters": dict(model.hparams), "state_dict": model.state_dict()}
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, file)
    return file


def score(file: Path, images: torch.Tensor) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(file)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": images.numpy()}), strict=True))


@torch.no_grad()
def expected(model: QualityModel, images: torch.Tensor) -> dict[str, np.ndarray]:
    judgement = model.judge(images)
    scores = {"proxy": model(images), "std": judgement.std}
    for number, name in enumerate(model.names):
        dataset = torch.full((len(images),), number)
        scores[name] = model.predict_mos(model.mapper.read(judgement, dataset), dataset)
    return {name: each.numpy() for name, each in scores.items() if each is not None}


def pictures(*shape: int) -> torch.Tensor:
    """Noise of every brightness."""
    noise = torch.randint(256, shape, generator=torch.Generator().manual_seed(1))
    return (noise * torch.linspace(0.1, 1, shape[0]).view(-1, *[1] * (len(shape) - 1))).to(torch.uint8)


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert list(found) == list(wanted)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory) -> tuple[QualityModel, Path]:
    """A model of convolutions and its ONNX file."""
    model, file = make(SMALL, "MINN", hidden=[8]), tmp_path_factory.mktemp("export") / "best.onnx"
    assert write_onnx(model, file) < 1e-4
    return model, file


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Pictures as cameras make them: wide, tall, smaller than the view, lying on their side, grey."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, (height, width) in enumerate([(70, 151), (210, 97), (50, 61), (90, 131)]):
        image = Image.fromarray(pictures(1 + number, height, width, 3)[-1].numpy())
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 3 else 1
        image.save(folder / f"{number}.png", exif=exif)
    Image.fromarray(pictures(2, 80, 80)[-1].numpy()).save(folder / "grey.jpg")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 97, 131), (2, 33, 200)])
def test_onnx_gives_the_scores_of_pictures_of_any_size(convolutional, shape):
    model, file = convolutional
    images = pictures(shape[0], 3, *shape[1:])
    assert_same(score(file, images), expected(model, images))


def test_a_file_tells_what_to_feed_it(convolutional):
    session = onnxruntime.InferenceSession(convolutional[1])
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(uint8)", ["batch", 3, "height", "width"])
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["view"]) == {"resize": 64}
    assert json.loads(facts["scales"]) == RANGES
    assert [output.shape for output in session.get_outputs()] == [["batch"]] * 4


MAPPERS = [name for name in mappers.__all__ if isinstance(getattr(mappers, name), type)]


@pytest.mark.parametrize(("unknown", "told"), [(["koniq"], ["proxy", "live"]), (["koniq", "live"], ["proxy"])])
def test_scales_whose_labels_nobody_knows_are_left_out(unknown, told):
    model = make(BRIGHTNESS)
    facts = {name: {**model.hparams.datasets[name], "labels": [np.nan] * 2} for name in unknown}
    imported = QualityModel(**{**model.hparams, "datasets": {**model.hparams.datasets, **facts}}).eval()
    imported.load_state_dict(model.state_dict())
    scorer, images = Scorer(imported), pictures(3, 3, 8, 8)
    assert scorer.outputs == told
    assert list(json.loads(scorer.facts()["scales"])) == told[1:]
    wanted = expected(model, images)
    with torch.no_grad():
        found = dict(zip(told, scorer(images), strict=True))
    assert_same(found, {name: wanted[name] for name in told})


def test_a_score_that_is_no_number_is_another_score(monkeypatch):
    class Session:
        def __init__(self, *_, **__):
            pass

        def run(self, *_):
            return [np.full(1, np.nan, np.float32)] * 3

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    assert _largest_difference(Scorer(make(BRIGHTNESS)), Path(), [pictures(1, 3, 8, 8)]) == (np.inf, np.inf)


@pytest.mark.parametrize("name", MAPPERS)
def test_a_settled_mapper_is_the_same_function(name):
    """Of scores far beyond its knots, too; the programs below hold those that are not plain arithmetic."""
    if name == "Anchored":
        model = make(BRIGHTNESS, "Bernstein")
        model.mapper = mappers.Anchored(model.mapper, "live")
    else:
        model = make(BRIGHTNESS, name, **MORE.get(name, {}))
    images = torch.arange(0, 256, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    with torch.no_grad():
        found = settle(copy.deepcopy(Scorer(model)))(images)
    for each, (scale, wanted) in zip(found, expected(model, images).items(), strict=True):
        np.testing.assert_allclose(each, wanted, rtol=1e-5, atol=1e-4, err_msg=scale)


def test_a_transformer_interpolates_its_positions_to_any_size(tmp_path):
    model = make(TRANSFORMER)
    write_onnx(model, tmp_path / "vit.onnx")
    for shape in ((2, 64, 64), (1, 97, 131), (3, 250, 33)):
        images = pictures(shape[0], 3, *shape[1:])
        assert_same(score(tmp_path / "vit.onnx", images), expected(model, images))


def test_clip_goes_without_its_texts(tiny_clip, tmp_path):
    clip = {"_target_": "mimi_lightning.models.clip.CLIPRegressor", "name": "clip", "weights": "none"}
    model = make({**clip, "model": tiny_clip}, "Spline", view=PATCHES)
    write_onnx(model, tmp_path / "clip.onnx")
    images = pictures(5, 3, 3, 32, 32)
    assert_same(score(tmp_path / "clip.onnx", images), expected(model, images))
    assert (tmp_path / "clip.onnx").stat().st_size < 1e6  # the table of 49,408 words alone has 6 MB
    with pytest.raises(ConfigError, match="keeps 32 bits"):
        write_int8(model, tmp_path / "int8.onnx", [])
    assert [path.name for path in tmp_path.iterdir()] == ["clip.onnx"]


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (1, 2, 1), (2, 3, 2), (4, 1, 1)])
def test_padding_is_that_of_timm(kernel, stride, dilation):
    conv = Conv2dSame(2, 3, kernel, stride, dilation=dilation)
    for height, width in ((7, 8), (12, 9), (11, 5)):
        x = torch.randn(2, 2, height, width)
        torch.testing.assert_close(SameConv(conv)(x), conv(x))


def test_a_program_of_torch_gives_the_same_scores(convolutional, tmp_path):
    model, _ = convolutional
    write_program(model, tmp_path / "best.pt2")
    told = {"outputs": "", "view": ""}
    program = torch.export.load(tmp_path / "best.pt2", extra_files=told).module()
    assert json.loads(told["view"]) == {"resize": 64}
    for shape in ((1, 64, 64), (3, 97, 131)):
        images = pictures(shape[0], 3, *shape[1:])
        found = dict(zip(told["outputs"].split(), (each.numpy() for each in program(images)), strict=True))
        assert_same(found, expected(model, images))
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt2"]


def test_safetensors_are_the_same_model_bit_for_bit(tmp_path):
    model = make(SMALL, "MINN", hidden=[8])
    model.marks = {"koniq": [("a.jpg", 1.5), ("b.jpg", 3.5)]}
    write_safetensors(model, tmp_path / "best.safetensors")
    again = QualityModel.load(tmp_path / "best.safetensors")
    kept = QualityModel.load(save(model, tmp_path / "best.ckpt"))
    assert again.hparams == kept.hparams
    assert again.marks == kept.marks == model.marks
    state = again.state_dict()
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"PK rubbish"])
def test_other_safetensors_are_refused(content, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.safetensors is no checkpoint of MIMI Lightning"):
        QualityModel.load(tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match="There is no checkpoint"):
        QualityModel.load(tmp_path / "gone.safetensors")


def test_int8_keeps_the_scores_near(convolutional, folder, tmp_path):
    model, file = convolutional
    seen = [view[None] for view in views(model, sorted(folder.glob("*.png")))]
    quantise(file, tmp_path / "int8.onnx", [view.numpy() for view in seen])
    for view in seen:
        near = score(tmp_path / "int8.onnx", view)["proxy"] - expected(model, view)["proxy"]
        assert 0 < abs(near.item()) < 0.1
    kept = onnxruntime.InferenceSession(tmp_path / "int8.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(kept["view"]) == {"resize": 64}


def run_example(python: Path, *words: object, blocked: str = "") -> dict[str, dict[str, float]]:
    """Scores of the printed table; imports of blocked modules fail."""
    code = f"import sys, runpy; sys.modules.update(dict.fromkeys('{blocked}'.split())); sys.argv = sys.argv[1:]; "
    words = [str(python), "-c", code + "runpy.run_path(sys.argv[0])", str(EXAMPLE), *map(str, words)]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return {row.pop("picture"): {k: float(v) for k, v in row.items()} for row in csv.DictReader(printed.splitlines())}


def assert_scores_as_the_ruler(scores: dict[str, dict[str, float]], model: QualityModel, folder: Path, tmp_path: Path):
    ruler = load(save(model, tmp_path / "best.ckpt"))
    assert list(scores) == ["0.png", "1.png", "2.png", "3.png", "grey.jpg"]
    for name, row in scores.items():
        for scale in ("proxy", *RANGES):
            assert row[scale] == pytest.approx(ruler.score(folder / name, scale=scale), rel=1e-4, abs=1e-4)


def test_the_example_scores_a_folder_as_the_ruler_does(convolutional, folder, tmp_path):
    model, file = convolutional
    scores = run_example(sys.executable, file, folder, blocked="torch torchvision lightning timm mimi_lightning")
    assert_scores_as_the_ruler(scores, model, folder, tmp_path)


@pytest.mark.slow
def test_the_example_needs_three_packages(convolutional, folder, tmp_path):
    """In an environment that has nothing else."""
    model, file = convolutional
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "onnxruntime", "numpy", "pillow"]
    installed = subprocess.run(pip, capture_output=True, text=True)
    if installed.returncode and not os.environ.get("CI"):
        pytest.skip(f"pip cannot install: {installed.stderr.strip()[-200:]}")
    assert installed.returncode == 0, installed.stderr
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode
    assert_scores_as_the_ruler(run_example(python, file, folder), model, folder, tmp_path)


def test_the_verb_writes_beside_the_checkpoint(tmp_path, capsys):
    checkpoint = save(make(SMALL), tmp_path / "best.ckpt")
    assert cli.main(["export", str(checkpoint), "--to", "safetensors"]) == 0
    assert f"{tmp_path}/best.safetensors: " in capsys.readouterr().out
    assert QualityModel.load(tmp_path / "best.safetensors").names == ["koniq", "live"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "onnx", "--int8"], "--calibration DIR"),
        (["--to", "torch", "--int8", "--calibration", "."], "--to onnx --int8"),
        (["--to", "onnx", "--calibration", "."], "--to onnx --int8"),
        (["--to", "onnx", "--int8", "--calibration", "gone/*"], "no picture in gone"),
        (["--to", "onnx", "--out", "x.pt"], "ends in .onnx"),
        (["--to", "onnx", "--out", "gone/x.onnx"], "no folder .*gone"),
        (["--to", "onnx"], "There is no checkpoint"),
    ],
)
def test_mistakes_are_explained(words, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        cli.main(["export", str(tmp_path / "best.ckpt"), *words])
    assert not [*tmp_path.iterdir()]


def test_what_cannot_be_exported_says_why(tmp_path):
    with pytest.raises(ConfigError, match="early version"):
        write_onnx(make(BRIGHTNESS, view=None), tmp_path / "x.onnx")
    with pytest.raises(ConfigError, match="backbone test_vit cannot be exported --to torch"):
        write_program(make(TRANSFORMER), tmp_path / "x.pt2")
    assert not [*tmp_path.iterdir()]
