"""What is wrong with the datasets on disk: labels, pictures, parts."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mimi_lightning.data.annotations import PARTS, add_scenes, check_range, read_annotations
from mimi_lightning.data.decode import read_image
from mimi_lightning.data.near import find_near
from mimi_lightning.data.owners.folder import is_leaving
from mimi_lightning.data.partitions import Parts, Protocol, assign_parts
from mimi_lightning.data.splits import assign_contents, find_leaks
from mimi_lightning.errors import DatasetError, ScoreError
from mimi_lightning.metrics import srcc
from mimi_lightning.progress import in_threads

THIN = 8  # of so many rows one is hashed at first: hashing all of them takes half as long as decoding them


@dataclass
class Finding:
    """What was found of one dataset.

    Args:
        dataset: its name.
        folder: its folder.
        url: where its owner offers it.
        published: number of images that the owner publishes, None when it is not known.
        present: whether the folder is there.
        images: number of labelled images.
        unreadable: what is said of each image that cannot be read.
        duplicates: groups of images with the same pixels, as dataset/image; some may be of other datasets.
        labels: lowest and highest MOS.
        range: published lowest and highest.
        direction: how higher MOS was found to be better; "" when nothing tells.
        references: number of references, the images themselves among them where they have no other.
        source: where the partition comes from.
        parts: number of images in train, val and test.
        left_out: number of images in no part.
        distortions: share of images with a distortion label.
        scenes: share of images with scene labels.
        notes: what one should know, such as which of two label files was read.
        problems: what has to be mended.
    """

    dataset: str
    folder: str
    url: str
    published: int | None
    range: list[float]
    present: bool = True
    images: int = 0
    unreadable: list[str] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)
    direction: str = ""
    references: int = 0
    source: str = ""
    parts: dict[str, int] = field(default_factory=dict)
    left_out: int = 0
    distortions: float = 0.0
    scenes: float = 0.0
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class Report:
    """Findings of all datasets, problems that are of no single one, and contents that look alike."""

    split: int
    findings: list[Finding]
    problems: list[str] = field(default_factory=list)
    near: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing has to be mended."""
        return not self.problems and not any(finding.problems for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Plain containers for JSON."""
        return {"ok": self.ok, **asdict(self)}


def check_datasets(
    datasets: Mapping[str, Mapping[str, Any]],
    root: Path,
    split: int,
    protocol: Protocol,
    labels: Callable[[pd.DataFrame], Any] | None = None,
    progress: bool = True,
    near: bool = False,
) -> Report:
    """Read labels, partition and every picture of the datasets that are there.

    Args:
        datasets: of each dataset reader, folder, url, range and images (conf/dataset).
        root: folder of all datasets.
        split: 1..10, whose parts are counted; leaks are looked for in all ten.
        protocol: where partitions come from.
        labels: makes the labels of tasks, or refuses words of the annotations table.
        progress: show a progress bar.
        near: look for contents that look alike, see `find_near`.
    """
    report = Report(split, [_finding(name, dataset, root) for name, dataset in sorted(datasets.items())])
    tables = [table for finding in report.findings if (table := _read_labels(finding, datasets, root)) is not None]
    if not tables:
        report.problems.append(f"There is no dataset to check in {root.absolute()}. Set paths.datasets=DIR.")
        return report
    annotations = add_scenes(pd.concat(tables, ignore_index=True), root / "scenes.csv")
    folders = {name: dataset["folder"] for name, dataset in datasets.items()}
    parts = None
    try:
        parts = assign_parts(annotations, root, folders, split, protocol, every=True)
        if labels:
            labels(parts.table)
    except DatasetError as error:
        report.problems.append(str(error))
    digests = _read_pictures(report, annotations, root, folders, progress)
    known = {finding.dataset: finding for finding in report.findings}
    for name, rows in annotations.groupby("dataset"):
        _look_at_labels(known[name], rows)
    if parts:
        for name, rows in parts.table.groupby("dataset"):
            _look_at_parts(known[name], rows, parts)
        _find_duplicates_across_parts(report, parts, annotations, digests)
    if near:
        report.near = find_near(annotations, assign_contents(annotations, root, folders), root, folders, progress)
    return report


def _finding(name: str, dataset: Mapping[str, Any], root: Path) -> Finding:
    folder = root / dataset["folder"]
    finding = Finding(name, str(folder), dataset["url"], dataset["images"], list(dataset["range"]))
    finding.present = folder.is_dir()
    return finding


def _read_labels(finding: Finding, datasets: Mapping[str, Mapping[str, Any]], root: Path) -> pd.DataFrame | None:
    if not finding.present:
        return None
    dataset = datasets[finding.dataset]
    folder = root / dataset["folder"]
    if leavings := sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if is_leaving(path.name)):
        finding.notes.append(f"{len(leavings):,} files that a system left are ignored, such as {leavings[0]}.")
    try:
        table = read_annotations(finding.dataset, dataset["reader"], folder, dataset["url"], dataset.get("table"))
    except DatasetError as error:
        finding.problems.append(str(error))
        return None
    finding.notes += table.attrs.pop("notes", [])
    return table


def _read_pictures(
    report: Report, annotations: pd.DataFrame, root: Path, folders: Mapping[str, str], progress: bool
) -> pd.Series:
    """Decode every picture; return hashes of the pixels, aligned with the annotations, nan where there are none."""
    rows = list(zip(annotations["dataset"], annotations["image"], strict=True))
    paths = [root / folders[dataset] / image for dataset, image in rows]
    digests = _read_digests(paths, progress)
    known = {finding.dataset: finding for finding in report.findings}
    same: dict[str, list[str]] = {}
    for (dataset, image), (digest, fault) in zip(rows, digests, strict=True):
        if fault:
            known[dataset].unreadable.append(fault)
        else:
            same.setdefault(digest, []).append(f"{dataset}/{image}")
    for finding in report.findings:
        prefix = f"{finding.dataset}/"
        finding.duplicates = [g for g in same.values() if len(g) > 1 and any(name.startswith(prefix) for name in g)]
        if finding.unreadable:
            finding.problems.append(f"{len(finding.unreadable):,} pictures cannot be read: {finding.unreadable[0]}")
    return pd.Series([digest for digest, _ in digests], index=annotations.index, dtype=object)


def _read_digests(paths: Sequence[Path], progress: bool) -> list[tuple[str | None, str]]:
    """What `read_digest` says of all pictures; those that are alike are compared whole."""
    digests = list(in_threads(read_digest, paths, "Reading pictures", progress))
    number = Counter(digest for digest, _ in digests)
    alike = [row for row, (digest, _) in enumerate(digests) if digest and number[digest] > 1]
    compare = partial(read_digest, every=1)
    whole = in_threads(compare, [paths[row] for row in alike], "Comparing those alike", progress and bool(alike))
    for row, digest in zip(alike, whole, strict=True):
        digests[row] = digest
    return digests


def read_digest(path: Path, every: int = THIN) -> tuple[str | None, str]:
    """Hash of a picture's size and of one of `every` so many rows of pixels, or what is wrong with it."""
    try:
        pixels = np.asarray(read_image(path))
    except DatasetError as error:
        return None, str(error)
    return hashlib.sha256(repr(pixels.shape).encode() + pixels[::every].tobytes()).hexdigest(), ""


def _look_at_labels(finding: Finding, rows: pd.DataFrame) -> None:
    finding.images = len(rows)
    finding.references = rows["reference"].nunique()
    finding.labels = [float(rows["mos"].min()), float(rows["mos"].max())]
    try:
        check_range(finding.dataset, rows["mos"], finding.range)
    except DatasetError as error:
        finding.problems.append(str(error))
    by_level = _srcc_with_level(rows)
    if not math.isnan(by_level):
        finding.direction = f"SRCC {by_level:+.2f} with the level of distortion"
        if by_level > 0:
            finding.problems.append(f"MOS rises with the level of distortion (SRCC {by_level:+.2f}): lower is better?")


def _srcc_with_level(rows: pd.DataFrame) -> float:
    """Mean over the distortions of the SRCC between MOS and level; nan when no level is known."""
    figures = []
    for _, group in rows.dropna(subset=["level"]).groupby("distortion"):
        try:
            figures.append(srcc(group["level"].to_numpy(), group["mos"].to_numpy()))
        except ScoreError:
            continue  # one level, or too few images
    return float(np.mean(figures)) if figures else math.nan


def _look_at_parts(finding: Finding, rows: pd.DataFrame, parts: Parts) -> None:
    finding.source = parts.sources[finding.dataset]
    counts = rows["part"].value_counts()
    finding.parts = {part: int(counts.get(part, 0)) for part in PARTS}
    finding.left_out = int(parts.left_out.get(finding.dataset, 0))
    finding.distortions = float((rows["distortion"] != "").mean())
    finding.scenes = float((rows["scenes"] != "").mean())
    if finding.source in ("liqe", "mimi_cnn") and not finding.direction:
        finding.direction = f"every MOS as in the {finding.source} lists"
    for part, number in finding.parts.items():
        if number == 0:
            finding.problems.append(f"No image is in {part}.")


def _find_duplicates_across_parts(report: Report, parts: Parts, annotations: pd.DataFrame, digests: pd.Series) -> None:
    """Pictures that are the same pixel for pixel are one content, whatever their references say."""
    rows = annotations.assign(content=digests)[["dataset", "image", "content"]].dropna()
    table = parts.partition.drop(columns="content").merge(rows, on=["dataset", "image"])
    leaks = {content: (column, group) for column, content, group in find_leaks(table)}
    for column, group in leaks.values():
        places = zip(group["dataset"], group["image"], group[column], strict=True)
        names = " and ".join(f"{dataset}/{image} in {part}" for dataset, image, part in places)
        report.problems.append(f"The same picture in two parts of {column}: {names}.")
