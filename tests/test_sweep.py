"""Sweeps: launchers, the search, and what a sweep makes of the jobs that it does not run itself."""

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from hydra_plugins.mimi_sweepers.search import Search
from mimi_lightning import config, slurm, sweep
from mimi_lightning.__main__ import main
from mimi_lightning.errors import ConfigError, MimiError

CONF = config.conf_dir()
PLUGINS = [(path.parent.name, path.stem) for path in sorted(CONF.glob("hydra/*/*.yaml"))]


@pytest.mark.parametrize(("group", "option"), [*PLUGINS, ("sweep", "pack")])
def test_every_launcher_and_sweeper_is_one_that_hydra_knows(group, option):
    word = f"{group}={option}" if group == "sweep" else f"hydra/{group}={option}"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = compose("config", [word], return_hydra_config=True).hydra
    known = Plugins.instance().class_name_to_class
    assert hydra.launcher._target_ in known
    assert hydra.sweeper._target_ in known


@pytest.mark.parametrize("space", sorted(path.stem for path in CONF.glob("hydra/sweeper/space/*.yaml")))
def test_every_ready_space_is_one_of_its_network(space, tmp_path):
    words = ["backbone=clip_vit_b32"] if space == "clip" else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        words += ["hydra/sweeper=optuna", f"hydra/sweeper/space={space}", f"paths.outputs={tmp_path}"]
        cfg = compose("config", words, return_hydra_config=True)
    search = Search(**{key: value for key, value in cfg.hydra.sweeper.items() if key != "_target_"})
    search.config = cfg
    assert search._plan(words).space.keys() == cfg.hydra.sweeper.space.keys()


