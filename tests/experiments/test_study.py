"""Studies: what is run, what it comes to."""

import argparse
import functools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from experiments import outcome, study
from mimi_lightning import config
from mimi_lightning.evaluation.statistics import corrected_t

STUDIES = sorted(Path(study.__file__).parent.glob("*/study.yaml"))
CONDITIONS = yaml.safe_load((Path(study.__file__).parent / "conditions.yaml").read_text())


def test_the_corrected_test_by_its_formula():
    values = [0.1, 0.3, 0.2, 0.4]
    error = np.sqrt((1 / 4 + 2 / 7) * np.var(values, ddof=1))
    found = corrected_t(values, 2 / 7)
    assert found["difference"] == pytest.approx(0.25)
    assert found["half"] == pytest.approx(error * stats.t.ppf(0.975, 3))
    assert found["p"] == pytest.approx(2 * stats.t.sf(0.25 / error, 3))
    assert corrected_t([0.0, 0.0], 0.5) == {"difference": 0.0, "half": 0.0, "p": 1.0}


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.parent.name)
def test_every_study_names_what_there_is(file):
    told = yaml.safe_load(file.read_text())
    assert told["question"].endswith("?")
    assert told["reference"] in told["variants"]
    assert {*told["conditions"]} <= {*CONDITIONS}


@functools.cache
def is_configuration(*words):
    """Studies share variants."""
    return config.load(words) is not None


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.parent.name)
def test_every_variant_and_every_condition_is_a_configuration(file, tmp_path):
    told = yaml.safe_load(file.read_text())
    args = argparse.Namespace(on=None, variants=None, splits=1, seeds=1, words=[])
    jobs = study.plan(told, args, tmp_path)
    assert config.load(jobs[0].override()).seed == study.SEED
    condition, variant = jobs[0].condition, jobs[0].variant
    assert all(is_configuration(*job.words) for job in jobs if condition == job.condition or variant == job.variant)


def test_jobs_of_one_split_stand_together(tmp_path):
    told = {"conditions": ["own"], "seeds": 2, "variants": {"a": [], "b": ["data.quota=4"]}, "common": ["mapper=none"]}
    args = argparse.Namespace(on=None, variants=None, splits=2, seeds=None, words=["trainer=gpu"])
    jobs = study.plan(told, args, tmp_path)
    firsts = [(job.seed, job.split, job.variant) for job in jobs[:4]]
    assert firsts == [(0, 1, "a"), (0, 1, "b"), (0, 2, "a"), (0, 2, "b")]
    assert jobs[1].override()[:4] == ["experiment=study", "mapper=none", "data.quota=4", "trainer=gpu"]
    assert f"seed={study.SEED}" in jobs[1].override()
    assert len({tuple(job.override()) for job in jobs}) == 8


@pytest.fixture
def runs(tmp_path):
    """Folders of runs: `good` is better than `base` by .1 in each of four splits, `same` is base."""
    random = np.random.default_rng(0)
    for split in range(1, 5):
        level = random.normal(0.5, 0.05)
        for variant, more in (("base", 0.0), ("same", 0.0), ("good", 0.1)):
            for seed in range(2):
                folder = tmp_path / variant / f"{split}-{seed}"
                folder.mkdir(parents=True)
                srcc = {"srcc": level + more + (0.01 if seed else -0.01)}
                aligned = [{"scores": "aligned labels", "srcc": 0.8 + more}, {"scores": "proxy scores", "srcc": 0.6}]
                metrics = {"figures": {"live": srcc, "weighted": srcc, "mean": srcc}, "alignment": aligned}
                (folder / "metrics.json").write_text(json.dumps(metrics))
                table = pd.DataFrame({"dataset": "live", "split": split, "mos": [1.0, 2, 3], "prediction": [1.0, 2, 4]})
                table.assign(proxy=table["prediction"]).to_csv(folder / "predictions.csv", index=False)
                told = {"condition": "own", "variant": variant, "split": split, "seed": seed, "seconds": 1.0}
                (folder / outcome.TOLD).write_text(json.dumps(told))
    return tmp_path


def test_means_differences_and_ranks(runs):
    told = {"question": "Which?", "reference": "base", "variants": {"good": [], "base": [], "same": []}}
    outcome.report(told, runs)
    table = pd.read_csv(runs / "results.csv")
    assert len(table) == 24
    assert table["error"].unique() == pytest.approx((1 / 3) ** 0.5)
    summary = pd.read_csv(runs / "summary.csv").set_index(["measure", "variant"])
    assert summary.loc[("srcc", "good"), "difference"] == pytest.approx(0.1)
    assert summary.loc[("srcc", "good"), "half"] < 1e-9
    assert summary.loc[("srcc", "good"), ["rank", "splits", "seeds"]].tolist() == [1, 4, 2]
    assert summary.loc[("srcc", "same"), ["difference", "rank"]].tolist() == [0, 2.5]
    page = (runs / "page.md").read_text()
    assert page.startswith("# Which?")
    assert page.index("| good |") < page.index("| base |")
    assert {"means.png", "ranks-own.png"} <= {file.name for file in runs.iterdir()}


def test_what_was_chosen_is_shown_on_other_splits(runs):
    told = {"question": "Which?", "reference": "base", "variants": dict.fromkeys(("good", "base", "same"))}
    outcome.report({**told, "chosen_on": 2}, runs)
    assert set(pd.read_csv(runs / "summary.csv")["condition"]) == {"own, splits 1 to 2", "own, splits 3 on"}


def test_variants_of_other_datasets_are_compared_by_each_datasets_own_figure(runs):
    told = {"question": "Which?", "reference": "base", "variants": dict.fromkeys(("good", "base")), "by_dataset": True}
    outcome.report(told, runs)
    assert set(pd.read_csv(runs / "summary.csv")["measure"]) == {"srcc_live"}
    assert "| | live |" in (runs / "page.md").read_text()


def test_what_cannot_be_compared_yet_is_said(runs):
    told = {"question": "Which?", "reference": "gone", "variants": {"good": [], "base": []}}
    with pytest.raises(SystemExit, match="two splits are needed, and gone in each of them"):
        outcome.report(told, runs)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mappers", "--variants", "foo"], "--variants foo: there are none, heads"),
        (["mappers", "--on", "foo"], "--on foo: there are own, shared"),
        (["foo"], "invalid choice"),
    ],
)
def test_a_wrong_word_is_refused_before_anything_runs(words, said, capsys):
    with pytest.raises(SystemExit):
        study.main(words)
    assert said in capsys.readouterr().err


def test_nothing_finished_is_said(tmp_path):
    with pytest.raises(SystemExit, match="There is no finished run"):
        outcome.report({}, tmp_path)
