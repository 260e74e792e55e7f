"""Which datasets agree: on features whose quality is known."""

import numpy as np
import pandas as pd
import pytest

from mimi_lightning import cli
from mimi_lightning.data.compare import ALL, OTHERS, compare_datasets
from mimi_lightning.errors import ConfigError


@pytest.fixture(scope="module")
def comparison():
    """`a` and `b` rate the same quality, on other scales; what `c` rates has nothing to do with it."""
    random = np.random.default_rng(0)
    features = random.normal(size=(360, 120))
    quality = features[:, :10].sum(1) + random.normal(size=360)
    other = features[:, 110:].sum(1)
    dataset = np.repeat(["a", "b", "c"], 120)
    mos = np.select([dataset == "a", dataset == "b"], [quality, 100 - 5 * -quality], other)
    table = pd.DataFrame({"dataset": dataset, "mos": mos})
    parts = {
        split: pd.Series(np.where(np.random.default_rng(split).random(360) < 0.7, "train", "test"))
        for split in range(1, 11)
    }
    return compare_datasets(features, table, parts, progress=False)


def test_scores_across_datasets(comparison):
    across = comparison.across()
    assert list(across.index) == ["a", "b", "c", OTHERS, ALL]
    assert across.loc["a", "b"] > 0.5
    assert abs(across.loc["a", "c"]) < 0.3
    assert across.loc[OTHERS, "a"] > 0.3


def test_who_helps_whom(comparison):
    gains = comparison.gains().set_index(["giver", "taker"])
    assert len(gains) == 6
    assert gains.loc[("a", "b"), "difference"] > gains.loc[("a", "b"), "half"]
    assert any(said.startswith(("a and b help", "a helps b")) for said in comparison.sentences())
    assert not any("c helps" in sentence or "helps c" in sentence for sentence in comparison.sentences())


def test_the_command_compares_what_is_there(miniature, tmp_path, capsys):
    words = ["dataset=[koniq,live]", "backbone=resnet18", "backbone.weights=none", "data.workers=0"]
    words += [f"paths.datasets={miniature}", f"data.feature_store={tmp_path}", f"splits.store={tmp_path}/splits"]
    assert cli.main(["data", "compare", *words, "--splits", "2"]) == 0
    assert "learned from a row" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"--splits 1: expected 2 to 10"):
        cli.main(["data", "compare", "--splits", "1"])
