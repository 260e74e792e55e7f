"""A run's folder: moved, copied, held by one process, and of one run only."""

import json
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf

from mimi_lightning import processes, train
from mimi_lightning.data.owners import csiq
from mimi_lightning.errors import ConfigError
from mimi_lightning.module import QualityModel
from mimi_lightning.run_folder import RunFolder, changed_keys, longer

LONG = ["dataset=[csiq,live]", "trainer.max_epochs=4"]
PLACE = "outputs/mimi/resnet18/split01"


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture
def falling(monkeypatch):
    """Every epoch is worse than the one before: the first is the best."""
    monkeypatch.setattr(QualityModel, "_srcc_by_dataset", lambda model, _: {"live": 0.9 - model.current_epoch / 10})


@pytest.fixture
def interrupted(run, monkeypatch, tmp_path):
    """A run that ended in its third epoch."""

    def start(*overrides):
        def stop(model):
            if model.current_epoch == 2:
                raise RuntimeError("power cut")

        with monkeypatch.context() as patch:
            patch.setattr(QualityModel, "on_train_epoch_start", stop, raising=False)
            with pytest.raises(RuntimeError, match="power cut"):
                run(*LONG, *overrides)
        return tmp_path / PLACE

    return start


def test_a_moved_run_goes_on_to_the_same_best_epoch(run, falling, interrupted, tmp_path):
    through = metrics_of(run(*LONG).rename(tmp_path / "through"))
    assert through["best_epoch"] == 0
    folder = interrupted()
    moved = tmp_path / "elsewhere" / "split01"
    moved.parent.mkdir()
    shutil.move(folder, moved)
    run(*LONG, f"paths.run={moved}")
    assert metrics_of(moved)["best_epoch"] == 0
    assert metrics_of(moved)["figures"] == through["figures"]
    assert not folder.exists()


def test_a_copied_run_neither_reads_nor_writes_the_old_place(run, falling, interrupted, tmp_path):
    folder = interrupted()
    copy = tmp_path / "copy" / "split01"
    shutil.copytree(folder, copy)
    for file in folder.glob("checkpoints/*"):
        file.write_text("spoilt")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    run(*LONG, f"paths.run={copy}")
    assert metrics_of(copy)["best_epoch"] == 0
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    state = torch.load(copy / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    assert str(folder) not in str(state)


def test_a_run_whose_best_weights_were_left_behind_does_not_go_on(run, falling, interrupted):
    folder = interrupted()
    (folder / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(ConfigError, match=r"There is no .*best\.ckpt, which the run needs to go on"):
        run(*LONG)


def test_a_run_goes_on_from_another_root_only_with_the_same_labels(run, interrupted, miniature, tmp_path, monkeypatch):
    folder = interrupted()
    before = (folder / "config.yaml").read_bytes()
    other = tmp_path / "mounted"
    shutil.copytree(miniature, other)
    with monkeypatch.context() as patch:
        patch.setattr(
            csiq, "read", lambda folder, read=csiq.read: read(folder).assign(mos=lambda rows: rows["mos"] / 2)
        )
        with pytest.raises(ConfigError, match=r"other images, parts or labels \(labels.csv\)"):
            run(*LONG, datasets=other)
    assert (folder / "config.yaml").read_bytes() == before
    assert metrics_of(run(*LONG, datasets=other))["figures"]
    assert OmegaConf.load(folder / "config.yaml").data.root == str(other)


def test_a_run_without_its_configuration_is_refused(run, interrupted):
    folder = interrupted()
    (folder / "config.yaml").unlink()
    kept = sorted(folder.rglob("*"))
    with pytest.raises(ConfigError, match=r"but not its config\.yaml"):
        run(*LONG, "seed=7")
    assert sorted(folder.rglob("*")) == kept
    assert metrics_of(run(*LONG, "overwrite=true"))["figures"]


HOLDER = """
import sys
from pathlib import Path
from mimi_lightning.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that works in the run's folder."""
    folder = tmp_path / PLACE
    words = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_two_processes_do_not_write_into_one_folder(run, holder, tmp_path, monkeypatch):
    folder = tmp_path / PLACE
    (folder / "config.yaml").write_text("seed: 1\n")
    for words in ([], ["overwrite=true"]):
        with pytest.raises(ConfigError, match=r"Another process is writing into .*split01"):
            run(*words)
    assert {path.name for path in folder.iterdir()} == {".lock", "config.yaml"}
    monkeypatch.setattr(processes.rank_zero_only, "rank", 1)
    monkeypatch.setattr(train, "_run", lambda *_: print("joins"))
    run()  # is a process of the run that the other one leads


def test_a_killed_process_leaves_its_folder_free(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with RunFolder(tmp_path / PLACE).held():
        assert (tmp_path / PLACE / ".lock").is_file()


@pytest.fixture
def settings(trained):
    """A resolved configuration, as runs record it."""
    return RunFolder(trained("dataset=[csiq,kadid,live]", "trainer.max_epochs=1")).read_settings()


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("paths.outputs", "/mnt/outputs", []),
        ("paths.run", "/mnt/outputs/run", []),
        ("name", "renamed", []),
        ("data.root", "/mnt/iqa", []),
        ("data.cache", True, []),
        ("data.workers", 7, []),
        ("splits.store", "/mnt/splits", []),
        ("datasets.live.folder", "LIVE2", []),
        ("datasets.live.url", "https://elsewhere", []),
        ("datasets.live.licence", "ask", []),
        ("logger", {"_target_": "another"}, []),
        ("trainer.enable_progress_bar", True, []),
        ("published_splits", "liqe", []),
        ("seed", 3, ["seed"]),
        ("datasets.live.quota", 3, ["datasets.live.quota"]),
        ("trainer.devices", 2, ["trainer.devices"]),
        ("splits.seed", 3, ["splits.seed"]),
        ("mapper._target_", "another", ["mapper._target_"]),
        ("data.on_error", "skip", ["data.on_error"]),
    ],
)
def test_a_run_is_what_changes_its_figures(settings, key, value, changed):
    other = OmegaConf.create(settings)
    OmegaConf.update(other, key, value, merge=False)
    assert changed_keys(settings, OmegaConf.to_container(other)) == changed


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("monitor", "val/srcc_weighted", []),  # of the tree
        ("monitor", "val/srcc_mean", ["monitor"]),
        ("data.on_error", "raise", []),
        ("trainer.num_sanity_val_steps", 0, []),
        ("datasets.live.weight", 1, []),
        ("datasets.live.weight", 2, ["datasets.live.weight"]),
        ("datasets.kadid.table", {"root_of_var": False}, []),
        ("datasets.kadid.table", {"root_of_var": True}, ["datasets.kadid.table.root_of_var"]),
        ("mapper.reach", 64.0, []),  # of what is constructed
        ("mapper.reach", 16.0, ["mapper.reach"]),
        ("mapper.hidden", [100, 100, 100], []),
        ("backbone.max_channels", 512, []),
        ("backbone.pool", "bilinear", []),
        ("backbone.pool", "mean_std", ["backbone.pool"]),
        ("backbone.says", "score", []),
        ("objective.agreement", 1.0, ["objective.agreement"]),
        ("callbacks", None, []),
    ],
)
def test_a_key_that_an_older_version_did_not_know_has_its_default(settings, key, value, changed):
    old, new = OmegaConf.create(settings), OmegaConf.create(settings)
    OmegaConf.update(new, key, value, force_add=True)
    parent, _, name = key.rpartition(".")
    (OmegaConf.select(old, parent) if parent else old).pop(name, None)
    assert changed_keys(OmegaConf.to_container(old), OmegaConf.to_container(new)) == changed


