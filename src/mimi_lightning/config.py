"""The configuration tree: where it lies, and what is refused before anything is loaded.

The YAML files are the schema. A key that no chosen group option defines is unknown, wherever it was written.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mimi_lightning.errors import ConfigError

SPLITS = range(1, 11)
OVERLAYS = ("experiment",)  # groups that only change what the others define


def conf_dir() -> Path:
    """Folder of the tree: inside an installed wheel, or at the top of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def split_folder(split: int) -> str:
    """Name of a split's output folder: 3 -> `split03`."""
    return f"split{split:0>2}"


def register_resolvers() -> None:
    """Make `${split_folder:3}` known to OmegaConf."""
    OmegaConf.register_new_resolver("split_folder", split_folder, replace=True)


def load(overrides: Iterable[str], folder: Path | None = None) -> DictConfig:
    """Compose and check a configuration outside the main job; datasets that are not there are no error.

    Args:
        overrides: as on the command line.
        folder: more configuration, such as dataset/<name>.yaml.

    Raises:
        ConfigError: what the main job would refuse as well.
    """
    register_resolvers()
    search = [f"hydra.searchpath=[file://{folder.absolute()}]"] if folder else []
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", [*overrides, *search], return_hydra_config=True)
        choices = cfg.hydra.runtime.choices
        OmegaConf.set_struct(cfg, False)
        del cfg["hydra"]
        OmegaConf.set_struct(cfg, True)
        _check_content(cfg, choices, search)
    return cfg


def check(cfg: DictConfig, choices: Mapping[str, Any]) -> None:
    """Refuse a composed configuration that cannot run.

    Args:
        cfg: the composition.
        choices: option chosen for each group, as Hydra's `hydra.runtime.choices`.

    Raises:
        ConfigError: unknown key, wrong type, value out of range, missing folder.
    """
    _check_content(cfg, choices)
    if cfg.data.miniature is None:
        _check_folders(cfg)


def _check_content(cfg: DictConfig, choices: Mapping[str, Any], search: Iterable[str] = ()) -> None:
    """Check all that can be checked without looking for the datasets."""
    if "datasets" not in cfg:
        raise ConfigError("The mix is empty. Name at least one dataset: dataset=[live,csiq]")
    _drop_absent_datasets(cfg)
    mix = [name for name, node in cfg.datasets.items() if "reader" in node]  # Hydra tells no choice of several options
    _check_keys(OmegaConf.to_container(cfg), _definitions({**choices, "dataset": mix}, search))
    try:
        OmegaConf.resolve(cfg)
    except OmegaConfBaseException as error:
        raise ConfigError(f"The configuration cannot be resolved: {error}") from error
    _check_values(cfg)
    _check_lists(cfg)


def explain(error: Exception, overrides: Iterable[str]) -> str:
    """One message for what Hydra found wrong while composing, with the nearest right name."""
    absent = re.search(r"Could not (?:find|load) '(\w+)/([^']+)'", str(error))
    if absent:
        group, option = absent.groups()
        options = getattr(error, "options", None) or _options(group)
        return f"There is no {group}={option}.{_nearest(option, options)} There are: {', '.join(options)}"
    unknown = re.search(r"Could not override '([^']+)'", str(error))
    if unknown:
        with initialize_config_dir(str(conf_dir()), version_base=None):
            return _unknown_key(unknown[1], _flat_keys(_definitions(_group_choices(overrides))))
    return str(error)


def _definitions(choices: Mapping[str, Any], search: Iterable[str] = ()) -> dict:
    """Compose the chosen options alone: without experiment and without values from the command line."""
    groups = {group: option for group, option in choices.items() if "hydra" not in group and group not in OVERLAYS}
    cfg = compose("config", [*(f"{group}={_literal(option)}" for group, option in groups.items()), *search])
    return OmegaConf.to_container(cfg)


def _literal(option: Any) -> str:
    if isinstance(option, (list, ListConfig)):
        return "[" + ",".join(option) + "]"
    return "null" if option is None else str(option)


def _group_choices(overrides: Iterable[str]) -> dict[str, str]:
    """Of command-line words, those that choose an existing option of a group."""
    pairs = (word.split("=", 1) for word in overrides if "=" in word)
    return {group: option for group, option in pairs if option in _options(group)}


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def _drop_absent_datasets(cfg: DictConfig) -> None:
    """Forget what an experiment says of datasets that are not in this mix."""
    known = _options("dataset")
    for name in [name for name, node in cfg.datasets.items() if "reader" not in node and name in known]:
        OmegaConf.set_struct(cfg, False)
        del cfg.datasets[name]


