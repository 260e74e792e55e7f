"""Writing the six miniature datasets: pictures, hidden quality, labels."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mimi_lightning.data.miniature import photographic, synthetic
from mimi_lightning.data.miniature.contents import cut_contents, deal_contents
from mimi_lightning.data.miniature.picture import Layout, Picture, load, save
from mimi_lightning.data.miniature.ratings import SCALES, make_judge
from mimi_lightning.data.miniature.writers import write_csv
from mimi_lightning.progress import progress_bar

LAYOUTS: dict[str, Layout] = synthetic.LAYOUTS | photographic.LAYOUTS


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
    sources = {name: np.random.default_rng([seed, zlib.crc32(name.encode())]) for name in LAYOUTS}
    plans = {
        name: layout.plan(dealt[name], min(parameters["per_content"], layout.per_content), sources[name])
        for name, layout in LAYOUTS.items()
    }
    judge = make_judge()
    tables = {}
    with progress_bar(progress) as bar:
        task = bar.add_task("Miniature datasets", total=sum(map(len, plans.values())))
        for name, layout in LAYOUTS.items():
            folder = root / layout.folder
            jods = [_make(folder, picture, judge, lambda: bar.advance(task)) for picture in plans[name]]
            pictures = pd.DataFrame([vars(picture) for picture in plans[name]]).assign(dataset=name, jod=jods)
            layout.label(folder, pictures, SCALES[name].grade(np.array(jods), sources[name]))
            tables[name] = pictures[pictures["used"]]
    _write_keys(root, pd.concat(tables.values()))


def _make(folder: Path, picture: Picture, judge: Callable, advance: Callable[[], None]) -> float:
    """Write a picture, and its reference if that is not there yet; judge it as it is stored."""
    save(folder / picture.path, picture.render())
    if not (folder / picture.reference).exists():
        save(folder / picture.reference, picture.content.pixels)
    jod = judge(load(folder / picture.path), picture.content.pixels)
    advance()
    return jod


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
