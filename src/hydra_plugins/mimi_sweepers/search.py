"""A search for good settings with Optuna, by figures of validation."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mimi_lightning import sweep
from mimi_lightning.errors import ConfigError, MimiError
from mimi_lightning.files import no_empty_folders
from mimi_lightning.hints import needs_extra
from mimi_lightning.rules import whole

if TYPE_CHECKING:  # Hydra imports its plugins with every command
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

JOURNAL, LOCK = "trials.journal", ".lock"


class Plan(NamedTuple):
    """What a search was asked for: words of every job, the splits of every trial, and what is searched."""

    words: list[str]
    splits: list[str]
    space: dict[str, BaseDistribution]


class Search(Sweeper):
    """Optuna proposes settings, jobs try them, and the mean of `monitor` over their splits says how good they are.

    Figures of test play no part, and are not reported. A journal in the sweep's folder keeps the trials: the same
    command goes on from there, with unfinished trials first.

    Args:
        trials: how many settings are tried, those of former commands included.
        parallel: trials at once, where the launcher runs jobs at once; the next ones are proposed when all have ended.
        seed: of the proposals.
        space: Hydra's sweeps by their keys, such as `tag(log,interval(1e-4,1e-2))`; those of the command line win.
    """

    def __init__(self, trials: int, parallel: int, seed: int, space: Mapping[str, str]) -> None:
        self.trials, self.parallel, self.seed, self.space = trials, parallel, seed, space

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Set the launcher up.

        Raises:
            ConfigError: Optuna is not installed, or a number makes no sense.
        """
        if find_spec("optuna") is None:
            raise ConfigError(needs_extra("hydra/sweeper=optuna", "optuna"))
        for name, rule in {"trials": whole(1), "parallel": whole(1), "seed": whole(0)}.items():
            if rule.broken_by(value := getattr(self, name)):
                raise ConfigError(f"hydra.sweeper.{name}={value}: {rule.said}")
        self.config, self.folder = config, Path(config.hydra.sweep.dir)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Try settings until there are enough of them, and print the best.

        Raises:
            MimiError: a job was lost, or all failed.
        """
        plan = self._plan(arguments)
        with no_empty_folders(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(self.folder / LOCK, timeout=0):
                    study = self._open(plan)
                    self._fill(study, plan)
            except Timeout as error:
                raise ConfigError(f"Another process is searching in {self.folder}. Choose another name=...") from error
        self._show_best(study, plan)

    def _plan(self, arguments: Sequence[str]) -> Plan:
        absent = {key for key in self.space if OmegaConf.select(self.config, key) is None}
        if absent:
            print(f"Not searched, since this configuration does not have it: {', '.join(sorted(absent))}")
        ready = [f"{key}={sweeps}" for key, sweeps in self.space.items() if key not in absent]
        overrides = OverridesParser.create().parse_overrides([*ready, *arguments])
        asked = {override.get_key_element(): override for override in overrides}  # the last one of a key
        splits, name = asked.pop("split", None), asked.pop("name", None)
        if name and name.is_sweep_override():
            raise ConfigError("A search has one name=...: every trial gets a folder below it.")
        several = splits and splits.is_sweep_override()
        space = {key: _distribution(override) for key, override in asked.items() if override.is_sweep_override()}
        if not space:
            raise ConfigError("Nothing is searched. Name it, such as optimizer.lr='tag(log,interval(1e-4,1e-2))'.")
        return Plan(
            [override.input_line for override in asked.values() if not override.is_sweep_override()],
            list(splits.sweep_string_iterator()) if several else [str(self.config.split)],
            space,
        )

    def _open(self, plan: Plan) -> Study:
        """The study that the journal holds, or a new one."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            storage = JournalStorage(JournalFileBackend(str(self.folder / JOURNAL)))
            create = partial(optuna.create_study, storage=storage, study_name="search", direction="maximize")
            study = create(load_if_exists=True)
        except Exception as error:  # what is found in a damaged file can be anything
            raise ConfigError(
                f"{self.folder / JOURNAL} is damaged: {error}. Remove it to begin the search anew."
            ) from error
        asked = {
            "words": sorted(word for word in plan.words if not word.startswith("paths.")),
            "splits": plan.splits,
            "space": {key: repr(distribution) for key, distribution in plan.space.items()},
            "monitor": self.config.monitor,
        }
        if study.user_attrs.get("asked", asked) != asked:
            if _completed(study):
                raise ConfigError(
                    f"{self.folder} holds a search that was asked for something else.\n"
                    "Choose another name=..., or remove the folder to start anew and lose it."
                )
            optuna.delete_study(storage=storage, study_name="search")
            study = create()
        study.set_user_attr("asked", asked)
        # One seed in every process would propose again what the former ones did.
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.trials), constant_liar=True)
        return study

    def _fill(self, study: Study, plan: Plan) -> None:
        """Finish what another process left, then try new settings; a search that came to nothing is forgotten."""
        try:
            self._try_all(study, plan)
        except Exception:  # a refusal, not an interruption
            if not _completed(study):
                self._forget()
            raise

    def _try_all(self, study: Study, plan: Plan) -> None:
        left = [trial for trial in study.trials if not trial.state.is_finished()]
        while left or len(study.trials) < self.trials:
            batch: list[FrozenTrial | Trial] = [*left[: self.parallel]]
            del left[: self.parallel]
            new = min(self.parallel - len(batch), self.trials - len(study.trials))
            batch += [study.ask(plan.space) for _ in range(new)]
            self._try(study, batch, plan)

    def _try(self, study: Study, batch: Sequence[FrozenTrial | Trial], plan: Plan) -> None:
        """Run the jobs of some trials at once, and tell the study what they came to."""
        from optuna.trial import TrialState

        settings = {trial.number: [f"{key}={value}" for key, value in trial.params.items()] for trial in batch}
        jobs = [
            (*plan.words, *words, f"split={split}", f"name={self.config.name}/trial{number:03}")
            for (number, words), split in itertools.product(settings.items(), plan.splits)
        ]
        with sweep.lost():
            values = sweep.outcomes(self.launcher.launch(jobs, initial_job_idx=batch[0].number * len(plan.splits)))
        of_trials = zip(*[iter(values)] * len(plan.splits), strict=True)
        means = [None if None in of_trial else fmean(of_trial) for of_trial in of_trials]
        if all(mean is None for mean in means) and not _completed(study):
            raise MimiError("No trial came to a value. When that is mended, the same command tries these again.")
        for (number, words), mean in zip(settings.items(), means, strict=True):
            study.tell(number, mean, state=TrialState.FAIL if mean is None else None)
            print(f"trial {number}: {self.config.monitor} {'-' if mean is None else f'{mean:.4f}'}, {' '.join(words)}")

    def _forget(self) -> None:
        """Leave nothing of trials that came to nothing, but what they trained: the same seed proposes them again."""
        for name in (JOURNAL, LOCK):
            (self.folder / name).unlink(missing_ok=True)
        for folder in sorted(self.folder.rglob("*/"), reverse=True):
            with suppress(OSError):  # there is something in it
                folder.rmdir()

    def _show_best(self, study: Study, plan: Plan) -> None:
        best = study.best_trial
        words = [*plan.words, *(f"{key}={value}" for key, value in best.params.items())]
        split = f"split {plan.splits[0]}" if len(plan.splits) == 1 else f"{len(plan.splits)} splits"
        print(
            f"Best of {len(_completed(study))} trials, by {self.config.monitor} of {split}: "
            f"trial {best.number}, {best.value:.4f}.\nIts figures of test, over all splits:\n"
            f"python -m mimi_lightning -m 'split=range(1,11)' name={self.config.name}_best {shlex.join(words)}"
        )


def _completed(study: Study) -> list[FrozenTrial]:
    return [trial for trial in study.trials if trial.value is not None]


def _distribution(override: Override) -> BaseDistribution:
    """What Optuna draws from, for a sweep of Hydra's."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if not isinstance(value, IntervalSweep):
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    ends = (value.start, value.end)
    kind = IntDistribution if all(isinstance(end, int) for end in ends) else FloatDistribution
    try:
        return kind(*ends, log="log" in value.tags)
    except ValueError as error:
        raise ConfigError(f"{override.input_line}: {error}") from error
