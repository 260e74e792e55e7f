"""What the values of a configuration may be; which keys there are, and of what kind, its YAML files tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from mimi_lightning.errors import ConfigError


class Rule(NamedTuple):
    """What a value may be, and what is said of one that may not."""

    allows: Callable[[Any], bool]
    said: str

    def broken_by(self, value: Any) -> bool:
        """Whether a value may not be; one of another kind may not."""
        try:
            return not self.allows(value)
        except TypeError:
            return True


def whole(low: int, high: int | None = None, *words: str) -> Rule:
    """A whole number from low to high, both included, or one of the words."""
    upto = "or more" if high is None else f"to {high}"
    said = ", or ".join([f"expected a whole number, {low} {upto}", *words])
    return Rule(lambda value: value in words or (type(value) is int and low <= value <= (high or math.inf)), f"{said}.")


def one_of(*words: str) -> Rule:
    """One of the words."""
    return Rule(lambda value: value in words, f"expected {' or '.join(words)}.")


def rules(splits: range, protocols: Iterable[str], epochs: int) -> dict[str, Rule]:
    """The rule of each key, by patterns; the first that is broken is told.

    Args:
        splits: numbers of the partitions.
        protocols: options of splits.
        epochs: trainer.max_epochs.
    """
    return {
        "split": whole(splits.start, splits[-1]),
        "seed": whole(0, 2**32 - 1),
        "published_splits": Rule((None, *protocols).__contains__, "expected an option of splits, or null."),
        "checkpoint.every_minutes": Rule(
            lambda value: value is None or value >= 0, "expected 0 (after every step) or more minutes, or null."
        ),
        "trainer.max_epochs": whole(1),
        # The best epoch is chosen among those that were validated: there must be one.
        "trainer.check_val_every_n_epoch": whole(1, epochs),
        "trainer.limit_val_batches": Rule(
            lambda value: value is None or value > 0, "the best epoch is chosen by validation, so there must be some."
        ),
        "trainer.precision": Rule(
            lambda value: str(value) not in ("16-true", "bf16-true"),
            "scores in half precision collapse; choose 16-mixed or bf16-mixed.",
        ),
        "backbone.freeze": one_of("none", "norm", "early", "all"),
        "backbone.pool": one_of("bilinear", "mean_std", "attention", "cls"),
        "backbone.says": one_of("score", "deviation", "levels"),
        "backbone.lora.rank": Rule(
            lambda value: value is None or not whole(1).broken_by(value), "expected a whole number, 1 or more, or null."
        ),
        "backbone.lora.alpha": Rule(lambda value: value > 0, "expected more than 0."),
        "mapper.bins": whole(2),
        "mapper.degree": whole(3),
        "mapper.min_r": Rule(lambda value: 0 <= value < 1, "expected 0 or more, below 1."),
        "mapper.vector": whole(1),
        "view.*.crop": whole(1),
        "view.*.resize": whole(1),
        "view.*.small_images": one_of("raise", "pad"),
        "data.epoch": whole(1, None, "longest"),
        "data.on_error": one_of("raise", "skip"),
        "data.test_batch": whole(1),
        "data.views": whole(1),
        "data.workers": whole(0),
        "data.miniature.coverage": one_of("own", "shared", "scale"),
        "splits.seed": whole(0),
        "callbacks.ema.decay": Rule(lambda value: 0 <= value < 1, "expected 0 or more, below 1."),
        "callbacks.early_stopping.patience": whole(1),
        "datasets.*.quota": whole(1),
        "datasets.*.limit": Rule(lambda value: value is None or value > 1, "expected 2 or more, or null."),
        "datasets.*.weight": Rule(lambda value: value >= 0, "expected 0 or more."),
        "datasets.*.range": Rule(lambda value: len(value) == 2 and value[0] < value[1], "expected [lowest, highest]."),
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
    for pattern, rule in rules(splits, protocols, values["trainer.max_epochs"]).items():
        for key in values:
            if fnmatchcase(key, pattern) and rule.broken_by(values[key]):
                raise ConfigError(f"{key}={values[key]}: {rule.said}")


def flatten(node: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted keys of a tree with their values, branches included."""
    for key, value in node.items():
        yield f"{prefix}{key}", value
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