def test_a_run_whose_regressor_had_another_name_is_the_same_run(settings, tmp_path):
    backbone = {key: value for key, value in settings["backbone"].items() if key not in ("pool", "says")}
    backbone["_target_"] = "mimi_lightning.models.regressor.BilinearRegressor"
    OmegaConf.save({**settings, "backbone": backbone}, tmp_path / "config.yaml")
    old = RunFolder(tmp_path).read_settings()
    assert changed_keys(old, settings) == []
    levels = {**settings, "backbone": {**settings["backbone"], "says": "levels"}}
    assert changed_keys(old, levels) == ["backbone.says"]


def test_a_run_before_gauges_were_settings_had_that_of_its_objective(settings, tmp_path):
    regression = {"_target_": "mimi_lightning.objectives.Regression", "loss": "l1"}
    none = {"_target_": "mimi_lightning.gauges.Free"}
    for objective, gauge in ((settings["objective"], settings["gauge"]), (regression, none)):
        new = {**settings, "objective": objective, "gauge": gauge}
        OmegaConf.save({key: value for key, value in new.items() if key != "gauge"}, tmp_path / "config.yaml")
        assert changed_keys(RunFolder(tmp_path).read_settings(), new) == []
        anchored = {**new, "gauge": {"_target_": "mimi_lightning.gauges.Anchor", "dataset": "live"}}
        assert "gauge._target_" in changed_keys(RunFolder(tmp_path).read_settings(), anchored)


def test_miniature_datasets_from_before_there_was_a_choice_are_of_own_coverage(settings):
    def on_miniature(**parameters):
        return {**settings, "data": {**settings["data"], "miniature": {"side": 128, **parameters}}}

    assert changed_keys(on_miniature(), on_miniature(coverage="own")) == []
    assert changed_keys(on_miniature(), on_miniature(coverage="shared")) == ["data.miniature.coverage"]


