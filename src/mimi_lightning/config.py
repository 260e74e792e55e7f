"""The configuration tree: where it lies, and what is refused before anything is loaded.

The YAML files are the schema: a key that no chosen group option defines is unknown, wherever it was written. What its
value may be stands in `rules`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from mimi_lightning.data.places import place, reached
from mimi_lightning.errors import ConfigError
from mimi_lightning.hints import missing_key, unknown_key, unknown_option
from mimi_lightning.rules import check_values, flatten

SPLITS = range(1, 11)
OVERLAYS = ("experiment", "sweep")  # groups that only change what the others define
SEVERAL = {"dataset": "datasets", "logger": "logger", "callbacks": "callbacks"}  # node of groups of several options
UNCOMPOSED = (ValueError, TypeError, AttributeError)  # of Hydra, where values change their kind on the way
NONE = ("", "null", "[null]", "false")


def conf_dir() -> Path:
    """Folder of the tree: inside an installed wheel, or at the top of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def split_folder(split: int) -> str:
    """Name of a split's output folder: 3 -> `split03`."""
    return f"split{split:0>2}"


def coverage_folder(folder: str, coverage: str) -> str:
    """Folder of miniature datasets by their coverage: `miniature` of own, `miniature_shared` of shared."""
    return folder if coverage == "own" else f"{folder}_{coverage}"


def register_resolvers() -> None:
    """Make `${split_folder:3}` and `${coverage_folder:miniature,shared}` known to OmegaConf."""
    for resolver in (split_folder, coverage_folder):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)


def load(overrides: Iterable[str], folder: Path | None = None) -> DictConfig:
    """Compose and check a configuration outside the main job; datasets and lists that are not there are no error.

    Args:
        overrides: as on the command line.
        folder: more configuration, such as dataset/<name>.yaml.

    Raises:
        ConfigError: what the main job would refuse as well.
    """
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        try:
            cfg = compose("config", [*plain(overrides), *_search(folder)], return_hydra_config=True)
        except UNCOMPOSED as error:
            raise ConfigError(f"This cannot be composed: {error}.") from error
        hydra = cfg.hydra
        with open_dict(cfg):
            del cfg["hydra"]
        _check_content(cfg, hydra)
    return cfg


def check(cfg: DictConfig, hydra: DictConfig) -> None:
    """Refuse a composed configuration that cannot run.

    Args:
        cfg: the composition.
        hydra: Hydra's own part of it.

    Raises:
        ConfigError: unknown or missing key, wrong type, value out of range, missing folder.
    """
    _check_content(cfg, hydra)
    check_lists(cfg)
    if cfg.data.miniature is None:
        _check_folders(cfg)


def plain(words: Iterable[str]) -> list[str]:
    """Words of the command line as Hydra understands them for every group.

    No option is `group=[]`, also where a user writes `group=null` or `~group`; a number is the name of no option.
    """
    return [_plain(word) for word in words]


def _plain(word: str) -> str:
    group, _, option = word.removeprefix("~").partition("=")
    chosen = word == f"~{group}" or word.startswith(f"{group}=")
    if not (chosen and group.isidentifier() and (conf_dir() / group).is_dir()):
        return word
    several = option.startswith("[") and option.endswith("]")
    named = ",".join(_plain_option(each.strip()) for each in (option[1:-1] if several else option).split(","))
    if option.startswith("{") or "[[" in option:
        raise ConfigError(f"{word}: expected the name of an option of {group}.")
    return f"{group}=[{named}]" if several and named != "[]" else f"{group}={named}"


def _plain_option(option: str) -> str:
    if option in NONE:
        return "[]"
    # What Hydra would take for a number or a truth value.
    return f"'{option}'" if re.fullmatch(r"[-+.\d][-+.\w]*|true|nan|inf", option, re.IGNORECASE) else option


def explain(error: Exception, words: Sequence[str]) -> str:
    """One message for what Hydra found wrong while composing, with the nearest right name.

    Args:
        error: raised by Hydra or OmegaConf.
        words: of the command line.
    """
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return unknown_option(group, option, error.options or _options_beside(config_dir(words), group))
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        prefix = cause.full_key.removesuffix(str(cause.key))
        beside = OmegaConf.to_container(cause.parent_node)
        return unknown_key(cause.full_key, _keys(beside, prefix))
    return str(error) or str(cause)


def _search(folder: Path | None) -> list[str]:
    """What makes Hydra look into another folder as well."""
    if folder is None:
        return []
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {folder.absolute()} for --config-dir.")
    return [f"hydra.searchpath=['file://{folder.absolute()}']"]


def config_dir(words: Sequence[str]) -> Path | None:
    """The folder of a user's own options that a command line names, if it does."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    return parser.parse_known_args(words)[0].config_dir


def _options_beside(folder: Path | None, group: str) -> list[str]:
    """Options of a group where Hydra is not at work."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return options(group, _search(folder))


