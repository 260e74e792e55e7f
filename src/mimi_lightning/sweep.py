"""What a multirun does beyond its jobs: the report of all its splits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mimi_lightning.errors import ConfigError


class SweepReport(Callback):
    """Reports the study when all jobs of a multirun have ended; splits that failed are named in it."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report of all runs below the sweep's folder.

        Raises:
            ScoreError: no run was finished.
        """
        from mimi_lightning.evaluation.report import report  # only now: --help need not wait for it

        report([Path(config.hydra.sweep.dir)], expected=swept_splits(config.hydra.overrides.task))


def swept_splits(overrides: Iterable[str]) -> list[int]:
    """Splits that a multirun was asked for, as split=1,2 or split=range(1,11); none when it names none."""
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.key_or_group == "split" and override.is_sweep_override():
            return [int(split) for split in override.sweep_string_iterator()]
    return []


def refuse_empty(words: Iterable[str]) -> None:
    """Refuse to sweep over nothing, of which Hydra makes no job; what it cannot parse, it says itself.

    Args:
        words: of the command line.

    Raises:
        ConfigError: a range without any number, such as range(3,1).
    """
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException:
            continue
        if override.is_sweep_override() and next(override.sweep_iterator(), None) is None:
            raise ConfigError(f"{word} sweeps over nothing; such as split=range(1,11), whose end is not in it.")
