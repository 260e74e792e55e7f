"""Views of a picture, and what is said of pictures that cannot be read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from mimi_lightning.data.datamodule import ImageRows, collate
from mimi_lightning.data.decode import read_image
from mimi_lightning.data.images import (
    BILINEAR,
    DecodedPicture,
    ImageFiles,
    TestView,
    TrainView,
    mirror,
    mirrored,
    resize_window,
    resized_size,
)
from mimi_lightning.errors import DatasetError


def noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def file(tmp_path) -> Path:
    noise(120, 90).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture
def whole(file):
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((120, 90), 60, (80, 60)),
        ((90, 120), 60, (60, 80)),
        ((120, 90), 100, (120, 90)),
        ((120, 90), 90, (120, 90)),
        ((1024, 768), 512, (682, 512)),  # of 682.67, as torchvision cuts it
        ((768, 1024), 512, (512, 682)),
    ],
)
def test_adaptive_resize_only_shrinks(size, side, expected):
    assert resized_size(size, side) == expected
    assert resize_window(Image.new("RGB", size), expected, (0, 0, *expected)).size == expected


def test_resizing_is_bilinear_with_antialiasing_columns_first():
    picture = noise(1024, 768)
    resized = resize_window(picture, (682, 512), (0, 0, 682, 512))
    assert resized == picture.resize((682, 768), BILINEAR).resize((682, 512), BILINEAR)
    direct = np.asarray(picture.resize((682, 512), BILINEAR), int)
    assert np.abs(np.asarray(resized, int) - direct).max() <= 1


@settings(deadline=None, derandomize=True, max_examples=80)
@given(st.integers(33, 200), st.integers(33, 200), st.sampled_from([32, 24, 33]), st.data())
def test_a_window_has_the_pixels_of_the_whole(width, height, side, data):
    size = resized_size((width, height), side)
    left, top = (data.draw(st.integers(0, extent - 1)) for extent in size)
    right, bottom = data.draw(st.integers(left + 1, size[0])), data.draw(st.integers(top + 1, size[1]))
    picture = noise(width, height)
    whole = resize_window(picture, size, (0, 0, *size))
    assert resize_window(picture, size, (left, top, right, bottom)) == whole.crop((left, top, right, bottom))


@pytest.mark.parametrize("size", [(1024, 768), (768, 1024), (1280, 960), (2048, 1365), (513, 3000)])
def test_a_training_crop_has_the_pixels_of_the_whole(size):
    picture, (width, height) = noise(*size), resized_size(size, 512)
    whole = resize_window(picture, (width, height), (0, 0, width, height))
    for left, top in [(0, 0), (width - 384, height - 384), ((width - 384) // 2, 77)]:
        box = (left, top, left + 384, top + 384)
        assert resize_window(picture, (width, height), box) == whole.crop(box)


def test_the_training_view_is_a_crop_that_its_seed_decides(file, whole):
    view, picture = TrainView(resize=512, crop=64), DecodedPicture(file, 512)
    windows = whole.unfold(1, 64, 1).unfold(2, 64, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    crops = [view(picture, seed) for seed in range(12)]
    assert all(c.shape == (3, 64, 64) and c.dtype == torch.uint8 for c in crops)
    assert all((windows == c).flatten(1).all(1).any() for c in crops)
    assert torch.equal(crops[3], view(picture, 3))
    assert not torch.equal(crops[3], view(picture, 4))


def test_half_of_the_draws_are_mirrored_and_no_test_picture():
    seeds = torch.from_numpy(np.random.default_rng(0).integers(0, 2**32, 4000))
    flips = mirrored(seeds)
    assert flips.tolist() == [mirrored(seed) for seed in seeds.tolist()]
    assert 0.47 < flips.double().mean() < 0.53
    assert mirrored(0) == 0


def test_mirroring_a_batch_mirrors_each_view_by_its_own_seed():
    image = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    flipped = next(seed for seed in range(100) if mirrored(seed))
    batch = mirror(image.clone(), torch.tensor([0, flipped]))
    assert torch.equal(batch[0], image[0])
    assert torch.equal(batch[1], image[1].flip(-1))


def test_the_test_view_is_the_whole_picture(file, whole):
    assert torch.equal(TestView(768)(DecodedPicture(file, 768)), whole)
    assert TestView(45)(DecodedPicture(file, 45)).shape == (3, 45, 60)


def test_a_batch_is_the_same_from_a_worker(file):
    rows = ImageRows(ImageFiles([file] * 3, 512), {"mos": np.arange(3.0)}, TrainView(512, 64))
    batches = [
        next(iter(DataLoader(rows, batch_sampler=[[(2, 5), (0, 6)]], collate_fn=collate, num_workers=workers)))
        for workers in (0, 1)
    ]
    expected = torch.stack([TrainView(512, 64)(DecodedPicture(file, 512), seed) for seed in (5, 6)])
    for batch in batches:
        assert torch.equal(batch["image"], expected)
        assert batch["mos"].tolist() == [2, 0]
        assert batch["row"].tolist() == [2, 0]
        assert batch["broken"] == []


def test_sizes_are_told_without_decoding(file):
    files = ImageFiles([file], 45)
    assert files.size(0) == files[0].size == (60, 45)


def test_grey_and_palette_pictures_become_rgb(tmp_path):
    Image.new("L", (70, 70), 9).save(tmp_path / "grey.png")
    Image.new("P", (70, 70), 1).save(tmp_path / "palette.png")
    files = ImageFiles([tmp_path / "grey.png", tmp_path / "palette.png"], 768)
    assert {TestView(768)(files[row]).shape for row in range(2)} == {(3, 70, 70)}


def test_unreadable_pictures_are_named(file, tmp_path):
    with pytest.raises(DatasetError, match=r"gone\.png is missing"):
        read_image(tmp_path / "gone.png")
    broken = tmp_path / "broken.png"
    broken.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(DatasetError, match=r"broken\.png cannot be read"):
        read_image(broken)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(DatasetError, match=r"text\.png cannot be read"):
        read_image(text)
    with pytest.raises(DatasetError, match=r"text\.png cannot be read"):
        ImageFiles([text], 768).size(0)
    with pytest.raises(DatasetError, match=r"120x90 .* Set view\.train\.crop to 90 or less"):
        TrainView(512, 100)(DecodedPicture(file, 512), 0)
