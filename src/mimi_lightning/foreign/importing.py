"""From a file of other authors to a checkpoint of this project."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from mimi_lightning import config
from mimi_lightning.data.published import read_listed_labels
from mimi_lightning.errors import ConfigError
from mimi_lightning.files import aside
from mimi_lightning.foreign.layouts import Layout, recognise
from mimi_lightning.foreign.weights import Weights, read
from mimi_lightning.module import QualityModel
from mimi_lightning.train import PARTS

NOT_KNOWN = (math.nan, math.nan)

Ends = Mapping[str, Sequence[float]]  # by dataset: lowest and highest MOS of the training part, native


@dataclass(frozen=True)
class Imported:
    """What became of a file.

    Args:
        title: of the layout.
        model: which the checkpoint holds.
        labels: table of the images that it was trained on, if lists told them.
    """

    title: str
    model: QualityModel
    labels: Path | None

    @property
    def native(self) -> list[str]:
        """Datasets on whose own scale it predicts."""
        return [name for name, known in zip(self.model.names, self.model.scale.known, strict=True) if known]


def import_checkpoint(
    file: Path, out: Path, ends: Ends | None = None, lists: Path | None = None, split: int | None = None
) -> Imported:
    """Read a checkpoint of other authors and write it as one of this project.

    Such files do not hold what the target scale of a dataset meant: lowest and highest MOS of its training part. Of a
    dataset for which nobody tells them, only proxy scores are known.

    Args:
        file: theirs.
        out: checkpoint to write; beside it, `<name>.labels.csv` has the parts of all listed images, for `evaluate`.
        ends: lowest and highest MOS of training parts, native; before what the lists tell.
        lists: the authors' folder of partitions, or the one above it.
        split: 1..10, on which of them the file was trained.

    Raises:
        ConfigError: the file is of no known layout, or something was asked for that cannot be.
        DatasetError: the lists cannot be read.
    """
    labels = out.with_suffix(".labels.csv")
    for path in (out, labels):
        if path.exists():
            raise ConfigError(f"{path} is there already: name another file as --out, or remove it.")
    layout, weights = recognise(read(file), file)
    ends = dict(ends or {})
    _check_ends(layout, ends)
    listed = _read_lists(layout, lists, split)
    if layout.mapped and listed is not None:
        ends = _training_ends(listed) | ends
    model = _make_model(layout, weights, ends)
    layout.put(model, weights)
    weights.close()
    try:
        model.save(out)
        if listed is not None:
            with aside(labels) as draft:
                listed.to_csv(draft, index=False)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error}") from error
    return Imported(layout.title, model.eval(), None if listed is None else labels)


def _make_model(layout: Layout, weights: Weights, ends: Ends) -> QualityModel:
    """A model of the shape of the file, as the configuration of its experiment has it."""
    words = ["splits=generated", "backbone.weights=none", f"dataset=[{','.join(layout.datasets)}]"]
    words += layout.words(weights)
    settings = OmegaConf.to_container(config.load(words), resolve=True)
    facts = {
        name: {
            "range": node["range"],
            "labels": list(ends.get(name, NOT_KNOWN)),
            "weight": node["weight"],
            "size": node["images"],
        }
        for name, node in settings["datasets"].items()
    }
    parts = {key: settings[key] for key in PARTS}
    return QualityModel(regressor=settings["backbone"], datasets=facts, view=settings["view"]["test"], **parts)


def _check_ends(layout: Layout, ends: Ends) -> None:
    if ends and not layout.mapped:
        raise ConfigError(f"{layout.title} has no score mappers, only proxy scores: leave --labels out.")
    for name, (low, high) in ends.items():
        if name not in layout.datasets:
            raise ConfigError(f"--labels {name}: {layout.title} was trained on {', '.join(layout.datasets)}.")
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(f"--labels {name}={low:g}:{high:g}: expected two numbers, the lower one first.")


def _read_lists(layout: Layout, lists: Path | None, split: int | None) -> pd.DataFrame | None:
    """Columns dataset, image, part, mos of one split; None where no lists are given."""
    if (lists is None) != (split is None):
        raise ConfigError(
            "--lists DIR and --split N go together: N is the split, 1 to 10, that the file was trained on."
        )
    if lists is None:
        return None
    if layout.lists is None:
        raise ConfigError(f"The partitions of {layout.title} were not published as lists: leave --lists out.")
    if split not in config.SPLITS:
        raise ConfigError(f"--split {split}: expected 1 to {config.SPLITS[-1]}.")
    listed = read_listed_labels(lists, split, [layout.lists])[["dataset", "image", "part", "mos"]]
    if lacking := sorted({*layout.datasets} - {*listed["dataset"]}):  # their images would count as new ones
        raise ConfigError(f"{lists} has no lists of {', '.join(lacking)}, on which {layout.title} was trained, too.")
    return listed


def _training_ends(listed: pd.DataFrame) -> dict[str, list[float]]:
    mos = listed[listed["part"] == "train"].groupby("dataset")["mos"]
    return {name: [float(low), float(high)] for name, low, high in mos.agg(["min", "max"]).itertuples()}
