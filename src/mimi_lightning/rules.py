"""What the values of a configuration may be; which keys there are, and of what kind, its YAML files tell."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Any, NamedTuple

from mimi_lightning.errors import ConfigError

CORES = os.cpu_count() or 1
MOST = 4096  # images that are one batch, or views of one image: beyond, memory ends before the batch does
MEETING = ("MASTER_ADDR", "SLURM_JOB_ID", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE")  # what tells machines of each other
# Lightning's words, of those in which scores stay float32 or better, and ours.
PRECISIONS = ("auto", "32-true", "64-true", "16-mixed", "bf16-mixed", "32", "64", "16", "bf16")


class Rule(NamedTuple):
    """What a value may be, and what is said of one that may not."""

    allows: Callable[[Any], bool]
    said: str

    def broken_by(self, value: Any) -> bool:
        """Whether a value may not be; one of another kind may not."""
        try:
            return not self.allows(value)
        except (TypeError, KeyError, AttributeError):
            return True


def whole(low: int, high: int | None = None, *words: str) -> Rule:
    """A whole number from low to high, both included, or one of the words."""
    upto = "or more" if high is None else f"to {high}"
    said = ", or ".join([f"expected a whole number, {low} {upto}", *words])
    return Rule(lambda value: value in words or (type(value) is int and low <= value <= (high or math.inf)), f"{said}.")


def number(low: float, high: float = math.inf) -> Rule:
    """A finite number from low on, below high."""
    below = "" if high == math.inf else f", below {high:g}"
    return Rule(lambda value: _finite(value) and low <= value < high, f"expected {low:g} or more{below}.")


def above(low: float) -> Rule:
    """A finite number that is larger."""
    return Rule(lambda value: _finite(value) and value > low, f"expected more than {low:g}.")


def or_null(rule: Rule) -> Rule:
    """What another rule allows, or null."""
    return Rule(lambda value: value is None or rule.allows(value), f"{rule.said[:-1]}, or null.")


def list_of(rule: Rule, such_as: str) -> Rule:
    """A list of what another rule allows."""

    def allows(value: Any) -> bool:
        return isinstance(value, list) and all(map(rule.allows, value))

    return Rule(allows, f"expected a list such as {such_as}; of each, {rule.said}")


def one_of(*words: str) -> Rule:
    """One of the words."""
    return Rule(lambda value: value in words, f"expected {' or '.join(words)}.")


def _matches(key: str, pattern: str) -> bool:
    """Whether each word of a dotted key matches that of a pattern."""
    return key.count(".") == pattern.count(".") and fnmatchcase(key, pattern)


def _finite(value: Any) -> bool:
    return not isinstance(value, bool) and math.isfinite(value)


def _below(value: Any) -> bool:
    """Whether a name leads to a folder below where it starts."""
    path = PurePath(str(value))
    return value is not None and path.parts != () and not path.is_absolute() and ".." not in path.parts


def _devices(value: Any) -> bool:
    """A number of devices, or a word on which of them; more processes than cores would choke each other."""
    return isinstance(value, str) or value == -1 or (type(value) is int and 1 <= value <= CORES)


def _ordered(ends: Any) -> bool:
    return len(ends) == 2 and all(map(_finite, ends)) and ends[0] < ends[1]


def _share(value: Any) -> bool:
    """A number of batches, or a share of them."""
    return value is None or (not isinstance(value, bool) and (0 < value <= 1 or (type(value) is int and value >= 1)))


def rules(datasets: Iterable[str], splits: range, protocols: Iterable[str], epochs: int) -> dict[str, Rule]:
    """The rule of each key, by patterns; the first that is broken is told.

    Args:
        datasets: names of those in the mix.
        splits: numbers of the partitions.
        protocols: options of splits.
        epochs: trainer.max_epochs.
    """
    figures = [f"val/srcc_{name}" for name in ("weighted", "mean", *datasets)]
    figures += ["val/scene_accuracy", "val/distortion_accuracy"]
    folder = Rule(lambda value: isinstance(value, str) and value.strip() != "", "expected a folder.")
    disk = Rule(lambda value: folder.allows(value) and "://" not in value, "expected a folder on a disk.")
    below = Rule(_below, "expected a folder's name, which leads nowhere else: not absolute, and without `..`.")
    share = Rule(_share, "expected a whole number, 1 or more, or a share of all, up to 1.0, or null.")
    return {
        "name": below,
        "backbone.name": below,
        "paths.*": folder,
        **dict.fromkeys(("paths.miniature", "paths.outputs", "paths.run"), disk),
        "split": whole(splits.start, splits[-1]),
        "seed": whole(0, 2**32 - 1),
        "monitor": Rule(
            figures.__contains__, f"expected a figure of validation that is best where largest: {', '.join(figures)}."
        ),
        "published_splits": Rule((None, *protocols).__contains__, "expected an option of splits, or null."),
        "checkpoint.every_minutes": Rule(
            lambda value: value is None or value >= 0, "expected 0 (after every step) or more minutes, or null."
        ),
        "trainer.max_epochs": whole(1),
        # The best epoch is chosen among those that were validated: there must be one.
        "trainer.check_val_every_n_epoch": whole(1, epochs),
        "trainer.limit_val_batches": Rule(_share, "the best epoch is chosen by validation, so there must be some."),
        "trainer.limit_train_batches": share,
        "trainer.limit_test_batches": share,
        "trainer.precision": Rule(
            lambda value: str(value) in PRECISIONS,
            f"expected {', '.join(PRECISIONS)}. In half precision scores collapse; choose 16-mixed or bf16-mixed.",
        ),
        "trainer": Rule(
            lambda trainer: not (trainer["sync_batchnorm"] and trainer["accelerator"] == "cpu"),
            "sync_batchnorm=true needs GPUs: choose backbone.freeze=norm, or leave it false.",
        ),
        "trainer.devices": Rule(_devices, f"expected 1 to {CORES}, the cores of this machine, or -1 or auto for all."),
        "trainer.num_nodes": Rule(
            lambda value: value == 1 or (whole(1).allows(value) and any(key in os.environ for key in MEETING)),
            f"expected 1, or more where the machines know how to meet, by {', '.join(MEETING)}.",
        ),
        "trainer.accumulate_grad_batches": whole(1),
        "trainer.gradient_clip_val": or_null(above(0)),
        "trainer.num_sanity_val_steps": whole(-1),
        "trainer.log_every_n_steps": whole(0),
        "optimizer.lr": above(0),
        "optimizer.backbone_lr": number(0),
        "optimizer.weight_decay": number(0),
        "scheduler.step_size": whole(1),
        "scheduler.gamma": above(0),
        "scheduler.T_max": whole(1),
        "scheduler.eta_min": number(0),
        "scheduler.half": whole(1),
        "backbone.stage": Rule(lambda value: type(value) is int and value < 0, "expected -1, the last, -2, ..."),
        "backbone.max_channels": whole(1),
        "backbone.hidden": list_of(whole(1), "[512,64]"),
        "backbone.freeze": one_of("none", "norm", "early", "all"),
        "backbone.pool": one_of("bilinear", "mean_std", "attention", "cls"),
        "backbone.says": one_of("score", "deviation", "levels"),
        "backbone.lora.rank": or_null(whole(1)),
        "backbone.lora.alpha": above(0),
        "mapper.bins": whole(2),
        "mapper.blocks": whole(1),
        "mapper.degree": whole(3),
        "mapper.hidden": or_null(list_of(whole(1), "[100,100,100]")),
        "mapper": Rule(  # a head without hidden layers is a straight line, which makes sense; such a function does not
            lambda mapper: mapper.get("hidden") != [] or mapper["_target_"].endswith(".Heads"),
            "hidden=[] leaves nothing that bends: choose mapper=linear.",
        ),
        "mapper.min_r": number(0, 1),
        "mapper.reach": above(0),
        "mapper.vector": whole(1),
        "gauge.weight": above(0),
        "objective.factors": list_of(number(0), "[1,1]"),
        "objective.margin": number(0),
        "objective.temperature": above(0),
        "tasks.temperature": above(0),
        # A network sees a 32nd of a picture as one spot.
        "view.*.crop": whole(32),
        "view.*.side": whole(32),
        "view.*.resize": whole(32),
        "view.*.patches": whole(1),
        "view.*.small_images": one_of("raise", "pad"),
        "view.*": Rule(
            lambda view: view.get("crop", view.get("side", 0)) <= view["resize"],
            "what is cut out is larger than resize.",
        ),
        "data.root": folder,
        "data.cache": Rule(
            lambda value: value in (None, True, False) or folder.allows(value), "expected true or a folder."
        ),
        "data.epoch": whole(1, 10**6, "longest"),
        "data.on_error": one_of("raise", "skip"),
        "data.test_batch": whole(1, MOST),
        "data.views": whole(1, MOST),
        "data.workers": whole(0, max(16, 4 * CORES)),
        "data.miniature.coverage": one_of("own", "shared", "scale"),
        "data.miniature.side": whole(32),
        "data.miniature.references": whole(10),
        "data.miniature.scenes": whole(10),
        "data.miniature.per_content": whole(1),
        "data.miniature.seed": whole(0),
        "splits.store": folder,
        "splits.seed": whole(0),
        "callbacks.ema.decay": number(0, 1),
        "callbacks.early_stopping.patience": whole(1),
        "callbacks.early_stopping.monitor": Rule(
            ("train/loss", *figures).__contains__, f"expected train/loss or a figure of validation, {figures[0]}."
        ),
        "callbacks.early_stopping.mode": one_of("max", "min"),
        "callbacks.lr_monitor.logging_interval": or_null(one_of("epoch", "step")),
        "datasets.*.reader": Rule(lambda value: isinstance(value, str), "expected the dotted name of a function."),
        "datasets.*.folder": folder,
        "datasets.*.images": or_null(whole(1)),
        "data.quota": whole(1, MOST),
        "data.quota_scope": one_of("process", "global"),
        "datasets.*.quota": whole(1, MOST),
        "datasets.*.limit": or_null(whole(2)),
        "datasets.*.weight": number(0),
        "datasets.*.range": Rule(_ordered, "expected [lowest, highest]."),
        "datasets": Rule(lambda nodes: any(node["weight"] for node in nodes.values()), "one weight must be above 0."),
    }


def check_values(settings: Mapping[str, Any], splits: range, protocols: Iterable[str]) -> None:
    """Refuse a value that its rule does not allow.

    Args:
        settings: the resolved configuration.
        splits: numbers of the partitions.
        protocols: options of splits.

    Raises:
        ConfigError: with the key, its value and what it may be.
    """
    values = dict(flatten(settings))
    for pattern, rule in rules(settings["datasets"], splits, protocols, values["trainer.max_epochs"]).items():
        for key, value in values.items():
            if _matches(key, pattern) and rule.broken_by(value):
                given = key if isinstance(value, Mapping) else f"{key}={'null' if value is None else value}"
                raise ConfigError(f"{given}: {rule.said}")


def flatten(node: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted keys of a tree with their values, branches included."""
    for key, value in node.items():
        yield f"{prefix}{key}", value
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