def test_another_mix_and_another_task_are_another_run(settings):
    more = OmegaConf.to_container(OmegaConf.create(settings))
    more["datasets"]["bid"] = {**more["datasets"]["live"], "folder": "BID"}
    assert all(key.startswith("datasets.bid") for key in changed_keys(settings, more))
    assert changed_keys(settings, more)
    assert changed_keys(more, settings)
    tasks = {"_target_": "mimi_lightning.tasks.SceneDistortion", "temperature": 2.0, "translate": None}
    assert "tasks._target_" in changed_keys(settings, {**settings, "tasks": tasks})


def test_a_refused_command_leaves_nothing(run, tmp_path):
    with pytest.raises(ConfigError, match="needs the terms agreement"):
        run("mapper=none", "objective=mimi")
    with pytest.raises(ConfigError, match="The trainer cannot be set up"):
        run("trainer.accelerator=abacus")
    assert not (tmp_path / "outputs").exists()


def test_a_folder_that_cannot_be_written_is_explained(run, tmp_path):
    (tmp_path / "outputs").write_text("no folder")
    with pytest.raises(ConfigError, match=r"split01: Not a directory\.\nChoose another folder.*paths\.outputs=DIR"):
        run()


def test_what_killed_processes_left_half_written_goes(settings, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.last.parent.mkdir(parents=True)
    drafts = run.path / "metrics.json.part", run.last.parent / "last.ckpt.part"
    for draft in drafts:
        draft.touch()
    run.enter(settings)
    assert not any(draft.exists() for draft in drafts)


def test_the_state_before_is_enough_to_go_on(settings, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.last.parent.mkdir(parents=True)
    run.former.touch()
    assert run.begun
    with pytest.raises(ConfigError, match=r"but not its config\.yaml"):
        run.enter(settings)


def test_logs_without_a_line_are_passed_over(tmp_path):
    for version, text in enumerate(("epoch,step\n", "")):
        file = tmp_path / "logs" / f"version_{version}" / "metrics.csv"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    assert RunFolder(tmp_path).logs == [tmp_path / "logs/version_0/metrics.csv"]


def test_a_run_may_go_on_for_more_epochs_unless_its_schedule_was_made_for_fewer(settings):
    def asked(epochs, **more):
        return {**settings, "trainer": {**settings["trainer"], "max_epochs": epochs}, **more}

    assert longer(asked(3), asked(5), ["trainer.max_epochs"])
    assert not longer(asked(5), asked(3), ["trainer.max_epochs"])
    assert not longer(asked(3), asked(5), ["monitor", "trainer.max_epochs"])
    assert not longer(asked(3), asked(3), ["monitor"])
    assert not longer({"seed": 3}, asked(5), ["trainer.max_epochs"])  # a damaged file
    with pytest.raises(ConfigError, match=r"schedule \(scheduler.T_max\) of the run was made for 3 epochs; for 5 it"):
        longer(asked(3), asked(5), ["scheduler.T_max", "trainer.max_epochs"])


def test_a_finished_run_covers_as_many_epochs_as_it_was_trained_for(settings, tmp_path):
    folder = RunFolder(tmp_path)
    OmegaConf.save(settings, tmp_path / "config.yaml")
    assert not folder.covers(settings)
    folder.file("figures").write_text("{}")
    assert folder.covers(settings)
    trainer = {**settings["trainer"], "max_epochs": settings["trainer"]["max_epochs"] + 1}
    assert not folder.covers({**settings, "trainer": trainer})
    (tmp_path / "config.yaml").write_text("trainer: {precision: 32-true}")
    assert folder.covers(settings)


def _refused(folder):
    with folder.held():
        (folder.path / "logs").mkdir()
        (folder.path / "config.yaml").write_text("x")
        raise ConfigError("no")


def test_what_is_refused_leaves_nothing_but_what_was_there(tmp_path):
    folder = RunFolder(tmp_path / "outputs" / "run")
    with pytest.raises(ConfigError):
        _refused(folder)
    assert list(tmp_path.iterdir()) == []
    folder.path.mkdir(parents=True)
    (folder.path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError):
        _refused(folder)
    assert [file.name for file in folder.path.iterdir()] == ["notes.txt"]


def test_what_is_refused_of_a_run_that_has_begun_stays(tmp_path):
    folder = RunFolder(tmp_path)
    folder.last.parent.mkdir()
    folder.last.touch()
    with pytest.raises(ConfigError):
        _refused(folder)
    assert (tmp_path / "config.yaml").is_file()


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\x00"])
def test_damaged_settings_are_named(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "metrics.json").write_text(text)
    for read in (RunFolder(tmp_path).read_settings, RunFolder(tmp_path).read_metrics):
        if text or read.__name__ == "read_metrics":
            with pytest.raises(ConfigError, match=r"(config\.yaml|metrics\.json) is damaged"):
                read()
