"""Writing the six miniature datasets: pictures, hidden quality, labels."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from itertools import starmap
from pathlib import Path

import numpy as np
import pandas as pd

from mimi_lightning.data.miniature import photographic, synthetic
from mimi_lightning.data.miniature.contents import INSTALL, cut_contents, deal_contents
from mimi_lightning.data.miniature.coverage import COVERAGES
from mimi_lightning.data.miniature.picture import Layout, Picture, load, save
from mimi_lightning.data.miniature.ratings import make_judge
from mimi_lightning.data.miniature.writers import write_csv
from mimi_lightning.errors import DatasetError
from mimi_lightning.progress import progress_bar

LAYOUTS: dict[str, Layout] = synthetic.LAYOUTS | photographic.LAYOUTS
WORTH_A_WORKER = 400  # pictures; another process takes as long to start as 150 take to make
IDLE = 10  # seconds after which processes without work end


def write_datasets(root: Path, photos: Path | None, parameters: Mapping[str, object], progress: bool) -> None:
    """Write the six datasets, `contents.csv`, `scenes.csv` and `hidden_quality.csv`.

    Args:
        root: an empty folder.
        photos: as `make_miniature`.
        parameters: those of `make_miniature` by name.
        progress: show a progress bar.

    Raises:
        DatasetError: a package is missing, or the photographs do not suffice.
    """
    contents = cut_contents(photos, parameters["side"])
    seed = parameters["seed"]
    dealt = deal_contents(contents, parameters["references"], parameters["scenes"], seed)
    coverage = COVERAGES[parameters["coverage"]]
    sources = {name: np.random.default_rng([seed, zlib.crc32(name.encode())]) for name in LAYOUTS}
    plans = {
        name: layout.plan(
            dealt[name], min(parameters["per_content"], layout.per_content), coverage.strengths[name], sources[name]
        )
        for name, layout in LAYOUTS.items()
    }
    drawn = [(name, picture) for name, plan in plans.items() for picture in plan]
    jods = _make_all([(root / LAYOUTS[name].folder, picture) for name, picture in drawn], progress)
    pictures = pd.DataFrame([vars(picture) | {"dataset": name} for name, picture in drawn]).assign(jod=jods)
    for name, rows in pictures.groupby("dataset", sort=False):
        grades = coverage.scales[name].grade(rows["jod"].to_numpy(), sources[name])
        LAYOUTS[name].label(root / LAYOUTS[name].folder, rows, grades)
    _write_keys(root, pictures[pictures["used"]])


def _make_all(pictures: list[tuple[Path, Picture]], progress: bool) -> list[float]:
    """Write pictures below their folders, and references; judge the pictures, on as many cores as pay."""
    try:
        from joblib import Parallel, cpu_count, delayed
    except ImportError as error:
        raise DatasetError(f"The miniature datasets need {error.name}: {INSTALL}") from error
    distorted = [(folder, picture) for folder, picture in pictures if picture.reference != picture.path]
    for file, content in {folder / picture.reference: picture.content for folder, picture in distorted}.items():
        save(file, content.pixels)
    workers = min(cpu_count(), 1 + len(pictures) // WORTH_A_WORKER)
    jods = Parallel(workers, return_as="generator", idle_worker_timeout=IDLE)(starmap(delayed(_make), pictures))
    with progress_bar(progress) as bar:
        return list(bar.track(jods, len(pictures), description="Miniature datasets"))


def _make(folder: Path, picture: Picture) -> float:
    """Write a picture; judge it as it is stored."""
    save(folder / picture.path, picture.render())
    return make_judge()(load(folder / picture.path), picture.content.pixels)


def _write_keys(root: Path, pictures: pd.DataFrame) -> None:
    """Write what no label file says: the hidden quality, which photographs show the same content, and scenes."""
    pictures = pictures.sort_values(["dataset", "path"])
    quality = pictures.rename(columns={"path": "image", "jod": "hidden_quality"})
    write_csv(root / "hidden_quality.csv", quality[["dataset", "image", "hidden_quality"]])
    photographs = pictures[pictures["path"] == pictures["reference"]]
    names = photographs.assign(content=[content.name for content in photographs["content"]])
    write_csv(root / "contents.csv", names[["dataset", "reference", "content"]])
    shown = pictures.assign(scenes=[content.scenes for content in pictures["content"]])
    scenes = shown.loc[shown["scenes"] != "", ["dataset", "reference", "scenes"]]
    write_csv(root / "scenes.csv", scenes.drop_duplicates())
