"""Contents that look alike."""

import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mimi_lightning.data.annotations import complete
from mimi_lightning.data.near import close_pairs, find_near
from mimi_lightning.data.splits import assign_contents
from mimi_lightning.errors import ConfigError

FOLDERS = {"live": "LIVE", "tid": "TID"}


def scene(seed):
    """A picture of some coarse colours, as a photograph from afar."""
    colours = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((192, 144), Image.Resampling.BICUBIC)


@pytest.fixture
def datasets(tmp_path):
    """Three references and their distorted images in one dataset; one of them, smaller and compressed, in another."""
    pytest.importorskip("imagehash")
    tables = []
    for dataset, seeds in {"live": (0, 1, 2), "tid": (3, 1)}.items():
        folder = tmp_path / FOLDERS[dataset]
        folder.mkdir()
        rows = []
        for seed in seeds:
            picture = scene(seed) if dataset == "live" else scene(seed).resize((128, 96))
            picture.save(folder / f"ref{seed}.bmp")
            picture.save(folder / f"img{seed}.jpg", quality=80)
            rows.append({"image": f"img{seed}.jpg", "mos": 1.0 + seed, "reference": f"ref{seed}.bmp"})
        tables.append(complete(pd.DataFrame(rows), dataset, folder))
    return tmp_path, pd.concat(tables, ignore_index=True)


def near(root, table):
    return find_near(table, assign_contents(table, root, FOLDERS), root, FOLDERS, progress=False)


def test_copies_in_another_size_are_found(datasets):
    root, table = datasets
    (said,) = near(root, table)
    assert said.startswith("live/ref1.bmp and tid/ref1.bmp look alike (")
    assert "contents.csv" in said


def test_images_stand_for_references_that_are_not_there(datasets):
    root, table = datasets
    for file in root.glob("TID/*.bmp"):
        file.unlink()
    (said,) = near(root, table)
    assert said.startswith("live/ref1.bmp and tid/img1.jpg look alike (")


def test_contents_that_are_named_as_one_are_one(datasets):
    root, table = datasets
    (root / "contents.csv").write_text("dataset,reference,content\nlive,ref1.bmp,parrots\ntid,ref1.bmp,parrots\n")
    assert near(root, table) == []


def test_what_cannot_be_read_is_left_to_the_check(datasets):
    root, table = datasets
    (root / "TID" / "ref3.bmp").write_text("no picture")
    assert len(find_near(table, table["reference"] + table["dataset"], root, FOLDERS, progress=False)) == 1


def test_pairs_are_those_of_the_plain_formulation(monkeypatch):
    monkeypatch.setattr("mimi_lightning.data.near.ROWS", 7)
    hashes = np.random.default_rng(0).random((20, 16)) < 0.5
    differing = {(a, b): int((hashes[a] != hashes[b]).sum()) for a in range(20) for b in range(a + 1, 20)}
    expected = [(a, b, number) for (a, b), number in differing.items() if number <= 5]
    assert len(expected) > 3
    assert close_pairs(hashes, 5) == expected
    assert close_pairs([], 5) == []


def test_it_says_what_has_to_be_installed(datasets, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(ConfigError, match=r"pip install 'mimi-lightning\[near\]'"):
        near(*datasets)
