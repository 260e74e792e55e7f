"""`data check`: what it finds, and how it says it."""

import json
import shutil

import pandas as pd
import pytest
from PIL import Image

from mimi_lightning import cli
from mimi_lightning.data.owners import kadid
from mimi_lightning.errors import ConfigError


@pytest.fixture
def copy(miniature, tmp_path):
    return shutil.copytree(miniature, tmp_path / "datasets")


def check(root, capsys, *words):
    """Run the verb; return its exit code and its report."""
    code = cli.main(["data", "check", "--json", f"paths.datasets={root}", *words])
    return code, json.loads(capsys.readouterr().out)


def finding(report, dataset):
    return next(found for found in report["findings"] if found["dataset"] == dataset)


def test_sound_datasets_pass(copy, capsys):
    code, report = check(copy, capsys)
    assert (code, report["ok"], report["problems"]) == (0, True, [])
    kadid = finding(report, "kadid")
    assert (kadid["images"], kadid["published"], kadid["references"]) == (20, 10125, 10)
    assert kadid["parts"] == {"train": 14, "val": 2, "test": 4}
    assert kadid["direction"].startswith("SRCC -")
    assert kadid["distortions"] == 1.0
    assert [found["scenes"] for found in report["findings"]] == [1.0] * 6


def test_copies_that_were_compressed_once_more_are_told(copy, capsys):
    """They are a suspicion, and no problem."""
    pytest.importorskip("imagehash")
    photograph = next((copy / "BID").rglob("*.JPG"))
    stolen = next((copy / "koniq-10k").rglob("*.jpg"))
    Image.open(photograph).save(stolen, quality=60)
    code, report = check(copy, capsys, "dataset=[bid,koniq]", "--near")
    assert code == 0
    (said,) = report["near"]
    assert photograph.name in said
    assert stolen.name in said


def test_any_subset_will_do(copy, capsys):
    for folder in ("BID", "CSIQ", "kadid10k"):
        shutil.rmtree(copy / folder)
    code, report = check(copy, capsys)
    assert code == 0
    assert {f["dataset"]: f["present"] for f in report["findings"]}["bid"] is False


def test_nothing_at_all_is_a_problem(tmp_path, capsys):
    code, report = check(tmp_path, capsys)
    assert code == 1
    assert "no dataset to check" in report["problems"][0]


def test_broken_pictures_are_counted(copy, capsys):
    path = next((copy / "CSIQ" / "dst_imgs").rglob("*.png"))
    path.write_bytes(path.read_bytes()[:500])
    code, report = check(copy, capsys, "dataset=[csiq]")
    assert code == 1
    assert "1 pictures cannot be read" in finding(report, "csiq")["problems"][0]
    assert path.name in finding(report, "csiq")["unreadable"][0]


def test_a_published_experiment_is_checked_with_its_lists_or_knowingly_without(copy, capsys):
    with pytest.raises(ConfigError, match=r"splits=liqe, as published, needs splits\.lists=DIR"):
        check(copy, capsys, "experiment=mimi_clip")
    code, report = check(copy, capsys, "experiment=mimi_clip", "splits=generated")
    assert code == 0
    assert finding(report, "live")["source"] == "generated-19901116"


def test_a_missing_label_file_and_a_missing_picture_are_named(copy, capsys):
    (copy / "kadid10k" / "dmos.csv").unlink()
    next((copy / "CSIQ" / "dst_imgs").rglob("*.png")).unlink()
    code, report = check(copy, capsys)
    assert code == 1
    assert "dmos.csv" in finding(report, "kadid")["problems"][0]
    assert "there is no picture" in finding(report, "csiq")["problems"][0]


def test_turned_labels_are_noticed(copy, capsys):
    path = copy / "kadid10k" / "dmos.csv"
    table = pd.read_csv(path)
    table["dmos"] = 6 - table["dmos"]
    table.to_csv(path, index=False)
    code, report = check(copy, capsys, "dataset=[kadid]")
    assert code == 1
    assert "MOS rises with the level of distortion" in " ".join(finding(report, "kadid")["problems"])


