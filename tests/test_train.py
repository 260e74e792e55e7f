"""The main job, from configuration to outputs, on the miniature datasets."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from mimi_lightning import config, module, train
from mimi_lightning.data.images import DecodedPicture, TestView
from mimi_lightning.data.owners import live
from mimi_lightning.errors import ConfigError, DatasetError
from mimi_lightning.evaluation.predictions import PREDICTION_COLUMNS, read_predictions
from mimi_lightning.evaluation.protocol import score_run
from mimi_lightning.metrics import srcc
from mimi_lightning.module import QualityModel
from mimi_lightning.results import show_results
from mimi_lightning.run_folder import RunFolder
from mimi_lightning.specs import build

MAPPERS = sorted(path.stem for path in (config.conf_dir() / "mapper").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (config.conf_dir() / "experiment").glob("*.yaml"))
CALLBACKS = sorted(path.stem for path in (config.conf_dir() / "callbacks").glob("*.yaml"))
LOGGERS = sorted(path.stem for path in (config.conf_dir() / "logger").glob("*.yaml"))


@pytest.fixture
def damaged(miniature, tmp_path):
    """A copy of the miniature in which one LIVE training image of split 1 is cut off."""
    datasets = tmp_path / "damaged"
    shutil.copytree(miniature, datasets)
    data = train.make_data(_settings(datasets, tmp_path))
    data.setup()
    live = data.table[(data.table["dataset"] == "live") & (data.table["part"] == "train")]
    path = datasets / "databaserelease2" / live["image"].iloc[0]
    path.write_bytes(path.read_bytes()[:3000])
    return datasets, path


def _settings(datasets, tmp_path):
    names = {"live": "databaserelease2"}
    live = {"reader": "mimi_lightning.data.owners.live.read", "folder": names["live"], "url": "", "quota": 2}
    live["range"] = [0, 114.4147]
    splits = {"protocol": "generated", "store": tmp_path / "splits", "seed": 19901116}
    view = {"train": {"_target_": "mimi_lightning.data.images.TrainView", "resize": 512, "crop": 48}}
    view["test"] = {"_target_": "mimi_lightning.data.images.TestView", "resize": 768}
    data = {"root": datasets, "miniature": None, "quota": 2}
    return {
        "datasets": {"live": live},
        "split": 1,
        "seed": 0,
        "data": data,
        "splits": splits,
        "view": view,
        "tasks": {},
    }


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_a_run_leaves_all_that_a_reader_needs(trained):
    folder = trained()
    predictions = pd.read_csv(folder / "predictions.csv")
    assert list(predictions) == PREDICTION_COLUMNS
    assert set(predictions["part"]) == {"test"}
    assert not predictions.duplicated(["dataset", "image"]).any()
    assert set(predictions["run"]) == {"mimi/resnet18/split01"}
    metrics = metrics_of(folder)
    figures = metrics["figures"]
    assert set(figures) == {"bid", "clive", "csiq", "kadid", "koniq", "live", "weighted", "mean"}
    live = predictions[predictions["dataset"] == "live"]
    assert figures["live"]["srcc"] == pytest.approx(srcc(live["proxy"], live["mos"]), abs=1e-9)
    assert figures["live"]["n"] == len(live)
    # To the last digit what a report of the table says, as JSON has it.
    told = score_run(read_predictions(folder / "predictions.csv"), metrics["sizes"])
    assert figures == json.loads(told.to_json(orient="index", double_precision=15))
    alignment = [row["scores"] for row in metrics["alignment"]]
    labels = ["native labels", "min-max labels", "z-score labels", "oracle line", "aligned labels"]
    assert alignment == [*labels, "proxy scores"]
    assert metrics["partition"]["protocol"] == "generated"
    assert len(metrics["partition"]["sha256"]) == 64
    assert np.asarray(Image.open(folder / "mappings.png")).std() > 5
    assert (folder / "config.yaml").is_file()
    assert (folder / "logs" / "version_0" / "metrics.csv").is_file()
    assert f"SHA-256 `{metrics['partition']['sha256']}`" in (folder / "model_card.md").read_text()


@pytest.mark.parametrize("mapper", MAPPERS)
def test_every_mapper_runs_with_regression(run, mapper):
    words = "objective=regression", "objective.loss=l1", "trainer.max_epochs=1", "dataset=[csiq,live]"
    folder = run(f"mapper={mapper}", *words)
    predictions = pd.read_csv(folder / "predictions.csv")
    assert predictions[["proxy", "prediction"]].notna().all().all()
    invertible = QualityModel.load(folder / "checkpoints" / "best.ckpt").mapper.invertible
    assert predictions["aligned"].notna().all() == invertible
    assert ("aligned labels" in {row["scores"] for row in metrics_of(folder)["alignment"]}) == invertible
    assert pd.read_csv(folder / "mappings.csv").notna().all().all()


def test_an_objective_asks_for_what_the_mapper_offers(run):
    with pytest.raises(ConfigError, match=r"MIMI needs the terms agreement, which mapper Identity"):
        run("mapper=none", "objective=mimi")


def test_heads_see_the_same_hidden_layer_in_a_checkpoint(run, miniature):
    folder = run("mapper=heads", "trainer.max_epochs=1")
    model = QualityModel.load(folder / "checkpoints" / "best.ckpt")
    row = pd.read_csv(folder / "predictions.csv").query("dataset == 'csiq'").iloc[0]
    image = TestView(768)(DecodedPicture(miniature / "CSIQ" / row["image"], 768))
    with torch.no_grad():
        judgement = model.judge(image[None])
        own = model.mapper.read(judgement, model.number(["csiq"]))
        every = [model.mapper.read(judgement, torch.tensor([number])) for number in range(6)]
        assert own.item() == pytest.approx(row["proxy"], abs=1e-5)
        torch.testing.assert_close(model(image[None]), sum(every) / 6)


def test_least_squares_are_fitted_after_every_epoch_and_kept_for_frozen_datasets(run, tmp_path):
    words = "mapper=least_squares", "mapper.min_r=0", "trainer.max_epochs=1"
    old = tmp_path / "old" / "split01"
    shutil.move(run("dataset=[csiq,live]", *words), old)
    folder = run("dataset=[bid,live]", *words, f"init={old}/checkpoints/best.ckpt", "freeze=[mappers]")
    before, after = (QualityModel.load(f / "checkpoints" / "best.ckpt").mapper for f in (old, folder))
    same = [torch.equal(before.rows(["live"])[key], after.rows(["live"])[key]) for key in before.state_dict()]
    assert all(same)
    assert before.slope.ne(10).any()


def test_images_that_are_no_bytes_are_refused(trained):
    model = QualityModel.load(trained() / "checkpoints" / "best.ckpt")
    with pytest.raises(DatasetError, match=r"uint8 tensors of 0..255, not as torch.float32"):
        model(torch.rand(1, 3, 64, 64))


def test_a_model_may_count_datasets_in_an_order_of_its_own(run, monkeypatch):
    """All lines start alike: the order decides nothing but which row belongs to which dataset."""
    words = "mapper=linear", "objective=regression", "datasets.live.weight=3", "trainer.max_epochs=1"
    first = pd.read_csv(run(*words) / "predictions.csv")
    monkeypatch.setattr(module, "sorted", lambda names: sorted(names, reverse=True), raising=False)
    folder = run(*words, "overwrite=true")
    pd.testing.assert_frame_equal(pd.read_csv(folder / "predictions.csv"), first, rtol=1e-4, atol=1e-5)
    model = QualityModel.load(folder / "checkpoints" / "best.ckpt")
    assert model.names == ["live", "koniq", "kadid", "csiq", "clive", "bid"]
    assert model.scale.ranges[0].tolist() == pytest.approx([0, 114.4147])


def test_a_batch_of_datasets_that_the_model_does_not_know_is_refused(run, monkeypatch):
    hook = train.MixedDataModule.on_after_batch_transfer

    def rename(data, batch, number):
        return {**hook(data, batch, number), "names": ("csiq", "mine")}

    monkeypatch.setattr(train.MixedDataModule, "on_after_batch_transfer", rename)
    with pytest.raises(ConfigError, match="does not know mine; it knows csiq, live"):
        run("dataset=[csiq,live]")


def test_without_tasks_any_word_will_do_and_batches_carry_none(miniature, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "FOLDERS", dict.fromkeys(live.FOLDERS, "snow"))
    data = train.make_data(_settings(miniature, tmp_path))
    data.setup()
    assert set(data.table["distortion"]) == {"snow"}
    data.workers = 0
    assert set(next(iter(data.train_dataloader()))) == {"image", "row", "seed", "mos", "std", "dataset", "broken"}


def test_labels_of_another_scale_are_refused_before_anything_is_learnt(miniature, tmp_path):
    settings = _settings(miniature, tmp_path)
    settings["datasets"]["live"]["range"] = [1, 5]
    with pytest.raises(DatasetError, match=r"'live': MOS runs from .*, beyond the published range 1 to 5\. "):
        train.make_data(settings).setup()
    assert not (tmp_path / "splits").exists()


def test_a_checkpoint_alone_scores(trained, miniature, tmp_path):
    predictions = pd.read_csv(trained() / "predictions.csv")
    moved = shutil.copy(trained() / "checkpoints" / "best.ckpt", tmp_path / "elsewhere.ckpt")
    model = QualityModel.load(moved)
    row = predictions[predictions["dataset"] == "csiq"].iloc[0]
    image = TestView(768)(DecodedPicture(miniature / "CSIQ" / row["image"], 768))
    number = model.number(["csiq"])
    with torch.no_grad():
        proxy = model(image[None])
        assert proxy.item() == pytest.approx(row["proxy"], abs=1e-5)
        prediction = model.predict_mos(proxy, number)
        assert prediction.item() == pytest.approx(row["prediction"], abs=1e-5)
        assert model.align(prediction, number).item() == pytest.approx(row["proxy"], abs=1e-4)


def test_the_snippet_of_the_readme_scores_a_picture(trained, miniature):
    row = pd.read_csv(trained() / "predictions.csv").query("dataset == 'koniq'").iloc[0]
    text = (Path(__file__).parents[1] / "README.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    for place, here in (
        ("outputs/demo/efficientnet_lite0/split01/checkpoints/best.ckpt", trained() / "checkpoints" / "best.ckpt"),
        ("picture.jpg", miniature / "koniq-10k" / row["image"]),
        ("a.jpg", miniature / "koniq-10k" / row["image"]),
        ("b.png", miniature / "koniq-10k" / row["image"]),
    ):
        assert place in code
        code = code.replace(place, str(here))
    found = {}
    exec(code, found)
    assert found["proxy"] == pytest.approx(row["proxy"], abs=1e-5)
    assert found["native"] == pytest.approx([row["prediction"]] * 2, abs=1e-5)
    assert len(found["meaning"].examples) == 4


def test_a_checkpoint_holds_plain_containers_and_names_no_download(trained):
    checkpoint = torch.load(trained() / "checkpoints" / "best.ckpt", weights_only=True)
    parameters = checkpoint["hyper_parameters"]
    assert type(parameters["regressor"]) is dict
    assert parameters["regressor"]["weights"] == "none"
    assert set(parameters["datasets"]["live"]) == {"range", "labels", "weight", "size"}


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="There is no checkpoint"):
        QualityModel.load(tmp_path / "gone.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ConfigError, match="is no checkpoint of MIMI Lightning"):
        QualityModel.load(tmp_path / "other.ckpt")
    (tmp_path / "words.ckpt").write_text("# Words\n")
    with pytest.raises(ConfigError, match=r"is no checkpoint of MIMI Lightning: it cannot be read\.$"):
        QualityModel.load(tmp_path / "words.ckpt")
    with pytest.raises(ConfigError, match="There is no checkpoint"):
        QualityModel.load(tmp_path)


def test_a_configuration_constructs_only_what_belongs_there():
    with pytest.raises(ConfigError, match="expected a Module"):
        build({"_target_": "pathlib.Path"}, torch.nn.Module)
    with pytest.raises(ConfigError, match="no such class"):
        build({"_target_": "mimi_lightning.models.Nothing"}, torch.nn.Module)
    with pytest.raises(ConfigError, match="does not take these arguments"):
        build({"_target_": "torch.nn.ReLU", "depth": 3}, torch.nn.Module)


def test_one_seed_gives_the_same_figures_to_the_last_digit(trained, run, monkeypatch):
    """Also where random numbers are drawn while data are prepared, as when the miniature datasets are built first."""

    def prepare(settings, make_data=train.make_data):
        torch.rand(3), np.random.rand(3)
        return make_data(settings)

    monkeypatch.setattr(train, "make_data", prepare)
    assert metrics_of(run())["figures"] == metrics_of(trained())["figures"]
    assert metrics_of(run("seed=7", "overwrite=true"))["figures"] != metrics_of(trained())["figures"]


def test_an_interrupted_run_goes_on_to_the_same_figures(run, tmp_path, monkeypatch):
    rarely = "trainer.check_val_every_n_epoch=2", "dataset=[csiq,live]"
    through = metrics_of(run("name=through", *rarely).parents[2] / "through" / "resnet18" / "split01")

    def stop(model):
        if model.current_epoch == 1:
            raise RuntimeError("power cut")

    monkeypatch.setattr(QualityModel, "on_train_epoch_start", stop, raising=False)
    with pytest.raises(RuntimeError, match="power cut"):
        run(*rarely)
    assert (tmp_path / "outputs/mimi/resnet18/split01/checkpoints/last.ckpt").is_file()
    monkeypatch.undo()
    folder = run(*rarely)
    assert metrics_of(folder)["figures"] == through["figures"]
    assert {path.name for path in (folder / "logs").iterdir()} == {"version_0", "version_1"}


def test_every_epoch_goes_on_in_the_stream_of_batches(run, monkeypatch):
    drawn, step = [], QualityModel.training_step

    def training_step(model, batch):
        drawn.append((model.current_epoch, batch["row"].tolist()))
        return step(model, batch)

    monkeypatch.setattr(QualityModel, "training_step", training_step)
    run("dataset=[csiq,live]", "data.epoch=1", "data.quota=3")
    assert [epoch for epoch, _ in drawn] == [0, 1]
    assert not {*drawn[0][1]} & {*drawn[1][1]}


def test_ctrl_c_leaves_training_as_an_interrupt(run, monkeypatch):
    def interrupt(model):
        raise KeyboardInterrupt

    monkeypatch.setattr(QualityModel, "on_train_epoch_start", interrupt, raising=False)
    with pytest.raises(KeyboardInterrupt, match="The same command goes on"):
        run()


def test_a_finished_run_is_shown_and_not_repeated(again, run, monkeypatch, capsys):
    again()
    capsys.readouterr()
    monkeypatch.setattr(train, "make_data", None)
    run()
    shown = capsys.readouterr().out
    for word in ("weighted", "min-max labels", "predictions.csv", "best.ckpt", "mappings.png", "model_card.md"):
        assert word in shown


def test_a_run_that_failed_before_its_first_epoch_may_be_changed(run):
    with pytest.raises(DatasetError, match="smaller than the training crop"):
        run("view.train.crop=100")
    folder = run()
    assert metrics_of(folder)["figures"]
    assert [path.name for path in (folder / "logs").iterdir()] == ["version_0"]


def test_another_configuration_does_not_take_over_a_folder(again, run):
    folder = again()
    with pytest.raises(ConfigError, match=r"another configuration \(optimizer.lr, seed\)"):
        run("seed=3", "optimizer.lr=1e-3")
    assert (folder / "predictions.csv").is_file()
    assert metrics_of(folder)["seed"] != 3
    run("seed=3", "overwrite=true")
    assert metrics_of(folder)["seed"] == 3


def test_what_changes_no_figure_may_change_in_a_folder(again, run, monkeypatch):
    again()
    monkeypatch.setattr(train, "make_data", None)  # the run is finished
    run("data.cache=true", "data.workers=1", "logger=tensorboard", "trainer.log_every_n_steps=1")
    with pytest.raises(ConfigError, match=r"another configuration \(data.on_error, trainer.devices\)"):
        run("data.cache=true", "data.on_error=skip", "trainer.devices=2")


def test_a_published_experiment_says_that_its_partitions_are_others(run, capsys):
    folder = run("published_splits=liqe", "dataset=[csiq,live]")
    assert OmegaConf.load(folder / "config.yaml").published_splits == "liqe"
    said = "published settings, generated partitions (csiq, live) instead of splits=liqe\n"
    assert said in capsys.readouterr().out


def test_a_folder_of_a_former_version_learns_what_was_published(again, run, monkeypatch, capsys):
    folder = again()
    settings = OmegaConf.load(folder / "config.yaml")
    del settings["published_splits"]
    OmegaConf.save(settings, folder / "config.yaml")
    show_results(RunFolder(folder))
    assert "published settings" not in capsys.readouterr().out
    monkeypatch.setattr(train, "make_data", None)  # the run is finished
    run("published_splits=mimi_cnn")
    assert "instead of splits=mimi_cnn" in capsys.readouterr().out


@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_takes_no_random_numbers_from_the_network(miniature, tmp_path, workers):
    settings = _settings(miniature, tmp_path)
    settings["data"]["workers"] = workers
    data = train.make_data(settings)
    data.setup()
    before = torch.get_rng_state()
    next(iter(data.train_dataloader()))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_broken_image_stops_training_and_is_named(run, damaged):
    datasets, path = damaged
    with pytest.raises(DatasetError, match=f"{path.name} cannot be read") as caught:
        run("data.epoch=longest", datasets=datasets)
    assert "data.on_error=skip" in str(caught.value)


def test_broken_images_are_skipped_and_counted_on_demand(run, damaged, capsys):
    datasets, path = damaged
    path.unlink()
    path.write_text("no picture")
    folder = run("data.epoch=longest", "data.on_error=skip", datasets=datasets)
    assert metrics_of(folder)["skipped"] == 1
    assert "1 images could not be read" in capsys.readouterr().out


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_runs_a_batch(run, miniature, tmp_path, experiment):
    run(
        f"experiment={experiment}",
        "splits=generated",
        "data=owners",
        "backbone.weights=none",
        "backbone.hidden=[16]",
        "trainer.limit_train_batches=1",
        "trainer.limit_val_batches=1",
        "trainer.max_epochs=1",
        "trainer.check_val_every_n_epoch=1",
        "data.quota=1",
    )
    assert list((tmp_path / "outputs" / experiment).rglob("metrics.json"))


@pytest.mark.parametrize("logger", LOGGERS)
def test_every_logger_logs(run, logger):
    folder = run(f"logger={logger}", "trainer.max_epochs=1", "trainer.log_every_n_steps=1", "dataset=[csiq,live]")
    assert any(path.is_file() for path in (folder / ("logs" if logger == "csv" else logger)).rglob("*"))
    assert "train/loss" in pd.read_csv(folder / "logs/version_0/metrics.csv")  # which reports read


def test_several_loggers_log_at_once(run):
    folder = run("logger=[csv,tensorboard,wandb]", "trainer.max_epochs=1", "dataset=[csiq,live]")
    assert {"logs", "tensorboard", "wandb"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("callback", CALLBACKS)
def test_every_callback_runs_and_its_run_goes_on_to_the_same_figures(run, monkeypatch, callback):
    words = [f"callbacks={callback}", "dataset=[csiq,live]"]
    through = run(*words, "name=through").parents[2] / "through" / "resnet18" / "split01"

    def stop(model):
        if model.current_epoch == 1:
            raise RuntimeError("power cut")

    monkeypatch.setattr(QualityModel, "on_train_epoch_start", stop, raising=False)
    with pytest.raises(RuntimeError, match="power cut"):
        run(*words)
    monkeypatch.undo()
    folder = run(*words)
    assert metrics_of(folder)["figures"] == metrics_of(through)["figures"]
    assert list(OmegaConf.load(folder / "config.yaml").callbacks) == [callback]


def test_the_best_checkpoint_and_its_figures_are_of_the_averaged_weights(run, miniature, monkeypatch):
    steps = []

    def keep(model, *batch):
        steps.append(next(model.regressor.backbone_parameters()).detach().clone())

    monkeypatch.setattr(QualityModel, "on_train_batch_end", keep, raising=False)
    words = ["callbacks=[ema,lr_monitor]", "callbacks.ema.decay=0.75", "dataset=[csiq,live]", "trainer.max_epochs=1"]
    folder = run(*words, "optimizer.backbone_lr=0.01")
    average = steps[0]
    for weight in steps[1:]:
        average = 0.75 * average + 0.25 * weight
    model = QualityModel.load(folder / "checkpoints" / "best.ckpt")
    assert torch.allclose(next(model.regressor.backbone_parameters()), average, atol=1e-7)
    assert not torch.allclose(average, steps[-1], atol=1e-4)
    row = pd.read_csv(folder / "predictions.csv").query("dataset == 'csiq'").iloc[0]
    image = TestView(768)(DecodedPicture(miniature / "CSIQ" / row["image"], 768))
    with torch.no_grad():
        assert model(image[None]).item() == pytest.approx(row["proxy"], abs=1e-5)
    assert "lr-Adam/pg1" in pd.read_csv(folder / "logs/version_0/metrics.csv")


def test_training_stops_early(run):
    early = ["callbacks=early_stopping", "callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=2"]
    folder = run(*early, "trainer.max_epochs=9", "dataset=[csiq,live]")
    assert torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["epoch"] == 1


def test_a_callback_is_part_of_what_a_run_is(again, run):
    again()
    with pytest.raises(ConfigError, match=r"another configuration \(callbacks\)"):
        run("callbacks=ema")


def test_a_folder_of_a_former_version_is_shown(again, run, monkeypatch, capsys):
    folder = again()
    settings = OmegaConf.load(folder / "config.yaml")
    settings.data = {**settings.data, "resize": 512, "crop": 48, "test_resize": 768, "small_images": "raise"}
    settings.logger = {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": str(folder), "name": "logs"}
    OmegaConf.save(settings, folder / "config.yaml")
    monkeypatch.setattr(train, "make_data", None)  # the run is finished
    run()
    assert "weighted" in capsys.readouterr().out


def test_scores_stay_float32_in_mixed_precision(run):
    folder = run("trainer.precision=bf16-mixed", "dataset=[csiq,live]", "trainer.max_epochs=1")
    proxy = pd.read_csv(folder / "predictions.csv")["proxy"].to_numpy(np.float32)
    assert (torch.from_numpy(proxy).bfloat16().float().numpy() != proxy).mean() > 0.9


def test_the_order_of_datasets_changes_nothing(run):
    first = metrics_of(run("dataset=[live,csiq]"))["figures"]
    turned = metrics_of(run("dataset=[csiq,live]", "overwrite=true"))["figures"]
    assert first == turned


def test_a_trainer_that_cannot_be_is_explained(run):
    with pytest.raises(ConfigError, match="The trainer cannot be set up"):
        run("trainer.accelerator=abacus")


def test_a_run_from_the_decoded_cache_gives_the_same_predictions(run, tmp_path):
    mix = ["dataset=[csiq,koniq]", "view.train.resize=56", "view.test.resize=60"]  # so that pictures are shrunk
    files = pd.read_csv(run(*mix) / "predictions.csv")
    cached = pd.read_csv(run(*mix, f"data.cache={tmp_path}/cache", "overwrite=true") / "predictions.csv")
    assert cached.equals(files)
    assert sorted(path.name for path in (tmp_path / "cache").glob("*.pixels")) == [
        f"{dataset}-{resize}.pixels" for dataset in ("csiq", "koniq") for resize in (56, 60)
    ]
