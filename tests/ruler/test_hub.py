"""Checkpoints that are given away: as a folder, and on a hub that is played by another folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import RepoUrl
from safetensors.torch import load_file, save_file

from mimi_lightning import cli
from mimi_lightning.checkpoints import FORMAT
from mimi_lightning.errors import ConfigError
from mimi_lightning.module import QualityModel
from mimi_lightning.ruler import hub
from mimi_lightning.ruler.ruler import load

PICTURE = torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
FILES = ["README.md", "config.json", "model.safetensors"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Hub:
    """A hub of one repository, whose only revision is main."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.created = folder, []

    def create_repo(self, repo_id, *, private, exist_ok):
        self.created.append((repo_id, private, exist_ok))
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        shutil.copytree(folder_path, self.folder / repo_id)

    def snapshot_download(self, repo_id, *, revision, allow_patterns):
        if revision not in (None, "main") or not (self.folder / repo_id).is_dir():
            raise FileNotFoundError("404 Client Error")
        return str(self.folder / repo_id)


@pytest.fixture
def there(monkeypatch, tmp_path):
    played = Hub(tmp_path / "hub")
    monkeypatch.setattr(hub, "HfApi", lambda: played)
    return played


def test_what_is_pulled_scores_as_what_was_pushed(finished, ruler, tmp_path):
    checkpoint = finished.file("checkpoint")
    assert hub.push(checkpoint, str(tmp_path / "given" / "away")) == str(tmp_path / "given" / "away")
    pulled = hub.pull(str(tmp_path / "given" / "away"), tmp_path / "mine")
    assert pulled == tmp_path / "mine" / "model.safetensors"
    assert names(tmp_path / "mine") == names(tmp_path / "given" / "away") == FILES
    assert names(tmp_path / "given") == ["away"]
    got = load(pulled)
    for scale in (None, "live"):
        assert torch.equal(got.score(PICTURE, scale), ruler.score(PICTURE, scale))
    assert got.explain(50.0, "live") == ruler.explain(50.0, "live")
    assert (tmp_path / "mine" / "model.safetensors").stat().st_mode & 0o044


def test_the_card_of_the_run_goes_with_its_best_checkpoint_alone(finished, tmp_path):
    best = finished.file("checkpoint")
    best.with_name("README.md").write_text("of something else")
    hub.push(best, str(tmp_path / "made"))
    assert "# mix/resnet18/split02" in (tmp_path / "made" / "README.md").read_text()
    finished.file("card").write_text("as it was written")
    hub.push(best, str(tmp_path / "kept"))
    assert (tmp_path / "kept" / "README.md").read_text() == "as it was written"
    hub.push(tmp_path / "kept" / "model.safetensors", str(tmp_path / "again"))
    assert (tmp_path / "again" / "README.md").read_text() == "as it was written"
    shutil.copy(best, finished.last)
    hub.push(finished.last, str(tmp_path / "last"))
    assert "# last\n" in (tmp_path / "last" / "README.md").read_text()
    finished.file("figures").unlink()
    hub.push(best, str(tmp_path / "unfinished"))
    assert "its figures are not known" in (tmp_path / "unfinished" / "README.md").read_text()


def test_a_repository_is_private_unless_it_is_asked_to_be_public(finished, there, tmp_path, capsys):
    best = str(finished.file("checkpoint"))
    assert cli.main(["push", best, "hf://me/ruler"]) == 0
    assert cli.main(["push", best, "hf://me/seen", "--public"]) == 0
    assert there.created == [("me/ruler", True, True), ("me/seen", False, True)]
    assert "pushed https://huggingface.co/me/ruler\n" in capsys.readouterr().out
    assert cli.main(["pull", "hf://me/ruler@main", str(tmp_path / "mine")]) == 0
    assert capsys.readouterr().out == f"checkpoint {tmp_path / 'mine' / 'model.safetensors'}\n"
    assert names(tmp_path / "mine") == names(there.folder / "me" / "ruler") == FILES


@pytest.mark.parametrize("source", ["hf://me/nothing", "hf://me/ruler@old"])
def test_what_the_hub_says_is_said_and_leaves_nothing(finished, there, tmp_path, source):
    hub.push(finished.file("checkpoint"), "hf://me/ruler")
    with pytest.raises(ConfigError, match=rf"{source}: 404 Client Error\n.*logged in"):
        hub.pull(source, tmp_path / "new" / "mine")
    assert names(tmp_path) == ["hub", "outputs"]


def test_a_hub_without_a_network_is_said(finished, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="offline mode is enabled"):
        hub.push(finished.file("checkpoint"), "hf://me/ruler")
    with pytest.raises(ConfigError, match="Repo id must"):
        hub.push(finished.file("checkpoint"), "hf://me/ruler/more")


def test_what_is_there_is_never_written_over(finished, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    best = finished.file("checkpoint")
    hub.push(best, str(tmp_path / "empty"))
    for folder in ("full", "full/thesis.txt", "empty"):
        with pytest.raises(ConfigError, match="there already"):
            hub.push(best, str(tmp_path / folder))
        with pytest.raises(ConfigError, match="there already"):
            hub.pull(str(tmp_path / "empty"), tmp_path / folder)
    with pytest.raises(ConfigError, match="cannot be written"):
        hub.push(best, str(tmp_path / "full" / "thesis.txt" / "below"))
    assert names(tmp_path / "full") == ["thesis.txt"]


def test_an_address_of_another_kind_is_no_folder(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="neither a folder nor hf://OWNER/NAME"):
        hub.push(finished.file("checkpoint"), "https://huggingface.co/me/ruler")
    with pytest.raises(ConfigError, match="neither a folder nor hf://OWNER/NAME"):
        hub.pull("https://huggingface.co/me/ruler", tmp_path / "mine")
    assert names(tmp_path) == ["outputs"]


def damage(weights: Path, fault: str) -> None:
    if fault == "nothing":
        weights.unlink()
    elif fault == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif fault == "other":
        save_file({"weight": torch.zeros(2)}, weights)
    elif fault == "stranger":
        told = json.loads(weights.with_name("config.json").read_text())["hyper_parameters"]
        header = {"hyper_parameters": {**told, "regressor": {"_target_": "subprocess.Popen", "name": "x"}}}
        save_file(load_file(weights), weights, {"mimi_lightning": json.dumps({**header, "format": FORMAT})})


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("nothing", "holds no model.safetensors"),
        ("cut", "is no checkpoint of MIMI Lightning: it cannot be read"),
        ("other", "is no checkpoint of MIMI Lightning"),
        ("stranger", "expected a Regressor"),
    ],
)
def test_what_cannot_be_loaded_is_not_pulled(finished, tmp_path, fault, said):
    hub.push(finished.file("checkpoint"), str(tmp_path / "given"))
    damage(tmp_path / "given" / "model.safetensors", fault)
    with pytest.raises(ConfigError, match=said):
        hub.pull(str(tmp_path / "given"), tmp_path / "new" / "mine")
    assert names(tmp_path) == ["given", "outputs"]


def test_a_missing_file_is_no_checkpoint_of_any_kind(tmp_path):
    for name in ("best.ckpt", "model.safetensors"):
        with pytest.raises(ConfigError, match=f"There is no checkpoint .*{name}"):
            QualityModel.load(tmp_path / name)
