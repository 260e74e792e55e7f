"""Setting up datasets of many rows: time and memory against their numbers, from the label files to batches.

The rows are fabricated photographs in a CSV, their files empty: what is timed depends on names, labels and parts, not
on pixels.
    make bench-rows
"""

import resource
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.harness import Case, Fact, core, main
from mimi_lightning.data.datamodule import MixedDataModule
from mimi_lightning.data.images import TestView, TrainView

SIZES = ((1, 10_000), (1, 100_000), (1, 1_000_000), (100, 10_000))  # datasets, and rows of each
APIECE = 1000  # files of a folder


def write_dataset(folder: Path, rows: int) -> None:
    """A label file of so many photographs, and empty files in their places."""
    names = [f"{row // APIECE:04}/{row:07}.png" for row in range(rows)]
    for place in range(0, rows, APIECE):
        (folder / f"{place // APIECE:04}").mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    mos = np.random.default_rng(0).uniform(1, 5, rows).round(4)
    pd.DataFrame({"image": names, "mos": mos}).to_csv(folder / "labels.csv", index=False)


def make(root: Path, datasets: int) -> MixedDataModule:
    table = {"file": "labels.csv", "image": "image", "mos": "mos"}
    reader, names = "mimi_lightning.data.owners.table.read", [f"many{number:02}" for number in range(datasets)]
    nodes = {
        name: {"reader": reader, "folder": name, "url": "", "range": [1, 5], "table": table, "quota": 32}
        for name in names
    }
    splits = {"protocol": "generated", "store": root / "splits", "seed": 1}
    views = {"train_view": TrainView(512, 384), "test_view": TestView(768)}
    return MixedDataModule(nodes, 1, 0, root=root, splits=splits, workers=0, **views)


def cases(quick: bool) -> Iterator[Case | Fact]:
    for datasets, rows in ((1, 1000), (3, 100)) if quick else SIZES:
        with tempfile.TemporaryDirectory() as folder:
            root, before = Path(folder), peak()
            ready = make(root, datasets)
            for node in ready.datasets.values():
                write_dataset(root / node["folder"], rows)
            ready.setup()

            def anew(root: Path = root, datasets: int = datasets) -> None:
                shutil.rmtree(root / "splits")
                make(root, datasets).setup()

            def draw(ready: MixedDataModule = ready) -> None:
                deque(ready.train_dataloader().batch_sampler, maxlen=0)

            again = core(lambda root=root, datasets=datasets: make(root, datasets).setup())
            name = f"{datasets} x {rows:,} rows"
            yield Case(name, {"set up": core(anew), "set up again": again, "draw an epoch": core(draw)})
            yield Fact(f"{name}, memory added to the peak", f"{peak() - before:.2f} GB")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main(cases, threads=1)
