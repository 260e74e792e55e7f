"""The report page: what it carries, and what a browser makes of it."""

import functools
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mimi_lightning.evaluation.findings import make_report
from mimi_lightning.evaluation.page import PICTURES, WORST, _chosen, write_page
from mimi_lightning.evaluation.study import collect

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = 'a</script><img src=x onerror=alert(1)>&"b'


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Every second picture of LIVE, and a file that is none."""
    root = tmp_path_factory.mktemp("datasets")
    (root / "databaserelease2").mkdir()
    random = np.random.default_rng(0)
    for i in range(0, 40, 2):
        pixels = random.integers(0, 256, (90, 140, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "databaserelease2" / f"img_{i:03}.png")
    (root / "databaserelease2" / "img_001.png").write_text("no picture")
    return root


@pytest.fixture(scope="module")
def page(fabricate, pictures, tmp_path_factory):
    """Two models, one of them with a name that would like to be code, and a split missing."""
    folder = tmp_path_factory.mktemp("report")
    fabricate("mix/resnet34").to_csv(folder / "a.csv", index=False)
    fabricate(HOSTILE, splits=(1, 3), noise=0.3).to_csv(folder / "b.csv", index=False)
    write_page(make_report(collect([folder / "a.csv", folder / "b.csv"])), folder / "report.html", pictures)
    return folder / "report.html"


def payload(page, name="numbers"):
    text = page.read_text()
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)[1])


def test_all_data_are_in_the_page(page):
    data = payload(page)
    assert data["models"] == [HOSTILE, "mix/resnet34"]
    assert data["notes"] == [f"{HOSTILE}: no result of split 2"]
    assert len(data["points"]) == 5 * 3
    group = data["points"][0]
    shown = {name: np.array(values)[group["at"]] for name, values in data["shown"][group["dataset"]].items()}
    assert list(shown["image"]) == [f"img_{i:03}.png" for i in range(40)]
    assert len(group["at"]) == len(group["proxy"]) == 40
    errors = np.abs(group["prediction"] - shown["mos"])
    assert len(group["worst"]) == WORST
    assert sorted(errors[group["worst"]], reverse=True) == sorted(errors, reverse=True)[:WORST]


def test_the_page_loads_nothing(page):
    text = page.read_text()
    assert not re.search(
        r"https?://|//[a-z]+\.[a-z]+/|<link|src=\"(?!data:)|@import|url\(", text.partition('id="numbers"')[0]
    )
    assert "default-src 'none'" in text


def test_names_cannot_become_code(page):
    assert page.read_text().count("</script>") == 3
    assert "<img src=x" not in page.read_text()


def test_pictures_are_embedded_where_they_are(page, pictures):
    found = payload(page, "pictures")
    assert {name.partition("/")[0] for name in found} == {"live"}
    assert len(found) == 20
    assert all(url.startswith("data:image/webp;base64,") for url in found.values())
    assert len(found) <= PICTURES


def test_pictures_fill_a_page_up_to_a_size(page, pictures, tmp_path, monkeypatch):
    """Those on which a model erred most in some split come first."""
    embedded = payload(page, "pictures")
    room = sum(len(name) + len(url) for name, url in embedded.items()) // 2
    monkeypatch.setattr("mimi_lightning.evaluation.page.PAGE", 0)
    monkeypatch.setattr("mimi_lightning.evaluation.page.ROOM", room)
    report = make_report(collect([page.with_name("a.csv")]))
    write_page(report, tmp_path / "small.html", pictures)
    found = payload(tmp_path / "small.html", "pictures")
    assert 0 < len(found) < len(embedded)
    assert sum(len(name) + len(url) for name, url in found.items()) <= room
    tested = report.study.tested
    largest = tested["error"].abs().groupby([tested["split"], tested["dataset"]]).idxmax()
    worst = tested.loc[largest, ["dataset", "image"]].drop_duplicates()
    assert set(_chosen(tested)[: len(worst)]) == set(worst.itertuples(index=False, name=None))


def test_a_bare_table_makes_a_page(fabricate, tmp_path):
    table = fabricate(splits=[1], datasets=["koniq"])[["dataset", "split", "mos", "proxy"]]
    table.to_csv(tmp_path / "bare.csv", index=False)
    write_page(make_report(collect([tmp_path / "bare.csv"])), tmp_path / "report.html")
    data = payload(tmp_path / "report.html")
    assert payload(tmp_path / "report.html", "pictures") == {}
    assert data["details"] == data["runs"] == []
    assert "prediction" not in data["points"][0]


def test_a_run_tells_where_it_comes_from(elsewhere, tmp_path):
    write_page(make_report(collect([elsewhere])), tmp_path / "report.html")
    data = payload(tmp_path / "report.html")
    (told,) = data["runs"]
    assert told["facts"]["seed"] == 19901116
    assert len(told["facts"]["sha256 of the partition"]) == 64
    assert "backbone:\n" in told["settings"]
    assert any(name.startswith("csiq/") for name in payload(tmp_path / "report.html", "pictures"))


@pytest.fixture(scope="module")
def browse(page, tmp_path_factory):
    if BROWSER is None and "CI" not in os.environ:
        pytest.skip("needs Chromium")
    profile = tmp_path_factory.mktemp("profile")

    @functools.cache
    def dump(state, width=1280, file=page):
        """The page after its script ran, as text."""
        flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"]
        words = [
            BROWSER,
            *flags,
            f"--window-size={width},900",
            "--virtual-time-budget=2000",
            f"{file.as_uri()}#{state}",
        ]
        text = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
        html = re.match(r".*?<html[^>]*>", text, re.DOTALL)[0]
        assert "data-ready" in html
        assert "data-error" not in html
        return text

    return dump


def rows(text, table):
    """Cells of a table's body, as text."""
    body = re.search(rf"{table}.*?<tbody>(.*?)</tbody>", text, re.DOTALL)[1]
    cells = [
        re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    ]
    return [[re.sub(r"<[^>]*>", " ", cell).strip() for cell in row] for row in cells]


