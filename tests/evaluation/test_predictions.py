"""Reading predictions tables, of this program and of others."""

import numpy as np
import pytest

from mimi_lightning.errors import ScoreError
from mimi_lightning.evaluation.predictions import PREDICTION_COLUMNS, read_predictions


@pytest.fixture
def written(fabricate, tmp_path):
    def write(**changes):
        table = fabricate(splits=[1], datasets=["live"], n=6)
        for column, values in changes.items():
            table[column] = values
        file = tmp_path / "mine.csv"
        table.drop(columns=[name for name, values in changes.items() if values is None]).to_csv(file, index=False)
        return file

    return write


def test_a_table_of_this_program_comes_back(written):
    table = read_predictions(written())
    assert list(table) == [*PREDICTION_COLUMNS, "model"]
    assert set(table["model"]) == {"mix/resnet34"}


def test_four_columns_suffice(written):
    optional = ("run", "part", "image", "prediction", "aligned", "distortion", "level")
    table = read_predictions(written(**dict.fromkeys(optional)))
    assert set(table["model"]) == {"mine"}
    assert set(table["part"]) == {"test"}
    assert set(table["image"]) == {""}
    assert table[["prediction", "aligned", "level"]].isna().all().all()


def test_a_deviation_may_be_zero_or_unknown(written):
    assert read_predictions(written(std=[0, 0.5, None, "unknown", 2, 3]))["std"].tolist() == pytest.approx(
        [0, 0.5, np.nan, np.nan, 2, 3], nan_ok=True
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mos": None}, "has no column 'mos'"),
        ({"proxy": [1, 2, np.nan, 4, 5, 6]}, r"mine.csv:4 has a proxy score that is not a finite number.*img_002"),
        ({"mos": [1, 2, 3, "good", 5, 6]}, r"mine.csv:5 has a MOS that is not a finite number"),
        ({"mos": [1, 2, 3, np.inf, 5, 6]}, r"mine.csv:5 has a MOS"),
        ({"split": [1, 1, 11, 1, 1, 1]}, r"mine.csv:4 has a split that is not one of 1 to 10"),
        ({"part": "tset"}, r"mine.csv:2 has a part other than"),
        ({"image": "same.png"}, r"mine.csv:3 has an image that stands in this split twice"),
        ({"std": [1, 2, -0.1, 4, 5, 6]}, r"mine.csv:4 has a std that is negative or infinite; leave it empty"),
        ({"std": [1, np.inf, 3, 4, 5, 6]}, r"mine.csv:3 has a std"),
        ({"dataset": [None, *["live"] * 5]}, r"mine.csv:2 has no dataset"),
    ],
)
def test_a_wrong_row_is_named(written, changes, message):
    with pytest.raises(ScoreError, match=message):
        read_predictions(written(**changes))


def test_what_is_no_table_is_refused(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ScoreError, match="cannot be read as a table"):
        read_predictions(tmp_path / "empty.csv")
    (tmp_path / "picture.csv").write_bytes(bytes(range(256)))
    with pytest.raises(ScoreError, match="cannot be read as a table"):
        read_predictions(tmp_path / "picture.csv")


def test_tables_with_a_header_alone_hold_nothing(tmp_path):
    (tmp_path / "header.csv").write_text("dataset,split,mos,proxy\n")
    with pytest.raises(ScoreError, match="holds no rows"):
        read_predictions(tmp_path / "header.csv")


def test_rows_that_stand_twice_without_images_are_refused(tmp_path):
    rows = "live,1,3,4\nlive,1,4,6\nlive,1,5,5\n"
    (tmp_path / "once.csv").write_text("dataset,split,mos,proxy\n" + rows + "live,1,3,4\n")  # two pictures alike
    assert len(read_predictions(tmp_path / "once.csv")) == 4
    (tmp_path / "twice.csv").write_text("dataset,split,mos,proxy\n" + 2 * rows)
    with pytest.raises(ScoreError, match=r"twice\.csv:2 has no image, in a split whose rows stand there twice"):
        read_predictions(tmp_path / "twice.csv")
    (tmp_path / "long.csv").write_text("dataset,split,mos,proxy\nlive,1,3,4,5\n")
    with pytest.raises(ScoreError, match="more cells than its header"):
        read_predictions(tmp_path / "long.csv")
