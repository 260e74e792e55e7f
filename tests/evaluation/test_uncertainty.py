"""Stated deviations against errors: by value, on quantiles, and between the best order and the worst."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mimi_lightning.evaluation.uncertainty import (
    CALIBRATION,
    FLOOR,
    INTERVALS,
    coverage,
    gaussian_nll,
    risk_curve,
    score_deviations,
    standardised,
    unstated,
)

QUANTILES = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)  # a normal sample without chance


def table(mos, error, std, **columns):
    """Test rows of one model, split and dataset."""
    mos = np.asarray(mos, dtype=float)
    rows = {"model": "m", "split": 1, "dataset": "live", "mos": mos, "prediction": mos + error, "std": std}
    return pd.DataFrame(rows | columns)


@pytest.fixture
def two_datasets():
    """One of them on a scale a hundred times as wide, with the same errors and deviations in units of that."""
    rng = np.random.default_rng(0)
    mos, std = rng.uniform(size=60), rng.uniform(0.05, 0.4, size=60)
    first = table(mos, std * rng.normal(size=60), std, dataset="csiq")
    return pd.concat([first, first.assign(dataset="live", **100 * first[["mos", "prediction", "std"]])])


def test_right_deviations_cover_what_they_should():
    std = np.tile([0.1, 3.0, 0.7, 20.0], 500)
    np.testing.assert_allclose(coverage(QUANTILES * std, std, list(INTERVALS.values())), [0.5, 0.683, 0.9, 0.95])
    assert coverage(QUANTILES * std, std / 2, 0.95) == pytest.approx(0.673)  # 2 Phi(.98) - 1
    found = score_deviations(table(100 * QUANTILES, QUANTILES * std, std)).iloc[0]
    assert found[list(INTERVALS)].tolist() == pytest.approx([0.5, 0.683, 0.9, 0.95])


def test_likelihood_by_its_formula():
    error, std = np.array([0.3, -0.1, 2.0]), np.array([0.5, 0.2, 1.0])
    expected = np.mean(np.log(std) + (error / std) ** 2 / 2) + np.log(2 * np.pi) / 2
    assert gaussian_nll(error, std) == pytest.approx(expected, abs=1e-12)
    assert gaussian_nll(error, [0.5, 0.2, 0]) == gaussian_nll(error, [0.5, 0.2, FLOOR])


def test_no_constant_is_likelier_than_the_rmse():
    error = np.random.default_rng(0).normal(size=50)
    rmse = np.sqrt(np.mean(error**2))
    assert gaussian_nll(error, rmse) == pytest.approx(np.log(rmse) + 0.5 + np.log(2 * np.pi) / 2, abs=1e-12)
    assert gaussian_nll(error, rmse) < min(gaussian_nll(error, 0.99 * rmse), gaussian_nll(error, 1.01 * rmse))


def test_risk_of_the_surest_images():
    error = np.array([3.0, -1.0, 2.0, 0.0])
    squares = np.array([1.0, 1 + 9, 1 + 9 + 4, 14])
    np.testing.assert_allclose(risk_curve(error, np.array([2, 1, 3, 4])), np.sqrt(squares / [1, 2, 3, 4]))
    tied = np.array([5.0, 10, 10 + 2, 14])
    np.testing.assert_allclose(risk_curve(error, np.array([0, 0, 1, 1])), np.sqrt(tied / [1, 2, 3, 4]))
    np.testing.assert_allclose(risk_curve(error, np.zeros(4)), np.full(4, np.sqrt(14 / 4)))


def test_no_order_is_better_than_the_oracles_nor_worse_than_its_reverse(two_datasets):
    figures = score_deviations(two_datasets).set_index("dataset")
    for dataset, rows in standardised(two_datasets).groupby("dataset"):
        size = rows["error"].abs().to_numpy()
        row, worst = figures.loc[dataset], risk_curve(size, -size).mean()
        assert row["aurc_oracle"] < row["aurc"] < row["aurc_random"] < worst
    knowing = score_deviations(two_datasets.assign(std=(two_datasets["prediction"] - two_datasets["mos"]).abs()))
    assert knowing["aurc"].tolist() == pytest.approx(knowing["aurc_oracle"].tolist())
    assert knowing["srcc"].tolist() == pytest.approx([1, 1, 1])


def test_scales_of_datasets_do_not_count(two_datasets):
    figures = score_deviations(two_datasets)
    assert figures["dataset"].tolist() == ["csiq", "live", "pooled"]
    assert figures["n"].tolist() == [60, 60, 120]
    values = figures.drop(columns=["model", "split", "dataset", "n"])
    np.testing.assert_allclose(values.iloc[1], values.iloc[0], rtol=1e-9)
    means = [*CALIBRATION, "aurc_random"]
    np.testing.assert_allclose(values.iloc[2][means], values.iloc[0][means], rtol=1e-9)
    rows = two_datasets[two_datasets["dataset"] == "live"]
    error, spread = rows["prediction"] - rows["mos"], rows["mos"].std(ddof=0)
    row = figures.iloc[1]
    assert row["nll"] == pytest.approx(-stats.norm.logpdf(error, scale=rows["std"]).mean() - np.log(spread))
    assert row["aurc_random"] == pytest.approx(np.sqrt(np.mean(error**2)) / spread)
    assert row["srcc"] == pytest.approx(stats.spearmanr(rows["std"], error.abs()).statistic, abs=1e-12)


def test_a_constant_deviation_orders_nothing():
    error = np.array([0.1, -0.3, 0.2, 0.4, -0.1, 0.0])
    row = score_deviations(table(np.arange(6), error, np.sqrt(np.mean(error**2)))).iloc[0]
    assert row["nll"] == pytest.approx(row["nll_constant"], abs=1e-12)
    assert row["aurc"] == pytest.approx(row["aurc_random"], abs=1e-12)
    assert np.isnan(row["srcc"])


def test_rows_without_a_deviation_are_left_out_and_counted(two_datasets):
    rows = two_datasets.reset_index(drop=True)
    rows.loc[:9, "std"] = np.nan
    rows.loc[70, "prediction"] = np.nan
    silent = rows.assign(model="silent", std=np.nan)
    figures = score_deviations(pd.concat([rows, silent]))
    assert set(figures["model"]) == {"m"}
    assert figures["n"].tolist() == [50, 59, 109]
    said = "m: 11 of 120 test rows have no std or no prediction; coverage, NLL and AURC leave them out"
    assert unstated(pd.concat([rows, silent])) == [said]
    assert unstated(two_datasets) == unstated(silent) == []
    assert score_deviations(silent).empty


def test_a_dataset_whose_mos_are_all_alike_has_no_unit(two_datasets):
    alike = two_datasets["mos"].where(two_datasets["dataset"] == "live", 0.5)
    assert score_deviations(two_datasets.assign(mos=alike))["dataset"].tolist() == ["live", "pooled"]
