"""The report of fabricated models over ten splits of the six datasets at full size: seconds, memory, size of the page.

Then once each, how it grows with datasets and rows.

    make bench-report
"""

import resource
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.harness import Case, Fact, main, wall
from mimi_lightning.config import SPLITS
from mimi_lightning.evaluation.findings import make_report
from mimi_lightning.evaluation.report import write_report
from mimi_lightning.evaluation.study import collect, described_datasets

MIX = "live", "csiq", "bid", "clive", "koniq", "kadid"
ARTIFICIAL = "live", "csiq", "kadid"  # the distortions of their pictures are known
DISTORTIONS = 25
MODELS = 3
TESTED = 5  # one of so many images is tested in a split
GROWTH = ((6, 50_000), (6, 1_000_000), (100, 50_000), (100, 1_000_000))  # datasets, and rows of all splits of a model


class Source(NamedTuple):
    """A dataset: its images, the ends of its scale, and whether the distortions of its pictures are known."""

    images: int
    ends: tuple[float, float]
    known: bool


def published_mix(share: float) -> dict[str, Source]:
    """The six datasets, with a share of their images."""
    described = described_datasets()
    return {
        name: Source(round(share * described[name]["images"]), described[name]["range"], name in ARTIFICIAL)
        for name in MIX
    }


def even_mix(datasets: int, rows: int) -> dict[str, Source]:
    """So many datasets of one size; of every second one the distortions are known."""
    images = TESTED * rows // (datasets * len(SPLITS))
    return {f"dataset{number:02}": Source(images, (1.0, 5.0), number % 2 == 0) for number in range(datasets)}


def fabricate(number: int, split: int, place: int, name: str, source: Source) -> pd.DataFrame:
    """A test part as a model of noise sees it; the same images and labels for every model."""
    rng, images = np.random.default_rng([split, place]), source.images
    rows = np.sort(rng.permutation(images)[: images // TESTED])
    quality = np.random.default_rng(place).beta(3, 2, images)[rows]
    low, high = source.ends
    mos = low + (high - low) * np.clip(quality + rng.normal(scale=0.05, size=len(rows)), 0, 1)
    proxy = 4 * quality - 2 + np.random.default_rng([number, split]).normal(scale=0.3 + 0.1 * number, size=len(rows))
    table = pd.DataFrame({"image": [f"folder/picture_{row:05}.png" for row in rows], "mos": mos, "proxy": proxy})
    return table.assign(
        **{"run": f"study/model{number}/split{split:02}", "dataset": name, "split": split, "part": "test"},
        prediction=low + (high - low) * (proxy + 2) / 4,
        aligned=4 * (mos - low) / (high - low) - 2,
        distortion=[f"distortion {row % DISTORTIONS}" for row in rows] if source.known else "",
        level=rows % 5 + 1 if source.known else np.nan,
    )


def write_tables(folder: Path, models: int, splits: Sequence[int], mix: Mapping[str, Source]) -> list[Path]:
    """Write a table a model."""
    files = []
    for number in range(models):
        parts = [
            fabricate(number, split, place, name, source)
            for split in splits
            for place, (name, source) in enumerate(mix.items())
        ]
        files.append(folder / f"model{number}.csv")
        pd.concat(parts).to_csv(files[-1], index=False)
    return files


def cases(quick: bool) -> Iterator[Case | Fact]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        models, splits, share = (1, SPLITS[:1], 0.1) if quick else (MODELS, SPLITS, 1)
        files = write_tables(folder, models, splits, published_mix(share))
        made = make_report(collect(files))
        page = folder / "report" / "report.html"
        sides = {
            "numbers": wall(lambda: make_report(collect(files))),
            "figures and page": wall(lambda: write_report(made, page.parent)),
        }
        yield Case(f"{len(files)} tables, {len(made.study.tested):,} rows", sides)
        yield Fact("page", f"{page.stat().st_size / 1e6:.1f} MB")
        yield Fact("peak memory", f"{peak():.1f} GB")
    for datasets, rows in ((7, 2_100),) if quick else GROWTH:
        yield grown(datasets, rows)


def grown(datasets: int, rows: int) -> Fact:
    """The report of one model, once."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = write_tables(folder, 1, SPLITS, even_mix(datasets, rows))
        begin = time.perf_counter()
        made = make_report(collect(files))
        middle = time.perf_counter()
        write_report(made, folder / "report")
        end, size = time.perf_counter(), (folder / "report" / "report.html").stat().st_size
    told = f"numbers {middle - begin:.1f} s, figures and page {end - middle:.1f} s, {size / 1e6:.1f} MB"
    return Fact(f"{datasets} datasets, {rows:,} rows", f"{told}, peak memory until now {peak():.1f} GB")


def peak() -> float:
    """Largest memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main(cases)
