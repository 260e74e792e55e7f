"""Numbers over splits: against pandas, SciPy, and values computed by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mimi_lightning.evaluation.statistics import _places, _ranks, bootstrap, paired_test
from mimi_lightning.evaluation.study import Study
from mimi_lightning.evaluation.summary import add_errors, break_down, compare, cross_test, score_splits, summarise
from mimi_lightning.metrics import srcc

OTHERS = ("plcc", "plcc_4p", "plcc_5p", "rmse_4p", "rmse_5p")
SIZES = {"csiq": 866, "koniq": 10073, "live": 779}


@pytest.fixture(scope="module")
def study(fabricate):
    """Of two models, to read only."""
    tables = fabricate("a/resnet34"), fabricate("b/vgg16", splits=(2, 3, 4), noise=0.3)
    table = pd.concat(tables, ignore_index=True)
    return Study(table.assign(model=table["run"].str.rpartition("/")[0]))


@pytest.fixture(scope="module")
def results(study):
    return score_splits(study)


def test_figures_of_every_split(study, results):
    assert len(results) == 2 * 3 * (3 + 2)
    rows = study.predictions.query("model == 'a/resnet34' and split == 2 and dataset == 'live'")
    row = results.query("model == 'a/resnet34' and split == 2 and dataset == 'live'").iloc[0]
    assert row["srcc"] == pytest.approx(stats.spearmanr(rows["proxy"], rows["mos"]).statistic, abs=1e-12)
    assert row["krcc"] == pytest.approx(stats.kendalltau(rows["proxy"], rows["mos"]).statistic, abs=1e-12)
    assert row["srcc_low"] < row["srcc"] < row["srcc_high"]
    one = results.query("model == 'a/resnet34' and split == 2").set_index("dataset")
    by_hand = sum(one.at[name, "plcc"] * size for name, size in SIZES.items()) / sum(SIZES.values())
    assert one.at["weighted", "plcc"] == pytest.approx(by_hand, abs=1e-12)
    assert one.at["mean", "plcc"] == pytest.approx(one.loc[list(SIZES), "plcc"].mean(), abs=1e-12)


def test_over_splits_by_hand():
    results = pd.DataFrame({"model": "m", "split": [1, 2, 3, 4], "dataset": "live", "srcc": [0.9, 0.8, 0.6, 0.7]})
    results = results.assign(krcc=[0.1, np.nan, 0.2, 0.3], **dict.fromkeys(OTHERS, 0.5))
    table = summarise(results, SIZES).set_index(["dataset", "figure"]).loc["live"]
    row = table.loc["srcc", ["splits", "median", "mean", "std", "min", "max"]].tolist()
    assert row == pytest.approx([4, 0.75, 0.75, np.sqrt(0.05 / 3), 0.6, 0.9])
    assert (
        table.loc["krcc", ["median", "mean", "std"]].isna().all()
    )  # a split without a figure is not left out silently


@pytest.fixture
def two_datasets():
    """Three splits of two datasets, the second three times as large, with the rows that `score_run` adds."""
    figures = {"live": [0.9, 0.8, 0.7], "bid": [0.4, 0.9, 0.6]}
    figures |= {"weighted": [0.525, 0.875, 0.625], "mean": [0.65, 0.85, 0.65]}
    tables = [pd.DataFrame({"dataset": name, "split": [1, 2, 3], "srcc": values}) for name, values in figures.items()]
    return pd.concat(tables).assign(model="m", krcc=0.5, **dict.fromkeys(OTHERS, 0.5))


def test_published_tables_weigh_the_medians(two_datasets):
    """(100 * .8 + 300 * .6) / 400 = .65, while the median of each split's weighted figure is .625."""
    table = summarise(two_datasets, {"live": 100, "bid": 300}).query("figure == 'srcc'").set_index("dataset")
    assert list(table.index) == ["bid", "live", "weighted", "mean", "weighted by split", "mean by split"]
    assert set(table["splits"]) == {3}
    assert table.loc["weighted", ["median", "mean"]].tolist() == pytest.approx([0.65, 0.675])
    assert table.loc["mean", ["median", "mean"]].tolist() == pytest.approx([0.7, 0.5 * (0.8 + 1.9 / 3)])
    assert table.loc[["weighted", "mean"], ["std", "min", "max"]].isna().all(axis=None)
    by_split = table.loc["weighted by split", ["median", "mean", "std", "min", "max"]].tolist()
    assert by_split == pytest.approx([0.625, 0.675, np.std([0.525, 0.875, 0.625], ddof=1), 0.525, 0.875])
    assert table.loc["mean by split", ["median", "mean"]].tolist() == pytest.approx([0.65, 2.15 / 3])


def test_nothing_is_weighted_without_a_figure_of_each_split(two_datasets):
    """Neither where a figure is NaN nor where a split lacks a dataset."""
    over_datasets = ["weighted", "mean", "weighted by split", "mean by split"]
    absent = (two_datasets["dataset"] == "live") & (two_datasets["split"] == 2)
    several = (two_datasets["dataset"] != "bid") & (two_datasets["split"] == 2)
    for results in (two_datasets[~absent], two_datasets.assign(srcc=two_datasets["srcc"].mask(several))):
        table = summarise(results, {"live": 100, "bid": 300}).query("figure == 'srcc'").set_index("dataset")
        assert table.loc[over_datasets, "median"].isna().all()
        assert table.at["bid", "median"] == 0.6


