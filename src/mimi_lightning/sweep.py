"""What a sweep does beyond its jobs, wherever these run: what failed, what was lost, and the report of all splits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from mimi_lightning.errors import ConfigError, MimiError


class Failure(NamedTuple):
    """What a job that failed hands back, perhaps from another process or machine."""

    job: str
    message: str


failures: list[Failure] = []  # of the sweep of this process


@contextmanager
def lost() -> Iterator[None]:
    """Say what to do where a launcher lost a job: its process was killed, or its machine went down.

    Raises:
        MimiError: instead of the launcher's own error.
    """
    try:
        yield
    except RuntimeError as error:  # joblib's and submitit's
        reason = str(error).partition("\n")[0]
        raise MimiError(
            f"A job was lost: {reason}\nWhen all others have ended, the same command skips what is finished and goes "
            "on with the rest."
        ) from error


def outcomes(returns: Iterable[JobReturn]) -> list[float | None]:
    """Monitored values that jobs came to; None of those that failed, which are remembered."""
    values = [job.return_value for job in returns]
    failures.extend(value for value in values if isinstance(value, Failure))
    return [None if isinstance(value, Failure) else value for value in values]


def report_splits(hydra: DictConfig, jobs: Iterable[JobReturn]) -> None:
    """Report all runs of the names that jobs had, or of that of the sweep; splits that failed are named in it.

    Raises:
        ScoreError: no run was finished.
    """
    from mimi_lightning.evaluation.report import report  # only now: --help need not wait for it

    done = [job.cfg for job in jobs if not isinstance(job.return_value, Failure)]
    folders = dict.fromkeys(Path(cfg.paths.outputs) / cfg.name for cfg in done)
    report([*folders] or [Path(hydra.sweep.dir)], expected=swept_splits(hydra.overrides.task))


def refuse_alone(hydra: DictConfig) -> None:
    """Refuse a launcher or a sweeper where there is no multirun: the run would begin here, whatever they are for.

    Raises:
        ConfigError: names the command that was meant.
    """
    usual = {"hydra/launcher": "basic", "hydra/sweeper": "grid"}
    for group, option in hydra.runtime.choices.items():
        if group in usual and option != usual[group] and hydra.mode is not RunMode.MULTIRUN:
            raise ConfigError(f"{group}={option} is for a multirun: python -m mimi_lightning -m {group}={option} ...")


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
        if override.is_discrete_sweep() and next(override.sweep_iterator(), None) is None:
            raise ConfigError(f"{word} sweeps over nothing; such as split=range(1,11), whose end is not in it.")