def test_the_summary_comes_first_and_sorts(page, browse):
    summary = {
        (row["model"], row["dataset"]): row["median"] for row in payload(page)["summary"] if row["figure"] == "krcc"
    }
    down = rows(browse("figure=krcc&sort=koniq,down"), 'id="summary"')
    assert down[0][0] == "mix/resnet34"
    assert down[0][2].split()[0] == f"{summary['mix/resnet34', 'koniq']:.4f}"
    up = browse("figure=krcc&sort=koniq,up")
    assert rows(up, 'id="summary"')[-1][0] == "mix/resnet34"
    assert 'aria-sort="ascending"' in up
    assert up.index('id="summary"') < up.index('id="scatter"') < up.index('id="misses"')


def test_a_point_shows_its_picture_and_scores(page, browse):
    data = payload(page)
    group = next(g for g in data["points"] if (g["model"], g["split"], g["dataset"]) == ("mix/resnet34", 2, "live"))
    text = browse("theme=dark&model=mix/resnet34&split=2&dataset=live&point=live/6", 390)
    card = re.search(r'<figure id="card".*?</figure>', text, re.DOTALL)[0]
    assert "data:image/webp" in card
    assert "img_006.png" in card
    assert f"{data['shown']['live']['mos'][group['at'][6]]:.4f}" in card
    assert 'data-theme="dark"' in text
    assert len(re.findall(r"<button[^>]*aria-pressed", text)) == WORST


def test_hostile_names_are_shown_as_they_are(browse):
    text = browse("")
    assert "a&lt;/script&gt;&lt;img src=x" in text
    assert '<img src="x"' not in text


def test_datasets_of_the_scatter_are_shown_and_hidden(page, browse):
    """The largest is drawn first; its name says how the model does on it."""
    text = browse("model=mix/resnet34&split=2&hide=koniq")
    legend = re.search(r'<p id="legend".*?</p>', text, re.DOTALL)[0]
    shown = re.findall(r'aria-pressed="(\w+)".*? (\w+), SRCC', legend)
    assert sorted(shown) == [("false", "koniq"), ("true", "csiq"), ("true", "live")]
    row = next(
        row
        for row in payload(page)["results"]
        if (row["model"], row["split"], row["dataset"]) == ("mix/resnet34", 2, "live")
    )
    assert f"live, SRCC {row['srcc']:.3f} of 40" in legend


def test_many_notes_are_folded_and_a_few_are_not(page, browse, tmp_path):
    assert '<details open="">' in browse("").partition('id="summary"')[0]
    report = replace(make_report(collect([page.with_name("a.csv")])), notes=[f"note {i}" for i in range(27)])
    write_page(report, tmp_path / "many.html")
    folded = browse("", file=tmp_path / "many.html").partition('id="summary"')[0]
    assert "<details>" in folded
    assert "27 notes" in folded
    assert "note 26" in folded
