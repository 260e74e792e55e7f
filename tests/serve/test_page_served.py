"""The page in Chromium: pictures, ruler and slider, on a desk and on a phone, without any word to the world outside."""

import os
import re
import shutil

import pytest
from browser import Browser, served
from PIL import Image

from mimi_lightning import cli
from mimi_lightning.errors import ConfigError

pytest.importorskip("gradio", reason='needs pip install "mimi-lightning[serve]"')

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def address(ruler):
    """Of the page."""
    with served(ruler) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if PROGRAM is None and "CI" not in os.environ:
        pytest.skip("needs Chromium")
    browser = Browser(PROGRAM, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A dark, a bright and a broken picture."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, value in {HOSTILE: 51, "bright.png": 204}.items():
        Image.new("RGB", (60, 40), (value,) * 3).save(folder / name)
    (folder / "broken.png").write_text("no picture")
    return [folder / name for name in (HOSTILE, "bright.png", "broken.png")]


@pytest.fixture(params=[1280, 390])
def page(request, browser, address, files):
    """After three pictures were chosen."""
    browser.open(address, request.param)
    browser.wait("document.querySelector('[data-ready]')")
    browser.choose("input[type=file]", files)
    browser.wait("document.querySelector('.refused li') && document.querySelectorAll('.card').length === 2")
    yield browser
    assert browser.faults == []
    assert not [url for url in browser.requests if not url.startswith((address, "blob:" + address, "data:"))]


def texts(page, selector):
    return page.ask(f"[...document.querySelectorAll({selector!r})].map((each) => each.innerText)")


def test_pictures_are_ranked_on_one_ruler(page):
    assert [re.split(r"\s+", title) for title in texts(page, ".card h2")] == [["1.", "8"], ["2.", "2"]]
    assert texts(page, ".card p") == ["bright.png, 60 × 40", f"{HOSTILE}, 60 × 40"]
    assert texts(page, ".card td:nth-child(2)")[:2] == ["4.2 of 1–5", "80 of 0–100"]
    assert texts(page, ".refused li")[0].startswith("broken.png: This is no picture")
    assert "lab80.png (80), lab90.png (90)" in page.ask("document.querySelector('.card dd').textContent")
    bright, dark = page.ask("[...document.querySelectorAll('.thumb')].map((each) => parseFloat(each.style.left))")
    ticks = page.ask(
        "[...document.querySelectorAll('.scale.lab span')].map((e) => [e.innerText, parseFloat(e.style.left)])"
    )
    assert (bright, dark) == (pytest.approx(dict(ticks)["80"], abs=0.5), pytest.approx(dict(ticks)["20"], abs=0.5))


def test_the_page_fits_its_window(page):
    assert page.ask("document.documentElement.scrollWidth <= innerWidth")


def test_a_picture_that_is_pressed_shows_on_all_scales_until_it_is_removed(page):
    page.ask("document.querySelectorAll('.thumb')[1].click()")
    place = "parseFloat(document.querySelector('.cursor').style.left) - document.querySelector('.shelf').offsetLeft"
    assert page.ask(place) == pytest.approx(page.ask("parseFloat(document.querySelectorAll('.thumb')[1].style.left)"))
    assert texts(page, ".card.chosen p") == [f"{HOSTILE}, 60 × 40"]
    page.ask("document.querySelector('.card.chosen .remove').click()")
    assert page.ask("document.querySelector('.cursor').hidden")
    assert texts(page, ".card p") == ["bright.png, 60 × 40"]


def test_the_slider_translates_from_any_scale_and_moves_the_cursor(page):
    first, second = "#translator td:nth-child(2)", "#translator tr:nth-child(2) td:nth-child(2)"
    slide(page, 2)
    page.wait(f"document.querySelector({first!r}).innerText === '2'")
    assert texts(page, "#translator td:nth-child(-n + 2)") == ["a<b>", "2", "lab", "25"]
    page.wait("!document.querySelector('.cursor').hidden")
    page.ask("document.querySelector('#translator input[role=combobox]').focus()")
    page.wait("document.querySelector('ul[role=listbox] li')")
    page.ask(
        "document.querySelectorAll('ul[role=listbox] li')[1].dispatchEvent(new Event('mousedown', {bubbles: true}))"
    )
    page.wait(f"document.querySelector({second!r}).innerText === '50'")
    slide(page, 90)
    page.wait(f"document.querySelector({second!r}).innerText === '90'")
    assert texts(page, first)[0] == "4.6"


def slide(page, score):
    slider = "document.querySelector('#translator input[type=range]')"
    page.wait(slider)
    page.ask(f"{slider}.value = {score}, {slider}.dispatchEvent(new Event('input', {{bubbles: true}}))")


@pytest.mark.parametrize("page", [1280], indirect=True)
@pytest.mark.parametrize(
    ("event", "data"), [("ClipboardEvent('paste'", "clipboardData"), ("DragEvent('drop'", "dataTransfer")]
)
def test_pictures_are_pasted_and_dropped(page, event, data):
    page.ask(
        f"const moved = new DataTransfer(); moved.items.add(new File(['x'], 'moved.png'));"
        f"document.body.dispatchEvent(new {event}, {{{data}: moved, bubbles: true}}))"
    )
    page.wait("document.querySelector('.refused').innerText.startsWith('moved.png: This is no picture')")
    assert len(texts(page, ".card")) == 2


@pytest.mark.parametrize("page", [1280], indirect=True)
def test_names_cannot_become_code(page):
    assert page.ask("document.querySelector('img[src=x], #front b b, #translator b')") is None


def test_a_port_that_is_taken_is_said(address, ruler, monkeypatch):
    monkeypatch.setattr("mimi_lightning.serve.app.load", lambda *_: ruler)
    with pytest.raises(ConfigError, match=r"cannot be served.*--port 0"):
        cli.main(["serve", "--checkpoint", "best.ckpt", "--port", address.rpartition(":")[2]])


def test_a_checkpoint_that_is_missing_is_said():
    with pytest.raises(ConfigError, match="missing"):
        cli.main(["serve", "--checkpoint", "missing.ckpt"])
