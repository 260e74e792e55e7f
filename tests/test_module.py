"""What a run makes of its configuration: rates of learning, target scales, the figure that chooses the best epoch."""

import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from mimi_lightning.data.owners import live
from mimi_lightning.errors import ConfigError
from mimi_lightning.module import QualityModel
from mimi_lightning.score_table import ScoreTable

SHORT = ["dataset=[koniq,live]", "trainer.max_epochs=1"]


def test_pretrained_parameters_learn_at_the_rate_of_the_backbone_and_all_others_at_that_of_the_head(run):
    folder = run(*SHORT, "optimizer.lr=2e-3", "optimizer.backbone_lr=3e-5")
    model = QualityModel.load(folder / "checkpoints" / "best.ckpt")
    groups = model.configure_optimizers()["optimizer"].param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    pretrained = set(map(id, model.regressor.backbone_parameters()))
    assert 0 < len(pretrained) < len(rates)
    assert rates == {id(p): 3e-5 if id(p) in pretrained else 2e-3 for p in model.parameters()}


def test_predictions_of_a_regressor_that_doubts_have_a_deviation(run, monkeypatch):
    folder = run(*SHORT, "backbone.says=levels")
    assert (pd.read_csv(folder / "predictions.csv")["std"] > 0).all()
    model = QualityModel.load(folder / "checkpoints" / "best.ckpt").eval()
    pictures = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    dataset = torch.zeros(3, dtype=torch.int64)
    batch = {"row": torch.arange(3), "names": ("live",), "dataset": dataset, "image": pictures}
    with torch.no_grad():
        doubt = model.judge(pictures).std
        monkeypatch.setattr(model, "predict_mos", lambda proxy, _: -2 * proxy)  # not every mapper rises everywhere
        torch.testing.assert_close(model.predict_step(batch)["std"], 2 * doubt)


def test_targets_follow_the_training_part_and_ends_the_published_range(run, miniature, tmp_path):
    model = QualityModel.load(run(*SHORT) / "checkpoints" / "best.ckpt")
    parts = pd.read_csv(tmp_path / "splits" / "generated-19901116" / "live.csv", comment="#").set_index("image")
    labels = live.read(miniature / "databaserelease2").set_index("image")["mos"]
    train = labels[parts.index[parts["split01"] == "train"]]
    low, high, number = train.min(), train.max(), model.names.index("live")
    ends = torch.tensor([low, high], dtype=torch.float32)
    torch.testing.assert_close(model.scale.normalise(ends, torch.tensor(number)), torch.tensor([0.0, 10.0]))
    published = [10 * (end - low) / (high - low) for end in (0, 114.4147)]
    assert model.scale.ends()[number].tolist() == pytest.approx(published, rel=1e-5)


def test_validation_weighs_the_srcc_of_datasets_by_their_size_or_all_alike(run, miniature, tmp_path):
    datasets = shutil.copytree(miniature, tmp_path / "datasets")
    labels = datasets / "koniq-10k" / "koniq10k_scores_and_distributions.csv"
    table = pd.read_csv(labels)
    (datasets / "koniq-10k" / "1024x768" / table["image_name"][0]).unlink()
    table[1:].to_csv(labels, index=False)
    folder = run("trainer.max_epochs=4", datasets=datasets)
    sizes = {"bid": 20, "clive": 20, "csiq": 20, "kadid": 20, "koniq": 19, "live": 20}
    logged = pd.read_csv(folder / "logs" / "version_0" / "metrics.csv").dropna(subset="val/srcc_weighted")
    figures = logged[[f"val/srcc_{name}" for name in sizes]]
    assert len(logged) == 4
    assert logged["val/srcc_mean"].tolist() == pytest.approx(figures.mean(axis=1).tolist(), abs=1e-6)
    weighted = (figures * list(sizes.values())).sum(axis=1) / 119
    assert logged["val/srcc_weighted"].tolist() == pytest.approx(weighted.tolist(), abs=1e-6)
    assert not logged["val/srcc_weighted"].equals(logged["val/srcc_mean"])


def test_one_image_is_a_table_of_one_row():
    """Torchmetrics makes a scalar of a column of one row."""
    table = ScoreTable()
    table.update(torch.tensor([7]), torch.tensor([1.5]), torch.tensor([2.5]), torch.tensor([torch.nan]))
    scores = QualityModel._collected(SimpleNamespace(table=table))
    assert {name: values.shape for name, values in scores.items()} == dict.fromkeys(scores, (1,))
    assert scores["index"].tolist() == [7]


@pytest.mark.parametrize(
    "content", [[1, 2], {"state_dict": {}}, {"state_dict": {}, "hyper_parameters": {"lr": 3}}, "hyper_parameters"]
)
def test_what_another_program_saved_is_no_checkpoint(tmp_path, content):
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(ConfigError, match=r"other\.ckpt is no checkpoint of MIMI Lightning: "):
        QualityModel.load(tmp_path / "other.ckpt")


def test_a_folder_and_text_are_no_checkpoints(tmp_path):
    with pytest.raises(ConfigError, match="There is no checkpoint"):
        QualityModel.load(tmp_path)
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(ConfigError) as caught:
        QualityModel.load(tmp_path / "text.ckpt")
    assert str(caught.value) == f"{tmp_path}/text.ckpt is no checkpoint of MIMI Lightning: it cannot be read."
