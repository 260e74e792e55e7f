"""Training that starts from a checkpoint: what is taken over, what stays as it is, what is refused."""

import json
import math
import shutil

import pandas as pd
import pytest
import torch
from test_checkpoints import first_format

from mimi_lightning.errors import ConfigError
from mimi_lightning.module import MINMAX, NO_GAUGE, QualityModel
from mimi_lightning.renamed import renamed
from mimi_lightning.start import start_from

OLD = "dataset=[csiq,live]"
NEW = "dataset=[bid,live]"
FROZEN = "freeze=[regressor,mappers]"
HEAVY = ["optimizer=adamw", "optimizer.weight_decay=0.5", "optimizer.lr=0.01", "trainer.max_epochs=1"]


@pytest.fixture
def old(trained, tmp_path):
    """The checkpoint of a run; the next has its partitions."""
    folder = trained(OLD, "trainer.max_epochs=1")
    shutil.copytree(folder.parents[3] / "splits", tmp_path / "splits")
    return folder / "checkpoints" / "best.ckpt"


def model_of(folder):
    return QualityModel.load(folder / "checkpoints" / "best.ckpt")


def same_rows(first, second, name):
    rows = first.mapper.rows([name]), second.mapper.rows([name])
    return [torch.equal(rows[0][key], rows[1][key]) for key in rows[0]]


def parts_of(model, **changed):
    return {**model.hparams, **changed}


def test_what_both_know_is_taken_over_with_its_scale(old):
    before = QualityModel.load(old)
    bid = {**before.hparams.datasets["live"], "labels": [1.0, 4.0]}
    datasets = {"bid": bid, "live": {**before.hparams.datasets["live"], "labels": [3.0, 50.0]}}
    torch.manual_seed(5)
    model = start_from(before, parts_of(before, datasets=datasets), [])
    assert model.names == ["bid", "live"]
    assert all(
        torch.equal(value, model.regressor.state_dict()[key]) for key, value in before.regressor.state_dict().items()
    )
    assert all(same_rows(before, model, "live"))
    assert model.scale.labels[0].tolist() == [1.0, 4.0]
    assert torch.equal(model.scale.labels[1], before.scale.labels[1])
    proxy = torch.linspace(-3, 3, 20)
    torch.testing.assert_close(
        model.predict_mos(proxy, model.number(["live"])), before.predict_mos(proxy, before.number(["live"]))
    )
    assert all(parameter.requires_grad for parameter in model.regressor.parameters())


def test_what_is_frozen_stays_to_the_last_bit_and_a_new_dataset_learns(old, run):
    before = QualityModel.load(old)
    folder = run(NEW, f"init={old}", FROZEN, *HEAVY)
    after = model_of(folder)
    for key, value in before.regressor.state_dict().items():
        assert torch.equal(value, after.regressor.state_dict()[key]), key
    assert all(same_rows(before, after, "live"))
    fresh = run(NEW, f"init={old}", FROZEN, *HEAVY, "optimizer.lr=1e-30", "optimizer.weight_decay=0", "overwrite=true")
    assert not any(same_rows(model_of(fresh), after, "bid")[:3])


def test_scores_of_an_old_dataset_stay_what_they_were(old, run):
    scores = pd.read_csv(old.parents[1] / "predictions.csv").query("dataset == 'live'").set_index("image")
    again = run(NEW, f"init={old}", FROZEN, *HEAVY)
    live = pd.read_csv(again / "predictions.csv").query("dataset == 'live'").set_index("image")
    columns = ["proxy", "prediction", "aligned"]
    pd.testing.assert_frame_equal(live[columns], scores[columns], rtol=1e-5)


def test_an_interrupted_run_goes_on_with_what_is_frozen(old, run, monkeypatch):
    words = NEW, f"init={old}", FROZEN, *HEAVY, "trainer.max_epochs=2"
    through = json.loads((run("name=through", *words).parents[2] / "through/resnet18/split01/metrics.json").read_text())

    def stop(model):
        if model.current_epoch == 1:
            raise RuntimeError("power cut")

    monkeypatch.setattr(QualityModel, "on_train_epoch_start", stop, raising=False)
    with pytest.raises(RuntimeError, match="power cut"):
        run(*words)
    monkeypatch.undo()
    folder = run(*words)
    assert json.loads((folder / "metrics.json").read_text())["figures"] == through["figures"]
    assert all(same_rows(QualityModel.load(old), model_of(folder), "live"))


