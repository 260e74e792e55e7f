"""The folder of a run: its files, which run it holds, who may write into it, and whether it goes on."""

from __future__ import annotations

import inspect
import json
import math
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_object
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mimi_lightning import config
from mimi_lightning.data.miniature import make_miniature
from mimi_lightning.errors import ConfigError, MimiError
from mimi_lightning.files import DRAFT, aside, explain
from mimi_lightning.renamed import renamed, with_gauge
from mimi_lightning.rules import flatten

Settings = dict[str, Any]

# What a finished run leaves in its folder.
FILES = {
    "predictions": "predictions.csv",
    "labels": "labels.csv",
    "mappings": "mappings.csv",
    "figures": "metrics.json",  # written last: where it lies, the run is finished
    "picture": "mappings.png",
    "card": "model_card.md",
    "checkpoint": "checkpoints/best.ckpt",
}
SETTINGS = "config.yaml"
LOCK = ".lock"

# The state that an interrupted run goes on from, and the one before it.
LAST, FORMER = "last.ckpt", "former.ckpt"

# Keys that change no figure of a run. Where things lie: what lies there, labels.csv tells.
PLACES = (
    *("name", "paths", "data.root", "data.cache", "data.feature_store", "splits.store", "splits.lists"),
    "datasets.*.folder",
)
# What other nodes refer to, and say themselves.
REFERRED = ("data.quota", "data.resize", "data.crop", "data.test_resize", "data.small_images")
# How fast it is, what it shows, and what is said of it.
MANNERS = (
    *("overwrite", "published_splits", "datasets.*.url", "datasets.*.licence", "datasets.*.images", "logger"),
    *("data.workers", "backbone.checkpointing", "trainer.enable_progress_bar", "trainer.log_every_n_steps"),
    *("callbacks.lr_monitor", "checkpoint.every_minutes", "optimizer.fused", "trainer.compile"),
)


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run of one configuration, from its first epoch on; it may be moved, renamed and copied.

    Args:
        path: of the folder; it need not be there yet.
    """

    path: Path

    def file(self, what: str) -> Path:
        """One of the `FILES` of a finished run."""
        return self.path / FILES[what]

    @property
    def last(self) -> Path:
        """Checkpoint of the last state that was written."""
        return self.path / "checkpoints" / LAST

    @property
    def former(self) -> Path:
        """The state before the last one, until the run is finished."""
        return self.last.with_name(FORMER)

    @property
    def begun(self) -> bool:
        """Whether there is a state to go on from; a kill may leave only the former one."""
        return self.last.is_file() or self.former.is_file()

    @property
    def evaluations(self) -> Path:
        """Folder of tables of the run's checkpoint on other datasets."""
        return self.path / "evaluations"

    @property
    def logs(self) -> list[Path]:
        """What CSVLogger wrote, a version for every time that the run went on."""
        files = (file for file in self.path.glob("logs/version_*/metrics.csv") if file.stat().st_size)
        return sorted(files, key=lambda file: int(file.parent.name[8:]))

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.file("figures").is_file()

    @property
    def described(self) -> bool:
        """Whether the settings that the run was begun with are there."""
        return (self.path / SETTINGS).is_file()

    def covers(self, settings: Settings) -> bool:
        """Whether the run came to its end, and trained for as many epochs as are asked for."""
        if not (self.finished and self.described):
            return self.finished
        return _epochs(self.read_settings()) >= _epochs(settings)

    def read_settings(self) -> Settings:
        """The configuration of the run, with the names of this version; errors as those of `read_metrics`."""
        try:
            return with_gauge(renamed(dict(OmegaConf.to_container(OmegaConf.load(self.path / SETTINGS)))))
        except (OSError, ValueError, TypeError, AttributeError, YAMLError, OmegaConfBaseException) as error:
            raise ConfigError(f"{self.path / SETTINGS} is damaged: {error}") from error

    def read_metrics(self) -> dict[str, Any]:
        """What a finished run tells of itself.

        Raises:
            ConfigError: the file is damaged.
        """
        try:
            return dict(json.loads(self.file("figures").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{self.file('figures')} is damaged: {error}") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from writing into the folder; the system gives it back when this one dies.

        The folder is made if it is not there, and goes when nothing was written into it.

        Raises:
            ConfigError: another process holds it, or it cannot be written.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        before = set(self.path.rglob("*"))
        lock = FileLock(self.path / LOCK)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ConfigError(
                f"Another process is writing into {self.path}.\n"
                "Wait for its end or stop it, or write elsewhere: name=... of a run, out=CSV of an evaluation."
            ) from error
        except OSError as error:
            raise ConfigError(
                f"{explain(error)}\nChoose another folder for what runs leave: paths.outputs=DIR."
            ) from error
        try:
            yield
        except MimiError:
            if not (self.finished or self.begun):
                self._leave_as(before)
            raise
        finally:
            if all(entry.name == LOCK for entry in self.path.iterdir()):
                (self.path / LOCK).unlink(missing_ok=True)
                for folder in made:
                    with suppress(OSError):  # another run stands beside it
                        folder.rmdir()
            lock.release()

    def enter(self, settings: Settings) -> None:
        """Make room for a run, or refuse it; what an older one left is kept if the run can go on with it.

        Raises:
            ConfigError: the folder holds another run, or one of which nobody knows what it is.
        """
        described, begun = self.described, self.finished or self.begun
        changed = changed_keys(self.read_settings(), settings) if described else []
        if begun and not described and not settings["overwrite"]:
            raise ConfigError(
                f"{self.path} holds a run, but not its {SETTINGS}: with which settings it was trained is not known.\n"
                "Put the file back, choose another name=..., or overwrite=true to start anew and lose the run."
            )
        if begun and described and not settings["overwrite"] and longer(self.read_settings(), settings, changed):
            return
        if begun and changed and not settings["overwrite"]:
            raise ConfigError(
                f"{self.path} holds a run with another configuration ({', '.join(changed)}).\n"
                "Choose another name=..., or overwrite=true to start anew and lose it."
            )
        for draft in (*self.path.glob(f"*{DRAFT}"), *self.last.parent.glob(f"*{DRAFT}")):
            draft.unlink()  # a killed process left it
        if changed or (settings["overwrite"] and (begun or described)):
            self._clear()
        elif self.finished:
            self._record_settings(settings)

    def record(self, settings: Settings, labels: pd.DataFrame) -> None:
        """Write what the run is configured with and learns from, or refuse to go on with something else.

        Args:
            settings: resolved configuration.
            labels: dataset, image, part and mos of all images.

        Raises:
            ConfigError: an image, its part or its label is not as it was when the run began.
        """
        text, file = labels.to_csv(index=False), self.file("labels")
        if self.begun and file.is_file() and file.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"{self.path} holds a run that began with other images, parts or labels ({file.name}) than there are "
                "now.\nBring the datasets and lists back, choose another name=..., or overwrite=true to start anew."
            )
        with aside(file) as draft:
            draft.write_text(text, encoding="utf-8")
        self._record_settings(settings)
        self.file("figures").unlink(missing_ok=True)  # of a run that goes on for more epochs

    def _record_settings(self, settings: Settings) -> None:
        with aside(self.path / SETTINGS) as draft:
            OmegaConf.save(OmegaConf.create({**settings, "overwrite": False}), draft)

    def _leave_as(self, before: set[Path]) -> None:
        """Take away what a refused command wrote; the lock, which is held, too: who wants it next makes a new one."""
        for entry in sorted({*self.path.rglob("*")} - before, reverse=True):
            entry.rmdir() if entry.is_dir() else entry.unlink()

    def _clear(self) -> None:
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != LOCK:  # it is held
                entry.unlink()


def changed_keys(old: Settings, new: Settings) -> list[str]:
    """Keys that make two configurations two runs, sorted: those that change figures.

    A key that `old` does not have, since it was written by an earlier version, has its default value.
    """
    if not _differences(old, new, {}):
        return []
    defaults, mix = _defaults(), old.get("datasets", {})
    # Names of datasets are no such keys: one that is not in a mix has no default.
    defaults["datasets"] = {name: node for name, node in defaults["datasets"].items() if name in mix}
    if old.get("data", {}).get("miniature"):
        defaults["data"]["miniature"] = _arguments(make_miniature)
    return sorted(_differences(old, new, defaults))


def longer(old: Settings, new: Settings, changed: Collection[str]) -> bool:
    """Whether a run differs from one before in nothing but that it trains for more epochs.

    Raises:
        ConfigError: a schedule that was made for the number of epochs: it would have been another from the beginning.
    """
    rest = [key for key in changed if key != "trainer.max_epochs"]
    if len(rest) == len(changed) or _epochs(new) < _epochs(old):
        return False
    if rest == ["scheduler.T_max"]:
        raise ConfigError(
            f"The schedule (scheduler.T_max) of the run was made for {_epochs(old)} epochs; for "
            f"{_epochs(new)} it would have been another from the beginning.\n"
            "Choose another name=..., or overwrite=true to start anew and lose the run."
        )
    return not rest


def _epochs(settings: Settings) -> float:
    """How many epochs a run is asked for; without end where a damaged file does not say it."""
    return dict(flatten(settings)).get("trainer.max_epochs", math.inf)


def _defaults() -> Settings:
    """The tree without any override; the main job has told Hydra already where it lies."""
    told = GlobalHydra.instance().is_initialized()
    with nullcontext() if told else initialize_config_dir(str(config.conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(compose("config"), resolve=True)


def _differences(old: Any, new: Any, default: Any, key: str = "") -> set[str]:
    """Keys that differ, but for those that change no figure."""
    if any(fnmatchcase(key, pattern) for pattern in PLACES + REFERRED + MANNERS):
        return set()
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return set() if old == new else {key}
    default = default if isinstance(default, dict) else {}
    old, prefix = {**_unsaid(old, new, default), **old}, f"{key}." if key else ""
    return {
        path
        for name in old.keys() | new.keys()
        for path in _differences(old.get(name), new.get(name), default.get(name), prefix + name)
    }


def _unsaid(old: Settings, new: Settings, default: Settings) -> Settings:
    """Defaults of the keys that the old one lacks: of the class that is constructed, elsewhere of the tree."""
    absent, target = new.keys() - old.keys(), new.get("_target_")
    if not absent or old.get("_target_") != target:
        return {}
    if target is not None:
        default = _arguments(get_object(target))
    return {name: default[name] for name in absent & default.keys()}


def _arguments(called: Callable) -> Settings:
    """Default values of the arguments of a function or class, as YAML has them."""
    values = {name: parameter.default for name, parameter in inspect.signature(called).parameters.items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
