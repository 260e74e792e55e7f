"""Views of a picture, and what is said of pictures that cannot be read."""

import numpy as np
import pytest
import torch
from PIL import Image

from mimi_lightning.data.images import TestView, TrainView, adaptive_resize, read_image
from mimi_lightning.errors import DatasetError


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [((120, 90), 60, (80, 60)), ((90, 120), 60, (60, 80)), ((120, 90), 100, (120, 90)), ((120, 90), 90, (120, 90))],
)
def test_adaptive_resize_only_shrinks(size, side, expected):
    assert adaptive_resize(Image.new("RGB", size), side).size == expected


def test_the_training_view_is_a_crop_that_its_seed_decides(picture):
    view = TrainView(resize=512, crop=64)
    whole = torch.from_numpy(np.array(Image.open(picture))).permute(2, 0, 1)
    windows = whole.unfold(1, 64, 1).unfold(2, 64, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    crops = [view(picture, seed) for seed in range(12)]
    assert all(c.shape == (3, 64, 64) and c.dtype == torch.uint8 for c in crops)
    flipped = [bool((windows == c.flip(-1)).flatten(1).all(1).any()) for c in crops]
    plain = [bool((windows == c).flatten(1).all(1).any()) for c in crops]
    assert all(f != p for f, p in zip(flipped, plain, strict=True))
    assert any(flipped)
    assert any(plain)
    assert torch.equal(crops[3], view(picture, 3))
    assert not torch.equal(crops[3], view(picture, 4))


def test_the_test_view_is_the_whole_picture(picture):
    assert torch.equal(TestView(768)(picture), torch.from_numpy(np.array(Image.open(picture))).permute(2, 0, 1))
    assert TestView(45)(picture).shape == (3, 45, 60)


def test_grey_and_palette_pictures_become_rgb(tmp_path):
    Image.new("L", (70, 70), 9).save(tmp_path / "grey.png")
    Image.new("P", (70, 70), 1).save(tmp_path / "palette.png")
    assert {TestView(768)(tmp_path / name).shape for name in ("grey.png", "palette.png")} == {(3, 70, 70)}


def test_unreadable_pictures_are_named(picture, tmp_path):
    with pytest.raises(DatasetError, match=r"gone\.png is missing"):
        read_image(tmp_path / "gone.png")
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture.read_bytes()[:2000])
    with pytest.raises(DatasetError, match=r"broken\.png cannot be read"):
        read_image(broken)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(DatasetError, match=r"text\.png cannot be read"):
        read_image(text)
    with pytest.raises(DatasetError, match=r"120x90 .* Set data\.crop to 90 or less"):
        TrainView(512, 100)(picture, 0)
