"""The vision-language variant from configuration to outputs, on the miniature datasets and with a tiny CLIP."""

import json
import shutil

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir

from mimi_lightning import config, train
from mimi_lightning.cli import main
from mimi_lightning.data.owners import kadid
from mimi_lightning.errors import ConfigError, DatasetError
from mimi_lightning.module import QualityModel

SMALL = [
    "backbone.weights=none",
    "mapper.hidden=[8]",
    "trainer=cpu",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "data.epoch=2",
    "data.workers=0",
    "data.quota=1",
]


CLIP = ["backbone=clip_vit_b32", "backbone.model=tiny-test"]


@pytest.fixture
def run(miniature, tiny_clip, blank, tmp_path):
    """Compose and train, as the command does; results go below tmp_path."""

    def start(*overrides, network=(*CLIP, "view.train.side=32")):
        config.register_resolvers()
        paths = [f"paths.datasets={miniature}", f"splits.store={tmp_path}/splits", f"paths.outputs={tmp_path}/outputs"]
        with initialize_config_dir(str(config.conf_dir()), version_base="1.3"):
            cfg = compose("config", [*network, *SMALL, *paths, *overrides])
        train.train(cfg)
        return tmp_path / "outputs" / cfg.name / "clip_vit_b32" / "split01"

    return start


def logged(folder):
    return pd.concat([pd.read_csv(log) for log in sorted((folder / "logs").glob("*/metrics.csv"))])


def test_all_three_tasks_are_learned_and_reported(run, capsys):
    folder = run()
    log = logged(folder)
    for term in ("quality", "scene", "distortion"):
        assert log[f"train/{term}"].notna().any()
        assert (log[f"train/weight_{term}"].dropna().head(4) == 1).all()  # two epochs of two steps
    last = log.filter(like="train/weight_").dropna().iloc[-1]
    assert last.sum() == pytest.approx(3)
    assert last.nunique() == 3
    accuracies = json.loads((folder / "metrics.json").read_text())["tasks"]
    assert set(accuracies) == {"scene_accuracy", "distortion_accuracy"}
    assert all(0 <= figure <= 1 for figure in accuracies.values())
    assert "scene_accuracy" in capsys.readouterr().out
    assert pd.read_csv(folder / "predictions.csv")["proxy"].between(1, 5).all()
    model = QualityModel.load(folder / "checkpoints" / "best.ckpt")  # alone, without the files above
    with torch.no_grad():
        assert model(torch.zeros(2, 15, 3, 32, 32, dtype=torch.uint8)).isfinite().all()


def test_an_interrupted_run_goes_on_to_the_same_figures(run, monkeypatch):
    through = run("name=through")

    def stop(model):
        if model.current_epoch == 2:
            raise RuntimeError("power cut")

    monkeypatch.setattr(QualityModel, "on_train_epoch_start", stop, raising=False)
    with pytest.raises(RuntimeError, match="power cut"):
        run()
    monkeypatch.undo()
    folder = run()
    weights = [logged(f)["train/weight_scene"].dropna().iloc[-1] for f in (through, folder)]
    assert weights[0] == weights[1] != 1
    first, second = (json.loads((f / "metrics.json").read_text()) for f in (through, folder))
    assert first["figures"] == second["figures"]
    assert first["tasks"] == second["tasks"]


def test_words_that_the_tasks_do_not_know_stop_before_training_unless_translated(run, monkeypatch, tmp_path):
    monkeypatch.setattr(kadid, "CODES", ("snow",) * 25)
    with pytest.raises(DatasetError, match=r"Words in kadid .*\n.*\n  distortion:\n    snow: ''"):
        run("dataset=[kadid]")
    assert not list(tmp_path.rglob("*.ckpt"))
    translate = {"distortion": {"snow": "white noise"}}
    folder = run("dataset=[kadid]", "tasks.translate={distortion:{snow:white noise}}", "trainer.max_epochs=1")
    model = QualityModel.load(folder / "checkpoints" / "best.ckpt")
    assert model.tasks.translate == translate
    assert (logged(folder)["train/distortion"].dropna() > 0).all()


def test_a_checkpoint_from_before_translations_scores(run, miniature):
    folder = run("trainer.max_epochs=1")
    file = folder / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    del checkpoint["hyper_parameters"]["tasks"]["translate"]
    torch.save(checkpoint, file)
    words = ["trainer=cpu", "data.workers=0", "trainer.enable_progress_bar=false", f"paths.datasets={miniature}"]
    assert main(["evaluate", f"checkpoint={file}", *words]) == 0
    (table,) = (folder / "evaluations").glob("*.csv")
    own = pd.read_csv(folder / "predictions.csv").set_index("image")["proxy"]
    assert pd.read_csv(table).set_index("image")["proxy"].to_numpy() == pytest.approx(own.to_numpy(), rel=1e-4)


def test_a_task_without_labels_is_said_and_the_others_are_weighed_alone(run, miniature, tmp_path):
    datasets = tmp_path / "datasets"
    shutil.copytree(miniature / "kadid10k", datasets / "kadid10k")
    with pytest.warns(UserWarning, match=r"The scene task has no label .* its loss is 0 for the whole run"):
        folder = run("dataset=[kadid]", f"paths.datasets={datasets}")
    log = logged(folder)
    assert (log["train/scene"].dropna() == 0).all()
    assert (log["train/weight_scene"].dropna() == 1).all()
    assert (log["train/weight_quality"] + log["train/weight_distortion"]).dropna().to_numpy() == pytest.approx(2)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            [*CLIP, "view=crop", "view.train.crop=32"],
            r"clip_vit_b32 looks at stacks of patches of 32 .*: choose view=patches",
        ),
        ([*CLIP, "view.train.side=48"], r"choose view=patches view\.train\.side=32"),
        (["backbone=resnet18", "view=patches", "view.train.side=48"], r"resnet18 looks at .*: choose view=crop"),
        (
            ["backbone=resnet18", "tasks=scene_distortion"],
            r"resnet18 does not judge scene and distortion: set tasks=none",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(run, network, message):
    with pytest.raises(ConfigError, match=message):
        run(network=network)
