"""Draw serve.png: `python docs/img/serve.py outputs/demo/efficientnet_lite0/split01/checkpoints/best.ckpt`."""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageFilter
from skimage import data

from mimi_lightning import load

HERE = Path(__file__).parent
sys.path.append(str(HERE.parents[1] / "tests" / "serve"))
from browser import Browser, served  # noqa: E402


def make_pictures(folder: Path) -> list[Path]:
    """Photographs that scikit-image brings along, and what can happen to them."""
    cat, coffee, woman = (Image.fromarray(getattr(data, name)()) for name in ("chelsea", "coffee", "astronaut"))
    cat.save(folder / "cat.png")
    cat.filter(ImageFilter.GaussianBlur(3)).save(folder / "cat, blurred.png")
    coffee.save(folder / "coffee.png")
    coffee.save(folder / "coffee, JPEG 5.jpg", quality=5)
    woman.save(folder / "astronaut.png")
    woman.resize((64, 64)).resize(woman.size).save(folder / "astronaut, enlarged.png")
    return sorted(folder.iterdir())


with tempfile.TemporaryDirectory() as folder, served(load(sys.argv[1])) as address:
    pictures = make_pictures(Path(folder))
    browser = Browser(shutil.which("chromium"), tempfile.mkdtemp(dir=folder))
    browser.open(address, 1100, 1290)
    browser.wait("document.querySelector('[data-ready]')")
    browser.choose("input[type=file]", pictures)
    browser.wait(f"document.querySelectorAll('.card').length === {len(pictures)}")
    browser.wait("document.querySelector('#translator input[type=range]')")
    browser.ask("document.dispatchEvent(new Event('told'))")
    drawn = Image.open(io.BytesIO(browser.picture(whole=False)))
    browser.close()

drawn.convert("RGB").quantize(96).save(HERE / "serve.png", optimize=True)
