"""The command line as a user meets it: as a subprocess."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from mimi_lightning.__main__ import _one_message, main
from mimi_lightning.errors import GOES_ON, Terminated

ROOT = Path(__file__).parents[1]


def mimi(*words, cwd):
    return subprocess.run([sys.executable, "-m", "mimi_lightning", *words], cwd=cwd, capture_output=True, text=True)


def test_help_explains_the_groups_on_one_screen(tmp_path):
    done = mimi("--help", cwd=tmp_path)
    assert done.returncode == 0
    for word in ("backbone: ", "resnet34", "experiment: ", "split=1..10", "data make-miniature"):
        assert word in done.stdout
    assert len(done.stdout.splitlines()) <= 40
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_cfg_job_prints_the_composition(tmp_path):
    done = mimi("experiment=mimi_resnet34", "split=3", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0
    assert "name: mimi_resnet34\nsplit: 3\n" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["splitt=3"], "Did you mean split?"),
        (["backbone=resnet35"], "There is no backbone=resnet35"),
        (["split=11"], "split=11: expected a whole number, 1 to 10"),
        (["data.quota=-1"], "quota=-1"),
        (["backbone=resnet34", "split=3"], "There is no folder"),
        (["experiment=mimi_clip"], "splits.lists=DIR"),
    ],
)
def test_a_mistake_ends_in_one_message_and_leaves_nothing(tmp_path, words, message):
    done = mimi(*words, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(28, "No space left on device", "last.ckpt"), 1, "Error: last.ckpt: No space left on device."),
        (Terminated("It goes on."), 143, "\nTold to end. It goes on."),
        (KeyboardInterrupt(), 130, "\nInterrupted.\n"),
        (KeyboardInterrupt(GOES_ON), 130, "\nInterrupted. The same command goes on from where it was.\n"),
    ],
)
def test_what_ends_a_command_is_one_message_and_a_code(error, code, said, capsys):
    with pytest.raises(SystemExit) as caught, _one_message():
        raise error
    assert caught.value.code == code
    assert capsys.readouterr().err.startswith(said)


def test_mistakes_are_found_before_torch_is_imported(tmp_path):
    code = (
        "import sys; sys.argv = ['mimi', 'split=3']; from mimi_lightning.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'pandas', 'lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_verb_leads_to_the_toolbox(tmp_path):
    done = mimi("data", "make-miniature", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--photos" in done.stdout


def test_several_splits_run_one_after_the_other_and_import_what_they_need(tmp_path, miniature, fast, monkeypatch):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # tells on stderr what is imported
    paths = [f"paths.datasets={miniature}", "splits.store=splits"]
    done = mimi("-m", "split=1,2", *fast, *paths, "dataset=[csiq,live]", "trainer.max_epochs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tables = [pd.read_csv(tmp_path / f"outputs/mimi/resnet18/split0{k}/predictions.csv") for k in (1, 2)]
    assert set(tables[0]["split"]) == {1}
    assert set(tables[1]["split"]) == {2}
    assert set(tables[0]["image"]) != set(tables[1]["image"])
    assert (tmp_path / "outputs/mimi/report/report.md").is_file()
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "torch" in imported
    assert not imported & {"timm", "wandb", "open_clip", "sklearn", "upath"}


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """Run a command that fails in this process, where all is imported already; what it says."""
    monkeypatch.chdir(tmp_path)

    def fail(*words):
        monkeypatch.setattr("sys.argv", ["mimi", *words])
        try:
            code = main()
        except SystemExit as end:
            code = end.code
        assert code == 1
        return capsys.readouterr()

    return fail


def test_a_folder_of_another_run_is_left_as_it_is(here, tmp_path, miniature):
    folder = tmp_path / "outputs/mimi/resnet34/split01"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 3\ndatasets: {}\nmapper: {_target_: mine}\n")
    (folder / "metrics.json").write_text("{}")
    said = here(f"paths.datasets={miniature}", "dataset=[csiq]", "trainer=cpu").err
    assert "holds a run with another configuration (datasets.csiq, mapper._target_, " in said
    assert "monitor" not in said  # an older version did not know it
    assert (folder / "metrics.json").read_text() == "{}"


def test_a_failed_split_is_named_and_the_others_are_reported(here, tmp_path, miniature, fast):
    """In processes of their own, from which the one that reports hears what became of them."""
    words = [f"paths.datasets={miniature}", "splits.store=splits", "dataset=[csiq,live]", "hydra/launcher=processes"]
    said = here("-m", "split=1,11", *fast, *words, "trainer.max_epochs=1")
    assert "\nFailed: split=11: expected a whole number, 1 to 10.\n  split=11 " in said.err
    assert "no result of split 11" in said.out
    numbers = json.loads((tmp_path / "outputs/mimi/report/report.json").read_text())
    assert {row["splits"] for row in numbers["summary"]} == {1}
    told = json.loads((tmp_path / "outputs/mimi/resnet18/split01/metrics.json").read_text())
    assert told["validation"].keys() == {"val/srcc_weighted"}


def test_an_installed_wheel_runs_outside_the_repository(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); sys.argv = ['mimi', '--cfg', 'job']\n"
        "import mimi_lightning.__main__ as m; print(m.__file__); m.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert str(tmp_path / "site") in done.stdout
    assert (tmp_path / "site/hydra_plugins/mimi_sweepers/grid.py").is_file()
    assert "backbone:\n  _target_" in done.stdout


def test_flags_may_stand_among_the_words(tmp_path, miniature, monkeypatch):
    """Where argparse stumbles."""
    composed = []
    monkeypatch.setattr("mimi_lightning.train.train", composed.append)
    words = "split=3", "~tasks", "--config-dir", str(tmp_path), "seed=5", f"paths.datasets={miniature}"
    monkeypatch.setattr("sys.argv", ["mimi", *words])
    main()
    assert (composed[0].split, composed[0].seed) == (3, 5)


@pytest.mark.parametrize("words", [["-m", "split=range(3,1)"], ["--multirun", "split=range(1,1)", "seed=1"]])
def test_a_sweep_over_nothing_is_refused(words, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mimi", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert "sweeps over nothing; such as split=range(1,11)" in capsys.readouterr().err