def test_one_split_has_one_weighted_figure(results):
    one = results.query("model == 'a/resnet34' and split == 2")
    table = summarise(one, SIZES).set_index(["figure", "dataset"])["median"]
    for figure in ("srcc", "plcc_5p"):
        for name in ("weighted", "mean"):
            expected = one.set_index("dataset").at[name, figure]
            assert table[figure, name] == pytest.approx(expected, abs=1e-12)
            assert table[figure, f"{name} by split"] == expected


def test_bootstrap_intervals_cover_what_a_normal_sample_says():
    """Fisher's z gives an interval of the correlation of normal samples."""
    random = np.random.default_rng(0)
    x = random.normal(size=400)
    y = x + random.normal(size=400)
    found = bootstrap(pd.DataFrame({"dataset": "live", "proxy": x, "mos": y}), {"live": 400}).loc["live"]
    z, width = np.arctanh(stats.pearsonr(x, y).statistic), 1.96 / np.sqrt(397)
    assert found["plcc_low"] == pytest.approx(np.tanh(z - width), abs=0.015)
    assert found["plcc_high"] == pytest.approx(np.tanh(z + width), abs=0.015)


def test_datasets_are_resampled_independently(study):
    """So variances add up: the interval of a mean is narrower than its parts."""
    rows = study.predictions.query("model == 'b/vgg16' and split == 2")
    found = bootstrap(rows, SIZES)
    width = found["srcc_high"] - found["srcc_low"]
    assert width["mean"] == pytest.approx(np.sqrt((width[list(SIZES)] ** 2).sum()) / 3, rel=0.15)


def test_too_few_images_have_no_interval():
    table = pd.DataFrame({"dataset": "live", "proxy": [1.0, 2, 3, 4], "mos": [1.0, 2, 3, 4]})
    assert bootstrap(table, {"live": 4}).isna().all().all()


def test_paired_test_by_hand():
    first = pd.Series([0.91, 0.92, 0.93, 0.94, 0.95, 0.96], index=range(1, 7))
    found = paired_test(first, first - np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06]))
    assert found == pytest.approx({"splits": 6, "difference": 0.035, "p": 2 / 2**6})  # all of one sign, two-sided
    assert np.isnan(paired_test(first, first)["p"])


def test_models_are_compared_on_the_splits_they_share(study, results):
    found, refused = compare(study, results)
    assert not refused
    assert set(found["dataset"]) == {"csiq", "koniq", "live", "weighted by split", "mean by split"}
    assert set(found["splits"]) == {2}
    assert (found["difference"] > 0).all()


def test_other_test_images_are_not_compared(study, results):
    table = study.predictions.copy()
    moved = (table["model"] == "b/vgg16") & (table["dataset"] == "live") & (table["split"] == 3)
    table.loc[moved, "image"] = "other/" + table["image"]
    found, refused = compare(Study(table), results)
    assert refused == ["a/resnet34 and b/vgg16 are not compared on live: other test images"]
    assert set(found["dataset"]) == {"csiq", "koniq"}


def test_breakdown_by_distortion_and_level(study):
    found = break_down(study)
    assert set(found["dataset"]) == {"csiq", "live"}  # the third knows no distortion
    key = "model == 'a/resnet34' and dataset == 'live' and distortion == 'gaussian blur'"
    rows = study.predictions.query(key)
    medians = [srcc(group["proxy"], group["mos"]) for _, group in rows.groupby("split")]
    whole = found.query(key)
    whole = whole[whole["level"].isna()].iloc[0]
    assert whole["srcc"] == pytest.approx(np.median(medians), abs=1e-12)
    assert (whole["n"], whole["splits"]) == (60, 3)
    assert set(found["level"].dropna()) == {1, 2, 3, 4, 5}


def test_errors_are_shares_of_the_range(study):
    table = add_errors(study.predictions)
    row = table.query("model == 'a/resnet34' and dataset == 'csiq' and split == 1")
    expected = (row["prediction"] - row["mos"]) / np.ptp(row["mos"])
    np.testing.assert_allclose(row["error"], expected)
    fitted = add_errors(study.predictions.assign(prediction=np.nan))
    assert fitted["error"].abs().max() < 1


def test_unseen_datasets_stand_beside_their_own(study):
    assert cross_test(study).empty
    table = study.predictions.copy()
    table.loc[(table["model"] == "b/vgg16") & (table["dataset"] == "live"), "part"] = "unseen"
    found = cross_test(Study(table)).set_index(["model", "dataset"])
    assert found.loc[("b/vgg16", "live"), ["trained", "part", "splits", "n"]].tolist() == [
        "csiq+koniq",
        "unseen",
        3,
        120,
    ]
    assert found.loc[("a/resnet34", "live"), "part"] == "test"
    assert set(Study(table).tested.query("model == 'b/vgg16'")["dataset"]) == {"csiq", "koniq"}


def test_ranks_that_are_counted_are_those_that_are_sorted():
    values = np.random.default_rng(0).normal(size=50).round(1)
    resamples = np.random.default_rng(1).integers(0, 50, (7, 50))
    expected = stats.rankdata(values[resamples], axis=-1)
    assert np.array_equal(_ranks(_places(values)[resamples]), expected)
