"""Many picture files to scores: found, decoded ahead of the network, batched by size, one row each."""

from __future__ import annotations

import glob
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mimi_lightning.data.images import DecodedPicture, picture_size
from mimi_lightning.errors import ConfigError, DatasetError
from mimi_lightning.progress import ahead
from mimi_lightning.ruler.ruler import Ruler

TOGETHER = 64  # pictures that are sorted by size before they are scored: bounds memory, and what a kill loses
# Pixels of a batch, unless one picture alone has more; beyond, what a layer leaves does not fit into a CPU's cache.
BATCH = {"cpu": 500_000, "cuda": 8_000_000}
NETWORK = 32_000_000  # pixels of one picture after resizing, at most: memory of the network
FILE = 256_000_000  # pixels of a file, at most: a small file can decode to any number of them
NO_PICTURES = ("PDF", "MPEG", "HDF5", "GRIB", "BUFR")  # Pillow knows their suffixes, and cannot read them

Row = dict[str, Any]


def find_pictures(words: Iterable[str]) -> list[str]:
    """Paths of pictures by files, folders (with all below them) and patterns such as `*.jpg`, each once.

    A file that is not there is a path, too: whoever reads it says so.

    Raises:
        ConfigError: a folder or pattern without any picture, or no word at all.
    """
    found: dict[str, None] = {}
    for word in words:
        below = _below(word)
        if not below:
            raise ConfigError(f"There is no picture in {word}.")
        found |= dict.fromkeys(below)
    if not found:
        raise ConfigError("There is no picture to score: name files, folders or patterns, or - to read a list.")
    return list(found)


def _below(word: str) -> list[str]:
    if Path(word).is_dir():
        suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind not in NO_PICTURES}
        files = (file for file in sorted(Path(word).rglob("*")) if not file.name.startswith("."))
        return [str(file) for file in files if file.suffix.lower() in suffixes and file.is_file()]
    if glob.has_magic(word) and not Path(word).exists():
        return sorted(file for file in glob.glob(word, recursive=True) if Path(file).is_file())
    return [word]


def score_files(ruler: Ruler, paths: Sequence[str], scales: Sequence[str] = ()) -> Iterator[Row]:
    """Score picture files, in their order.

    Args:
        ruler: scores them.
        paths: of the files.
        scales: names of datasets, whose native scores are told beside the proxy score.

    Yields:
        `path`, `width` and `height` of the picture, `proxy`, `std`, and `scales`: by name `score`, `std`, `low` and
        `high` (the published range), `percentile` (among training labels). Or `path` and `error`.

    Raises:
        ConfigError: a scale that the model does not know.
    """
    for scale in scales:
        ruler.number(scale)
    rest = iter(paths)
    with _large_files():
        while chunk := list(islice(rest, TOGETHER)):
            yield from _score_chunk(ruler, chunk, scales)


def best_first(rows: Iterable[Row]) -> list[Row]:
    """Rows by their proxy score; those without one come last."""
    return sorted(rows, key=lambda row: (row.get("proxy") is None, -(row.get("proxy") or 0.0)))


def _score_chunk(ruler: Ruler, paths: list[str], scales: Sequence[str]) -> list[Row]:
    """Rows of some pictures, which are read by size, so that those of one size share batches."""
    rows: list[Row] = [{"path": path} for path in paths]
    sizes = dict(enumerate(ahead(lambda path: _size(ruler, path), paths)))
    by_size = sorted(sizes, key=lambda place: (str(sizes[place]), place))
    batch: list[tuple[int, Tensor]] = []
    most = BATCH.get(ruler.device.type, BATCH["cuda"])
    for place, view in zip(by_size, ahead(lambda place: _view(ruler, paths[place], rows[place]), by_size), strict=True):
        if view is None:
            continue
        if batch and (view.shape != batch[0][1].shape or (len(batch) + 1) * _pixels(view) > most):
            _score_batch(ruler, batch, rows, scales)
            batch = []
        batch.append((place, view))
    if batch:
        _score_batch(ruler, batch, rows, scales)
    return rows


def _size(ruler: Ruler, path: str) -> tuple[int, int] | None:
    """Size of the view of a picture; None where reading the picture will say what is wrong."""
    try:
        return ruler.view.size(picture_size(Path(path), ruler.view.resize))
    except DatasetError:
        return None


def _view(ruler: Ruler, path: str, row: Row) -> Tensor | None:
    """What the network sees of a picture; None when its row tells an error."""
    try:
        picture = DecodedPicture(Path(path), ruler.view.resize)
        row["width"], row["height"] = picture.image.size
        width, height = ruler.view.size(picture.size)
        if width * height > NETWORK:
            row["error"] = f"It is {width}x{height} after resizing, more than {NETWORK // 1_000_000} megapixels."
            return None
        return ruler.view(picture)
    except DatasetError as error:
        row["error"] = str(error)
    except MemoryError:
        row["error"] = f"The image {path} does not fit into memory."
    return None


def _pixels(view: Tensor) -> int:
    return view.numel() // 3


@torch.no_grad()
def _score_batch(ruler: Ruler, batch: list[tuple[int, Tensor]], rows: list[Row], scales: Sequence[str]) -> None:
    try:
        judgement = ruler.judge(view for _, view in batch)
    except DatasetError as error:
        for place, _ in batch:
            rows[place]["error"] = str(error)
        return
    proxy, native = ruler.on_scale(judgement, None), {scale: ruler.on_scale(judgement, scale) for scale in scales}
    for i, (place, _) in enumerate(batch):
        row = rows[place]
        row |= _known(proxy=proxy[0][i].item(), std=proxy[1][i].item())
        row["scales"] = {
            scale: _native(ruler, scale, *(each[i].item() for each in told)) for scale, told in native.items()
        }


def _native(ruler: Ruler, scale: str, score: float, std: float) -> Row:
    low, high = ruler.range(scale)
    return _known(score=score, std=std, low=low, high=high, percentile=ruler.percentile(score, scale))


def _known(**values: float) -> Row:
    """None for what is not known: JSON has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}


@contextmanager
def _large_files() -> Iterator[None]:
    """Let pictures be as large as `FILE`; Pillow warns of a third of that, and refuses two thirds."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, FILE // 2  # of twice as many, it is an error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
