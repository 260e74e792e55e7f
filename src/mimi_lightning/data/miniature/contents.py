"""Contents: windows of real photographs, each dealt to the datasets that show it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mimi_lightning.errors import DatasetError

SYNTHETIC = ("live", "csiq", "kadid")
PHOTOGRAPHIC = ("bid", "clive", "koniq")
MINIMUM = 10  # contents of a dataset, below which 7:1:2 parts mean nothing
SHARED = 1 / 3  # of a synthetic dataset's references stands in all three
SYNTHETIC_POOL = 0.4  # of the contents, where there are not enough for everybody
LONGEST = 768  # larger photographs are shrunk, so that a window shows something
DETAIL = 2.0  # least gradient of a window that shows something, in grey values a pixel
BLOCKS = 8  # a side of a window, for looking at its detail
PICTURES = (".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".avif", ".jxl")  # as far as Pillow reads them
SCENES = {
    "astronaut": "human;indoor",
    "chelsea": "animal",
    "coffee": "still_life;indoor",
    "rocket": "landscape;night",
    "motorcycle": "indoor;still_life",
    "china": "cityscape",
    "flower": "plant",
}
INSTALL = 'pip install "mimi-lightning[miniature]"'


@dataclass(frozen=True, eq=False)
class Content:
    """A window of a photograph: its name, its pixels, uint8 of shape (side, side, 3), and what it shows."""

    name: str
    pixels: np.ndarray
    scenes: str = ""  # words of the published vocabulary joined by ";", as far as they are known


def cut_contents(photos: Path | None, side: int) -> list[Content]:
    """Cut photographs into square windows that do not overlap.

    Args:
        photos: a folder of pictures; None takes those that scikit-image and scikit-learn bring along.
        side: of the windows, in pixels.

    Returns:
        All windows that show something, ordered by photograph and place.

    Raises:
        DatasetError: a package or the folder is missing, or a picture is broken.
    """
    named = bundled_photos() if photos is None else _own_photos(photos)
    contents = [content for name, photo in named for content in _windows(name, photo, side)]
    return [content for content in contents if _detail(content.pixels) >= DETAIL]


def deal_contents(contents: list[Content], references: int, scenes: int, seed: int) -> dict[str, list[Content]]:
    """Deal contents to the six datasets; none is both a synthetic reference and a photograph.

    A third of the references stands in all three synthetic datasets. Where there are not enough contents, further
    ones are shared as well.

    Args:
        contents: windows of photographs.
        references: at most so many for each synthetic dataset.
        scenes: at most so many for each dataset of photographs.
        seed: of the shuffle.

    Raises:
        DatasetError: the photographs give fewer than twenty contents, ten for either role.
    """
    if len(contents) < 2 * MINIMUM:
        raise DatasetError(
            f"The photographs give {len(contents)} windows that show something; at least {2 * MINIMUM} are needed. "
            "Add photographs or choose a smaller side."
        )
    order = np.random.default_rng(seed).permutation(len(contents))
    shared = round(SHARED * references)
    wanted = shared + len(SYNTHETIC) * (references - shared)
    if wanted + len(PHOTOGRAPHIC) * scenes > len(contents):
        wanted = min(wanted, max(MINIMUM, round(SYNTHETIC_POOL * len(contents))))
    synthetic, photographic = np.split(order, [wanted])
    dealt = {**_deal(synthetic, SYNTHETIC, references, shared), **_deal(photographic, PHOTOGRAPHIC, scenes, 0)}
    return {dataset: [contents[i] for i in chosen] for dataset, chosen in dealt.items()}


def list_photos(folder: Path) -> list[Path]:
    """List the pictures of a folder by name.

    Raises:
        DatasetError: there is no folder, or there are no pictures in it.
    """
    if not folder.is_dir():
        raise DatasetError(f"There is no folder of photographs {folder}; `make photos` gets some.")
    readable = [suffix for suffix in PICTURES if suffix in Image.registered_extensions()]
    paths = [path for path in folder.iterdir() if path.suffix.lower() in readable]
    if not paths:
        raise DatasetError(f"There are no pictures in {folder} ({', '.join(readable)}).")
    return sorted(paths)


def _deal(pool: np.ndarray, datasets: tuple[str, ...], most: int, shared: int) -> dict[str, list[int]]:
    """Give all datasets the first few, and each a stretch of the ring of the others."""
    common, ring = pool[:shared], pool[shared:]
    own = min(most - shared, len(ring))
    starts = [k * len(ring) // len(datasets) for k in range(len(datasets))]
    return {
        dataset: [*common, *np.take(ring, range(start, start + own), mode="wrap")]
        for dataset, start in zip(datasets, starts, strict=True)
    }


def _windows(name: str, photo: np.ndarray, side: int) -> Iterator[Content]:
    rows, columns = photo.shape[0] // side, photo.shape[1] // side
    top, left = (photo.shape[0] - rows * side) // 2, (photo.shape[1] - columns * side) // 2
    for row in range(rows):
        for column in range(columns):
            y, x = top + row * side, left + column * side
            window = np.ascontiguousarray(photo[y : y + side, x : x + side])
            yield Content(f"{name}{row * columns + column + 1:02d}", window, SCENES.get(name, ""))


def _detail(pixels: np.ndarray) -> float:
    """Measure what faults can spoil: the gradient that is exceeded in two fifths of the blocks."""
    block = len(pixels) // BLOCKS
    gradient = np.hypot(*np.gradient(pixels.mean(axis=2)))[: BLOCKS * block, : BLOCKS * block]
    return float(np.quantile(gradient.reshape(BLOCKS, block, BLOCKS, block).mean(axis=(1, 3)), 0.6))


def bundled_photos() -> list[tuple[str, np.ndarray]]:
    """Photographs that scikit-image and scikit-learn bring along, by name: uint8 of shape (height, width, 3)."""
    try:
        from skimage import data
        from sklearn.datasets import load_sample_image
    except ImportError as error:
        raise DatasetError(f"The miniature datasets need {error.name}: {INSTALL}") from error
    return [
        ("astronaut", data.astronaut()),
        ("chelsea", data.chelsea()),
        ("coffee", data.coffee()),
        ("rocket", data.rocket()),
        ("motorcycle", data.stereo_motorcycle()[0]),
        ("china", load_sample_image("china.jpg")),
        ("flower", load_sample_image("flower.jpg")),
    ]


def _own_photos(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    for number, path in enumerate(list_photos(folder), start=1):
        try:
            photo = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise DatasetError(f"The photograph {path} cannot be read ({error}).") from error
        photo.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        yield f"photo{number:02d}x", np.asarray(photo)
