"""Datasets that come as a table: the documented examples on fabricated copies, and what is refused."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf
from PIL import Image

from mimi_lightning import cli, config
from mimi_lightning.data.annotations import read_annotations
from mimi_lightning.data.owners.table import read
from mimi_lightning.errors import DatasetError
from mimi_lightning.module import build_labels

DOCS = Path(__file__).parents[2] / "docs" / "own-dataset.md"
EXAMPLES = {re.search(r"datasets\.(\w+)", y)[1]: y for y in re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.S)}


def pictures(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (number % 256, number // 256, 7)).save(folder / name)


def tid2008(root):
    names = [f"I{r:02d}_{d:02d}_{level}.bmp" for r in range(1, 6) for d in (1, 2) for level in (1, 2)]
    pictures(root / "tid2008", [f"distorted_images/{name}" for name in names])
    pictures(root / "tid2008", [f"reference_images/I{r:02d}.BMP" for r in range(1, 6)])
    lines = [f"{1 + 0.35 * i:.5f} {name}\n" for i, name in enumerate(names)]
    (root / "tid2008" / "mos_with_names.txt").write_text("".join(lines))


def spaq(root):
    names = [f"{i:05d}.jpg" for i in range(1, 21)]
    pictures(root / "SPAQ", [f"TestImage/{name}" for name in names])
    (root / "SPAQ" / "Annotations").mkdir()
    table = pd.DataFrame({"Image name": names, "MOS": [5.0 * i for i in range(20)], "Brightness": 50})
    table.to_excel(root / "SPAQ" / "Annotations" / "MOS and Image attribute scores.xlsx", index=False)


def agiqa3k(root):
    names = [f"model_{i:03d}.jpg" for i in range(20)]
    pictures(root / "AGIQA-3K", names)
    prompts = [f"a very, very long prompt, number {i // 2} " + "and more " * 40 for i in range(20)]
    scores = {"mos_quality": [i / 5 for i in range(20)], "std_quality": 0.3, "mos_align": 2.0, "std_align": 0.3}
    pd.DataFrame({"name": names, "prompt": prompts, **scores}).to_csv(root / "AGIQA-3K" / "data.csv", index=False)


FABRICATE = {"tid2008": tid2008, "spaq": spaq, "agiqa3k": agiqa3k}


@pytest.fixture
def mine(tmp_path):
    """A folder of configuration with the examples of the documentation."""
    folder = tmp_path / "mine" / "dataset"
    folder.mkdir(parents=True)
    for name, text in EXAMPLES.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder.parent


def test_the_documentation_has_the_three_examples_in_six_lines():
    assert set(EXAMPLES) == set(FABRICATE)
    assert all(len(text.splitlines()) == 6 for text in EXAMPLES.values())


@pytest.mark.parametrize("name", FABRICATE)
def test_an_example_reads_a_copy_of_its_dataset(name, mine, tmp_path):
    FABRICATE[name](tmp_path)
    cfg = config.load([f"dataset=[{name}]", "data.quota=3"], mine)
    dataset = cfg.datasets[name]
    assert (dataset.quota, dataset.weight) == (3, 1)
    table = read_annotations(name, dataset.reader, tmp_path / dataset.folder, dataset.url, dataset.table)
    assert len(table) == 20
    assert table["mos"].between(*dataset.range).all()
    assert table["mos"].is_monotonic_increasing
    references = {"tid2008": 5, "spaq": 20, "agiqa3k": 10}
    assert table["reference"].nunique() == references[name]


def test_the_three_are_checked_and_mixed(mine, tmp_path, capsys):
    for fabricate in FABRICATE.values():
        fabricate(tmp_path)
    mix = f"dataset=[{','.join(FABRICATE)}]"
    words = ["data", "check", f"paths.datasets={tmp_path}", mix, "--config-dir", str(mine)]
    assert cli.main(words) in (0, 1)  # the copies share plain pictures, which the check finds
    shown = capsys.readouterr().out
    assert all(name in shown for name in FABRICATE)


def test_the_documented_translation_is_taken(mine):
    (mine / "tasks").mkdir()
    (mine / "tasks" / "my_words.yaml").write_text(re.search(r"```yml\n(.*?)```", DOCS.read_text(), re.S)[1])
    cfg = config.load(["backbone=clip_vit_b32", "tasks=my_words"], mine)
    table = pd.DataFrame({"distortion": ["masked noise", "chromatic aberrations"], "scenes": "dog", "part": "train"})
    labels = build_labels(OmegaConf.to_container(cfg.tasks))(table)
    assert labels["distortion"].tolist() == [2, -1]
    assert labels["scenes"][:, 0].tolist() == [1, 1]


def test_the_main_job_takes_a_folder_of_configuration(mine, tmp_path):
    words = ["--config-dir", str(mine), "dataset=[tid2008]", f"paths.datasets={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "mimi_lightning", *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert f"tid2008: {tmp_path / 'tid2008'}" in done.stderr


@pytest.fixture
def folder(tmp_path):
    pictures(tmp_path, ["a.png", "b.png", "c.png"])
    table = {"name": ["a.png", "b.png", "c.png"], "MOS": [1, 2, 3], "sd": [0.1, 0.2, 0.3]}
    more = {"set": ["training", "Validation", "test"], "kind": "blur", "scenes": "night;human"}
    pd.DataFrame({**table, **more}).to_csv(tmp_path / "t.csv", index=False, sep=";")
    return tmp_path


def test_all_columns_are_taken(folder):
    columns = {"std": "sd", "part": "set", "distortion": "kind", "scenes": "scenes"}
    options = {"file": "t.csv", "image": "name", "mos": "MOS", **columns}
    table = read_annotations("own", "mimi_lightning.data.owners.table.read", folder, "", options)
    assert table["part"].tolist() == ["train", "val", "test"]
    assert table["std"].tolist() == [0.1, 0.2, 0.3]
    assert set(table["scenes"]) == {"night;human"}


@pytest.mark.parametrize(
    ("separator", "name"),
    [("\t", "a; b, c"), (";", "a, b c"), (",", "a b"), (", ", "a b"), (" ", "a"), ("  ", "a")],
)
def test_a_table_is_separated_by_tab_semicolon_comma_or_spaces_in_this_order(tmp_path, separator, name):
    pictures(tmp_path, [f"{name}.png", "b.png"])
    lines = [(name, "MOS"), (f"{name}.png", "1.5"), ("b.png", "2.5")]
    (tmp_path / "t.txt").write_text("".join(separator.join(line) + "\n" for line in lines))
    table = read(tmp_path, file="t.txt", image=name, mos="MOS")
    assert table.to_dict("list") == {"image": [f"{name}.png", "b.png"], "mos": ["1.5", "2.5"]}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"file": "t.csv", "image": "nam", "mos": "MOS"}, "no column 'nam' for image; it has name, MOS"),
        ({"file": "t.csv", "image": "x/{name}", "mos": "MOS"}, r"labels x/a\.png, but there is no such file"),
        ({"file": "u.csv", "image": "name", "mos": "MOS"}, r"no label file .*u\.csv"),
    ],
)
def test_what_is_missing_is_named(folder, options, words):
    with pytest.raises(DatasetError, match=words):
        read(folder, **options)


def test_an_unknown_part_is_refused(folder):
    (folder / "t.csv").write_text("name,MOS,set\na.png,1,train\nb.png,2,dev\n")
    options = {"file": "t.csv", "image": "name", "mos": "MOS", "part": "set"}
    with pytest.raises(DatasetError, match=r"row 2 has a part other than train, val, test \(image 'b\.png'"):
        read_annotations("own", "mimi_lightning.data.owners.table.read", folder, "", options)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("name;mos\nä 1.png;3,5\nb/2.png;4,25\n", "utf-8"),
        ("name;mos\nä 1.png;3,5\nb\\2.png;4,25\n", "utf-16"),
        ("name\tmos\n.\\ä 1.png\t3,5\nb\\2.png\t4,25\n", "latin-1"),
        ("name,mos\nä 1.png,3.5\nb/2.png,4.25\n", "utf-8-sig"),
    ],
)
def test_tables_are_read_as_spreadsheets_of_any_country_write_them(tmp_path, text, encoding):
    pictures(tmp_path, ["ä 1.png", "b/2.png"])
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    options = {"file": "labels.csv", "image": "name", "mos": "mos"}
    table = read_annotations("own", "mimi_lightning.data.owners.table.read", tmp_path, "nowhere", options)
    assert table[["image", "mos"]].to_numpy().tolist() == [["b/2.png", 4.25], ["ä 1.png", 3.5]]


def test_decimal_commas_between_commas_are_explained(tmp_path):
    (tmp_path / "labels.csv").write_text("name,mos\na.png,3,5\n")
    with pytest.raises(DatasetError, match=r"more cells than its first line\. Decimal commas need another"):
        read(tmp_path, file="labels.csv", image="name", mos="mos")


def test_scores_before_names_may_have_decimal_commas(tmp_path):
    pictures(tmp_path, ["a.png"])
    (tmp_path / "labels.txt").write_text("3,5 a.png\n")
    assert read(tmp_path, file="labels.txt", image=1, mos=0).to_numpy().tolist() == [["a.png", "3.5"]]


def test_labels_may_be_in_many_files(tmp_path):
    pictures(tmp_path, ["a.png", "b.png"])
    (tmp_path / "labels").mkdir()
    for name in "ba":
        (tmp_path / "labels" / f"{name}.txt").write_text(f"{name}.png,1{name == 'b':d}\n")
    assert read(tmp_path, file="labels/*.txt", image=0, mos=1)["mos"].tolist() == ["10", "11"]
    with pytest.raises(DatasetError, match="There is no label file"):
        read(tmp_path, file="labels/*.csv", image=0, mos=1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [({"image": 0, "mos": 1, "mso": 1}, "table has no key mso: expected file, image"), ({"image": 0}, "lacks mos")],
)
def test_keys_of_a_table_are_checked(tmp_path, columns, message):
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, file="labels.txt", **columns)