def test_labels_beyond_the_published_range_are_noticed(copy, capsys):
    code, report = check(copy, capsys, "dataset=[bid]", "datasets.bid.range=[0,3]")
    assert code == 1
    assert "beyond the published range 0 to 3" in finding(report, "bid")["problems"][0]


def test_words_that_no_task_knows_are_a_problem_only_where_a_task_needs_them(copy, capsys, monkeypatch):
    monkeypatch.setattr(kadid, "CODES", ("snow",) * 25)
    words = ["dataset=[kadid]"]
    assert check(copy, capsys, *words)[0] == 0
    words += ["tasks=scene_distortion"]
    code, report = check(copy, capsys, *words)
    assert code == 1
    assert "Words in kadid that the tasks do not know" in report["problems"][0]
    assert finding(report, "kadid")["parts"] == {"train": 14, "val": 2, "test": 4}
    code, report = check(copy, capsys, *words, "tasks.translate={distortion:{snow:white noise}}")
    assert (code, report["problems"]) == (0, [])


def test_the_same_picture_in_two_parts_is_a_leak_also_across_datasets(copy, capsys):
    _, report = check(copy, capsys)
    pictures = sorted((copy / "koniq-10k" / "1024x768").iterdir())
    pixels = Image.open(pictures[0]).convert("RGB")
    for name in sorted((copy / "BID" / "ImageDatabase").iterdir())[:8]:
        pixels.save(name, format="PNG")  # other bytes, the same pixels
    code, report = check(copy, capsys, "dataset=[bid,koniq]")
    assert code == 1
    assert any("The same picture in two parts of split" in problem for problem in report["problems"])
    (group,) = finding(report, "bid")["duplicates"]
    assert len(group) == 9
    assert finding(report, "koniq")["duplicates"] == [group]


def test_pictures_that_differ_in_one_row_are_two(copy, capsys):
    first, second, *_ = sorted((copy / "kadid10k" / "images").glob("*_*.png"))
    pixels = Image.open(first).convert("RGB")
    pixels.putpixel((3, 5), (0, 255, 0))
    pixels.save(second)
    _, report = check(copy, capsys, "dataset=[kadid]")
    assert finding(report, "kadid")["duplicates"] == []
    pixels.save(first)
    _, report = check(copy, capsys, "dataset=[kadid]")
    assert len(finding(report, "kadid")["duplicates"]) == 1


def test_pictures_of_the_same_bytes_but_another_shape_are_two(copy, capsys):
    first, second, *_ = sorted((copy / "kadid10k" / "images").glob("*_*.png"))
    Image.new("RGB", (6, 8)).save(first)
    Image.new("RGB", (3, 16)).save(second)
    _, report = check(copy, capsys, "dataset=[kadid]")
    assert finding(report, "kadid")["duplicates"] == []
    Image.new("RGB", (6, 8)).save(second)
    _, report = check(copy, capsys, "dataset=[kadid]")
    assert len(finding(report, "kadid")["duplicates"]) == 1


def test_people_get_a_screen_a_dataset(copy, capsys):
    assert cli.main(["data", "check", f"paths.datasets={copy}", "dataset=[live,csiq]"]) == 0
    shown = capsys.readouterr().out
    for words in ("live", "csiq", "20 of 779 published, all readable", "nothing to mend", "split 1"):
        assert words in shown
    shutil.rmtree(copy / "CSIQ")
    (copy / "databaserelease2" / "refnames_all.mat").unlink()
    assert cli.main(["data", "check", f"paths.datasets={copy}", "dataset=[live,csiq]"]) == 1
    shown = capsys.readouterr().out
    assert "csiq: not there" in shown
    assert "refnames_all.mat" in "".join(shown.split())
