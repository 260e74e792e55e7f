"""The annotations table: one row an image, the same columns for every dataset.

| column | meaning |
|---|---|
| dataset | name of the dataset |
| image | posix path relative to the dataset's folder, as the disk spells it |
| mos | mean opinion score, native scale, higher is better |
| std | standard deviation of the opinions, NaN when unknown |
| reference | path of the pristine picture, spelt alike in all rows; the image's own for a photograph without one |
| distortion | fine label, a word of the published vocabulary where one fits; "" when unknown |
| level | strength as the owner numbers it, NaN when unknown |
| scenes | scene labels joined by ";", "" when unknown |
| part | train, val or test where the dataset brings a partition of its own, "" elsewhere |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mimi_lightning.data.names import Folder, plain_name
from mimi_lightning.data.owners.folder import leaves_folder
from mimi_lightning.data.owners.sheets import read_csv
from mimi_lightning.errors import DatasetError

ANNOTATION_COLUMNS = ("dataset", "image", "mos", "std", "reference", "distortion", "level", "scenes", "part")
NUMBERS = ("mos", "std", "level")
TEXTS = ("image", "reference", "distortion", "scenes", "part")
PARTS = ("train", "val", "test")
BEYOND = 1e-3  # of the published range: how far labels may pass its ends, which are rounded


def read_annotations(
    name: str, reader: str, folder: Path, url: str, options: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Read a dataset from the folder as its owner distributes it.

    Args:
        name: name of the dataset, written into the table.
        reader: dotted path of a function `read(folder) -> DataFrame`, e.g. `mimi_lightning.data.owners.live.read`.
        folder: the dataset's folder.
        url: the owner's download page, named in errors.
        options: keyword arguments of the reader, where one reader serves many datasets.

    Returns:
        A complete annotations table, ordered by image.

    Raises:
        DatasetError: the reader, the folder or a label file is missing, or the labels make no sense.
    """
    read = _find_reader(reader)
    remedy = f"The owner offers dataset '{name}' at {url}"
    if not folder.is_dir():
        raise DatasetError(f"Dataset '{name}': there is no folder {folder}. {remedy}")
    try:
        rows = read(folder, **(options or {}))
        if not isinstance(rows, pd.DataFrame):
            raise DatasetError(f"reader {reader} gives no table.")
        return complete(rows, name, folder)
    except TypeError as error:  # a key of `table` that the reader does not have, or no reader at all
        raise DatasetError(f"Dataset '{name}': reader {reader} cannot be called so: {error}") from error
    except DatasetError as error:
        raise DatasetError(f"Dataset '{name}': {error} {remedy}") from error


def complete(rows: pd.DataFrame, name: str, source: Path) -> pd.DataFrame:
    """Make an annotations table of what an owner's reader returns, or refuse it.

    Args:
        rows: a table with at least `image` and `mos`; what else is absent counts as unknown.
        name: name of the dataset.
        source: the dataset's folder, in which files are found by any spelling of their names; named in errors.

    Returns:
        The table with all `ANNOTATION_COLUMNS`, ordered by image; `attrs` of what the reader returned, of which `notes`
        are for people.

    Raises:
        DatasetError: no rows, a column absent, an image without a name or listed twice, a score that is not finite, a
            part unknown or missing beside others, a file outside the folder, a name that may be two files.
    """
    absent = [column for column in ("image", "mos") if column not in rows]
    if absent:
        raise DatasetError(f"{source}: the table has no column '{absent[0]}'; it has {', '.join(map(str, rows))}.")
    if rows.empty:
        raise DatasetError(f"{source}: there are no labelled images.")
    table = rows.reset_index(drop=True).assign(dataset=name)
    for column in TEXTS:
        table[column] = _texts(table, column)
    for column in NUMBERS:
        table[column] = _numbers(table, column, source)
    disk = Folder(source)
    spelt = table.assign(**{column: _spell(table[column], disk) for column in ("image", "reference")})
    _refuse(table["image"].eq(""), table, source, "an image without a name")
    _refuse(spelt["image"].duplicated(), table, source, "an image that is listed twice")
    _refuse(~np.isfinite(table["mos"]), table, source, "a score that is not a finite number")
    if table["part"].any():
        _refuse(~table["part"].isin(PARTS), table, source, f"a part other than {', '.join(PARTS)}")
    outside = leaves_folder(source, pd.unique(spelt[["image", "reference"]].to_numpy().ravel()))
    for column in ("image", "reference"):
        _refuse(spelt[column].map(outside), table, source, f"a file outside the folder as its {column}")
    table = spelt[list(ANNOTATION_COLUMNS)].sort_values("image", ignore_index=True)
    table.attrs = dict(rows.attrs)
    return table


