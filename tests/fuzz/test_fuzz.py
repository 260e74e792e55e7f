"""A small run of `make fuzz`, and that it tells what became of a command."""

import time

import pytest

from mimi_lightning.errors import ConfigError
from tests.fuzz import commands, draws
from tests.fuzz.wrong import TINY


def _writes():
    from pathlib import Path

    Path("left.txt").write_text("x")
    raise SystemExit(1)


def _fails():
    raise KeyError("x")


def _sleeps():
    time.sleep(5)


def _refuses():
    raise SystemExit(1)


@pytest.mark.parametrize(
    ("main", "kind"),
    [
        (_refuses, "clean"),
        (_writes, "leaves something"),
        (_fails, "traceback"),
        (_sleeps, "hang"),
        (lambda: 0, "silent"),
    ],
)
def test_what_became_of_a_command_is_told(monkeypatch, tmp_path, main, kind):
    monkeypatch.setattr("mimi_lightning.__main__.main", main)
    assert commands.run([], tmp_path, seconds=0.2).kind == kind


@pytest.mark.parametrize(
    "words",
    [
        ["backbone.stage=-9"],
        ["view.train.crop=65"],  # of pictures of 64 pixels: found when the first is read
        ["optimizer._target_=torch.optim.Nope"],
        ["trainer.accelerator=abacus"],
        ["init=../labels.csv"],
    ],
)
def test_what_is_refused_late_leaves_nothing(miniature, tmp_path, words):
    named = {word.partition("=")[0] for word in words}
    tiny = [word for word in TINY if word.partition("=")[0] not in named]
    (tmp_path / "labels.csv").write_text("text\n")
    (tmp_path / "work").mkdir()
    settings = [f"paths.datasets={miniature}", f"splits.store={tmp_path / 'splits'}"]
    outcome = commands.run([*tiny, *settings, *words], tmp_path / "work")
    assert outcome.kind == "clean", outcome.said
    assert "weights_only" not in outcome.said


@pytest.mark.parametrize(
    ("strategy", "check", "number"),
    [
        (draws.settings_drawn, draws.check_settings, 6),
        (draws.tables_drawn, draws.check_predictions, 60),
        (draws.tables_drawn, draws.check_labels, 60),
        (draws.tables_drawn, draws.check_partition_files, 40),
        (lambda: draws.mutated(draws.st.sampled_from(draws._pictures())), draws.check_picture, 100),
        (lambda: draws.mutated(draws.st.sampled_from(draws._checkpoints())), draws.check_checkpoint, 30),
    ],
    ids=["configurations", "predictions", "labels", "scenes", "pictures", "checkpoints"],
)
def test_no_draw_ends_in_a_traceback_or_hangs(strategy, check, number):
    counts = draws.some(strategy(), check, time.monotonic() + 60, number)
    assert set(counts) <= {"clean", "runs"}
    assert counts["clean"]


def test_a_mistake_that_a_check_makes_is_told():
    def check(value):
        if value == 1:
            raise ConfigError("no")
        if value == 2:
            raise KeyError("x")

    assert [draws.judged(check, value).kind for value in (0, 1, 2)] == ["runs", "clean", "traceback"]
