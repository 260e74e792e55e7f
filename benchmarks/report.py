"""The report of fabricated models over ten splits of the six datasets at full size: seconds, memory, size of the page.

python benchmarks/report.py [--models 3] [--keep DIR]
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from mimi_lightning.config import SPLITS
from mimi_lightning.evaluation.findings import make_report
from mimi_lightning.evaluation.report import write_report
from mimi_lightning.evaluation.study import collect, described_datasets

MIX = "live", "csiq", "bid", "clive", "koniq", "kadid"
ARTIFICIAL = "live", "csiq", "kadid"  # the distortions of their pictures are known
DISTORTIONS = 25


def fabricate(number: int, split: int, dataset: str, images: int, ends: tuple[float, float]) -> pd.DataFrame:
    """A test part as a model of noise sees it; the same images and labels for every model."""
    rng = np.random.default_rng([split, MIX.index(dataset)])
    rows = np.sort(rng.permutation(images)[: images // 5])
    quality = np.random.default_rng(MIX.index(dataset)).beta(3, 2, images)[rows]
    low, high = ends
    mos = low + (high - low) * np.clip(quality + rng.normal(scale=0.05, size=len(rows)), 0, 1)
    proxy = 4 * quality - 2 + np.random.default_rng([number, split]).normal(scale=0.3 + 0.1 * number, size=len(rows))
    known = dataset in ARTIFICIAL
    table = pd.DataFrame({"image": [f"folder/picture_{row:05}.png" for row in rows], "mos": mos, "proxy": proxy})
    return table.assign(
        **{"run": f"study/model{number}/split{split:02}", "dataset": dataset, "split": split, "part": "test"},
        prediction=low + (high - low) * (proxy + 2) / 4,
        aligned=4 * (mos - low) / (high - low) - 2,
        distortion=[f"distortion {row % DISTORTIONS}" for row in rows] if known else "",
        level=rows % 5 + 1 if known else np.nan,
    )


def write_tables(folder: Path, models: int) -> list[Path]:
    """Write a table a model."""
    known, files = described_datasets(), []
    for number in range(models):
        parts = [
            fabricate(number, split, name, known[name]["images"], known[name]["range"])
            for split in SPLITS
            for name in MIX
        ]
        files.append(folder / f"model{number}.csv")
        pd.concat(parts).to_csv(files[-1], index=False)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=3, help="how many (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where tables and report are left")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        files = write_tables(folder, arguments.models)
        wall, cores = time.perf_counter(), time.process_time()
        made = make_report(collect(files), progress=True)
        numbers = time.perf_counter() - wall
        write_report(made, folder / "report")
        print(f"{len(made.study.tested):,} rows: {time.perf_counter() - wall:.0f} s, {numbers:.0f} s of it the numbers")
        print(f"time of cores {time.process_time() - cores:.0f} s")
        print(f"page {(folder / 'report' / 'report.html').stat().st_size / 1e6:.1f} MB")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


if __name__ == "__main__":
    main()
