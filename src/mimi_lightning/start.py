"""Where training starts: from a checkpoint (`init=FILE`), and what of it stays as it is (`freeze=[...]`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mimi_lightning.data.owners.sheets import read_csv
from mimi_lightning.errors import ConfigError
from mimi_lightning.models.lora import beside_adapters
from mimi_lightning.module import QualityModel
from mimi_lightning.run_folder import FILES
from mimi_lightning.specs import Spec

FREEZABLE = ("regressor", "mappers")
FREE = {"weights", "freeze", "keep_scaling", "checkpointing"}  # arguments of a regressor that change no score


def check_freeze(checkpoint: str | None, freeze: Sequence[str] | None) -> None:
    """Refuse to freeze what a checkpoint does not bring.

    Raises:
        ConfigError: words that are not known, or no checkpoint.
    """
    freeze = [] if freeze is None else freeze
    if isinstance(freeze, str) or any(part not in FREEZABLE for part in freeze):
        raise ConfigError(f"freeze={freeze}: expected a list of {' and '.join(FREEZABLE)}, such as freeze=[regressor].")
    if freeze and checkpoint is None:
        raise ConfigError(f"freeze=[{','.join(freeze)}] keeps what a checkpoint brings: set init=CHECKPOINT.")


def start_from(old: QualityModel, parts: Mapping[str, Any], freeze: Sequence[str]) -> QualityModel:
    """Construct a model that knows what an earlier one has learned.

    The regressor is the earlier one's; it may get adapters (`backbone.lora`). Of datasets that both know, score mapper
    and label scale are the earlier one's too, so that its scores keep their meaning; those of new datasets begin
    afresh, and datasets left out vanish. A label scale that the earlier model does not know, an imported one, is that
    of the training part.

    Args:
        old: the earlier model.
        parts: arguments of `QualityModel`.
        freeze: of `FREEZABLE`; what is frozen gives the same scores ever after.

    Raises:
        ConfigError: a regressor or a mapper of another kind, or nothing that is left to learn.
    """
    network, adapts = dict(old.hparams.regressor), _adapts(parts["regressor"]) and not _adapts(old.hparams.regressor)
    if adapts:
        network.pop("lora", None)
    specs = {
        "regressor": _agreed("backbone", network, parts["regressor"]) | {"weights": "none"},
        "mapper": _agreed("mapper", old.hparams.mapper, parts["mapper"]),
        "labels": _agreed("labels", old.hparams.labels, parts["labels"]),
    }
    anchors = [gauge.get("dataset") for gauge in (old.hparams.gauge, parts["gauge"])]
    if anchors[0] != anchors[1]:
        raise ConfigError(
            f"init: the anchor is {anchors[0]} in the checkpoint and {anchors[1]} here. Set gauge as its run did."
        )
    shared = [name for name in parts["datasets"] if name in old.names]
    datasets = dict(parts["datasets"])
    for name in shared:
        if old.scale.known[old.number([name])]:
            datasets[name] = {**datasets[name], "labels": old.hparams.datasets[name]["labels"]}
    model = QualityModel(**{**parts, **specs, "datasets": datasets})
    state = old.regressor.state_dict()
    model.regressor.load_state_dict(beside_adapters(state, model.regressor) if adapts else state)
    model.mapper.put(shared, old.mapper.rows(shared))
    if "regressor" in freeze:
        model.regressor.requires_grad_(False).eval()
    if "mappers" in freeze:
        model.frozen = tuple(shared)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("freeze leaves nothing to learn: no parameter of the mapper does. Free the regressor.")
    return model


def refuse_seen(checkpoint: str, table: pd.DataFrame) -> None:
    """Refuse to test on images that a checkpoint has learned from, as far as the folder of its run tells.

    Args:
        checkpoint: in the folder of its run.
        table: annotations table with this split's parts.

    Raises:
        ConfigError: says how many images of which datasets.
    """
    labels = Path(checkpoint).resolve().parent.parent / FILES["labels"]
    if not labels.is_file():
        return
    before = read_csv(labels, ("dataset", "image", "part"), dtype=str)
    seen = table[table["part"] == "test"].merge(before[before["part"] != "test"], on=["dataset", "image"])
    if not seen.empty:
        raise ConfigError(
            f"init={checkpoint} was trained on {len(seen):,} images that are in the test part now "
            f"({', '.join(sorted(set(seen['dataset'])))}): take a checkpoint of the same split and partitions."
        )


def _adapts(regressor: Spec) -> bool:
    """Whether it has adapters, see `mimi_lightning.models.lora`."""
    return bool((regressor.get("lora") or {}).get("rank"))


def _agreed(group: str, old: Spec, new: Spec) -> dict[str, Any]:
    """The specification that both agree on; what only the checkpoint says of itself stays as it was trained."""
    for key in sorted(old.keys() & new.keys() - FREE):
        if old[key] != new[key]:
            raise ConfigError(
                f"init: {group}.{key} is {old[key]} in the checkpoint and {new[key]} here. Configure {group} as the "
                "checkpoint's run did; its config.yaml tells."
            )
    return {**old, **new}
