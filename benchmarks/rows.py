"""Setting up a dataset of many rows: seconds and memory against the number of rows, from the label file to batches.

The rows are fabricated photographs in a CSV, all of them links to one small picture: what is timed depends on names,
labels and parts, not on pixels. Every number of rows runs in a process of its own, so that peak memory is its own.

    python benchmarks/rows.py [--rows 10000 100000 1000000]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

FOLDER = "many"  # files of a folder; a million in one would time the disk
QUOTA = 32


def write_dataset(root: Path, rows: int) -> None:
    """A label file of so many photographs, and the photographs, a thousand a folder."""
    folder = root / FOLDER
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(folder / "one.png")
    names = [f"{row // 1000:04}/{row:07}.png" for row in range(rows)]
    for place in range(0, rows, 1000):
        (folder / f"{place // 1000:04}").mkdir()
    for name in names:
        os.link(folder / "one.png", folder / name)
    mos = np.random.default_rng(0).uniform(1, 5, rows).round(4)
    pd.DataFrame({"image": names, "mos": mos}).to_csv(folder / "labels.csv", index=False)


@contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - start


def measure(root: Path) -> dict[str, float]:
    """Seconds of every step, and the peak memory of all of them in GB."""
    from mimi_lightning.data.annotations import check_range, read_annotations
    from mimi_lightning.data.partitions import Protocol, assign_parts
    from mimi_lightning.data.sampling import MixedBatchSampler

    before = memory()
    seconds: dict[str, float] = {}
    protocol, folders = Protocol("generated", root / "splits", 1), {FOLDER: FOLDER}
    options = {"file": "labels.csv", "image": "image", "mos": "mos"}
    with timed(seconds, "labels"):
        table = read_annotations(FOLDER, "mimi_lightning.data.owners.table.read", root / FOLDER, "", options)
        check_range(FOLDER, table["mos"], (1, 5))
    with timed(seconds, "draw"):
        assign_parts(table, root, folders, 1, protocol)
    with timed(seconds, "read again"):
        parts = assign_parts(table, root, folders, 1, protocol).table
    with timed(seconds, "batches"):
        train = np.flatnonzero(parts["part"] == "train")
        sampler = MixedBatchSampler({FOLDER: train}, {FOLDER: QUOTA}, seed=0, steps=None)
        list(islice(iter(sampler), 100))
    return {**seconds, "GB": memory() - before}


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
            write_dataset(Path(folder), rows)
            words = [sys.executable, __file__, "--measure", folder]
            found = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
        if not number:
            print("| rows |", " | ".join(found), "|")
            print("|---" * (len(found) + 1) + "|")
        print(f"| {rows:,} |", " | ".join(f"{value:.2f}" for value in found.values()), "|", flush=True)


if __name__ == "__main__":
    main()
