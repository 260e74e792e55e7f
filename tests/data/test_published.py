"""Published partitions: both formats of lists, the owners' own, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mimi_lightning.data.annotations import complete
from mimi_lightning.data.partitions import Protocol, assign_parts
from mimi_lightning.data.published import FORMATS, LISTED, read_listed_labels
from mimi_lightning.errors import DatasetError

FOLDERS = {"live": "databaserelease2", "koniq": "koniq-10k", "own": "own"}


def annotations(root, dataset="live", number=20, **columns):
    """A dataset of photographs with scores 1.2345678, 2.2345678, ..."""
    folder = root / FOLDERS[dataset]
    names = [f"1024x768/{i}.jpg" if dataset == "koniq" else f"fastfading/img{i}.bmp" for i in range(number)]
    (folder / names[0]).parent.mkdir(parents=True, exist_ok=True)
    rows = pd.DataFrame({"image": names, "mos": np.arange(number) + 1.2345678, "reference": names})
    return complete(rows.assign(**columns), dataset, folder)


def write_lists(lists, table, protocol, splits=(1, 2), edit=lambda row: row):
    """Write lists of one dataset as their authors do: 14 train, 2 val, 4 test, turned by the split."""
    form, (folder, name) = FORMATS[protocol], LISTED[table["dataset"].iloc[0]]
    for split in splits:
        home = lists / form.home / folder / "splits2" / str(split)
        home.mkdir(parents=True, exist_ok=True)
        turned = np.roll(np.arange(len(table)), split)
        for part, rows in {"train": turned[:14], "val": turned[14:16], "test": turned[16:20]}.items():
            lines = []
            for image, mos in table.loc[rows, ["image", "mos"]].itertuples(index=False):
                tail = ["white noise", "human", "night", "invalid"] if form.labels else ["0.500", "1"]
                lines.append("\t".join(edit([image, f"{mos:.{6 if form.labels else 3}f}", *tail])))
            end = "\n" if form.labels else "\r"
            file = home / form.file.format(name=name, part=form.words[part])
            file.write_bytes("".join(line + end for line in lines).encode())


def assign(root, table, protocol="liqe", split=1, lists="lists"):
    where = {"lists": root / lists} if protocol in FORMATS else {}
    return assign_parts(table, root, FOLDERS, split, Protocol(protocol, root / "splits", 1, **where))


@pytest.mark.parametrize("protocol", FORMATS)
def test_lists_are_used_exactly(protocol, tmp_path):
    table = annotations(tmp_path)
    write_lists(tmp_path / "lists", table, protocol)
    first, second = (assign(tmp_path, table, protocol, split) for split in (1, 2))
    assert first.table["part"].value_counts().to_dict() == {"train": 14, "val": 2, "test": 4}
    assert set(first.table.loc[first.table["part"] == "test", "image"]) == {*table["image"].loc[[15, 16, 17, 18]]}
    assert first.sources == {"live": protocol}
    assert first.sha256 != second.sha256
    assert assign(tmp_path, table, protocol, lists=f"lists/{FORMATS[protocol].home}").sha256 == first.sha256


def test_only_the_split_that_is_asked_for_is_read(tmp_path):
    table = annotations(tmp_path)
    write_lists(tmp_path / "lists", table, "liqe")
    broken = tmp_path / "lists" / "IQA_Database" / "databaserelease2" / "splits2" / "2" / "live_test_clip.txt"
    broken.write_text("no list")
    assert assign(tmp_path, table, split=1).table["part"].value_counts().to_dict() == {"train": 14, "val": 2, "test": 4}
    with pytest.raises(DatasetError, match=r"live_test_clip\.txt:1"):
        assign(tmp_path, table, split=2)
    with pytest.raises(DatasetError, match="no split 3 of live"):
        assign(tmp_path, table, split=3)


def test_what_is_drawn_beside_lists_is_the_same_for_every_split(tmp_path):
    """A content that both have follows the lists in all ten splits, whichever is asked for first."""
    table = pd.concat([annotations(tmp_path), annotations(tmp_path, "own")], ignore_index=True)
    rows = [("live", "fastfading/img0.bmp"), ("own", "fastfading/img0.bmp")]
    text = "".join(f"{dataset},{reference},shared\n" for dataset, reference in rows)
    (tmp_path / "contents.csv").write_text("dataset,reference,content\n" + text)
    write_lists(tmp_path / "lists", table[table["dataset"] == "live"], "liqe", range(1, 11))
    drawn = assign(tmp_path, table, split=1).partition
    assert drawn.filter(like="split").notna().all(axis=None)
    parts = drawn[drawn["content"] == "shared"].filter(like="split")
    assert (parts.iloc[0] == parts.iloc[1]).all()


def test_labels_come_from_the_lists_unless_the_owner_knows_better(tmp_path):
    table = annotations(tmp_path, distortion=["fastfading"] * 10 + [""] * 10)
    write_lists(tmp_path / "lists", table, "liqe")
    parts = assign(tmp_path, table)
    assert parts.table["distortion"].value_counts().to_dict() == {"fastfading": 10, "white noise": 10}
    assert set(parts.table["scenes"]) == {"human;night"}


def test_images_that_no_list_names_are_left_out_and_counted(tmp_path):
    table = annotations(tmp_path, number=23)
    write_lists(tmp_path / "lists", table[:20], "liqe")
    parts = assign(tmp_path, table)
    assert len(parts.table) == len(parts.partition) == 20
    assert parts.left_out == {"live": 3}


def test_datasets_that_are_not_listed_are_drawn_beside(tmp_path):
    live, own = annotations(tmp_path), annotations(tmp_path, "own")
    write_lists(tmp_path / "lists", live, "mimi_cnn")
    parts = assign(tmp_path, pd.concat([live, own], ignore_index=True), "mimi_cnn")
    assert parts.sources == {"live": "mimi_cnn", "own": "generated-1"}
    assert set(parts.table.loc[parts.table["dataset"] == "own", "part"]) == {"train", "val", "test"}
    assert (tmp_path / "splits" / "mimi_cnn" / "generated-1" / "own.csv").is_file()


def test_drawn_parts_follow_listed_ones_that_share_their_content(tmp_path):
    live, own = annotations(tmp_path), annotations(tmp_path, "own")
    write_lists(tmp_path / "lists", live, "liqe", splits=range(1, 11))
    rows = pd.concat([live, own], ignore_index=True)[["dataset", "reference"]]
    rows.assign(content=rows["reference"]).to_csv(tmp_path / "contents.csv", index=False)
    parts = assign(tmp_path, pd.concat([live, own], ignore_index=True), split=7)
    assert (parts.table.groupby("image")["part"].nunique() == 1).all()


def test_an_own_partition_is_used_as_it_is(tmp_path):
    own = annotations(tmp_path, "own", part=["train"] * 10 + ["val"] * 4 + ["test"] * 6)
    parts = assign(tmp_path, own, "generated")
    assert parts.sources == {"own": "own"}
    assert parts.table["part"].tolist() == own["part"].tolist()


def test_the_official_partition_of_koniq(tmp_path):
    koniq, live = annotations(tmp_path, "koniq"), annotations(tmp_path)
    sets = ["training"] * 12 + ["validation"] * 3 + ["test"] * 5
    table = pd.DataFrame({"image_name": [f"{i}.jpg" for i in range(20)], "MOS": 50.0, "set": sets})
    table.to_csv(tmp_path / "koniq-10k" / "koniq10k_distributions_sets.csv", index=False)
    parts = assign(tmp_path, pd.concat([koniq, live], ignore_index=True), "official", split=9)
    assert parts.sources == {"koniq": "official", "live": "generated-1"}
    counts = parts.table[parts.table["dataset"] == "koniq"]["part"].value_counts().to_dict()
    assert counts == {"train": 12, "val": 3, "test": 5}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda row: ["gone.bmp", *row[1:]], r"live_train_clip\.txt:1: gone\.bmp is not in the owner's folder"),
        (lambda row: [row[0], "1.0", *row[2:]], r"live_train_clip\.txt:\d+: fastfading/img\d+\.bmp has MOS 1, but"),
        (lambda row: [row[0], "good", *row[2:]], r"live_train_clip\.txt:1: .* has MOS nan, but"),
        (lambda row: row[:3], r"live_train_clip\.txt:1: expected 6 columns separated by tabs, found 3"),
        (lambda row: ["../CSIQ/a.png", *row[1:]], r"live_train_clip\.txt:1: \.\./CSIQ/a\.png leaves the dataset"),
        (lambda row: ["/etc/passwd", *row[1:]], r"live_train_clip\.txt:1: /etc/passwd leaves the dataset"),
        (lambda row: ["link/a.bmp", *row[1:]], r"live_train_clip\.txt:1: link/a\.bmp leaves the dataset"),
        (lambda row: ["linked.bmp", *row[1:]], r"live_train_clip\.txt:1: linked\.bmp leaves the dataset"),
    ],
)
def test_rows_that_do_not_agree_are_named_with_file_and_line(edit, words, tmp_path):
    table = annotations(tmp_path)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.bmp").write_bytes(b"")
    (tmp_path / "databaserelease2" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "databaserelease2" / "linked.bmp").symlink_to(tmp_path / "outside" / "a.bmp")
    write_lists(tmp_path / "lists", table, "liqe", edit=edit)
    with pytest.raises(DatasetError, match=words):
        assign(tmp_path, table)


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "x/../../a.png", "linked.png"])
def test_labels_of_files_outside_the_folder_are_refused(name, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (folder / "linked.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="row 1 has a file outside the folder as its image"):
        complete(pd.DataFrame({"image": [name], "mos": [1.0]}), "own", folder)


def test_a_folder_that_is_a_link_itself_is_fine(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "own").symlink_to(tmp_path / "disk")
    assert len(complete(pd.DataFrame({"image": ["a.png"], "mos": [1.0]}), "own", tmp_path / "own")) == 1


def test_missing_lists_and_splits_are_named(tmp_path):
    table = annotations(tmp_path)
    (tmp_path / "lists").mkdir()
    with pytest.raises(DatasetError, match=r"no lists .*live_\*_clip\.txt"):
        assign(tmp_path, table)
    write_lists(tmp_path / "lists", table, "liqe")
    with pytest.raises(DatasetError, match="The liqe lists have no split 3 of live"):
        assign(tmp_path, table, split=3)


def test_labels_are_those_of_the_lists_that_are_asked_for(tmp_path):
    table = annotations(tmp_path)
    for protocol in FORMATS:  # both in one folder
        write_lists(tmp_path / "lists", table, protocol)
    for protocol, form in FORMATS.items():
        labels = read_listed_labels(tmp_path / "lists", 2, [protocol])
        assert labels["image"].is_unique
        assert {*labels["mos"]} == {*table["mos"].round(6 if form.labels else 3)}


def test_lists_that_leak_are_refused(tmp_path):
    table = annotations(tmp_path, reference=["a", "b"] * 10)
    write_lists(tmp_path / "lists", table, "liqe")
    with pytest.raises(DatasetError, match=r"split01 leaks: the content live:[ab] stands in"):
        assign(tmp_path, table)


SIZES = {  # train, val and test of split 1
    "live": {"liqe": (538, 81, 160), "mimi_cnn": (485, 160, 134)},
    "csiq": {"liqe": (607, 87, 172), "mimi_cnn": (518, 174, 174)},
    "bid": {"liqe": (410, 59, 117), "mimi_cnn": (352, 117, 117)},
    "clive": {"liqe": (813, 116, 233), "mimi_cnn": (698, 232, 232)},
    "koniq": {"liqe": (7051, 1007, 2015), "mimi_cnn": (6043, 2015, 2015)},
    "kadid": {"liqe": (7125, 1000, 2000), "mimi_cnn": (6125, 2000, 2000)},
}


@pytest.mark.parametrize("dataset", SIZES)
@pytest.mark.parametrize(("protocol", "home"), [("liqe", "MIMI-CLIP"), ("mimi_cnn", "MIMI-CNN")])
def test_the_real_lists_have_their_published_sizes(published, protocol, home, dataset, tmp_path):
    lists, (folder, name) = published / home, LISTED[dataset]
    form = FORMATS[protocol]
    files = (lists / form.home / folder / "splits2" / "1").glob(f"{name}_*")
    rows = [line.split("\t") for file in files for line in file.read_text().split("\n") if line]
    (tmp_path / folder).mkdir()
    images = pd.DataFrame({"image": [row[0] for row in rows], "mos": [float(row[1]) for row in rows]})
    annotations = complete(images, dataset, tmp_path / folder)
    parts = assign_parts(annotations, tmp_path, {dataset: folder}, 1, Protocol(protocol, tmp_path, 1, lists))
    assert tuple(parts.table["part"].value_counts()[["train", "val", "test"]]) == SIZES[dataset][protocol]
    assert parts.left_out == {}


def test_nearly_all_images_train_for_a_final_model_whatever_a_dataset_brings(tmp_path):
    table = annotations(tmp_path)
    parts = {split: assign(tmp_path, table.assign(part="test"), "all", split) for split in (1, 2)}
    assert parts[1].table["part"].value_counts().to_dict() == {"train": 18, "val": 1, "test": 1}
    assert parts[1].sources == {"live": "all-1"}
    assert parts[1].sha256 != parts[2].sha256
    assert (tmp_path / "splits" / "all" / "generated-1" / "live.csv").is_file()