def check_range(name: str, mos: pd.Series, ends: Sequence[float]) -> None:
    """Refuse labels that are not on the published scale.

    Args:
        name: name of the dataset.
        mos: its opinion scores.
        ends: published lowest and highest.

    Raises:
        DatasetError: a score lies beyond them by more than a thousandth of the range.
    """
    low, high = ends
    found, beyond = (float(mos.min()), float(mos.max())), BEYOND * (high - low)
    if found[0] < low - beyond or found[1] > high + beyond:
        raise DatasetError(
            f"Dataset '{name}': MOS runs from {found[0]:g} to {found[1]:g}, beyond the published range {low:g} to "
            f"{high:g}. Take the labels on that scale; if these are right, "
            f"set datasets.{name}.range=[{found[0]:g},{found[1]:g}]."
        )


def add_scenes(annotations: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Take the scenes of contents from a CSV file, if there is one; the owners publish none.

    Args:
        annotations: annotations table.
        file: columns dataset, reference and scenes (joined by ";").

    Returns:
        The table; rows that the file does not speak of keep their scenes.

    Raises:
        DatasetError: the file lacks a column.
    """
    if not file.is_file():
        return annotations
    table = read_csv(file, ("dataset", "reference", "scenes"), dtype=str, keep_default_na=False)
    known = {(row.dataset, plain_name(row.reference)): row.scenes for row in table.itertuples()}
    keys = zip(annotations["dataset"], annotations["reference"].map(plain_name), annotations["scenes"], strict=True)
    return annotations.assign(scenes=[known.get((dataset, reference), own) for dataset, reference, own in keys])


def _find_reader(reader: str):
    module, _, function = reader.rpartition(".")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise DatasetError(
            f"There is no reader '{reader}' ({error}); give the dotted path of a function, "
            "e.g. mimi_lightning.data.owners.live.read"
        ) from error


def _texts(table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table:
        return table["image"] if column == "reference" else pd.Series("", index=table.index, dtype=object)
    texts = table[column].astype(object)
    return texts.where(texts.notna(), "").astype(str)


def _spell(names: pd.Series, folder: Folder) -> pd.Series:
    """Write names that are one alike: as the disk spells the file, or as the first of them where there is none."""
    spelt, common = {}, {}
    for name in sorted(names.unique()):
        spelt[name] = (folder.find(name) if name else name) or common.setdefault(plain_name(name), name)
    return names.map(spelt)


def _numbers(table: pd.DataFrame, column: str, source: Path) -> pd.Series:
    if column not in table:
        return pd.Series(np.nan, index=table.index, dtype="float64")
    numbers = pd.to_numeric(table[column], errors="coerce").astype("float64")
    _refuse(numbers.isna() & table[column].notna(), table, source, f"a {column} that is not a number")
    return numbers


def _refuse(bad: pd.Series, table: pd.DataFrame, source: Path, fault: str) -> None:
    if bad.any():
        row = int(bad.to_numpy().argmax())
        image, mos = table.loc[row, "image"], table.loc[row, "mos"]
        raise DatasetError(f"{source}: row {row + 1} has {fault} (image '{image}', mos {mos}).")
