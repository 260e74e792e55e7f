"""Partitions: exact shares, no leak inside a dataset or across, stored and guarded."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mimi_lightning.data.splits import SPLIT_COLUMNS, check_leaks, fingerprint, partition
from mimi_lightning.errors import DatasetError

FOLDERS = {"live": "databaserelease2", "csiq": "CSIQ", "koniq": "koniq-10k"}


def photos(dataset="koniq", number=100):
    """A dataset of photographs: every image is its own reference."""
    images = [f"{i}.jpg" for i in range(number)]
    return pd.DataFrame({"dataset": dataset, "image": images, "reference": images})


def distorted(dataset, references, copies=4):
    rows = [(f"{dataset}-{r}-{i}.png", r) for r in references for i in range(copies)]
    return pd.DataFrame(rows, columns=["image", "reference"]).assign(dataset=dataset)


def draw(tmp_path, *tables, seed=1):
    return partition(pd.concat(tables, ignore_index=True), tmp_path, FOLDERS, tmp_path / "splits", seed)


def write_reference(tmp_path, dataset, name, value):
    path = tmp_path / FOLDERS[dataset] / name
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((2, 3, 3), value, np.uint8)).save(path)


def test_shares_are_exact_and_all_ten_splits_differ(tmp_path):
    table = draw(tmp_path, photos(number=586))
    for column in SPLIT_COLUMNS:
        assert table[column].value_counts().to_dict() == {"train": 410, "val": 59, "test": 117}
    assert len({fingerprint(table, split) for split in range(1, 11)}) == 10


def test_a_reference_stays_in_one_part(tmp_path):
    table = draw(tmp_path, distorted("live", [f"r{i}" for i in range(29)]))
    for column in SPLIT_COLUMNS:
        assert (table.groupby("content")[column].nunique() == 1).all()
        assert set(table[column]) == {"train", "val", "test"}


def test_equal_reference_pictures_of_two_datasets_stay_in_one_part(tmp_path):
    for i in range(12):
        write_reference(tmp_path, "live", f"r{i}.bmp", i)
        write_reference(tmp_path, "csiq", f"r{i}.png", i + 6)  # six of them are LIVE's, under other names
    table = draw(
        tmp_path,
        distorted("live", [f"r{i}.bmp" for i in range(12)]),
        distorted("csiq", [f"r{i}.png" for i in range(12)]),
    )
    shared = table.groupby("content")["dataset"].nunique()
    assert (shared == 2).sum() == 6
    assert all((table.groupby("content")[column].nunique() == 1).all() for column in SPLIT_COLUMNS)


def test_named_contents_stay_in_one_part(tmp_path):
    rows = [("koniq", f"{i}.jpg", f"scene{i // 5}") for i in range(100)]
    pd.DataFrame(rows, columns=["dataset", "reference", "content"]).to_csv(tmp_path / "contents.csv", index=False)
    table = draw(tmp_path, photos())
    assert table["content"].nunique() == 20
    assert all((table.groupby("content")[column].nunique() == 1).all() for column in SPLIT_COLUMNS)


def test_a_stored_partition_is_reused_whatever_else_is_in_the_mix(tmp_path):
    alone = draw(tmp_path, photos())
    beside = draw(tmp_path, photos(), distorted("csiq", [f"r{i}" for i in range(12)]))
    assert beside[beside["dataset"] == "koniq"].reset_index(drop=True).equals(alone)


def test_the_partition_follows_the_seed_alone(tmp_path):
    first = draw(tmp_path / "a", photos())
    assert first.equals(
        draw(tmp_path / "b", photos().sample(frac=1, random_state=0))
        .set_index("image")
        .loc[first["image"]]
        .reset_index()[first.columns]
    )
    assert not first.equals(draw(tmp_path / "c", photos(), seed=2))


def test_a_leak_is_refused():
    table = pd.DataFrame(
        {"dataset": ["live", "csiq"], "content": "same", **{column: ["train", "test"] for column in SPLIT_COLUMNS}}
    )
    with pytest.raises(DatasetError, match="split01 leaks: the content same stands in csiq test and live train"):
        check_leaks(table)


def test_an_edited_partition_is_refused(tmp_path):
    draw(tmp_path, photos())
    path = tmp_path / "splits" / "generated-1" / "koniq.csv"
    path.write_text(path.read_text().replace("test", "train", 1))
    with pytest.raises(DatasetError, match=r"koniq\.csv was changed"):
        draw(tmp_path, photos())


def test_a_partition_of_other_images_is_refused(tmp_path):
    draw(tmp_path, photos())
    with pytest.raises(DatasetError, match="other images"):
        draw(tmp_path, photos(number=90))


def test_too_few_contents_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="live has 2 different contents"):
        draw(tmp_path, distorted("live", ["a", "b"]))


def test_three_contents_make_three_parts(tmp_path):
    table = draw(tmp_path, distorted("live", ["a", "b", "c"]))
    assert all(set(table[column]) == {"train", "val", "test"} for column in SPLIT_COLUMNS)
