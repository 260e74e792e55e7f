"""Patches of the grid, against all patches cut out at once."""

import numpy as np
import pytest
import torch
from PIL import Image

from mimi_lightning.data.images import DecodedPicture, mirror
from mimi_lightning.data.patches import TestPatches, TrainPatches, grid, reflect
from mimi_lightning.errors import DatasetError


@pytest.fixture
def picture(tmp_path):
    def make(width, height, resize=768):
        path = tmp_path / f"{width}x{height}.png"
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return DecodedPicture(path, resize)

    return make


def all_patches(picture, side=224, flip=False):
    """The plain formulation: unfold the whole picture, or its mirror image."""
    whole = torch.from_numpy(np.array(Image.open(picture.path))).permute(2, 0, 1)
    whole = whole.flip(-1) if flip else whole
    step = 48 if max(whole.shape[1:]) >= 1024 else 32
    return whole.unfold(1, side, step).unfold(2, side, step).permute(1, 2, 0, 3, 4).flatten(0, 1)


@pytest.mark.parametrize("size", [(512, 384), (500, 333), (384, 512), (1024, 700), (1023, 700), (700, 1024)])
def test_testing_takes_every_so_manieth_patch(picture, size):
    opened = picture(*size)
    patches = all_patches(opened)
    assert len(grid(size, 224)) == len(patches)
    step = len(patches) // 15
    expected = patches[[step * i for i in range(15)]]
    assert torch.equal(TestPatches(768, 15)(opened), expected)


def test_a_small_grid_is_repeated(picture):
    opened = picture(256, 256)
    assert torch.equal(TestPatches(768, 6)(opened), all_patches(opened)[[0, 1, 2, 3, 0, 1]])


def test_training_takes_patches_that_its_seed_decides(picture):
    opened, view = picture(330, 288), TrainPatches(768, 3)
    straight, turned = all_patches(opened), all_patches(opened, flip=True)
    flips = set()
    for seed in range(12):
        patches = mirror(view(opened, seed)[None].clone(), torch.tensor([seed]))[0]
        assert patches.shape == (3, 3, 224, 224)
        assert patches.dtype == torch.uint8
        found = [all((source == p).flatten(1).all(1).any() for p in patches) for source in (straight, turned)]
        assert sum(found) == 1
        flips.add(found[1])
    assert flips == {True, False}
    assert torch.equal(view(opened, 3), view(opened, 3))
    assert not torch.equal(view(opened, 3), view(opened, 4))


def test_pictures_shrink_first(picture):
    opened = picture(640, 460, resize=230)
    assert torch.equal(TestPatches(230, 1)(opened)[0], opened.window((0, 0, 224, 224)))
    assert len(grid(opened.size, 224)) == 4


def test_all_pictures_share_a_batch():
    assert TestPatches(768, 15).size((640, 480)) == TestPatches(768, 15).size((300, 900))


def test_a_picture_smaller_than_a_patch(picture):
    opened = picture(300, 200)
    with pytest.raises(DatasetError, match=r"300x200\.png is 300x200 .* patch of 224 .* view\.train\.small_images=pad"):
        TestPatches(768, 15)(opened)
    padded = TestPatches(768, 15, small_images="pad")(opened)
    assert padded.shape == (15, 3, 224, 224)
    whole = torch.from_numpy(np.array(Image.open(opened.path))).permute(2, 0, 1)
    assert torch.equal(padded[0, :, 12:212], whole[:, :, :224])
    assert torch.equal(padded[0, :, 11], whole[:, 1, :224])
    assert reflect(torch.zeros(3, 4, 5, dtype=torch.uint8), 32).shape == (3, 32, 32)
