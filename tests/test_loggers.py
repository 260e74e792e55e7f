"""The dashboard: what a W&B run holds, read back from its offline file."""

import json
import subprocess
import sys

import pytest

from mimi_lightning.loggers import WandbLogger
from mimi_lightning.module import QualityModel

DATASETS = ("csiq", "live")
READER = [sys.executable, "-m", "wandb", "leet", "inspect", "--json"]  # wandb's own


@pytest.fixture(scope="module", autouse=True)
def reader():
    if subprocess.run([*READER, "--help"], capture_output=True).returncode:
        pytest.skip("this release of wandb reads no offline files")


def read_run(folder):
    """The one offline run of a folder: its description, all values logged, its summary, and its exit code."""
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    lines = subprocess.run([*READER, str(file)], check=True, capture_output=True, text=True).stdout.splitlines()
    found = {"folder": file.parent, "logged": {}, "summary": {}}
    for record in map(json.loads, lines):
        content = record[record["type"]]
        if record["type"] == "run":
            found["run"] = content
        if record["type"] == "history":
            found["logged"] |= content["item"]
        if record["type"] == "summary":
            found["summary"] |= content["update"]
        if record["type"] == "exit":
            found["exit"] = content.get("exit_code", 0)
    return found


MIX = ["logger=wandb", "dataset=[csiq,live]", "trainer.max_epochs=1", "trainer.log_every_n_steps=1"]


def test_splits_of_one_process_are_runs_of_one_group_that_log_all_there_is(run):
    first = read_run(run(*MIX))
    second = read_run(run(*MIX, "split=2").parent / "split02")
    assert first["run"]["run_id"] != second["run"]["run_id"]
    assert [found["run"]["display_name"] for found in (first, second)] == ["resnet18-split01", "resnet18-split02"]
    assert {found["run"]["run_group"] for found in (first, second)} == {"mimi"}
    assert first["exit"] == second["exit"] == 0
    wanted = {
        "train/loss",
        "val/srcc_weighted",
        "test/srcc_weighted",
        "test/plcc_mean",
        "predictions.path",
        "mappings.path",
    }
    wanted |= {f"{part}/srcc_{dataset}" for part in ("val", "test") for dataset in DATASETS}
    assert wanted <= set(first["logged"])
    rows = json.loads((first["folder"] / "files" / first["logged"]["predictions.path"]).read_text())
    assert rows["columns"][:5] == ["run", "dataset", "split", "part", "image"]
    assert len(rows["data"]) == first["logged"]["predictions.nrows"] > 0
    best = first["summary"]["best/val/srcc_weighted"]
    assert best == pytest.approx(first["logged"]["val/srcc_weighted"], abs=1e-6)


def test_a_crash_finishes_the_run_as_failed(run, tmp_path, monkeypatch):
    def crash(model):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(QualityModel, "on_train_epoch_end", crash, raising=False)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(*MIX)
    assert read_run(tmp_path / "outputs/mimi/resnet18/split01")["exit"] == 1


def test_without_login_wandb_is_told_to_stay_offline(monkeypatch, tmp_path):
    """By its own argument: the environment, where Lightning says it, was read when the login was looked for."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for logged_in, mode in ((False, "offline"), (True, None)):
        monkeypatch.setattr("wandb.login", lambda prompt, logged_in=logged_in: logged_in)
        logger = WandbLogger(project="mimi", save_dir=str(tmp_path))
        assert (logger._wandb_init.get("mode"), logger._offline) == (mode, not logged_in)
