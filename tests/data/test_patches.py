"""Patches of the grid, against all patches cut out at once."""

import numpy as np
import pytest
import torch
from PIL import Image

from mimi_lightning.data.patches import TestPatches, TrainPatches, grid, reflect
from mimi_lightning.errors import DatasetError


@pytest.fixture
def picture(tmp_path):
    def make(width, height):
        path = tmp_path / f"{width}x{height}.png"
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return make


def all_patches(path, side=224):
    """The plain formulation: unfold the whole picture."""
    whole = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
    step = 48 if max(whole.shape[1:]) >= 1024 else 32
    return whole.unfold(1, side, step).unfold(2, side, step).permute(1, 2, 0, 3, 4).flatten(0, 1)


@pytest.mark.parametrize("size", [(512, 384), (500, 333), (384, 512), (1024, 700), (1023, 700), (700, 1024)])
def test_testing_takes_every_so_manieth_patch(picture, size):
    path = picture(*size)
    patches = all_patches(path)
    assert len(grid(size, 224)) == len(patches)
    step = len(patches) // 15
    expected = patches[[step * i for i in range(15)]]
    assert torch.equal(TestPatches(768, 15)(path), expected)


def test_a_small_grid_is_repeated(picture):
    path = picture(256, 256)
    assert torch.equal(TestPatches(768, 6)(path), all_patches(path)[[0, 1, 2, 3, 0, 1]])


def test_training_takes_patches_that_its_seed_decides(picture):
    path, view = picture(320, 288), TrainPatches(768, 3)
    straight = all_patches(path)
    mirrored = torch.stack([p for p in straight.flip(-1)])  # 320 - 224 is a multiple of 32: the same places
    flips = set()
    for seed in range(12):
        patches = view(path, seed)
        assert patches.shape == (3, 3, 224, 224)
        assert patches.dtype == torch.uint8
        found = [all((source == p).flatten(1).all(1).any() for p in patches) for source in (straight, mirrored)]
        assert sum(found) == 1
        flips.add(found[1])
    assert flips == {True, False}
    assert torch.equal(view(path, 3), view(path, 3))
    assert not torch.equal(view(path, 3), view(path, 4))


def test_pictures_shrink_first(picture):
    assert torch.equal(TestPatches(230, 2)(picture(640, 460)), TestPatches(230, 2)(picture(640, 460)))
    assert len(grid((320, 230), 224)) == 4


def test_all_pictures_share_a_batch():
    assert TestPatches(768, 15).size((640, 480)) == TestPatches(768, 15).size((300, 900))


def test_a_picture_smaller_than_a_patch(picture):
    path = picture(300, 200)
    with pytest.raises(DatasetError, match=r"300x200\.png is 300x200 .* patch of 224 .* data\.small_images=pad"):
        TestPatches(768, 15)(path)
    padded = TestPatches(768, 15, small_images="pad")(path)
    assert padded.shape == (15, 3, 224, 224)
    whole = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
    assert torch.equal(padded[0, :, 12:212], whole[:, :, :224])
    assert torch.equal(padded[0, :, 11], whole[:, 1, :224])
    tiny = reflect(Image.open(picture(5, 4)), 32)
    assert tiny.size == (32, 32)
