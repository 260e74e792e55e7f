"""Alignment: by hand, and the published lists against the published ratings."""

import numpy as np
import pandas as pd
import pytest

from mimi_lightning.errors import ScoreError
from mimi_lightning.evaluation.alignment import (
    align_lists,
    align_run,
    align_study,
    label_baselines,
    pooled,
    read_quality,
)
from mimi_lightning.evaluation.study import Study

FOLDERS = {"live": "databaserelease2", "csiq": "CSIQ"}


@pytest.fixture
def labels():
    """Two datasets that show one quality on scales of their own; the last two images of each were trained on."""
    quality = np.array([1.0, 2, 3, 4, 5, 6])
    tables = [
        pd.DataFrame({"dataset": name, "image": [f"sub/{i}.png" for i in range(6)], "mos": mos})
        for name, mos in {"live": 10 * quality, "csiq": 1 - 1 / quality}.items()
    ]
    part = ["test", "test", "test", "test", "train", "val"]
    return pd.concat([table.assign(part=part, quality=quality) for table in tables], ignore_index=True)


@pytest.fixture
def rated(labels, tmp_path):
    file = tmp_path / "name_mos_test.txt"
    rows = zip(labels["dataset"].map(FOLDERS), labels["image"], labels["quality"], strict=True)
    file.write_text("".join(f"{folder}_{image.replace('/', '_')}\t{mos}\n" for folder, image, mos in rows))
    return file


def test_ratings_are_found_by_dataset_and_path(labels, rated):
    quality = read_quality(rated, labels, FOLDERS)
    assert quality["live", "sub/3.png"] == 4
    assert len(quality) == 12


def test_baselines_by_hand(labels, rated):
    quality = read_quality(rated, labels, FOLDERS)
    scores = label_baselines(labels, quality)
    live = {name: values.xs("live", level="dataset").to_numpy() for name, values in scores.items()}
    np.testing.assert_allclose(live["native labels"], [10, 20, 30, 40, 50, 60])
    np.testing.assert_allclose(live["min-max labels"], [0, 0.2, 0.4, 0.6, 0.8, 1])
    np.testing.assert_allclose(live["z-score labels"], (np.arange(6) - 2.5) / np.sqrt(3.5))
    np.testing.assert_allclose(live["oracle line"], [1, 2, 3, 4, 5, 6])


def test_pooled_figures_by_hand(labels, rated):
    quality = read_quality(rated, labels, FOLDERS)
    row = pooled({"twice": 2 * quality + 1, "turned": -quality}, quality).set_index("scores")
    assert row.loc["twice"].tolist() == pytest.approx([12, 1, 1, 0], abs=1e-9)
    assert row.loc["turned"].tolist() == pytest.approx([12, -1, -1, 0], abs=1e-9)


def predictions_of(labels, parts=("test",)):
    rows = labels[labels["part"].isin(parts)]
    return rows.assign(proxy=rows["quality"] ** 3, aligned=rows["quality"], model="m", split=1)


def test_images_that_were_trained_on_are_left_out_and_counted(labels, rated):
    found, excluded = align_run(predictions_of(labels), labels, read_quality(rated, labels, FOLDERS))
    assert excluded == 4
    assert set(found["n"]) == {8}
    figures = found.set_index("scores")
    assert figures.at["aligned labels", "rmse"] == pytest.approx(0, abs=1e-12)
    assert figures.at["proxy scores", "srcc"] == pytest.approx(1)


def test_another_partition_is_refused(labels, rated):
    swapped = labels.assign(part=["train", "val", *["test"] * 4] * 2)
    with pytest.raises(ScoreError, match=r"another partition.*live/sub/0.png was tested, but is train"):
        align_run(predictions_of(labels), swapped, read_quality(rated, labels, FOLDERS))


def test_a_test_part_without_ratings_is_refused(labels, rated):
    trained = labels.assign(part="train")
    with pytest.raises(ScoreError, match="None of 12 rated images is in the test part; 12 are in train or val"):
        align_run(predictions_of(trained), trained, read_quality(rated, labels, FOLDERS))


def test_a_table_of_another_program_is_aligned_by_its_own_parts(labels, rated):
    table = predictions_of(labels, ("train", "val", "test")).assign(aligned=np.nan)
    found, refused = align_study(Study(table), rated)
    assert not refused
    assert set(found["excluded"]) == {4}
    assert "aligned labels" not in set(found["scores"])


def test_a_split_that_the_lists_do_not_have_is_named(labels, rated, tmp_path):
    for word in ("train", "val", "test"):
        lists = tmp_path / "IQA_Database" / "CSIQ" / "splits2" / "1"
        lists.mkdir(parents=True, exist_ok=True)
        rows = labels[(labels["part"] == word) & (labels["dataset"] == "csiq")]
        lines = [f"{row.image}\t{row.mos}\tfnoise\thuman\tinvalid\tinvalid\n" for row in rows.itertuples()]
        (lists / f"csiq_{word}_clip.txt").write_text("".join(lines))
    table = predictions_of(labels[labels["dataset"] == "csiq"])
    found, refused = align_study(Study(pd.concat([table, table.assign(split=3)])), rated, tmp_path)
    assert set(found["split"]) == {1}
    assert refused == [f"m, split 3: no alignment. There are no lists of split 3 in {tmp_path}."]
    with pytest.raises(ScoreError, match="no lists of split 3"):
        align_study(Study(table.assign(split=3)), rated, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one\t1\nother", "not a finite number"),
        ("", "rates none of the images"),
        ("x\t1\n", "rates none of the images"),
    ],
)
def test_other_files_are_no_ratings(labels, tmp_path, text, message):
    file = tmp_path / "list.txt"
    file.write_text(text)
    with pytest.raises(ScoreError, match=message):
        read_quality(file, labels, FOLDERS)


def test_hidden_quality_is_read_like_ratings(labels, tmp_path):
    file = tmp_path / "hidden_quality.csv"
    labels.rename(columns={"quality": "hidden_quality"}).to_csv(file, index=False)
    assert read_quality(file, labels, {})["csiq", "sub/2.png"] == 3


@pytest.mark.parametrize("lists", ["MIMI-CLIP", "MIMI-CNN"])
def test_the_published_labels_give_the_published_alignment(published, lists):
    found = align_lists(published / lists, published / "Re-annotated-dataset" / "name_mos_test.txt")
    figures = found.set_index("scores")[["srcc", "plcc"]]
    expected = {
        "native labels": (0.2687, 0.0830),
        "min-max labels": (0.8045, 0.8153),
        "z-score labels": (0.807, 0.808),
        "oracle line": (0.8987, 0.9185),
    }
    for name, values in expected.items():
        digits = 3 if name == "z-score labels" else 4
        assert tuple(figures.loc[name].round(digits)) == values


def test_under_the_cnn_lists_trained_images_are_left_out(published):
    """328 of the 600 rated images are in train there."""
    from mimi_lightning.data.published import read_listed_labels

    labels = read_listed_labels(published / "MIMI-CNN")
    rows = labels[labels["part"] == "test"].assign(proxy=np.arange(float((labels["part"] == "test").sum())))
    table = rows.assign(model="m", split=1, aligned=np.nan)
    ratings = published / "Re-annotated-dataset" / "name_mos_test.txt"
    found, _ = align_study(Study(table), ratings, published / "MIMI-CNN")
    assert found["excluded"].iloc[0] >= 328
    assert found["n"].iloc[0] + found["excluded"].iloc[0] == 600
