"""Partitions that others published: the lists of LIQE (and MIMI-CLIP), those of MIMI-CNN, and the owners' own.

Every row of a list is checked against the annotations, which come from the owner's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from mimi_lightning.config import SPLITS
from mimi_lightning.data.owners import koniq
from mimi_lightning.data.owners.folder import leaves_folder
from mimi_lightning.data.splits import SPLIT_COLUMNS
from mimi_lightning.errors import DatasetError

LISTED = {  # dataset: its folder and its name in the lists
    "live": ("databaserelease2", "live"),
    "csiq": ("CSIQ", "csiq"),
    "bid": ("BID", "bid"),
    "clive": ("ChallengeDB_release", "clive"),
    "koniq": ("koniq-10k", "koniq10k"),
    "kadid": ("kadid10k", "kadid10k"),
}
OFFICIAL: dict[str, Callable[[Path], pd.DataFrame]] = {"koniq": koniq.read_official_parts}
NAMED = 5  # faults in one message


@dataclass(frozen=True)
class Format:
    """How authors write their lists.

    Args:
        home: folder of all their lists.
        file: name of a list, with {name} of the dataset and {part}.
        words: how the files call train, val and test.
        columns: in a row, separated by tabs; path and mos come first.
        decimals: of the scores, as far as they agree with the owners'.
        labels: whether distortion and scenes follow path and mos.
    """

    home: str
    file: str
    words: dict[str, str]
    columns: int
    decimals: int
    labels: bool


FORMATS = {
    "liqe": Format(
        "IQA_Database",
        "{name}_{part}_clip.txt",
        {"train": "train", "val": "val", "test": "test"},
        columns=6,
        decimals=4,  # they print six, but turn LIVE's scores by a maximum that its owners round to four
        labels=True,
    ),
    "mimi_cnn": Format(
        "SampledDataSplit10",
        "{name}_{part}.txt",
        {"train": "train", "val": "valid", "test": "test"},
        columns=4,
        decimals=3,
        labels=False,
    ),
}


def read_official(annotations: pd.DataFrame, folder: Path) -> pd.DataFrame | None:
    """Read the partition that a dataset's owner publishes, the same for all splits; None when there is none.

    Args:
        annotations: of one dataset.
        folder: of that dataset.

    Returns:
        Columns image, split01..split10; None in them for an image without a part.

    Raises:
        DatasetError: the owner's file is missing or knows an image that is not in the folder.
    """
    dataset = annotations["dataset"].iloc[0]
    if dataset not in OFFICIAL:
        return None
    parts = OFFICIAL[dataset](folder).set_index("image")["part"]
    strangers = parts.index.difference(annotations["image"])
    if len(strangers):
        raise DatasetError(f"The official partition in {folder} names {strangers[0]}, which is not there.")
    return _one_partition(annotations, annotations["image"].map(parts))


def read_own(annotations: pd.DataFrame) -> pd.DataFrame | None:
    """Take the partition that a dataset's own table brings, the same for all splits; as `read_official`."""
    return _one_partition(annotations, annotations["part"]) if annotations["part"].any() else None


def read_lists(
    annotations: pd.DataFrame, folder: Path, protocol: str, lists: Path, splits: Iterable[int] = SPLITS
) -> pd.DataFrame | None:
    """Read the published lists of one dataset; None when the authors did not list it.

    Args:
        annotations: of one dataset.
        folder: of that dataset.
        protocol: liqe or mimi_cnn.
        lists: the authors' folder, or the one above it.
        splits: which of them are read.

    Returns:
        Columns image, distortion, scenes, split01..split10; None for an image that a split does not name, and for
        splits that are not read or whose lists are not there.

    Raises:
        DatasetError: names file and line of rows that do not agree with the owner's folder.
    """
    dataset = annotations["dataset"].iloc[0]
    if dataset not in LISTED:
        return None
    form = FORMATS[protocol]
    home = lists / form.home if (lists / form.home).is_dir() else lists
    where, name = LISTED[dataset]
    folders = {split: home / where / "splits2" / str(split) for split in SPLITS}
    there = [split for split in splits if folders[split].is_dir()]
    if not there and any(other.is_dir() for other in folders.values()):
        return annotations[["image"]].reindex(columns=["image", *SPLIT_COLUMNS])
    if not there:
        raise DatasetError(
            f"There are no lists {home / where / 'splits2' / '1' / form.file.format(name=name, part='*')}.\n"
            f"splits.lists=DIR must name the folder that holds {form.home}."
        )
    rows = pd.concat([_read_split(folders[split], name, split, form) for split in there])
    faults = list(_faults(rows, annotations.set_index("image")["mos"], folder, form))
    if faults:
        more = f"\nand {len(faults) - NAMED:,} more" if len(faults) > NAMED else ""
        raise DatasetError(f"The {protocol} lists do not agree with {folder}:\n" + "\n".join(faults[:NAMED]) + more)
    parts = rows.pivot(index="image", columns="column", values="part")
    labels = rows.drop_duplicates("image").set_index("image")[["distortion", "scenes"]]
    table = annotations[["image"]].join(labels, on="image").join(parts, on="image")
    return table.reindex(columns=["image", "distortion", "scenes", *SPLIT_COLUMNS])


