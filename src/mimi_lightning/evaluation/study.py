"""What a report is about: the finished runs below some folders, and tables of other programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from mimi_lightning.config import conf_dir, split_folder
from mimi_lightning.errors import ConfigError, ScoreError
from mimi_lightning.evaluation.predictions import ROW, UNSEEN, read_predictions
from mimi_lightning.run_folder import SETTINGS, RunFolder

# What a report asks of a run.
NEEDED_SETTINGS = {"split", "datasets"}
NEEDED_METRICS = {"run", "figures", "partition", "sizes", "alignment"}


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: where it lies.
        model: what is trained, without the split: mimi/resnet34.
        split: 1..10.
        settings: its config.yaml.
        metrics: its metrics.json.
    """

    folder: RunFolder
    model: str
    split: int
    settings: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @property
    def departure(self) -> str:
        """What is said of published settings on other partitions than published; empty of any other run."""
        published = self.settings.get("published_splits")  # runs of former versions have none
        others: dict[str, list[str]] = {}
        for dataset, source in self.metrics["partition"]["sources"].items():
            kind, _, _ = source.partition("-")
            if published not in (None, kind):
                others.setdefault(kind, []).append(dataset)
        used = ", ".join(f"{kind} partitions ({', '.join(names)})" for kind, names in others.items())
        return f"published settings, {used} instead of splits={published}" if used else ""

    def read_log(self) -> pd.DataFrame | None:
        """What CSVLogger wrote, resumed versions one after the other; None of a run with another logger."""
        files = self.folder.logs
        log = pd.concat([pd.read_csv(file) for file in files]) if files else pd.DataFrame()
        return log if "epoch" in log else None


@dataclass(frozen=True)
class Study:
    """Runs that are reported together.

    Args:
        predictions: predictions tables of all runs, with `model`.
        runs: their folders; tables of other programs have none.
        unfinished: folders of runs that did not come to their end.
        expected: splits that each model should have.
        config_dir: describes datasets of one's own, for tables that belong to no run.
    """

    predictions: pd.DataFrame
    runs: Sequence[Run] = ()
    unfinished: Sequence[Path] = ()
    expected: Sequence[int] = ()
    config_dir: Path | None = None

    @cached_property
    def described(self) -> dict[str, Mapping[str, Any]]:
        """What the configuration says of each dataset, in a run or not."""
        return described_datasets(self.config_dir)

    @cached_property
    def tested(self) -> pd.DataFrame:
        """Rows of the test parts; of datasets never trained on where there is nothing else."""
        part = self.predictions["part"]
        return self.predictions[part == ("test" if part.eq("test").any() else UNSEEN)]

    @cached_property
    def models(self) -> list[str]:
        """Names of the models, sorted."""
        return sorted(self.predictions["model"].unique())

    @cached_property
    def splits(self) -> dict[str, list[int]]:
        """Splits that each model was tested on."""
        return {model: sorted(rows["split"].unique().tolist()) for model, rows in self.tested.groupby("model")}

    @property
    def missing(self) -> list[str]:
        """What is said of splits that are not there."""
        wanted = set(self.expected).union(*self.splits.values())
        gaps = {model: sorted(wanted - set(splits)) for model, splits in self.splits.items()}
        for (model, dataset), there in self.tested.groupby(["model", "dataset"])["split"]:
            gaps[f"{model}, {dataset}"] = sorted(set(self.splits[model]) - set(there))
        said = [f"{name}: no result of split {', '.join(map(str, gap))}" for name, gap in gaps.items() if gap]
        return said + [f"{folder} holds a run that was not finished" for folder in self.unfinished]

    @property
    def departures(self) -> list[str]:
        """What is said of models with published settings on other partitions."""
        splits: dict[tuple[str, str], list[int]] = {}
        for run in sorted(self.runs, key=lambda run: run.split):
            splits.setdefault((run.model, run.departure), []).append(run.split)
        return [f"{model}, splits {', '.join(map(str, of))}: {said}" for (model, said), of in splits.items() if said]

    def sizes(self) -> dict[str, int]:
        """Images of each dataset: as its runs counted them, else as published, else as tested in a split."""
        sizes = self.predictions.groupby(["dataset", "model", "split"]).size().groupby("dataset").max().to_dict()
        sizes |= {name: node["images"] for name, node in self.described.items() if node.get("images")}
        for run in self.runs:
            sizes |= run.metrics["sizes"]
        return sizes


