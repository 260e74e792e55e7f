"""The report of fabricated models over ten splits of the six datasets at full size: seconds, memory, size of the page.

make bench-report
"""

import resource
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

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


def write_tables(folder: Path, models: int, splits: Sequence[int], share: float) -> list[Path]:
    """Write a table a model, of a share of all images."""
    known, files = described_datasets(), []
    for number in range(models):
        parts = [
            fabricate(number, split, name, round(share * known[name]["images"]), known[name]["range"])
            for split in splits
            for name in MIX
        ]
        files.append(folder / f"model{number}.csv")
        pd.concat(parts).to_csv(files[-1], index=False)
    return files


def cases(quick: bool) -> Iterator[Case | Fact]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = write_tables(folder, 1, SPLITS[:1], 0.1) if quick else write_tables(folder, MODELS, SPLITS, 1)
        made = make_report(collect(files))
        page = folder / "report" / "report.html"
        sides = {
            "numbers": wall(lambda: make_report(collect(files))),
            "figures and page": wall(lambda: write_report(made, page.parent)),
        }
        yield Case(f"{len(files)} tables, {len(made.study.tested):,} rows", sides)
        yield Fact("page", f"{page.stat().st_size / 1e6:.1f} MB")
        yield Fact("peak memory", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


if __name__ == "__main__":
    main(cases)
