"""Ten stored 7:1:2 partitions of every dataset, in which no content stands in two parts.

A *content* is what must not be separated: all images made from one reference picture, in whichever dataset they
lie. Reference pictures are compared by their pixels; photographs known to show the same scene can be named in
`contents.csv` at the root of the datasets (columns dataset, reference, content).
"""

from __future__ import annotations

import hashlib
import io
import uuid
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mimi_lightning.config import SPLITS
from mimi_lightning.data.decode import read_image
from mimi_lightning.data.names import plain_name
from mimi_lightning.data.owners.sheets import read_csv
from mimi_lightning.data.places import is_file, place
from mimi_lightning.errors import DatasetError
from mimi_lightning.files import aside

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
FINAL = {"train": 0.9, "val": 0.05, "test": 0.05}  # of a model to be used
SPLIT_COLUMNS = [f"split{split:02d}" for split in SPLITS]
HASH_LINE = "# sha256 "


def assign_contents(annotations: pd.DataFrame, root: Path, folders: Mapping[str, str]) -> pd.Series:
    """Name the content of every image.

    Args:
        annotations: annotations table of any number of datasets.
        root: folder of all datasets; may hold a `contents.csv`.
        folders: folder of each dataset below the root.

    Returns:
        Content names, aligned with the table. Equal names mean equal content, across datasets as well.
    """
    known = _read_contents(root / "contents.csv")
    places = {name: str(root / folders[name]) for name in annotations["dataset"].unique()}

    def name(dataset: str, reference: str, own: bool) -> str:
        if (dataset, plain_name(reference)) in known:
            return known[dataset, plain_name(reference)]
        path = f"{places[dataset]}/{reference}"
        if own or not is_file(path):
            return f"{dataset}:{reference}"
        pixels = read_image(place(path))
        return hashlib.sha256(repr(pixels.size).encode() + pixels.tobytes()).hexdigest()[:16]

    # A labelled picture that others were made from is their reference, not a photograph by itself.
    shared = annotations.duplicated(["dataset", "reference"], keep=False)
    own = (annotations["reference"] == annotations["image"]) & ~shared
    rows = list(zip(annotations["dataset"], annotations["reference"], own, strict=True))
    names = {row: name(*row) for row in dict.fromkeys(rows)}
    return pd.Series([names[row] for row in rows], index=annotations.index, name="content", dtype=object)


def partition(
    annotations: pd.DataFrame,
    root: Path,
    folders: Mapping[str, str],
    store: Path,
    seed: int,
    given: pd.DataFrame | None = None,
    shares: Mapping[str, float] = SHARES,
) -> pd.DataFrame:
    """Read the stored partitions of the datasets, making those that are not there yet.

    A dataset's partition is drawn from (seed, split, dataset name); contents that it shares with the datasets
    before it, in alphabetical order, or with a stored one, follow them.

    Args:
        annotations: annotations table of the mix.
        root: folder of all datasets.
        folders: folder of each dataset below the root.
        store: folder of the stored partitions, one CSV a dataset.
        seed: of the shuffles.
        given: partitions of other datasets, columns as returned; contents shared with them follow them as well.
        shares: of the contents, by part.

    Returns:
        The annotations' rows with the columns dataset, image, content and split01..split10 (train, val or test).

    Raises:
        DatasetError: too few contents, a stored partition that was edited or belongs to other images, a leak.
    """
    tables: dict[str, pd.DataFrame] = {}
    for dataset, rows in annotations.groupby("dataset", sort=True):
        path = store / f"generated-{seed}" / f"{dataset}.csv"
        if path.is_file():
            tables[dataset] = _read(path, rows)
    for dataset, rows in annotations.groupby("dataset", sort=True):
        if dataset not in tables:
            contents = assign_contents(rows, root, folders)
            before = [table for table in (given, *tables.values()) if table is not None]
            drawn = pd.concat([t[["content", *SPLIT_COLUMNS]] for t in before]) if before else pd.DataFrame()
            tables[dataset] = _draw(rows, contents, drawn, seed, shares)
            _write(tables[dataset], store / f"generated-{seed}" / f"{dataset}.csv")
    table = pd.concat([tables[name].assign(dataset=name) for name in sorted(tables)])
    check_leaks(table if given is None else pd.concat([given, table]))
    order = pd.MultiIndex.from_frame(annotations[["dataset", "image"]])
    return table.set_index(["dataset", "image"]).loc[order].reset_index()


def check_leaks(table: pd.DataFrame) -> None:
    """Refuse a partition in which one content stands in two parts.

    Args:
        table: columns dataset, content and split01..split10.

    Raises:
        DatasetError: names the split, the content, its datasets and parts.
    """
    for column, content, rows in find_leaks(table):
        places = " and ".join(sorted({f"{d} {p}" for d, p in zip(rows["dataset"], rows[column], strict=True)}))
        raise DatasetError(
            f"{column} leaks: the content {content} stands in {places}.\n"
            "Delete the stored partitions of these datasets to draw them anew, side by side; published lists that "
            "leak cannot be used together."
        )


