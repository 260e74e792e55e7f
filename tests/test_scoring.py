"""A checkpoint on datasets that it was trained on, and on others."""

import pandas as pd
import pytest

from mimi_lightning.cli import main
from mimi_lightning.errors import ConfigError
from mimi_lightning.evaluation.report import report


@pytest.fixture
def folder(again):
    return again("dataset=[csiq,live]", "trainer.max_epochs=1")


@pytest.fixture
def evaluate(miniature):
    def start(checkpoint, *words):
        own = f"checkpoint={checkpoint}", f"paths.datasets={miniature}"
        return main(["evaluate", *own, "trainer=cpu", "data.workers=0", *words])

    return start


def test_unseen_datasets_count_as_a_whole(folder, evaluate, tmp_path):
    assert evaluate(folder / "checkpoints" / "best.ckpt", "dataset=[bid,csiq]") == 0
    table = pd.read_csv(folder / "evaluations" / "bid-csiq.csv").set_index("image")
    own = pd.read_csv(folder / "predictions.csv").query("dataset == 'csiq'").set_index("image")
    seen, unseen = table[table["dataset"] == "csiq"], table[table["dataset"] == "bid"]
    assert set(seen["part"]) == {"test"}
    scores = ["proxy", "prediction", "aligned"]
    pd.testing.assert_frame_equal(seen[scores], own[scores], rtol=1e-4)
    assert set(unseen["part"]) == {"unseen"}
    assert len(unseen) == 20
    assert unseen[["prediction", "aligned"]].isna().all().all()
    cross = report([tmp_path / "outputs"]).cross.set_index("dataset")
    assert cross["part"].to_dict() == {"bid": "unseen", "csiq": "test", "live": "test"}
    assert set(cross["trained"]) == {"csiq+live"}


def test_nobody_knows_what_a_lonely_checkpoint_was_trained_on(folder, evaluate, tmp_path):
    alone = tmp_path / "alone.ckpt"
    (folder / "checkpoints" / "best.ckpt").rename(alone)
    with pytest.raises(ConfigError, match=r"labels=FILE.*csiq, live"):
        evaluate(alone, "dataset=[csiq]")
    out = tmp_path / "new" / "mine.csv"
    assert evaluate(alone, "dataset=[csiq]", f"labels={folder}/labels.csv", f"out={out}") == 0
    assert set(pd.read_csv(out)["run"]) == {"alone"}
    assert evaluate(alone, "dataset=[bid]", f"out={out}") == 0
    assert report([out]).study.models == ["alone"]


def test_mistakes_are_explained(evaluate, tmp_path):
    with pytest.raises(ConfigError, match="There is no checkpoint"):
        evaluate(tmp_path / "gone.ckpt")
    with pytest.raises(ConfigError, match="evaluate needs checkpoint=FILE"):
        main(["evaluate", "data=miniature"])
