"""Files of other authors against a direct evaluation of their formulas, and files that are refused."""

import copy
import os
import pickle
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from writers import CLIP, CNN, BaseCNN, ClipMinn, randomise, tensors

from mimi_lightning import cli
from mimi_lightning.data.published import FORMATS, LISTED
from mimi_lightning.errors import ConfigError, DatasetError
from mimi_lightning.foreign import import_checkpoint, importing
from mimi_lightning.foreign.layouts import LIQE, MIMICLIP, recognise
from mimi_lightning.foreign.weights import read
from mimi_lightning.module import QualityModel

ENDS = {"live": (3.5, 99.0), "koniq": (1.25, 4.25)}
PICTURES = torch.randint(0, 256, (3, 3, 80, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
PICTURES[1] //= 6
PICTURES[2, :, 30:] = torch.arange(64, dtype=torch.uint8)
ONE = torch.ones(1)
PATCHES = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
PATCHES[1] //= 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("foreign")


@pytest.fixture(scope="module")
def cnn():
    torch.manual_seed(1)
    return randomise(BaseCNN())


@pytest.fixture(scope="module")
def cnn_content(cnn):
    """All that `BaseCNN-best.pt` holds."""
    figures = {"live": [np.float64(0.9)]}
    return {"epoch": 3, "state_dict": tensors(cnn), "optimizer": {"state": {}}, "test_results_srcc": figures}


@pytest.fixture(scope="module")
def imported_cnn(cnn_content, folder):
    imported(cnn_content, folder / "cnn", ENDS)
    return QualityModel.load(folder / "cnn" / "best.ckpt")


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
    return import_checkpoint(write(content, folder / "theirs.pt"), folder / "best.ckpt", ends).model


def assert_close(found, expected, tolerance=1e-4):
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)


@torch.no_grad()
def assert_same_scores(model, network, images, order):
    """Proxy scores of pictures, and the score mapper of every dataset on a grid."""
    expected = network.proxy(images)
    assert expected.std() > 1e-2  # these scores tell pictures apart
    assert_close(model(images), expected)
    q = torch.linspace(-2, 3, 21, dtype=torch.float64)
    for number, name in enumerate(order, 1):
        assert_close(model.mapper(q.float(), model.number([name])), network.map(q, number))


def test_mimi_cnn_says_what_its_formulas_say(imported_cnn, cnn):
    assert_same_scores(imported_cnn, cnn, PICTURES, CNN)


def test_mimi_cnn_with_vgg16_and_several_blocks(folder):
    torch.manual_seed(0)
    network = randomise(BaseCNN("vgg16", blocks=2))
    model = imported({"state_dict": tensors(network)}, folder / "vgg")
    assert model.mapper.blocks == 2
    assert_same_scores(model, network, PICTURES[:2], CNN)


def test_mimi_clip_says_what_its_formulas_say(clip, folder):
    content = {
        "model_state_dict": tensors(clip),
        "epoch": 3,
        "optimizer_state_dict": {},
        "all_results": {"quality": {}},
    }
    assert_same_scores(imported(content, folder / "clip"), clip, PATCHES, CLIP)


def test_liqe_gives_proxy_scores(clip, folder):
    assert_close(imported(tensors(clip.clip_model), folder / "liqe")(PATCHES), clip.proxy(PATCHES))


@torch.no_grad()
def test_unique_gives_proxy_scores_and_deviations(folder):
    torch.manual_seed(2)
    network = randomise(BaseCNN(fc=nn.Linear(512 * 512, 2)))
    model = imported(tensors(network, "module."), folder / "unique")
    judgement = model.judge(PICTURES)
    assert_close(judgement.proxy, network.proxy(PICTURES))
    assert_close(judgement.std, network.std(PICTURES) + 1e-3)
    assert model.predict_mos(judgement.proxy, model.number(["live"])).isnan().all()


@pytest.mark.parametrize(
    ("title", "content"),
    [
        ("UNIQUE", {"module.fc.bias": ONE}),  # saved by nn.DataParallel
        ("UNIQUE", {"epoch": 5, "state_dict": {"fc.bias": ONE}, "train_loss": [0.1]}),
        ("LIQE", {"logit_scale": ONE}),
        ("LIQE", {"model_state_dict": {"logit_scale": ONE}, "all_results": {}}),
        ("MIMI-CLIP", {"model_state_dict": {"clip_model.logit_scale": ONE}, "epoch": 1}),
        ("MIMI-CNN", {"state_dict": {"trans1.net.0.bias": ONE, "fc.0.bias": ONE}}),
    ],
)
def test_a_layout_is_told_by_its_tensors(title, content):
    assert recognise(content, Path("theirs.pt"))[0].title == title


@torch.no_grad()
def test_native_scores_are_known_where_somebody_tells_the_labels(imported_cnn, cnn):
    q, model = torch.linspace(-2, 5, 8), imported_cnn
    for name, (low, high) in ENDS.items():
        y = cnn.map(q.double(), CNN.index(name) + 1)
        mos = model.predict_mos(q, model.number([name]))
        assert_close(mos, low + y * (high - low) / 10, 1e-4 * (high - low))
        assert_close(model.align(mos, model.number([name])), q.double())
    for name in {*CNN} - {*ENDS}:
        assert model.predict_mos(q, model.number([name])).isnan().all()
        assert model.align(q, model.number([name])).isnan().all()


class Stranger:
    def __reduce__(self):
        return os.system, (f"touch {MARK}",)


MARK = "mimi-was-run"


def blank(state):
    """Zeros of the same shapes, one number in a file."""
    zeros = {kind: torch.zeros((), dtype=kind) for kind in {tensor.dtype for tensor in state.values()}}
    return {name: zeros[tensor.dtype].expand_as(tensor) for name, tensor in state.items()}


def without(name):
    return lambda content: content["state_dict"].pop(name)


def with_tensor(name, tensor):
    return lambda content: content["state_dict"].update({name: tensor})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(model=Stranger()), "system', which is no data. Nothing was run"),
        (with_tensor("fc.4.bias", Stranger()), "system', which is no data"),
        (without("backbone.layer3.5.bn2.running_var"), r"lacks backbone.layer3.5.bn2.running_var\."),
        (without("fc.2.bias"), r"lacks fc.2.bias\."),
        (without("trans6.net.4.weight"), r"lacks trans6.net.4.weight\."),
        (without("nlm1.operations.0.F.net.0.bias"), r"lacks nlm1.operations.0.F.net.0.bias\."),
        (
            without("trans1.net.0.bias"),
            "holds 'backbone.conv1.weight', .* and the sign of no layout that is known: MIMI-CNN",
        ),
        (with_tensor("fc.6.weight", ONE), "holds 'fc.6.weight', which the layout does not have"),
        (with_tensor("nlm1.operations.3.F.net.0.bias", ONE), "holds 'nlm1.operations.3.F.net.0.bias', which"),
        (with_tensor("nlm3.operations.1.F.net.0.bias", ONE), "holds 'nlm3.operations.1.F.net.0.bias', which"),
        (with_tensor("clip_model.logit_scale", ONE), "holds 'clip_model.logit_scale', which"),
        (with_tensor("backbone.fc.bias", torch.ones(7)), r"backbone.fc.bias has the shape \[7\], not \[1000\]"),
        (with_tensor("fc.0.weight", torch.ones(8, 9)), r"fc.0.weight has the shape \[8, 9\], not \[8, 262144\]"),
        (with_tensor("trans2.net.0.bias", torch.ones(8)), r"trans2.net.0.bias has the shape \[8\], not \[7\]"),
        (with_tensor("fc.0.bias", torch.ones(1).expand(10**9)), "has 1,000,000,000 entries, not 1 to 512"),
        (with_tensor("fc.4.bias", torch.full((1,), torch.inf)), "fc.4.bias does not hold finite numbers"),
        (with_tensor("fc.4.bias", torch.ones(1, dtype=torch.int64)), "fc.4.bias does not hold finite numbers"),
        (with_tensor("fc.4.bias", torch.ones(1).to_sparse()), "fc.4.bias is no tensor of plain numbers"),
        (with_tensor("fc.4.bias", torch.ones(1, device="meta")), "fc.4.bias is no tensor of plain numbers"),
        (with_tensor("fc.4.bias", "a word"), "fc.4.bias is no tensor of plain numbers"),
        (with_tensor(4, ONE), "does not hold weights by their names"),
        (lambda content: content.update(state_dict=[ONE]), "does not hold weights by their names"),
        (lambda content: content.update(code="import os"), "beside its weights it holds 'code'"),
        (
            lambda content: content.update(model_state_dict=content.pop("state_dict")),
            "MIMI-CNN has them under state_dict",
        ),
        (lambda content: content.update(content.pop("state_dict")), "MIMI-CNN at its top, but MIMI-CNN has them under"),
        (lambda content: content.clear(), "holds nothing, and the sign of no layout"),
    ],
)
def test_what_is_not_of_the_layout_is_refused_by_name(cnn_content, refusing, tmp_path, change, message):
    content = {**cnn_content, "state_dict": blank(cnn_content["state_dict"])}
    change(content)
    with pytest.raises(ConfigError, match=message):
        import_checkpoint(write(content, tmp_path / "theirs.pt"), tmp_path / "out" / "best.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.pt"]