def test_without_freezing_all_of_it_learns_on(old, run):
    before, after = QualityModel.load(old), model_of(run(NEW, f"init={old}", "trainer.max_epochs=1"))
    assert not all(same_rows(before, after, "live"))
    assert not torch.equal(before.regressor.head[0].weight, after.regressor.head[0].weight)


def test_the_first_format_is_a_start_too(tmp_path):
    checkpoint = first_format("resnet18", {}, 512)
    model = QualityModel(**renamed(checkpoint["hyper_parameters"]))
    weights = {key: value for key, value in checkpoint["state_dict"].items() if not key.startswith("regressor.")}
    regressor = {f"regressor.{key}": value for key, value in model.regressor.state_dict().items()}
    torch.save({**checkpoint, "state_dict": {**regressor, **weights}}, tmp_path / "first.ckpt")
    before = QualityModel.load(tmp_path / "first.ckpt")
    parts = parts_of(model)
    parts["datasets"] = {"bid": parts["datasets"]["csiq"], "live": {**parts["datasets"]["live"], "labels": [0.0, 1.0]}}
    after = start_from(before, parts, ["mappers"])
    q = torch.tensor([-25.0, 0.0, 40.0])  # beyond 16, where the first format's functions are straight
    expected = before.predict_mos(q, before.number(["live"]))
    torch.testing.assert_close(after.predict_mos(q, after.number(["live"])), expected)
    assert after.frozen == ("live",)


def test_a_label_scale_that_nobody_knows_is_that_of_the_new_training_part():
    parts = renamed(first_format("resnet18", {}, 512)["hyper_parameters"])
    parts |= {"labels": MINMAX, "gauge": NO_GAUGE}
    live = parts["datasets"]["live"]
    before = QualityModel(**{**parts, "datasets": {**parts["datasets"], "live": {**live, "labels": [math.nan] * 2}}})
    after = start_from(before, parts, [])
    assert after.scale.known.tolist() == [True, True]
    assert after.scale.labels[1].tolist() == live["labels"]
    assert all(same_rows(before, after, "live"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["backbone=resnet34"], r"init: backbone.name is resnet18 in the checkpoint and resnet34 here"),
        (["backbone.stage=-2"], r"init: backbone.stage is -3 in the checkpoint and -2 here"),
        (
            ["mapper=linear", "objective=regression"],
            r"init: mapper._target_ is \S+MINN in the checkpoint and \S+Linear",
        ),
        (["mapper.blocks=2"], r"init: mapper.blocks is 1 in the checkpoint and 2 here"),
        (["split=2"], r"trained on \d+ images that are in the test part now \(csiq, live\): take a checkpoint of"),
        (["freeze=[head]"], r"freeze=\['head'\]: expected a list of regressor and mappers"),
        (["freeze=regressor"], r"freeze=regressor: expected a list"),
        (["init=null", "freeze=[mappers]"], r"freeze=\[mappers\] keeps what a checkpoint brings: set init=CHECKPOINT"),
        (["init=gone.ckpt"], r"There is no checkpoint gone.ckpt"),
    ],
)
def test_what_does_not_go_together_is_refused(old, run, words, message):
    with pytest.raises(ConfigError, match=message):
        run(OLD, f"init={old}", *words)


def test_words_that_freeze_does_not_know_leave_no_file(run, tmp_path):
    with pytest.raises(ConfigError, match="expected a list of regressor and mappers"):
        run("name=other", "freeze=[head]")
    assert not (tmp_path / "outputs" / "other").exists()


def test_nothing_left_to_learn_is_said(old):
    before = QualityModel.load(old)
    spec = {"_target_": "mimi_lightning.models.mappers.Identity"}
    regression = {"_target_": "mimi_lightning.objectives.Regression"}
    free = {"_target_": "mimi_lightning.gauges.Free"}
    plain = QualityModel(**parts_of(before, mapper=spec, objective=regression, gauge=free))
    with pytest.raises(ConfigError, match="leaves nothing to learn"):
        start_from(plain, dict(plain.hparams), ["regressor"])
