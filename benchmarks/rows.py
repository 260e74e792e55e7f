"""Setting up a dataset of many rows: time and memory against the number of rows, from the label file to batches.

The rows are fabricated photographs in a CSV, their files empty: what is timed depends on names, labels and parts, not
on pixels. Every number of rows runs in a process of its own, so that peak memory is its own.

    python benchmarks/rows.py [--rows 10000 100000 1000000]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

NAME = FOLDER = "many"
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


@contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.process_time()  # not the clock on the wall: others may use this machine as well
    yield
    seconds[step] = time.process_time() - start


def measure(root: Path) -> dict[str, float]:
    """Seconds of one core of every step, and the peak memory that they add, in GB."""
    from mimi_lightning.data.datamodule import MixedDataModule
    from mimi_lightning.data.images import TestView, TrainView

    table = {"file": "labels.csv", "image": "image", "mos": "mos"}
    node = {"reader": "mimi_lightning.data.owners.table.read", "folder": FOLDER, "url": "", "range": [1, 5]}
    splits = {"protocol": "generated", "store": root / "splits", "seed": 1}

    def module() -> MixedDataModule:
        views = {"train_view": TrainView(512, 384), "test_view": TestView(768)}
        return MixedDataModule(
            {NAME: {**node, "table": table, "quota": 32}}, 1, 0, root=root, splits=splits, workers=0, **views
        )

    before, seconds = memory(), {}
    with timed(seconds, "set up, s"):
        module().setup()
    again = module()
    with timed(seconds, "set up again, s"):
        again.setup()
    with timed(seconds, "draw an epoch, s"):
        deque(again.train_dataloader().batch_sampler, maxlen=0)
    return {**seconds, "memory, GB": memory() - before}


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="(%(default)s)")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    for number, rows in enumerate(arguments.rows):
        with tempfile.TemporaryDirectory() as folder:
            write_dataset(Path(folder) / FOLDER, rows)
            words = [sys.executable, __file__, "--measure", folder]
            found = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
        if not number:
            print("| rows |", " | ".join(found), "|")
            print("|---" * (len(found) + 1) + "|")
        print(f"| {rows:,} |", " | ".join(f"{value:.2f}" for value in found.values()), "|", flush=True)


if __name__ == "__main__":
    main()
