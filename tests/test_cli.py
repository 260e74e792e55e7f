import shlex

import pytest

from mimi_lightning import cli
from mimi_lightning.errors import ConfigError, DatasetError


@pytest.fixture
def calls(monkeypatch):
    recorded = []

    def record(folder, **options):
        recorded.append((folder, options))
        return folder

    monkeypatch.setattr("mimi_lightning.data.miniature.make_miniature", record)
    return recorded


def test_make_miniature_passes_its_options_on(calls, tmp_path, capsys):
    words = ["--photos", str(tmp_path), "--seed", "7", "--side", "96", "--coverage", "shared"]
    assert cli.main(["data", "make-miniature", str(tmp_path / "m"), *words]) == 0
    assert calls == [(tmp_path / "m", {"photos": tmp_path, "seed": 7, "side": 96, "coverage": "shared"})]
    printed = capsys.readouterr().out
    assert f"Miniature datasets: {tmp_path / 'm'}" in printed
    assert str(tmp_path / "m" / "hidden_quality.csv") in printed


def test_make_miniature_has_the_defaults_of_the_function(calls, tmp_path):
    from mimi_lightning.data.miniature import SEED

    cli.main(["data", "make-miniature", str(tmp_path)])
    assert calls == [(tmp_path, {"photos": None, "seed": SEED, "side": 160, "coverage": "own"})]


def test_mistakes_are_left_to_the_caller(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match="holds other files"):
        cli.main(["data", "make-miniature", str(tmp_path)])


@pytest.mark.parametrize(
    "words", [["data"], ["data", "make-miniature"], ["data", "make-miniature", "x", "--seed", "y"]]
)
def test_incomplete_words_show_the_usage(words, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    assert "usage: python -m mimi_lightning data" in capsys.readouterr().err


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([verb, "--help"])
    assert caught.value.code == 0
    assert f"usage: python -m mimi_lightning {verb}" in capsys.readouterr().out


def test_the_command_that_make_miniature_prints_is_one_that_runs(calls, tmp_path, capsys):
    from mimi_lightning import config

    cli.main(["data", "make-miniature", str(tmp_path / "m"), "--side", "64"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Train on them: ")]
    cfg = config.load(shlex.split(line.partition(" -m mimi_lightning ")[2]))
    assert (cfg.data.root, cfg.data.miniature, cfg.view.train.crop) == (str(tmp_path / "m"), None, 64)
    assert cfg.backbone.name == "efficientnet_lite0"


def test_compare_needs_a_backbone_that_can_be_divided():
    with pytest.raises(ConfigError, match="clip_vit_b32 cannot be divided before its head: choose another"):
        cli.main(["data", "compare", "backbone=clip_vit_b32"])
