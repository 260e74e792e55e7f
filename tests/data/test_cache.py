"""The decoded cache: the pixels of the files bit for bit, built once, whole or not at all."""

import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mimi_lightning.data import cache_build
from mimi_lightning.data.cache import PixelFile
from mimi_lightning.data.cache_build import ensure, open_cache
from mimi_lightning.data.images import ImageFiles, TestView, TrainView
from mimi_lightning.errors import DatasetError

RESIZE = 64


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    for i, size in enumerate([(120, 90), (90, 120), (64, 80), (200, 65), (131, 97)]):
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / f"{i}.{'jpg' if i % 2 else 'png'}")
    return tmp_path


def images(root):
    return sorted(path.name for path in (root / "set").iterdir())


def build(root):
    return ensure(root / "cache" / "set-64.pixels", root / "set", images(root), RESIZE)


def opened(root):
    table = pd.DataFrame({"dataset": "set", "image": images(root)})
    files = ImageFiles([root / "set" / image for image in table["image"]], RESIZE)
    return files, open_cache(table, root, {"set": "set"}, files, root / "cache")


def left(root):
    return sorted(path.name for path in (root / "cache").iterdir() if not path.name.endswith(".lock"))


def test_pixels_are_those_of_the_files_bit_for_bit(root):
    files, cached = opened(root)
    for row in range(len(files)):
        assert cached.size(row) == files.size(row) == cached[row].size
        assert torch.equal(TestView(RESIZE)(cached[row]), TestView(RESIZE)(files[row]))
        for seed in range(5):
            view = TrainView(RESIZE, 48)
            assert torch.equal(view(cached[row], seed), view(files[row], seed))


def test_pictures_too_small_to_be_shrunk_are_taken_from_a_larger_cache(root, monkeypatch):
    Image.radial_gradient("L").resize((64, 70)).convert("RGB").save(root / "set" / "5.png")
    alone = build(root)
    larger = ensure(root / "larger" / "set-80.pixels", root / "set", images(root), 80)
    Image.new("RGB", (64, 70), (1, 2, 3)).save(root / "set" / "2.png")  # too late for the larger one
    decoded = []
    load = ImageFiles.__getitem__
    monkeypatch.setattr(ImageFiles, "__getitem__", lambda self, row: decoded.append(row) or load(self, row))
    beside = ensure(root / "beside" / "set-64.pixels", root / "set", images(root), RESIZE, larger)
    assert sorted(decoded) == [0, 1, 2, 3, 4]
    assert beside.read(beside.images["2.png"])[:, 5, 5].tolist() == [1, 2, 3]
    for image in ("0.png", "5.png"):
        assert np.array_equal(beside.read(beside.images[image]), alone.read(alone.images[image]))


def test_it_is_built_once(root):
    first = build(root).built
    assert build(root).built == first
    assert left(root) == ["set-64.pixels"]


def test_a_subset_of_the_images_is_served_as_well(root):
    first = build(root)
    assert ensure(first.path, root / "set", images(root)[:2], RESIZE).built == first.built


def test_a_changed_image_is_decoded_again_and_no_other(root, monkeypatch):
    first = build(root)
    Image.new("RGB", (70, 70), (1, 2, 3)).save(root / "set" / "0.png")
    decoded = []
    load = ImageFiles.__getitem__
    monkeypatch.setattr(ImageFiles, "__getitem__", lambda self, row: decoded.append(row) or load(self, row))
    second = build(root)
    assert second.built != first.built
    assert decoded == [0]
    assert second.read(second.images["0.png"])[:, 5, 5].tolist() == [1, 2, 3]
    assert np.array_equal(second.read(second.images["2.png"]), first.read(first.images["2.png"]))


def test_a_changed_image_of_the_same_length_is_told_by_its_time(root):
    path = root / "set" / "0.bmp"
    Image.new("RGB", (70, 70)).save(path)
    build(root)
    before = path.stat()
    Image.new("RGB", (70, 70), (1, 2, 3)).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert path.stat().st_size == before.st_size
    second = build(root)
    assert second.read(second.images["0.bmp"])[:, 5, 5].tolist() == [1, 2, 3]


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_a_truncated_cache_is_found_and_rebuilt(root, keep):
    path = build(root).path
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(DatasetError, match="no complete cache"):
        PixelFile(path)
    assert build(root).path.read_bytes()[:1000] == data[:1000]


def test_another_decoder_or_size_is_another_cache(root, monkeypatch):
    first = build(root)
    monkeypatch.setattr(cache_build.PIL, "__version__", "0")
    assert build(root).built != first.built


def test_a_broken_image_is_left_to_its_file(root):
    (root / "set" / "0.png").write_bytes(b"no picture")
    _, cached = opened(root)
    with pytest.raises(DatasetError, match=r"0\.png cannot be read"):
        cached[0]
    assert cached[1].size == (64, 85)


def test_a_full_disk_is_said_and_the_old_cache_stays(root, monkeypatch):
    first = build(root)
    Image.new("RGB", (70, 70)).save(root / "set" / "0.png")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match=r"No space left on device.*still there(.|\n)*data\.cache=DIR"):
        build(root)
    assert PixelFile(first.path).built == first.built
    assert left(root) == ["set-64.pixels"]


def test_too_little_room_is_said_before_anything_is_written(root, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(cache_build.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DatasetError, match="No room for the decoded cache: 5 pictures of set-64 need"):
        build(root)
    assert left(root) == []


def _build_in_process(root, queue):
    queue.put(build(root).built)


def test_many_processes_build_it_once(root):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_build_in_process, args=(root, queue)) for _ in range(6)]
    for process in processes:
        process.start()
    built = {queue.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(built) == 1


SLOW = """
import sys, time
from pathlib import Path
from mimi_lightning.data import cache_build
load = cache_build._load
def slow(*arguments):
    print("decoding", flush=True)
    time.sleep(0.5)
    return load(*arguments)
cache_build._load = slow
root = Path(sys.argv[1])
names = sorted(path.name for path in (root / "set").iterdir())
cache_build.ensure(root / "cache" / "set-64.pixels", root / "set", names, 64)
"""


def test_a_build_that_is_killed_leaves_nothing_that_counts(root):
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(root)], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "set-64.pixels" not in left(root)
    build(root)
    assert left(root) == ["set-64.pixels"]


def test_a_spawned_worker_maps_the_same_build_or_says_so(root):
    first = build(root)
    copy = pickle.loads(pickle.dumps(first))
    assert np.array_equal(copy.pixels, first.pixels)
    assert len(pickle.dumps(first)) < 500
    data = pickle.dumps(first)
    Image.new("RGB", (70, 70)).save(root / "set" / "0.png")
    build(root)
    with pytest.raises(DatasetError, match="rebuilt"):
        pickle.loads(data)
    assert first.read(first.images["1.jpg"]).shape == (3, 85, 64)  # still mapped