@pytest.fixture(scope="module")
def scratch(imported_cnn):
    return copy.deepcopy(imported_cnn)


@pytest.fixture
def refusing(scratch, tmp_path, monkeypatch):
    """Import into a model that is there already, which takes no time."""

    def make_model(layout, weights, ends):
        layout.words(weights)
        return scratch

    monkeypatch.setattr(importing, "_make_model", make_model)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("write_file", "message"),
    [
        (lambda file: None, "There is no file .*theirs.pt"),
        (lambda file: file.mkdir(), "There is no file .*theirs.pt"),
        (lambda file: file.touch(), "cannot read weights"),
        (lambda file: file.write_text("import os"), "cannot read weights"),
        (lambda file: file.write_bytes(pickle.dumps(Stranger())), "cannot read weights"),
        (lambda file: file.write_bytes(pickle.dumps(Stranger(), 2)), "system', which is no data. Nothing was run"),
        (lambda file: torch.save([ONE], file), "it holds a list, not weights by their names"),
        (lambda file: torch.save(nn.Linear(1, 1), file), "Linear', which is no data"),
    ],
)
def test_files_that_hold_no_weights_are_refused(tmp_path, monkeypatch, write_file, message):
    monkeypatch.chdir(tmp_path)
    write_file(tmp_path / "theirs.pt")
    with pytest.raises(ConfigError, match=message):
        import_checkpoint(tmp_path / "theirs.pt", tmp_path / "best.ckpt")
    assert {path.name for path in tmp_path.iterdir()} <= {"theirs.pt"}


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])  # before NumPy 2, and since
def test_figures_of_numpy_do_no_harm(tmp_path, monkeypatch, module):
    scalar = np.float64(0).__reduce__()[0]
    monkeypatch.setattr(scalar, "__module__", module)
    content = read(write({"srcc": [np.float64(0.5)], "weight": ONE}, tmp_path / "theirs.pt"))
    assert content["weight"] == 1