def read_listed_labels(lists: Path, split: int = 1, protocols: Iterable[str] = tuple(FORMATS)) -> pd.DataFrame:
    """Read the labels of all datasets in one split of the published lists, without any owner's folder.

    Args:
        lists: the authors' folder, or the one above it.
        split: 1..10.
        protocols: whose lists are read, of those that are there.

    Returns:
        Columns dataset, image, mos, part.

    Raises:
        DatasetError: the folder holds no lists of that split.
    """
    tables = []
    for form, (dataset, (where, name)) in product(map(FORMATS.get, protocols), LISTED.items()):
        home = lists / form.home if (lists / form.home).is_dir() else lists
        folder = home / where / "splits2" / str(split)
        if (folder / form.file.format(name=name, part=form.words["test"])).is_file():
            tables.append(_read_split(folder, name, split, form).assign(dataset=dataset))
    if not tables:
        raise DatasetError(f"There are no lists of split {split} in {lists}.")
    return pd.concat(tables, ignore_index=True)[["dataset", "image", "mos", "part"]]


def _one_partition(annotations: pd.DataFrame, parts: pd.Series) -> pd.DataFrame:
    return annotations[["image"]].assign(**dict.fromkeys(SPLIT_COLUMNS, parts))


def _read_split(folder: Path, name: str, split: int, form: Format) -> pd.DataFrame:
    """All rows of one split."""
    files = {part: folder / form.file.format(name=name, part=word) for part, word in form.words.items()}
    return pd.concat(
        [_read_list(file, form).assign(part=part, column=SPLIT_COLUMNS[split - 1]) for part, file in files.items()]
    )


def _read_list(file: Path, form: Format) -> pd.DataFrame:
    try:
        text = file.read_text(encoding="utf-8")  # takes all three kinds of line ends
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"The list {file} cannot be read: {error}") from error
    cells = [(f"{file}:{number}", *line.split("\t")) for number, line in enumerate(text.split("\n"), 1) if line]
    for place, *row in cells:
        if len(row) != form.columns:
            raise DatasetError(f"{place}: expected {form.columns} columns separated by tabs, found {len(row)}.")
    table = pd.DataFrame([row[:3] for row in cells], columns=["place", "image", "mos"])
    labels = [row[3:] if form.labels else ("",) for row in cells]
    return table.assign(
        mos=pd.to_numeric(table["mos"], errors="coerce"),
        distortion=[distortion for distortion, *_ in labels],
        scenes=[";".join(scene for scene in scenes if scene != "invalid") for _, *scenes in labels],
    )


def _faults(rows: pd.DataFrame, mos: pd.Series, folder: Path, form: Format) -> Iterator[str]:
    outside = leaves_folder(folder, rows["image"].unique())
    owners = rows["image"].map(mos)
    twice = rows.duplicated(["column", "image"])
    wrong = ~((rows["mos"] - owners).abs() <= 0.501 * 10**-form.decimals)
    leaving = rows["image"].map(outside)
    for row in rows.assign(owners=owners, twice=twice, leaving=leaving)[twice | wrong | leaving].itertuples():
        if row.leaving:
            yield f"{row.place}: {row.image} leaves the dataset's folder; it is not read"
        elif np.isnan(row.owners):
            yield f"{row.place}: {row.image} is not in the owner's folder or has no label there"
        elif row.twice:
            yield f"{row.place}: {row.image} stands in this split twice"
        else:
            yield f"{row.place}: {row.image} has MOS {row.mos:g}, but {row.owners:g} by its owner"