@pytest.mark.parametrize(("option", "extra"), [("joblib", "joblib"), ("submitit_slurm", "slurm")])
def test_a_launcher_that_is_not_installed_names_its_line(option, extra):
    error = MissingConfigException("", missing_cfg_file=f"hydra/launcher/{option}", options=["basic", "processes"])
    said = config.explain(error, [])
    assert said == f'hydra/launcher={option} needs: pip install "mimi-lightning[{extra}]"'


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("hydra.sweeper.trials=3", 'hydra/sweeper=optuna needs: pip install "mimi-lightning[optuna]"'),
        ("hydra.sweeper.trials=0", "hydra.sweeper.trials=0: expected a whole number, 1 or more."),
        ("hydra.sweeper.seed=x", "hydra.sweeper.seed=x: expected a whole number, 0 or more."),
        (
            "optimizer.lr=tag(log,interval(0,1))",
            "optimizer.lr=tag(log,interval(0,1)): `low > 0` must hold for `log=True`, but got (low=0.0, high=1.0).",
        ),
    ],
)
def test_a_search_that_cannot_begin_is_refused(word, said, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    if "needs" in said:
        monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr("sys.argv", ["mimi", "-m", "hydra/sweeper=optuna", word])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == f"Error: {said}\n"
    assert not list(tmp_path.iterdir())


class Launcher:
    """Jobs that come to the learning rate and a hundredth of the split, at once; those of a number are lost.

    Of broken splits there are only failures.
    """

    def __init__(self, lost=None, broken=()):
        self.lost, self.broken, self.jobs = lost, broken, []

    def launch(self, jobs, initial_job_idx):
        if len(self.jobs) == self.lost:
            raise RuntimeError("A worker died.\nIts log:")
        self.jobs += jobs
        returns = []
        for job in jobs:
            words = dict(word.split("=") for word in job)
            value = float(words["optimizer.lr"]) + int(words["split"]) / 100
            value = sweep.Failure(" ".join(job), "no such thing") if words["split"] in self.broken else value
            returns.append(JobReturn(status=JobStatus.COMPLETED, _return_value=value))
        return returns


@pytest.fixture
def search(tmp_path):
    """Search in a folder with some launcher and some words."""
    sweep.failures.clear()

    def start(launcher, *words, trials=4, parallel=1):
        cfg = {"name": "mine", "monitor": "val/srcc_weighted", "split": 1, "optimizer": {"lr": 0.1}}
        searcher = Search(trials, parallel, 1, {"optimizer.lr": "interval(0.0,0.5)", "gauge.weight": "choice(1,2)"})
        searcher.config, searcher.folder, searcher.launcher = OmegaConf.create(cfg), tmp_path / "mine", launcher
        searcher.sweep(list(words))
        return launcher

    return start


def test_a_search_chooses_by_the_mean_over_its_splits(search, capsys):
    jobs = search(Launcher(), "split=1,2", "seed=3", parallel=2).jobs
    assert len(jobs) == 8
    assert jobs[0][0] == "seed=3"
    assert [job[-2:] for job in jobs[:3]] == [
        ("split=1", "name=mine/trial000"),
        ("split=2", "name=mine/trial000"),
        ("split=1", "name=mine/trial001"),
    ]
    rates = [float(job[1].removeprefix("optimizer.lr=")) for job in jobs]
    said = capsys.readouterr().out
    assert "Not searched, since this configuration does not have it: gauge.weight" in said
    assert f"Best of 4 trials, by val/srcc_weighted of 2 splits: trial {rates.index(max(rates)) // 2}, " in said
    assert f"{max(rates) + 0.015:.4f}." in said
    assert f"name=mine_best seed=3 optimizer.lr={max(rates)}" in said


def test_a_search_goes_on_with_the_trial_that_was_lost(search):
    before = Launcher(lost=2)
    with pytest.raises(MimiError, match=r"^A job was lost: A worker died.\nWhen all others have ended, the same"):
        search(before)
    jobs = before.jobs + search(Launcher()).jobs
    assert [job[-1] for job in jobs] == [f"name=mine/trial{number:03}" for number in range(4)]
    assert len({job[0] for job in jobs}) == 4  # nothing is proposed twice
    assert [job[-1] for job in search(Launcher(), trials=5).jobs] == ["name=mine/trial004"]


def test_a_search_for_something_else_is_refused_when_there_are_trials(search):
    with pytest.raises(MimiError, match=r"No trial came to a value"):
        search(Launcher(broken="1"), "seed=2")
    assert [failure.message for failure in sweep.failures] == ["no such thing"]
    assert len(search(Launcher(), "seed=3").jobs) == 4
    with pytest.raises(ConfigError, match=r"holds a search that was asked for something else"):
        search(Launcher(), "seed=4")
    assert search(Launcher(), "seed=3", "paths.datasets=elsewhere").jobs == []


def test_a_search_that_came_to_nothing_leaves_nothing(search, tmp_path):
    launcher = Launcher(broken="1")
    launcher.launch = lambda jobs, initial_job_idx: (tmp_path / "mine/trial000").mkdir() or [][0]
    with pytest.raises(IndexError):
        search(launcher)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("journal", [b"garbage\n", b"\xff\xfe" * 30])
def test_a_damaged_journal_is_named(search, tmp_path, journal):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/trials.journal").write_bytes(journal)
    with pytest.raises(ConfigError, match=r"trials.journal is damaged: .* Remove it to begin the search anew"):
        search(Launcher())
    assert (tmp_path / "mine/trials.journal").read_bytes().startswith(journal)


def test_a_search_of_which_no_trial_has_all_its_splits_has_no_best(search):
    with pytest.raises(MimiError, match=r"No trial came to a value"):
        search(Launcher(broken="2"), "split=1,2", trials=1)
    assert len(search(Launcher(), "split=1,2", trials=1).jobs) == 2  # it is tried again


def test_a_trial_that_failed_is_told_and_the_search_goes_on(search, capsys):
    search(Launcher(), trials=1)
    search(Launcher(broken="1"), trials=2)
    assert "trial 1: val/srcc_weighted -, " in capsys.readouterr().out
    assert len(search(Launcher(), trials=3).jobs) == 1


@pytest.mark.parametrize(("words", "said"), [(["name=a,b"], "one name"), (["optimizer.lr=0.1"], "Nothing is searched")])
def test_a_search_of_nothing_or_of_several_names_is_refused(search, words, said):
    with pytest.raises(ConfigError, match=said):
        search(Launcher(), *words)


@pytest.mark.parametrize("word", ["hydra/sweeper=optuna", "hydra/launcher=processes"])
def test_what_is_for_a_multirun_is_refused_without_it(word, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["mimi", word])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == f"Error: {word} is for a multirun: python -m mimi_lightning -m {word} ...\n"


def test_a_sweep_over_names_reports_what_they_hold(monkeypatch, tmp_path, miniature):
    """Not what lies below the name that none of the jobs has."""
    reported = []
    monkeypatch.setattr("mimi_lightning.train.train", lambda cfg: 0.5)
    monkeypatch.setattr("mimi_lightning.evaluation.report.report", lambda folders, expected: reported.extend(folders))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["mimi", "-m", "name=one,two", "split=1,2", f"paths.datasets={miniature}"])
    main()
    assert reported == [Path("outputs/one"), Path("outputs/two")]


def test_a_sweep_that_is_refused_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["mimi", "-m", "split=11,12"])
    with pytest.raises(SystemExit):
        main()
    assert not list(tmp_path.iterdir())


def test_outcomes_tell_failures_from_values():
    sweep.failures.clear()
    failure = sweep.Failure("split=2", "gone")
    assert sweep.outcomes([SimpleNamespace(return_value=value) for value in (0.5, failure, None)]) == [0.5, None, None]
    assert sweep.failures == [failure]


@pytest.mark.parametrize("warning", [signal.SIGUSR1, signal.SIGUSR2])
def test_the_warning_before_the_time_limit_is_a_word_to_end(warning, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    told = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number)), signal.getsignal(warning)
    try:
        with slurm.warned():
            os.kill(os.getpid(), warning)
    finally:
        signal.signal(signal.SIGTERM, before[0])
    assert told == [signal.SIGTERM]
    assert signal.getsignal(warning) == before[1]