def _check_keys(node: dict, definition: dict, prefix: str = "") -> None:
    for key, value in node.items():
        path = f"{prefix}{key}"
        if key not in definition:
            raise ConfigError(_unknown_key(path, _flat_keys(definition, prefix)))
        defined = definition[key]
        if isinstance(value, dict) and isinstance(defined, dict):
            _check_keys(value, defined, f"{path}.")
        elif not _same_kind(value, defined):
            raise ConfigError(f"{path}={value}: expected {_kind(defined)}, such as {defined}.")


def _same_kind(value: Any, defined: Any) -> bool:
    """Whether a value may stand where the definition has another; words are left to `_check_values`."""
    if value is None or defined is None or isinstance(defined, str):
        return not isinstance(value, (dict, list)) or defined is None
    return _kind(value) == _kind(defined) or (isinstance(value, str) and "${" in value)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    return {dict: "a mapping", list: "a list"}.get(type(value), "a word")


def _check_values(cfg: DictConfig) -> None:
    _need_whole(cfg, "split", SPLITS.start, SPLITS.stop - 1)
    _need_whole(cfg, "seed", 0, 2**32 - 1)
    _need_whole(cfg, "trainer.max_epochs", 1)
    # The best epoch is chosen among those that were validated: there must be one.
    _need_whole(cfg, "trainer.check_val_every_n_epoch", 1, cfg.trainer.max_epochs)
    if cfg.trainer.limit_val_batches == 0:
        raise ConfigError("trainer.limit_val_batches=0: the best epoch is chosen by validation, so there must be some.")
    for key in ("crop", "resize", "test_resize", "test_batch"):
        _need_whole(cfg, f"data.{key}", 1)
    _need_whole(cfg, "data.workers", 0)
    _need_whole(cfg, "splits.seed", 0)
    if cfg.data.epoch != "longest":
        _need_whole(cfg, "data.epoch", 1, hint=" or longest")
    if str(cfg.trainer.precision) in ("16-true", "bf16-true"):
        raise ConfigError("trainer.precision: scores in half precision collapse; choose 16-mixed or bf16-mixed.")
    for key, words in {"on_error": ("raise", "skip"), "small_images": ("raise", "pad")}.items():
        if cfg.data[key] not in words:
            raise ConfigError(f"data.{key}={cfg.data[key]}: expected {' or '.join(words)}.")
    if cfg.published_splits not in (None, *_options("splits")):
        raise ConfigError(f"published_splits={cfg.published_splits}: expected an option of splits, or null.")
    for name, dataset in cfg.datasets.items():
        _need_whole(cfg, f"datasets.{name}.quota", 1)
        if not dataset.weight >= 0:
            raise ConfigError(f"datasets.{name}.weight={dataset.weight}: expected 0 or more.")
        low, high = dataset.range
        if not low < high:
            raise ConfigError(f"datasets.{name}.range={[low, high]}: expected [lowest, highest].")


def _need_whole(cfg: DictConfig, key: str, low: int, high: int | None = None, hint: str = "") -> None:
    value = OmegaConf.select(cfg, key)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        upto = "or more" if high is None else f"to {high}"
        raise ConfigError(f"{key}={value}: expected a whole number, {low} {upto}{hint}.")


def _check_lists(cfg: DictConfig) -> None:
    if "lists" in cfg.splits and not (cfg.splits.lists and Path(cfg.splits.lists).is_dir()):
        found = "" if cfg.splits.lists is None else f" There is no folder {cfg.splits.lists}."
        asked = ", as published," if cfg.splits.protocol == cfg.published_splits else ""
        raise ConfigError(
            f"splits={cfg.splits.protocol}{asked} needs splits.lists=DIR, the folder of the authors' lists.{found}\n"
            "To run on generated partitions knowingly: splits=generated"
        )


def _check_folders(cfg: DictConfig) -> None:
    root = Path(cfg.data.root)
    if not root.is_dir():
        raise ConfigError(
            f"There is no folder {root.absolute()}.\n"
            "Set paths.datasets=DIR (or MIMI_DATASETS) to the folder that holds "
            + ", ".join(dataset.folder for dataset in cfg.datasets.values())
            + ",\nor try the project without any download: python -m mimi_lightning experiment=demo"
        )
    absent = {name: d for name, d in cfg.datasets.items() if not (root / d.folder).is_dir()}
    if absent:
        lines = [f"  {name}: {(root / d.folder).absolute()} (from {d.url})" for name, d in absent.items()]
        present = [name for name in cfg.datasets if name not in absent]
        hint = f"\nor mix only those that are there: dataset=[{','.join(present)}]" if present else ""
        raise ConfigError("These dataset folders are missing:\n" + "\n".join(lines) + "\nDownload them" + hint)


def _unknown_key(key: str, known: Iterable[str]) -> str:
    return f"Unknown key {key}.{_nearest(key, known)} All keys: python -m mimi_lightning --cfg job"


def _nearest(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {found[0]}?" if found else ""


def _flat_keys(node: dict, prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat_keys(value, f"{prefix}{key}.")
