"""What the layouts of the miniature datasets have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from mimi_lightning.data.miniature.contents import Content
from mimi_lightning.data.miniature.coverage import Span
from mimi_lightning.data.miniature.faults import Fault


@dataclass(frozen=True)
class Picture:
    """A picture that is still to be made.

    Args:
        path: below the dataset's folder.
        reference: path of the pristine picture below the dataset's folder; its own path for a photograph.
        content: what it shows.
        render: makes the pixels.
        kind: the owner's name of the distortion.
        level: the owner's number of the strength.
        used: False for undistorted copies and training pictures, which readers leave out.
    """

    path: str
    reference: str
    content: Content
    render: Callable[[], np.ndarray]
    kind: str = ""
    level: int = 0
    used: bool = True


@dataclass(frozen=True)
class Layout:
    """A dataset as its owner lays it out.

    Args:
        folder: its name.
        per_content: pictures of each content, unless fewer are wanted.
        plan: (contents, per_content, strengths, rng) -> the pictures, in the order of the label files.
        label: (folder, pictures, grades); writes the label files. `pictures` has the fields of `Picture` as columns,
            `grades` are of every picture and rater, native and higher better.
    """

    folder: str
    per_content: int
    plan: Callable[[list[Content], int, Span, np.random.Generator], list[Picture]]
    label: Callable[[Path, pd.DataFrame, np.ndarray], None]


def render(fault: Fault, content: Content, strength: float, rng: np.random.Generator) -> Callable[[], np.ndarray]:
    """Prepare a fault with its own source of randomness, so that pictures can be made in any order."""
    return partial(fault, content.pixels, strength, np.random.default_rng(rng.integers(2**32)))


def save(path: Path, pixels: np.ndarray) -> None:
    """Write a picture; JPEGs at a quality that adds no fault of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 96, "subsampling": 0} if path.suffix.lower() == ".jpg" else {}
    Image.fromarray(pixels).save(path, **options)


def load(path: Path) -> np.ndarray:
    """Read a picture as stored, uint8 of shape (height, width, 3)."""
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))
