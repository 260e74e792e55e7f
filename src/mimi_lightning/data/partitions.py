"""Which image stands in which part of a split, whatever the partition comes from."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mimi_lightning.config import SPLITS
from mimi_lightning.data.places import place
from mimi_lightning.data.published import read_lists, read_official, read_own
from mimi_lightning.data.splits import (
    FINAL,
    SHARES,
    SPLIT_COLUMNS,
    assign_contents,
    check_leaks,
    fingerprint,
    partition,
)
from mimi_lightning.errors import DatasetError


@dataclass(frozen=True)
class Protocol:
    """Where partitions come from (conf/splits).

    A partition that a dataset brings itself, in the column `part` of its table, is used as it is. Else the protocol
    decides; what it does not speak of is drawn.

    Args:
        protocol: `generated`, `official` (by the owners), `liqe` or `mimi_cnn` (by lists), or `all`, which draws
            nearly all images into train, also where a dataset brings a partition.
        store: folder of the generated partitions.
        seed: of the generated partitions.
        lists: folder of the published lists.
    """

    protocol: str
    store: Path | str
    seed: int
    lists: Path | str | None = None

    def published(
        self, annotations: pd.DataFrame, folder: Path, splits: Iterable[int] = SPLITS
    ) -> tuple[str, pd.DataFrame | None]:
        """Name the source of one dataset's partition and read these splits of it; None when it must be drawn."""
        if self.protocol == "all":
            return f"all-{self.seed}", None
        if (own := read_own(annotations)) is not None:
            return "own", own
        if self.protocol == "official" and (official := read_official(annotations, folder)) is not None:
            return "official", official
        if self.lists is not None:
            listed = read_lists(annotations, folder, self.protocol, Path(self.lists), splits)
            if listed is not None:
                return self.protocol, listed
        return f"generated-{self.seed}", None


@dataclass(frozen=True)
class Parts:
    """The images of one split.

    Args:
        table: annotations with `part` train, val or test, and the labels that the lists add.
        partition: of the same images: dataset, image, content, split01..split10.
        sources: of each dataset: liqe, mimi_cnn, official, own, generated-SEED or all-SEED.
        left_out: images of each dataset that the split does not name.
        sha256: fingerprint of the split.
    """

    table: pd.DataFrame
    partition: pd.DataFrame
    sources: dict[str, str]
    left_out: dict[str, int]
    sha256: str


def assign_parts(
    annotations: pd.DataFrame,
    root: Path,
    folders: Mapping[str, str],
    split: int,
    protocol: Protocol,
    every: bool = False,
) -> Parts:
    """Give every image its part, and refuse what leaks.

    Args:
        annotations: annotations table of the mix.
        root: folder of all datasets.
        folders: folder of each dataset below the root.
        split: 1..10.
        protocol: where partitions come from.
        every: read all ten splits of published lists, and not this one alone.

    Raises:
        DatasetError: lists that do not agree with the folders, a split that they do not have, a leak.
    """
    groups = dict(list(annotations.groupby("dataset", sort=True)))
    splits = SPLITS if every else (split,)
    found = {name: protocol.published(rows, root / folders[name], splits) for name, rows in groups.items()}
    if not every and {published is None for _, published in found.values()} == {True, False}:
        # What is drawn beside published partitions follows all ten of them.
        return assign_parts(annotations, root, folders, split, protocol, every=True)
    tables = []
    for name, (source, published) in found.items():
        if published is None:
            continue
        if published[SPLIT_COLUMNS[split - 1]].isna().all():
            raise DatasetError(f"The {source} lists have no split {split} of {name}. Choose another split.")
        tables.append(published.assign(dataset=name, content=assign_contents(groups[name], root, folders)))
    given = pd.concat(tables) if tables else None
    drawn = [name for name, (_, published) in found.items() if published is None]
    if drawn:
        # Beside published partitions others are drawn than without: they are stored apart.
        all_train = protocol.protocol == "all"
        store = place(protocol.store) / (protocol.protocol if all_train or given is not None else "")
        rest = annotations[annotations["dataset"].isin(drawn)]
        tables.append(partition(rest, root, folders, store, protocol.seed, given, FINAL if all_train else SHARES))
    else:
        check_leaks(given)
    sources = {name: source for name, (source, _) in found.items()}
    return _merge(annotations, pd.concat(tables), split, sources)


def _merge(annotations: pd.DataFrame, partition: pd.DataFrame, split: int, sources: dict[str, str]) -> Parts:
    """Bring partition and labels of the lists to the order of the annotations; leave out what has no part."""
    order = pd.MultiIndex.from_frame(annotations[["dataset", "image"]])
    partition = partition.set_index(["dataset", "image"]).loc[order].reset_index()
    named = partition[SPLIT_COLUMNS[split - 1]].notna()
    table = annotations.assign(part=partition[SPLIT_COLUMNS[split - 1]])
    for column in {"distortion", "scenes"} & set(partition):
        table[column] = table[column].where(table[column] != "", partition[column].fillna(""))
    table, partition = table[named].reset_index(drop=True), partition[named].reset_index(drop=True)
    left_out = annotations.loc[~named, "dataset"].value_counts().sort_index()
    return Parts(table, partition, sources, left_out.to_dict(), fingerprint(partition, split))


def limit_training(table: pd.DataFrame, limits: Mapping[str, int], split: int) -> pd.DataFrame:
    """Take most training images from a dataset, as if it had only some labels; larger limits keep what smaller ones do.

    Args:
        table: annotations table with parts.
        limits: training images of some datasets, at most.
        split: whose order the images are taken in.

    Returns:
        The table; the part of the images taken away is `unused`.
    """
    part = table["part"].copy()
    for name, limit in limits.items():
        train = table.loc[(table["dataset"] == name) & (part == "train"), "image"]
        order = train.map(lambda image: zlib.crc32(f"{split} {image}".encode())).sort_values(kind="stable")
        part[order.index[limit:]] = "unused"
    return table.assign(part=part)