def find_leaks(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Find contents that stand in two parts: split column, content and its rows; columns as `check_leaks`."""
    table = table[table["content"].duplicated(keep=False)]
    for column in SPLIT_COLUMNS:
        parts = table.groupby("content")[column].nunique()
        for content in parts.index[parts > 1]:
            yield column, content, table[(table["content"] == content) & table[column].notna()]


def fingerprint(table: pd.DataFrame, split: int) -> str:
    """SHA-256 of who is where in one split: equal exactly when two runs used the same partition."""
    rows = sorted(zip(table["dataset"], table["image"], table[SPLIT_COLUMNS[split - 1]], strict=True))
    return hashlib.sha256("\n".join("\t".join(row) for row in rows).encode()).hexdigest()


def _draw(
    rows: pd.DataFrame, contents: pd.Series, drawn: pd.DataFrame, seed: int, shares: Mapping[str, float]
) -> pd.DataFrame:
    dataset = rows["dataset"].iloc[0]
    names = sorted(contents.unique())
    if len(names) < 3:
        raise DatasetError(
            f"{dataset} has {len(names)} different contents; three are needed, one each for train, val and test."
        )
    table = pd.DataFrame({"image": rows["image"], "content": contents})
    if len(drawn):  # those of other contents would cost a hundred datasets minutes
        drawn = drawn[drawn["content"].isin(names)]
    for split, column in zip(SPLITS, SPLIT_COLUMNS, strict=True):
        fixed = drawn.dropna(subset=[column]).set_index("content")[column].to_dict() if len(drawn) else {}
        order = np.random.default_rng([seed, split, zlib.crc32(dataset.encode())]).permutation(names)
        table[column] = contents.map(_deal(order, {name: fixed[name] for name in names if name in fixed}, shares))
    return table


def _deal(names: np.ndarray, fixed: Mapping[str, str], shares: Mapping[str, float]) -> dict[str, str]:
    """Give each content to the part that is empty or else lacks most of its share, the fixed ones first."""
    lacking = {part: share * len(names) for part, share in shares.items()}
    parts, empty = dict(fixed), shares.keys() - set(fixed.values())
    for part in fixed.values():
        lacking[part] -= 1
    rest = [name for name in names if name not in parts] if parts else names.tolist()
    while empty and rest:
        part = max(empty, key=lacking.get)
        parts[rest.pop(0)] = part
        lacking[part] -= 1
        empty = empty - {part}
    train, val, test = (lacking[part] for part in SHARES)
    for name in rest:  # written out, since a partition of a million is ten million of these
        if train >= val and train >= test:
            parts[name], train = "train", train - 1
        elif val >= test:
            parts[name], val = "val", val - 1
        else:
            parts[name], test = "test", test - 1
    return parts


def _read_contents(path: Path) -> dict[tuple[str, str], str]:
    if not path.is_file():
        return {}
    table = read_csv(path, ("dataset", "reference", "content"), dtype=str)
    return {(row.dataset, plain_name(row.reference)): row.content for row in table.itertuples()}


def _read(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    remedy = f"Delete {path} to draw this partition anew, or set splits.seed."
    head, _, body = path.read_text(encoding="utf-8").partition("\n")
    if head != HASH_LINE + hashlib.sha256(body.encode()).hexdigest():
        raise DatasetError(f"The stored partition {path} was changed after it was drawn.\n{remedy}")
    table = pd.read_csv(io.StringIO(body), dtype=str)
    if set(table["image"]) != set(rows["image"]):
        raise DatasetError(f"The stored partition {path} is of other images than the folder holds now.\n{remedy}")
    references = table["image"].map(rows.set_index("image")["reference"])
    for column, reference, _ in find_leaks(table.assign(content=references)):
        raise DatasetError(
            f"The stored partition {path} leaks: images of the reference {reference} stand in two parts of {column}: a "
            f"former version took two spellings of its name for two references.\n{remedy}"
        )
    return table


def _write(table: pd.DataFrame, path: Path) -> None:
    """Write in one step, so that no other process of a sweep reads a half."""
    body = table.to_csv(index=False, lineterminator="\n")
    own = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # others may write the same partition at this moment
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside(path, own) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(HASH_LINE + hashlib.sha256(body.encode()).hexdigest() + "\n" + body)
    except OSError as error:
        raise DatasetError(
            f"The partition cannot be stored in {path.parent}: {error.strerror or error}.\n"
            "Set splits.store=DIR to a folder of yours."
        ) from error