def collect(sources: Iterable[Path], expected: Sequence[int] = (), config_dir: Path | None = None) -> Study:
    """Find finished runs and read their predictions.

    Args:
        sources: folders, searched for runs to any depth, and CSV files (see `read_predictions`).
        expected: splits that each model should have.
        config_dir: see `Study`.

    Raises:
        ConfigError: there is no such folder of configuration.
        ScoreError: a source is not there, nothing is found, a table is wrong, or two tables hold the same split of
            the same model.
    """
    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(f"There is no folder {config_dir} for --config-dir.")
    runs, unfinished, tables = {}, [], {}
    for source in sources:
        if not source.exists():
            raise ScoreError(f"There is no {source}: name folders of runs, or CSV files of predictions.")
        if source.is_file():
            tables[source.resolve()] = read_predictions(source)
        for folder in _run_folders(source):
            if not folder.finished:
                unfinished.append(folder.path)
                continue
            runs[folder.path.resolve()] = read_run(folder)
            predictions = folder.file("predictions")
            tables[predictions.resolve()] = read_predictions(predictions)
            tables |= {file.resolve(): _read_unseen(file) for file in folder.evaluations.glob("*.csv")}
    if not tables:
        more = f", but {len(unfinished)} unfinished" if unfinished else ""
        raise ScoreError(f"There is no finished run in {', '.join(map(str, sources))}{more}.")
    predictions = pd.concat(tables.values(), ignore_index=True)
    twice = predictions[predictions.duplicated([*ROW, "model"]) & (predictions["image"] != "")]
    if len(twice):
        model, split = twice.iloc[0][["model", "split"]]
        raise ScoreError(f"Two of the tables hold split {split} of {model}. Name each run once.")
    return Study(predictions, list(runs.values()), unfinished, expected, config_dir)


def read_run(folder: RunFolder) -> Run:
    """Read the folder of a finished run.

    Raises:
        ConfigError: one of its files cannot be read, or does not say what it should.
    """
    metrics, settings = folder.read_metrics(), folder.read_settings()
    if lacking := sorted((NEEDED_SETTINGS - settings.keys()) | (NEEDED_METRICS - metrics.keys())):
        raise ConfigError(f"{folder.path} holds a damaged run: it does not tell its {', '.join(lacking)}.")
    split = settings["split"]
    return Run(folder, str(metrics["run"]).removesuffix(f"/{split_folder(split)}"), split, settings, metrics)


def _run_folders(source: Path) -> list[RunFolder]:
    """Folders below a source that hold a run's configuration; those that W&B keeps for itself are none."""
    configs = sorted(source.rglob(SETTINGS))
    return [RunFolder(file.parent) for file in configs if "wandb" not in file.relative_to(source).parts]


def described_datasets(config_dir: Path | None = None) -> dict[str, Mapping[str, Any]]:
    """What conf/dataset says of each dataset, and dataset/ of another folder."""
    folders = [folder for folder in (conf_dir(), config_dir) if folder]
    return {file.stem: OmegaConf.load(file) for folder in folders for file in (folder / "dataset").glob("*.yaml")}


def _read_unseen(file: Path) -> pd.DataFrame:
    """An evaluation of a run's checkpoint: what is new in it; the run's own test part is told by the run."""
    table = read_predictions(file)
    return table[table["part"] == UNSEEN]