def options(group: str, overrides: list[str] | None = None) -> list[str]:
    """Options of a group, those of all folders that Hydra searches; Hydra has been initialised."""
    return GlobalHydra.instance().config_loader().get_group_options(group, config_name="config", overrides=overrides)


def _check_content(cfg: DictConfig, hydra: DictConfig) -> None:
    """Check all that can be checked without looking for the datasets."""
    search = [f"hydra.searchpath={list(hydra.searchpath)}"]
    _drop_absent_datasets(cfg, options("dataset", search))
    if not cfg.get("datasets"):
        raise ConfigError("The mix is empty. Name at least one dataset: dataset=[live,csiq]")
    _refuse_twice(OmegaConf.to_container(hydra.overrides.task))
    definition = _definitions(cfg, hydra.runtime.choices, search)
    _check_keys(OmegaConf.to_container(cfg), definition, search)
    if cfg.splits.protocol != definition["splits"]["protocol"]:
        protocols = options("splits", search)
        right = cfg.splits.protocol if cfg.splits.protocol in protocols else " or ".join(protocols)
        raise ConfigError(
            f"splits.protocol={cfg.splits.protocol}: the name alone brings none of the lists. Choose splits={right}."
        )
    try:
        settings = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"The configuration cannot be resolved: {error}") from error
    check_values(settings, SPLITS, options("splits", search))


def _refuse_twice(words: Iterable[str]) -> None:
    """Refuse an option that is named twice in a group of several; Hydra takes it once."""
    for word in words:
        group, _, options = word.partition("=")
        named = [option.strip() for option in options.strip("[]").split(",")]
        if group in SEVERAL and (twice := {option for option in named if named.count(option) > 1}):
            raise ConfigError(f"{word}: {' and '.join(sorted(twice))} is named twice.")


def _definitions(cfg: DictConfig, choices: DictConfig, search: list[str]) -> dict:
    """Compose the chosen options alone: without experiment and without values from the command line."""
    chosen = {group: option for group, option in choices.items() if option and "hydra" not in group}
    # Hydra tells no choice of several options; each stands in their node by its name.
    chosen |= {group: f"[{','.join(cfg.get(node, {}))}]" for group, node in SEVERAL.items()}
    words = [f"{group}={option}" for group, option in chosen.items() if group not in OVERLAYS]
    return OmegaConf.to_container(compose("config", [*words, *search]))


def _drop_absent_datasets(cfg: DictConfig, known: list[str]) -> None:
    """Forget what an experiment says of datasets that are not in this mix."""
    nodes = cfg.get("datasets", {})
    with open_dict(cfg):
        absent = [
            n for n, node in nodes.items() if n in known and isinstance(node, DictConfig) and "reader" not in node
        ]
        for name in absent:
            del nodes[name]


def _check_keys(node: dict, definition: dict, search: list[str], prefix: str = "") -> None:
    """Refuse keys that are not defined, lack, or hold another kind of value than where they are defined."""
    for path in (f"{prefix}{key}" for key in definition if key not in node):
        raise ConfigError(missing_key(path, options(path, search)))
    for key, value in node.items():
        path = f"{prefix}{key}"
        if key not in definition:
            raise ConfigError(unknown_key(path, _keys(definition, prefix)))
        defined = definition[key]
        if isinstance(value, dict) and isinstance(defined, dict):
            _check_keys(value, defined, search, f"{path}.")
        elif not _same_kind(value, defined, free=path.startswith("trainer.")):  # where null is Lightning's default
            given = "null" if value is None else value
            raise ConfigError(f"{path}={given}: expected {_kind(defined)}, such as {defined}.")


def _same_kind(value: Any, defined: Any, free: bool) -> bool:
    """Whether a value may stand where the definition has another; words are left to `rules`, and null if it is free."""
    if value is None:
        return defined is None or free
    if defined is None or isinstance(defined, str):
        return not isinstance(value, (dict, list)) or defined is None
    return _kind(value) == _kind(defined) or (isinstance(value, str) and "${" in value)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    return {dict: "a mapping", list: "a list"}.get(type(value), "a word")


def _keys(node: dict, prefix: str = "") -> Iterator[str]:
    return (key for key, _ in flatten(node, prefix) if not key.startswith("hydra"))


def check_lists(cfg: DictConfig) -> None:
    """Refuse published partitions without their lists.

    Raises:
        ConfigError: the folder is not named, or not there.
    """
    if "lists" in cfg.splits and not (cfg.splits.lists and Path(cfg.splits.lists).is_dir()):
        found = "" if cfg.splits.lists is None else f" There is no folder {cfg.splits.lists}."
        asked = ", as published," if cfg.splits.protocol == cfg.published_splits else ""
        raise ConfigError(
            f"splits={cfg.splits.protocol}{asked} needs splits.lists=DIR, the folder of the authors' lists.{found}\n"
            "To run on generated partitions knowingly: splits=generated"
        )


def _check_folders(cfg: DictConfig) -> None:
    root = place(cfg.data.root)
    with reached(root):
        there = root.is_dir()
    if not there:
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
