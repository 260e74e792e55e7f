"""What a report is about: the finished runs below some folders, and tables of other programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mimi_lightning.config import conf_dir, split_folder
from mimi_lightning.errors import ConfigError, MimiError, ScoreError
from mimi_lightning.evaluation.predictions import ROW, UNSEEN, read_predictions
from mimi_lightning.run_folder import SETTINGS, RunFolder

# What a report asks of a run.


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

    @property
    def facts(self) -> dict[str, Any]:
        """Where its figures come from, by name."""
        metrics, parts = self.metrics, self.metrics["partition"]
        return {
            "seed": metrics["seed"],
            "best epoch": metrics["best_epoch"],
            "commit": metrics["commit"] or "not a checkout",
            "versions": ", ".join(f"{name} {version}" for name, version in metrics["versions"].items()),
            "partition": parts["protocol"],
            "sha256 of the partition": parts["sha256"],
            "pictures left out": metrics["skipped"] + sum(parts["left_out"].values()),
        }

    @property
    def folders(self) -> dict[str, Path]:
        """Folder of each dataset, as it was when the run began."""
        root = Path(self.settings["data"]["root"])
        return {name: root / node["folder"] for name, node in self.settings["datasets"].items()}

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Published range of each dataset, native scale."""
        return {name: tuple(map(float, node["range"])) for name, node in self.settings["datasets"].items()}

    def read_mappings(self) -> pd.DataFrame:
        """The curves of its score mappers: dataset, proxy, mos."""
        return pd.read_csv(self.folder.file("mappings"))[["dataset", "proxy", "mos"]]

    def read_labels(self) -> pd.DataFrame:
        """What it learned from: dataset, image, part and mos of all images."""
        return pd.read_csv(self.folder.file("labels"), dtype={"image": str})[["dataset", "image", "part", "mos"]]

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
        left_out: what is said of runs that did not come to their end, or whose files are damaged.
        expected: splits that each model should have.
        config_dir: describes datasets of one's own, for tables that belong to no run.
    """

    predictions: pd.DataFrame
    runs: Sequence[Run] = ()
    left_out: Sequence[str] = ()
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
        untested = [f"{model}: no test rows" for model in self.models if model not in self.splits]
        gaps = {model: sorted(wanted - set(splits)) for model, splits in self.splits.items()}
        for (model, dataset), there in self.tested.groupby(["model", "dataset"])["split"]:
            gaps[f"{model}, {dataset}"] = sorted(set(self.splits[model]) - set(there))
        said = [f"{name}: no result of split {', '.join(map(str, gap))}" for name, gap in gaps.items() if gap]
        return [*untested, *said, *self.left_out]

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
    runs, left_out, tables = {}, [], {}
    for source in sources:
        if not source.exists():
            raise ScoreError(f"There is no {source}: name folders of runs, or CSV files of predictions.")
        if source.is_file():
            tables[source.resolve()] = read_predictions(source)
        for folder in _run_folders(source):
            try:
                runs[folder.path.resolve()] = read_run(folder)
                for file in (folder.file("predictions"), *folder.evaluations.glob("*.csv")):
                    tables[file.resolve()] = _read_table(folder, file)
            except ScoreError as error:
                left_out.append(str(error))
    if not tables:
        more = "".join(f"\n{said}" for said in left_out)
        raise ScoreError(f"There is no finished run in {', '.join(map(str, sources))}.{more}")
    _refuse_twice(tables)
    study = Study(pd.concat(tables.values(), ignore_index=True), list(runs.values()), left_out, expected, config_dir)
    if study.tested.empty:
        raise ScoreError(f"{', '.join(map(str, sources))}: no row is of a test part.")
    return study


def read_run(folder: RunFolder) -> Run:
    """Read the folder of a finished run.

    Raises:
        ScoreError: it is not finished, or a file of it is damaged.
    """
    if not folder.finished:
        raise ScoreError(f"{folder.path} holds a run that was not finished")
    try:
        metrics, settings = folder.read_metrics(), folder.read_settings()
        split = settings["split"]
        run = Run(folder, metrics["run"].removesuffix(f"/{split_folder(split)}"), split, settings, metrics)
        _probe(run)
    except (MimiError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        fault = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ScoreError(f"{folder.path} holds a damaged run, which is left out ({fault})") from error
    return run


def _probe(run: Run) -> None:
    """Read all that a report tells of a run, so that a damaged one is found before anything is told of it."""
    absent = {"alignment", "sizes"} - run.metrics.keys()
    if absent:
        raise KeyError(*absent)
    for read in (run.read_mappings, run.read_labels, run.read_log):
        read()
    for told in ("facts", "folders", "ranges", "departure"):
        getattr(run, told)


def _refuse_twice(tables: Mapping[Path, pd.DataFrame]) -> None:
    """Refuse a split of a model that stands in two tables; where images have no names, any rows of the same part."""
    rows = pd.concat([table.assign(table=number) for number, table in enumerate(tables.values())], ignore_index=True)
    named, nameless = rows[rows["image"] != ""], rows[rows["image"] == ""]
    sources = nameless.groupby(["model", "dataset", "split", "part"])["table"].transform("nunique")
    twice = pd.concat([named[named.duplicated([*ROW, "model"])], nameless[sources > 1]])
    if len(twice):
        model, split = twice.iloc[0][["model", "split"]]
        raise ScoreError(f"Two of the tables hold split {split} of {model}. Name each run once.")


def _run_folders(source: Path) -> list[RunFolder]:
    """Folders below a source that hold a run's configuration; those that W&B keeps for itself are none."""
    configs = sorted(source.rglob(SETTINGS))
    return [RunFolder(file.parent) for file in configs if "wandb" not in file.relative_to(source).parts]


def described_datasets(config_dir: Path | None = None) -> dict[str, Mapping[str, Any]]:
    """What conf/dataset says of each dataset, and dataset/ of another folder."""
    folders = [folder for folder in (conf_dir(), config_dir) if folder]
    files = [file for folder in folders for file in (folder / "dataset").glob("*.yaml")]
    return {file.stem: _describe(file) for file in files}


def _describe(file: Path) -> Mapping[str, Any]:
    try:
        described = OmegaConf.load(file)
        if not isinstance(described.get("images"), int | None):
            raise ValueError(f"images: {described.images}")
    except (OSError, ValueError, TypeError, AttributeError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{file} describes no dataset: {error}") from error
    return described


def _read_table(folder: RunFolder, file: Path) -> pd.DataFrame:
    """Predictions of a run; of an evaluation of its checkpoint what is new: its own test part is told by the run."""
    table = read_predictions(file)
    return table if file == folder.file("predictions") else table[table["part"] == UNSEEN]
