import io
import json
import os
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mimi_lightning import cli
from mimi_lightning.errors import ConfigError, DatasetError
from mimi_lightning.ruler import files
from mimi_lightning.ruler.files import find_pictures, score_files
from mimi_lightning.ruler.journal import Journal
from mimi_lightning.ruler.ruler import Ruler
from tests.ruler.conftest import REGRESSOR, make_model


@pytest.fixture
def folder(tmp_path, pixels):
    """Pictures of two sizes in turn, a broken one, and what is none."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for i, side in enumerate((40, 48, 40, 48, 40)):
        Image.fromarray(np.roll(pixels, 9 * i, axis=1)[:side, :side]).save(folder / f"{i}.png")
    Image.fromarray(pixels).save(folder / "below" / "5.PNG")
    (folder / "9.jpg").write_text("no picture")
    for name in ("notes.txt", "film.mpg", "paper.pdf"):
        (folder / name).write_text("none")
    (folder / "._0.png").write_text("what some systems leave")
    return folder


def test_pictures_are_found_in_folders_and_by_patterns_each_once(folder):
    found = find_pictures([f"{folder}/*.png", str(folder), "missing.png"])
    names = [path.removeprefix(f"{folder}/") for path in found]
    assert names == ["0.png", "1.png", "2.png", "3.png", "4.png", "9.jpg", "below/5.PNG", "missing.png"]
    for nothing in (f"{folder}/*.bmp", str(folder / "empty")):
        (folder / "empty").mkdir(exist_ok=True)
        with pytest.raises(ConfigError, match="no picture in"):
            find_pictures([nothing])
    with pytest.raises(ConfigError, match="no picture to score"):
        find_pictures([])


def test_rows_come_in_order_with_the_scores_of_single_pictures(ruler, folder, monkeypatch):
    monkeypatch.setattr(files, "TOGETHER", 3)
    monkeypatch.setitem(files.BATCH, "cpu", 2 * 40 * 40)
    paths = find_pictures([str(folder)])
    rows = list(score_files(ruler, paths, ["live"]))
    assert [row["path"] for row in rows] == paths
    for row in rows:
        if row["path"].endswith("9.jpg"):
            assert "cannot be read" in row["error"]
            continue
        assert row["proxy"] == pytest.approx(ruler.score(row["path"]), abs=1e-5)
        native = row["scales"]["live"]
        assert native["score"] == pytest.approx(ruler.score(row["path"], scale="live"), abs=1e-4)
        assert (native["low"], native["high"], native["std"]) == (0.0, 100.0, None)
        assert native["percentile"] == ruler.percentile(native["score"], "live")
    assert (rows[-1]["width"], rows[-1]["height"]) == (80, 64)
    assert Image.MAX_IMAGE_PIXELS < files.FILE // 2, "other code keeps Pillow's own limit"


def test_a_picture_that_the_network_cannot_take_is_a_row(folder, pixels):
    vgg = Ruler(make_model(regressor={**REGRESSOR, "name": "vgg16", "stage": -1}))
    Image.fromarray(pixels[:8, :9]).save(folder / "tiny.png")
    told = {row["path"]: row for row in score_files(vgg, [str(folder / name) for name in ("0.png", "tiny.png")])}
    assert "proxy" in told[str(folder / "0.png")]
    assert "cannot take a picture of 9 x 8 pixels" in told[str(folder / "tiny.png")]["error"]
    with pytest.raises(DatasetError, match="cannot take a picture of 9 x 8 pixels"):
        vgg.score(pixels[:8, :9])


def test_a_picture_that_no_memory_would_hold_is_a_row(ruler, folder, monkeypatch):
    monkeypatch.setattr(files, "NETWORK", 50)
    assert "more than 0 megapixels" in next(score_files(ruler, [str(folder / "0.png")]))["error"]
    monkeypatch.setattr(files, "FILE", 40 * 40 - 1)
    assert "exceeds limit" in next(score_files(ruler, [str(folder / "0.png")]))["error"]


def test_the_command_scores_a_folder_and_goes_on(checkpoint, folder, tmp_path, capsys, monkeypatch):
    words = ["score", str(folder), "--checkpoint", str(checkpoint), "--device", "cpu", "--scale", "all"]
    out = tmp_path / "scores.csv"

    def cut(rows, *_):
        yield from list(score_files(rows, *_))[:3]
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "score_files", cut)
    with pytest.raises(KeyboardInterrupt, match="The same command goes on"):
        cli.main([*words, "--out", str(out)])
    monkeypatch.undo()
    (part,) = tmp_path.glob("scores.csv.*.part")
    part.write_bytes(part.read_bytes() + b'{"path": "cut sho')
    assert not out.exists()
    assert cli.main([*words, "--out", str(out)]) == 1
    assert "Going on: 3 of 7 pictures are scored" in capsys.readouterr().err
    table = pd.read_csv(out)
    assert list(table) == [
        *("path", "width", "height", "proxy", "csiq", "csiq_low", "csiq_high", "csiq_percentile"),
        *("live", "live_low", "live_high", "live_percentile", "error"),
    ]
    assert len(table) == 7
    assert table["error"].notna().sum() == 1
    assert not list(tmp_path.glob("*.part"))
    assert cli.main([*words, "--out", str(tmp_path / "again.jsonl")]) == 1
    again = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    scores = [row["proxy"] for row in again if "error" not in row]
    assert scores == pytest.approx(table["proxy"].dropna().tolist(), abs=1e-6)


def test_the_best_come_first_on_the_screen_and_on_the_sheet(checkpoint, folder, tmp_path, capsys, monkeypatch):
    (folder / "9.jpg").unlink()
    monkeypatch.setenv("COLUMNS", "300")
    listed = "".join(f"{folder}/{i}.png\n" for i in range(5))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed.encode())))
    words = ["score", "-", "--checkpoint", str(checkpoint), "--device", "cpu", "--scale", "live"]
    sheet = tmp_path / "sheet.html"
    assert cli.main([*words, "--top", "3", "--format", "table", "--html", str(sheet)]) == 0
    shown = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(shown) == 3
    assert shown == sorted(shown, reverse=True)
    scores = re.findall(r"<b>([-\d.]+)</b>", sheet.read_text())
    assert [float(score) for score in scores] == shown
    assert sheet.read_text().count("data:image/jpeg;base64,") == 3
    assert "http" not in sheet.read_text()


def test_names_may_be_any_bytes(checkpoint, folder, tmp_path, monkeypatch, capfdbinary):
    named = os.fsencode(folder) + b"/caf\xe9.png"
    os.rename(folder / "0.png", named)
    words = ["score", "-", "--checkpoint", str(checkpoint), "--device", "cpu"]
    for more in (["--out", str(tmp_path / "a.csv")], ["--html", str(tmp_path / "a.html")], ["--format", "table"]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(named + b"\r\n")))
        assert cli.main([*words, *more]) == 0
    assert named in (tmp_path / "a.csv").read_bytes()
    assert b"caf?.png" in (tmp_path / "a.html").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--html", "gone/sheet.html"], r"gone/sheet.html cannot be written: there is no folder .*gone"),
        (["--out", "gone/scores.csv"], "there is no folder"),
        (["--html", "."], "is a folder: name a file in it"),
        (["--out", "scores.xls"], "ends in .csv or .jsonl"),
        (["--top", "0"], "--top 0"),
        (["--scale", "koniq"], "does not know koniq"),
    ],
)
def test_wrong_words_are_refused(words, said, checkpoint, folder):
    with pytest.raises(ConfigError, match=said):
        cli.main(["score", str(folder), "--checkpoint", str(checkpoint), *words])


def test_a_journal_is_of_one_checkpoint_and_its_scales(tmp_path):
    names = {
        Journal(tmp_path / "a.csv", *said).file for said in ((b"1", "live"), (b"2", "live"), (b"1", "csiq"), (b"1",))
    }
    assert len(names) == 4
    journal = Journal(tmp_path / "a.csv", b"1")
    assert journal.read() == []
    journal.file.write_text('{"path": "a"}\n{"path": "cut sho')
    assert journal.read() == [{"path": "a"}]
    assert list(journal.keep([{"path": "b"}])) == [{"path": "b"}]
    assert journal.read() == [{"path": "a"}, {"path": "b"}]


def test_translate_and_explain_say_what_a_score_is(checkpoint, tmp_path, capsys):
    common = ["--checkpoint", str(checkpoint)]
    assert cli.main(["translate", "--from", "csiq", "--to", "live", "0.5", *common]) == 0
    assert re.fullmatch(r"0.5 csiq = [\d.]+ live\n", capsys.readouterr().out)
    assert cli.main(["translate", "--from", "csiq", "--to", "live", "7", *common]) == 1
    assert "No proxy score reaches 7" in capsys.readouterr().err
    assert cli.main(["translate", "--from", "csiq", "--to", "live", "7", "--clamp", *common]) == 0
    pd.DataFrame({"name": ["a", "b", "c"], "csiq": [0.2, None, 0.6]}).to_csv(tmp_path / "in.csv", index=False)
    table = ["--csv", str(tmp_path / "in.csv"), "--out", str(tmp_path / "out.csv")]
    assert cli.main(["translate", "--from", "csiq", "--to", "live", *table, *common]) == 0
    result = pd.read_csv(tmp_path / "out.csv")
    assert list(result) == ["name", "csiq", "live"]
    assert result["live"].isna().tolist() == [False, True, False]
    for words, said in (
        ([], "takes scores"),
        ([*table, "--column", "x"], "no column x"),
        (["--csv", str(tmp_path / "out.csv")], "has a column live already"),
        (["0.5", "--out", "x.csv"], "--column and --out are of a table"),
        (["--csv", str(tmp_path / "in.csv"), "--out", "gone/x.csv"], "there is no folder"),
        (["1", *table], "takes scores"),
    ):
        with pytest.raises(ConfigError, match=said):
            cli.main(["translate", "--from", "csiq", "--to", "live", *words, *common])
    capsys.readouterr()
    assert cli.main(["explain", "30.2", "--scale", "live", "--examples", "1", *common]) == 0
    said = capsys.readouterr().out
    assert "better than 31 %" in said
    assert "30  marks/30.bmp" in said
    for more, said in ((["nan"], "nan is no score"), (["30", "--examples", "0"], "--examples 0: expected")):
        with pytest.raises(ConfigError, match=said):
            cli.main(["explain", *more, "--scale", "live", *common])
