from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mimi_lightning.data.annotations import ANNOTATION_COLUMNS, add_scenes, check_range, complete, read_annotations
from mimi_lightning.errors import DatasetError

SOURCE = Path("labels.csv")


def rows(**columns):
    return pd.DataFrame({"image": ["b.png", "a.png"], "mos": [2, 3], **columns})


def read_two(folder):
    return rows()


def read_nothing(folder):
    raise DatasetError(f"There is no label file {folder / 'labels.csv'}.")


def test_absent_columns_are_unknown():
    table = complete(rows(), "own", SOURCE)
    assert tuple(table.columns) == ANNOTATION_COLUMNS
    assert table["image"].tolist() == ["a.png", "b.png"]
    assert table["mos"].tolist() == [3.0, 2.0]
    assert table["mos"].dtype == table["std"].dtype == table["level"].dtype == np.float64
    assert table["std"].isna().all()
    assert table["reference"].tolist() == ["a.png", "b.png"]
    assert table["distortion"].tolist() == table["scenes"].tolist() == ["", ""]
    assert set(table["dataset"]) == {"own"}


def test_given_columns_are_kept():
    table = complete(
        rows(std=[0.5, None], level=[1, 2], scenes=["night;human", None], reference="r.png"), "own", SOURCE
    )
    assert table["level"].tolist() == [2.0, 1.0]
    assert table["scenes"].tolist() == ["", "night;human"]
    assert set(table["reference"]) == {"r.png"}
    assert np.isnan(table["std"][0])


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (rows(mos=[1, np.nan]), "row 2 has a score that is not a finite number (image 'a.png'"),
        (rows(mos=[np.inf, 1]), "row 1 has a score that is not a finite number"),
        (rows(mos=["good", 1]), "row 1 has a mos that is not a number"),
        (rows(image=["a.png", "a.png"]), "row 2 has an image that is listed twice"),
        (rows(image=["a.png", None]), "row 2 has an image without a name"),
        (rows().drop(columns="mos"), "no column 'mos'; it has image"),
        (rows()[:0], "no labelled images"),
    ],
)
def test_bad_rows_are_named(table, words):
    with pytest.raises(DatasetError) as caught:
        complete(table, "own", SOURCE)
    assert words in str(caught.value)
    assert "labels.csv" in str(caught.value)


def test_reader_is_found_by_its_dotted_path(tmp_path):
    table = read_annotations("own", f"{__name__}.read_two", tmp_path, "https://owner.example")
    assert len(table) == 2


@pytest.mark.parametrize("reader", ["mimi_lightning.data.owners.nobody.read", "read", f"{__name__}.read_three"])
def test_unknown_reader_is_refused(tmp_path, reader):
    with pytest.raises(DatasetError, match=f"no reader '{reader}'"):
        read_annotations("own", reader, tmp_path, "https://owner.example")


def test_missing_folder_and_label_file_name_the_owners_page(tmp_path):
    with pytest.raises(DatasetError, match=r"no folder .*nowhere.*https://owner\.example"):
        read_annotations("own", f"{__name__}.read_two", tmp_path / "nowhere", "https://owner.example")
    with pytest.raises(DatasetError, match=r"'own': .*labels\.csv.*https://owner\.example"):
        read_annotations("own", f"{__name__}.read_nothing", tmp_path, "https://owner.example")


def test_scenes_of_a_file_beside_the_datasets(tmp_path):
    table = pd.DataFrame({"dataset": ["a", "a", "b"], "reference": ["r", "s", "r"], "scenes": ["", "night", ""]})
    file = tmp_path / "scenes.csv"
    assert add_scenes(table, file) is table
    file.write_text("dataset,reference,scenes\na,r,animal;plant\n")
    assert add_scenes(table, file)["scenes"].tolist() == ["animal;plant", "night", ""]
    file.write_text("dataset,image\n")
    with pytest.raises(DatasetError, match=r"scenes\.csv has no column .reference"):
        add_scenes(table, file)


def test_scores_beyond_the_published_range_are_refused_but_for_its_rounding():
    check_range("koniq", pd.Series([1.0962 - 0.003, 4.31 + 0.003]), [1.0962, 4.31])
    for mos in ([1.0962, 4.314], [1.092, 4.31]):
        with pytest.raises(DatasetError, match="beyond the published range"):
            check_range("koniq", pd.Series(mos), [1.0962, 4.31])
    other = (
        r"^Dataset 'koniq': MOS runs from 3\.5 to 92\.4, beyond the published range 1\.0962 to 4\.31\..*=\[3\.5,92\.4\]"
    )
    with pytest.raises(DatasetError, match=other):
        check_range("koniq", pd.Series([50, 92.4, 3.5]), [1.0962, 4.31])
