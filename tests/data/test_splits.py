"""Partitions: exact shares, no leak inside a dataset or across, stored and guarded."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mimi_lightning.data.splits import (
    SHARES,
    SPLIT_COLUMNS,
    _deal,
    assign_contents,
    check_leaks,
    fingerprint,
    partition,
)
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


def write_reference(tmp_path, dataset, name, value, size=(3, 2)):
    path = tmp_path / FOLDERS[dataset] / name
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, (value,) * 3).save(path)


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


@pytest.mark.parametrize("labelled_first", [True, False])
def test_a_labelled_picture_has_the_content_of_those_made_from_it(tmp_path, labelled_first):
    for i in range(4):
        write_reference(tmp_path, "live", f"r{i}.bmp", i)
    references = [f"r{i}.bmp" for i in range(4)]
    tables = [
        distorted("live", references),
        pd.DataFrame({"dataset": "live", "image": references, "reference": references}),
    ]
    table = pd.concat(tables[::-1] if labelled_first else tables, ignore_index=True)
    table["content"] = assign_contents(table, tmp_path, FOLDERS)
    assert (table.groupby("reference")["content"].nunique() == 1).all()
    assert table["content"].nunique() == 4


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


def test_references_of_the_same_bytes_but_another_shape_are_two_contents(tmp_path):
    for name, size in (("wide.bmp", (3, 2)), ("tall.bmp", (2, 3)), ("again.bmp", (2, 3))):
        write_reference(tmp_path, "live", name, 7, size)
    table = distorted("live", ["wide.bmp", "tall.bmp", "again.bmp"], copies=1)
    wide, tall, again = assign_contents(table, tmp_path, FOLDERS)
    assert wide != tall == again


def test_shares_are_exact_beside_contents_that_follow_another_dataset(tmp_path):
    for i in range(20):
        write_reference(tmp_path, "live", f"r{i}.bmp", i)
    for i in range(10):
        write_reference(tmp_path, "csiq", f"r{i}.png", i)
    references = [f"r{i}.png" for i in range(10)], [f"r{i}.bmp" for i in range(20)]
    table = draw(tmp_path, distorted("csiq", references[0], 1), distorted("live", references[1], 1))
    live = table[table["dataset"] == "live"]
    for column in SPLIT_COLUMNS:
        assert live[column].value_counts().to_dict() == {"train": 14, "val": 2, "test": 4}


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


def test_datasets_of_the_same_images_are_drawn_each_in_its_own_order(tmp_path):
    table = draw(tmp_path, photos("koniq"), photos("live")).set_index("image")
    koniq, live = (table[table["dataset"] == dataset] for dataset in ("koniq", "live"))
    assert all((koniq[column] != live[column]).any() for column in SPLIT_COLUMNS)


def test_a_leak_is_refused():
    parts = {column: ["train", "test", "val"] for column in SPLIT_COLUMNS}
    table = pd.DataFrame({"dataset": ["live", "csiq", "bid"], "content": ["same", "same", "other"], **parts})
    leak = (
        r"^split01 leaks: the content same stands in csiq test and live train\.\nDelete the stored partitions .* them "
    )
    with pytest.raises(DatasetError, match=leak):
        check_leaks(table)


def test_the_fingerprint_is_the_hash_of_the_sorted_rows_of_one_split():
    parts = {column: ["train", "test"] for column in SPLIT_COLUMNS} | {"split03": ["val", "train"]}
    table = pd.DataFrame({"dataset": ["live", "csiq"], "image": ["b.png", "a.png"], **parts})
    expected = hashlib.sha256(b"csiq\ta.png\ttrain\nlive\tb.png\tval").hexdigest()
    assert fingerprint(table, 3) == fingerprint(table[::-1], 3) == expected


def test_an_edited_partition_is_refused(tmp_path):
    draw(tmp_path, photos())
    path = tmp_path / "splits" / "generated-1" / "koniq.csv"
    path.write_text(path.read_text().replace("test", "train", 1))
    with pytest.raises(DatasetError, match=r"koniq\.csv was changed after it was drawn\.\nDelete .*koniq\.csv to draw"):
        draw(tmp_path, photos())


def test_the_order_of_datasets_in_the_table_changes_nothing(tmp_path):
    for i in range(12):
        write_reference(tmp_path, "live", f"r{i}.bmp", i)
        write_reference(tmp_path, "csiq", f"r{i}.png", i + 6)
    live, csiq = (
        distorted("live", [f"r{i}.bmp" for i in range(12)]),
        distorted("csiq", [f"r{i}.png" for i in range(12)]),
    )
    tables = [pd.concat(tables, ignore_index=True) for tables in ((csiq, live), (live, csiq))]
    drawn = [partition(table, tmp_path, FOLDERS, tmp_path / f"{i}", 1) for i, table in enumerate(tables)]
    assert drawn[0].sort_values("image").to_dict("list") == drawn[1].sort_values("image").to_dict("list")


def test_given_partitions_are_followed_and_a_stored_one_that_disagrees_is_refused(tmp_path):
    parts = {column: ["test", "train"] for column in SPLIT_COLUMNS}
    given = pd.DataFrame({"dataset": "live", "image": ["a", "b"], "content": ["koniq:0.jpg", "koniq:1.jpg"], **parts})
    arguments = photos(number=10), tmp_path, FOLDERS, tmp_path / "splits", 1
    followed = partition(*arguments, given).set_index("content")[SPLIT_COLUMNS]
    assert followed.loc[given["content"]].to_numpy().tolist() == given[SPLIT_COLUMNS].to_numpy().tolist()
    with pytest.raises(
        DatasetError, match=r"split01 leaks: the content koniq:0\.jpg stands in koniq test and live val"
    ):
        partition(*arguments, given.replace("test", "val"))


def test_a_list_of_one_split_is_followed_there(tmp_path):
    """Of published lists only the split that is asked for is read."""
    contents = [f"koniq:{i}.jpg" for i in range(5)]
    given = pd.DataFrame({"dataset": "live", "image": list("abcde"), "content": contents, "split01": "test"})
    given = given.reindex(columns=["dataset", "image", "content", *SPLIT_COLUMNS])
    drawn = partition(photos(number=20), tmp_path, FOLDERS, tmp_path / "splits", 1, given).set_index("content")
    assert set(drawn.loc[contents, "split01"]) == {"test"}


def test_names_that_look_like_numbers_stay_names(tmp_path):
    images = [f"{i:03d}" for i in range(10)]
    table = pd.DataFrame({"dataset": "koniq", "image": images, "reference": images})
    first, again = draw(tmp_path, table), draw(tmp_path, table)
    assert again.to_dict("list") == first.to_dict("list")


def test_a_store_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "splits").touch()
    with pytest.raises(DatasetError, match=r"cannot be stored in .*generated-1: .*\.\nSet splits\.store=DIR"):
        draw(tmp_path, photos())


def test_a_stored_partition_may_be_read_by_whoever_may_read_new_files(tmp_path):
    draw(tmp_path, photos())
    (tmp_path / "new").touch()
    (stored,) = (tmp_path / "splits" / "generated-1").iterdir()
    assert stored.stat().st_mode == (tmp_path / "new").stat().st_mode


def test_a_stored_partition_that_separates_a_reference_is_refused(tmp_path):
    """As former versions drew it, to which I01 and i01 were two references."""
    table = distorted("live", [f"{letter}{i}" for i in range(12) for letter in "Ii"])
    draw(tmp_path, table)
    with pytest.raises(
        DatasetError, match=r"live\.csv leaks: images of the reference i\d+ stand .*\.\nDelete .*live\.csv"
    ):
        draw(tmp_path, table.assign(reference=table["reference"].str.lower()))


def test_a_labelled_picture_and_what_was_made_from_it_are_one_content(tmp_path):
    write_reference(tmp_path, "live", "r.bmp", 7)
    table = distorted("live", ["r.bmp"], copies=2)
    table.loc[2] = ["r.bmp", "r.bmp", "live"]
    assert assign_contents(table, tmp_path, FOLDERS).nunique() == 1


def test_named_contents_are_found_by_any_spelling_of_the_reference(tmp_path):
    (tmp_path / "contents.csv").write_text("dataset,reference,content\nlive,./refs//I01.BMP,kodim01\n")
    assert set(assign_contents(distorted("live", ["refs/i01.bmp"]), tmp_path, FOLDERS)) == {"kodim01"}


def test_a_partition_of_many_contents_is_the_one_that_it_always_was(tmp_path):
    """By what was drawn when the time was still quadratic in their number."""
    followed = {column: ["test", "val", "train"] for column in SPLIT_COLUMNS}
    given = pd.DataFrame(
        {"dataset": "live", "image": ["a", "b", "c"], "content": [f"koniq:{i}.jpg" for i in range(3)], **followed}
    )
    alone, beside = photos(number=3000), photos("csiq", number=3)
    table = partition(pd.concat([alone, beside]), tmp_path, FOLDERS, tmp_path / "splits", 7, given)
    assert fingerprint(table, 1)[:16] == "48a26a6e66c7020c"
    assert fingerprint(table, 10)[:16] == "7bc010862ca5be36"


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


def test_a_limit_takes_training_images_away_and_larger_limits_keep_the_smaller():
    from mimi_lightning.data.partitions import limit_training

    table = pd.DataFrame(
        {
            "dataset": ["a"] * 30 + ["b"] * 10,
            "image": [f"{i}.png" for i in range(40)],
            "part": ["train"] * 20 + ["test"] * 10 + ["train"] * 10,
        }
    )
    few, more = limit_training(table, {"a": 5}, 1), limit_training(table, {"a": 9}, 1)
    assert few["part"].value_counts().to_dict() == {"unused": 15, "test": 10, "train": 15}
    assert few["part"][20:].equals(table["part"][20:])
    kept, larger = ({*frame.query("dataset == 'a' and part == 'train'")["image"]} for frame in (few, more))
    assert kept < larger
    other = limit_training(table, {"a": 5}, 2)
    assert {*other.query("dataset == 'a' and part == 'train'")["image"]} != kept
    assert limit_training(table, {"a": 100}, 1).equals(table)


@pytest.mark.parametrize("fixed", [0, 1, 7, 20])
@pytest.mark.parametrize("number", [3, 4, 10, 57])
def test_contents_go_where_most_is_lacking(number, fixed):
    """The plain formulation: every content goes to a part that is empty, or else to that which lacks most."""
    names = np.random.default_rng(number).permutation([f"c{i}" for i in range(number)])
    given = dict(zip(names[:fixed], np.random.default_rng(fixed).choice(list(SHARES), number).tolist(), strict=False))
    expected = dict(given)
    for name in names:
        if name not in expected:
            counts = pd.Series(expected.values(), dtype=object).value_counts()
            lacking = {part: share * number - counts.get(part, 0) for part, share in SHARES.items()}
            expected[name] = max(lacking, key=lambda part: (part not in counts, round(lacking[part], 9)))
    assert _deal(names, given, SHARES) == expected
