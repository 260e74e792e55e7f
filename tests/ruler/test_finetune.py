"""A network that learns scores of one's own: an ordinary run, and a checkpoint that keeps all scales."""

import numpy as np
import pandas as pd
import pytest
import torch
from test_calibrate import make_model

from mimi_lightning.cli import main
from mimi_lightning.data.owners import csiq
from mimi_lightning.errors import ConfigError
from mimi_lightning.module import QualityModel
from mimi_lightning.ruler import calibrate
from mimi_lightning.ruler.choosing import KINDS
from mimi_lightning.ruler.scales import NewScale, add_scale
from mimi_lightning.start import start_from

BACKBONE = "mimi_lightning.models.regressor.PooledRegressor"


@pytest.fixture
def command(miniature, fast, tmp_path, monkeypatch):
    """The verb, on a checkpoint of csiq and live, with pictures of KADID."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calibrate, "KINDS", {"linear": KINDS["linear"]})
    make_model().save(tmp_path / "old" / "checkpoints" / "best.ckpt")
    (tmp_path / "old" / "config.yaml").write_text("of: something else\n")
    images = csiq.read(miniature / "CSIQ")["image"]
    parts = np.resize(["test", "train"], len(images))
    pd.DataFrame({"dataset": "csiq", "image": images, "part": parts}).to_csv(tmp_path / "old" / "labels.csv")
    pictures = sorted((miniature / "kadid10k" / "images").iterdir())[:16]
    scores = pd.DataFrame({"image": [file.name for file in pictures], "mos": np.arange(16) % 5})
    scores.to_csv(tmp_path / "scores.csv", index=False)
    words = [word for word in fast if not word.startswith("backbone")]

    def start(*more):
        fixed = ["--checkpoint", "old/checkpoints/best.ckpt", "--images", str(miniature / "kadid10k" / "images")]
        return main(["finetune", "scores.csv", *fixed, *words, *more])

    return start


def test_a_run_and_a_checkpoint(command, miniature, tmp_path, capsys):
    assert command(f"paths.datasets={miniature}", "trainer.max_epochs=1") == 0
    before, after = (QualityModel.load(tmp_path / file) for file in ("old/checkpoints/best.ckpt", "mine.ckpt"))
    tuned = QualityModel.load(tmp_path / "outputs/mine/test_resnet/split01/checkpoints/best.ckpt")
    assert after.names == ["csiq", "live", "mine"]
    pixels = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    q = torch.linspace(-2, 2, 9)
    with torch.no_grad():
        assert torch.equal(after(pixels), tuned(pixels))
        assert not torch.equal(after(pixels), before(pixels))
        for name, model in (("csiq", before), ("live", before), ("mine", tuned)):
            expected = model.predict_mos(q, model.number([name]).expand(9))
            assert torch.equal(after.predict_mos(q, after.number([name]).expand(9)), expected)
    for key, value in before.regressor.backbone.state_dict().items():  # only the head learns
        assert torch.equal(value, after.regressor.backbone.state_dict()[key])
    said = capsys.readouterr().out
    assert all(word in said for word in ("SRCC before", "RMSE after", "mine", "csiq"))
    assert (tmp_path / "outputs/mine/test_resnet/split01/predictions.csv").is_file()
    assert not list(miniature.glob("**/mine*"))


def test_a_calibrated_checkpoint_is_finetuned_and_calibrated_again(command, tmp_path, monkeypatch, capsys):
    old = tmp_path / "old" / "checkpoints" / "best.ckpt"
    new = NewScale(
        "rated",
        {"range": [1.0, 5.0], "labels": [2.0, 4.0], "weight": 1, "size": 30},
        {"_target_": "mimi_lightning.models.mappers.Linear"},
        {"slope": torch.tensor([[0.5]]), "offset": torch.tensor([[0.25]])},
        [("c.jpg", 2.0), ("d.jpg", 4.0)],
    )
    add_scale(make_model("Spline", "Anchor"), new).save(old)
    assert command("trainer.max_epochs=1", "--learn", "late") == 0
    assert "What it cost on csiq, live, rated is not known" in capsys.readouterr().out
    before, after = QualityModel.load(old), QualityModel.load(tmp_path / "mine.ckpt")
    assert after.names == ["csiq", "live", "mine", "rated"]
    assert set(after.marks) == {"live", "mine", "rated"}
    q = torch.linspace(-2, 2, 9)
    for name in before.names:
        expected = before.predict_mos(q, before.number([name]).expand(9))
        assert torch.equal(after.predict_mos(q, after.number([name]).expand(9)), expected)
    learned = after.regressor.backbone.state_dict()
    kept = [name for name, value in before.regressor.backbone.state_dict().items() if torch.equal(learned[name], value)]
    layers = {name.rpartition(".")[0] for name in kept if name.endswith("weight")}
    assert 0 < len(layers) < sum(name.endswith("weight") for name in learned)  # the last quarter learns
    add_scale(after, new._replace(name="again")).save(tmp_path / "again.ckpt")
    assert QualityModel.load(tmp_path / "again.ckpt").names == ["again", "csiq", "live", "mine", "rated"]


def test_mistakes_are_explained(command, tmp_path, capsys):
    with pytest.raises(ConfigError, match="--name bid is a dataset of the project"):
        command("--name", "bid")
    with pytest.raises(SystemExit):
        command("--rate", "7")
    assert "unrecognized arguments: --rate 7" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"backbone.freeze, mapper: the checkpoint tells that"):
        command("mapper=minn", "+backbone.freeze=norm")
    with pytest.raises(ConfigError, match="has none, only convolutions"):
        command("--learn", "lora")
    make_model("Heads", hidden=[8]).save(tmp_path / "old" / "checkpoints" / "best.ckpt")
    with pytest.raises(ConfigError, match="Its mapper Heads reads scores of its own"):
        command()
    parts = [
        {"mapper": {"_target_": "mimi_lightning.models.mappers.Heads", "hidden": [8]}, "datasets": ["csiq", "live"]}
    ]
    make_model("Joined", parts=parts).save(tmp_path / "old" / "checkpoints" / "best.ckpt")
    with pytest.raises(ConfigError, match="Its mapper Heads reads scores of its own"):
        command()
    assert not (tmp_path / "outputs").exists()


def test_a_network_with_adapters_learns_by_them(command, tmp_path):
    told = dict(make_model().hparams)
    told["regressor"] = {**told["regressor"], "name": "test_vit", "stage": -1, "lora": {"rank": 2, "alpha": 4}}
    QualityModel(**told).save(tmp_path / "old" / "checkpoints" / "best.ckpt")
    with pytest.raises(ConfigError, match=r"--learn head: its network learns by adapters. Choose --learn lora"):
        command()
    assert not (tmp_path / "outputs").exists()
    assert command("--learn", "lora", "trainer.max_epochs=1") == 0
    assert QualityModel.load(tmp_path / "mine.ckpt").hparams.regressor["lora"] == {"rank": 2, "alpha": 4}


def test_a_network_gets_adapters_and_says_the_same_at_first():
    spec = {"_target_": BACKBONE, "name": "test_vit", "weights": "none", "hidden": [8], "pool": "cls"}
    plain = {**spec, "lora": {"rank": None, "alpha": 16}}
    model = make_model()
    told = {**model.hparams, "regressor": plain}
    torch.manual_seed(0)
    old = QualityModel(**told).eval()
    adapted = start_from(old, {**told, "regressor": {**plain, "lora": {"rank": 2, "alpha": 4}}}, []).eval()
    pixels = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    torch.testing.assert_close(adapted(pixels), old(pixels))
    assert any(".lora_" in name for name, p in adapted.regressor.named_parameters() if p.requires_grad)
    with pytest.raises(ConfigError, match=r"backbone.lora is"):
        start_from(adapted, {**told, "regressor": {**plain, "lora": {"rank": 4, "alpha": 4}}}, [])