def write_lists(lists, miniature, split, names=tuple(LISTED)):
    """Lists of all datasets as MIMI-CNN's authors write them; returns the rows by dataset and part."""
    tables = {}
    for name in names:
        folder, listed_name = LISTED[name]
        table = (
            import_module(f"mimi_lightning.data.owners.{name}")
            .read(miniature / folder)[["image", "mos"]]
            .sort_values("mos")
        )
        home = lists / FORMATS["mimi_cnn"].home / folder / "splits2" / str(split)
        home.mkdir(parents=True)
        tables[name] = {"train": table[:8], "valid": table[8:10], "test": table[10:]}
        for part, rows in tables[name].items():
            lines = [f"{image}\t{mos:.3f}\t0.5\t1\r" for image, mos in rows.itertuples(index=False)]
            (home / f"{listed_name}_{part}.txt").write_text("".join(lines), newline="")
    return tables


def test_the_command_takes_labels_and_parts_from_lists(cnn_content, miniature, tmp_path, capsys):
    tables = write_lists(tmp_path / "lists", miniature, 3)
    file, out = write(cnn_content, tmp_path / "theirs.pt"), tmp_path / "best.ckpt"
    told = ["--lists", str(tmp_path / "lists"), "--split", "3", "--labels", "bid=0.5:4.5"]
    assert cli.main(["import", str(file), "--out", str(out), *told]) == 0
    labels = tmp_path / "best.labels.csv"
    assert capsys.readouterr().out.splitlines() == [
        "MIMI-CNN, resnet34",
        "native scores of bid, clive, csiq, kadid, koniq, live",
        f"checkpoint {out}",
        f"labels {labels}",
    ]
    model = QualityModel.load(out)
    train = tables["live"]["train"]["mos"]
    ends = model.hparams.datasets
    assert ends["live"]["labels"] == pytest.approx([train.min(), train.max()], abs=6e-4)
    assert ends["bid"]["labels"] == [0.5, 4.5]
    assert ends["live"]["range"] == [0, 114.4147]
    words = [f"checkpoint={out}", f"labels={labels}", f"out={tmp_path}/table.csv", "dataset=[koniq]"]
    assert cli.main(["evaluate", *words, f"paths.datasets={miniature}", "trainer=cpu", "data.workers=0"]) == 0
    table = pd.read_csv(tmp_path / "table.csv")
    assert {*table["image"]} == {*tables["koniq"]["test"]["image"]}
    assert {*table["part"]} == {"test"}
    assert np.isfinite(table[["proxy", "prediction", "aligned"]]).all(axis=None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "koniq"], "NAME=LOW:HIGH"),
        (["--labels", "koniq=1:b"], "NAME=LOW:HIGH"),
        (["--labels", "tid2013=0:9"], "--labels tid2013: MIMI-CNN was trained on live, csiq"),
        (["--labels", "koniq=4:1"], "--labels koniq=4:1: expected two numbers, the lower one first"),
        (["--labels", "koniq=nan:1"], "the lower one first"),
        (["--lists", "."], "--lists DIR and --split N go together"),
        (["--split", "3"], "--lists DIR and --split N go together"),
        (["--lists", ".", "--split", "11"], "--split 11: expected 1 to 10"),
        (["--lists", ".", "--split", "3"], "There are no lists of split 3"),
        (["--lists", "lists", "--split", "3"], "no lists of bid, clive, csiq, kadid, koniq, on which"),
        (["--out", "theirs.pt"], "theirs.pt is there already"),
        (["--out", "old.ckpt"], "old.labels.csv is there already"),
    ],
)
def test_wrong_words_are_explained(refusing, miniature, tmp_path, words, message):
    torch.save({"state_dict": {"trans1.net.0.bias": ONE}}, "theirs.pt")
    if "lists" in words:
        write_lists(tmp_path / "lists", miniature, 3, ["live"])
    (tmp_path / "old.labels.csv").touch()
    before = (tmp_path / "theirs.pt").read_bytes()
    with pytest.raises((ConfigError, DatasetError), match=message):
        cli.main(["import", "theirs.pt", "--out", "best.ckpt", *words])
    assert (tmp_path / "theirs.pt").read_bytes() == before
    assert not (tmp_path / "best.ckpt").exists()


def test_a_place_where_nothing_can_be_written_is_named(cnn_content, refusing, tmp_path):
    file = write({"state_dict": blank(cnn_content["state_dict"])}, tmp_path / "theirs.pt")
    with pytest.raises(ConfigError, match=r"theirs.pt/best.ckpt cannot be written"):
        import_checkpoint(file, file / "best.ckpt")


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        ({"logit_scale": ONE}, ["--labels", "koniq=1:4"], "LIQE has no score mappers"),
        ({"fc.bias": ONE}, ["--lists", ".", "--split", "1"], "partitions of UNIQUE were not published"),
    ],
)
def test_what_a_layout_has_not_cannot_be_asked_for(tmp_path, content, words, message):
    file = write(content, tmp_path / "theirs.pt")
    with pytest.raises(ConfigError, match=message):
        cli.main(["import", str(file), "--out", str(tmp_path / "best.ckpt"), *words])
