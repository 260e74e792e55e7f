"""`python -m mimi_lightning [overrides]` trains and tests; with a verb first it is the toolbox."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mimi_lightning import cli, config, files, sweep
from mimi_lightning.errors import ConfigError, MimiError, Terminated

INTERRUPTED, TERMINATED = 130, 143  # exit codes after Ctrl-C and SIGTERM: 128 and the signal's number

_composed: list[str] = []  # all jobs that began


def main() -> int:
    """Run the command line; a user's mistake ends in one message and exit code 1."""
    words = sys.argv[1:]
    with _one_message(words):
        if words and words[0] in cli.VERBS:
            return cli.main(words)
        os.environ["HYDRA_FULL_ERROR"] = "1"  # hand errors over instead of printing them
        config.register_resolvers()
        # Where Hydra reads them; argparse wants all overrides side by side.
        sys.argv[1:] = sorted(config.plain(words), key=_is_override)
        sweep.refuse_empty(words)
        _composed.clear()
        sweep.failures.clear()
        try:
            hydra.main(version_base="1.3", config_path=str(config.conf_dir()), config_name="config")(_run)()
        except config.UNCOMPOSED as error:
            if _composed:
                raise
            raise ConfigError(f"This cannot be composed: {error}.") from error
    for job, message in sweep.failures:
        print(f"Failed: {message}\n  {job}", file=sys.stderr)
    return 1 if sweep.failures else 0


def _run(cfg: DictConfig) -> float | sweep.Failure | None:
    """Run one job, and return what its best epoch came to; in a multirun a failed one is told, and the others go on."""
    hydra_cfg = HydraConfig.get()
    _composed.append(hydra_cfg.job.override_dirname)
    config.register_resolvers()  # a launcher may have started this process
    try:
        with _one_message():
            sweep.refuse_alone(hydra_cfg)
            config.check(cfg, hydra_cfg)
            from mimi_lightning.processes import of_this_job  # only now: importing torch takes seconds
            from mimi_lightning.train import train

            with _words_of_job(), of_this_job():
                return train(cfg)
    except (Exception, SystemExit) as error:
        if hydra_cfg.mode is not RunMode.MULTIRUN or getattr(error, "code", None) in (INTERRUPTED, TERMINATED):
            raise
        if not isinstance(error, SystemExit):
            traceback.print_exception(error)
        # Where it exits, the message was of the error before.
        return sweep.Failure(" ".join(hydra_cfg.overrides.task), str(error.__context__ or error).partition("\n")[0])


def _is_override(word: str) -> bool:
    return word.startswith("~") or ("=" in word and not word.startswith("-"))


@contextmanager
def _words_of_job() -> Iterator[None]:
    """Let the command line be that of this job: Lightning starts its other processes with it, and not a sweep each."""
    words = sys.argv[1:]
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        folder = config.config_dir(words)
        sys.argv[1:] = [*HydraConfig.get().overrides.task, *([f"--config-dir={folder}"] if folder else [])]
    try:
        yield
    finally:
        sys.argv[1:] = words


@contextmanager
def _one_message(words: Sequence[str] = ()) -> Iterator[None]:
    """Turn a user's mistake into a message and an exit code; MIMI_DEBUG=1 shows the traceback."""
    try:
        yield
    except (MimiError, OSError, HydraException, OmegaConfBaseException, Terminated, KeyboardInterrupt) as error:
        if os.environ.get("MIMI_DEBUG") == "1":
            raise
        if isinstance(error, KeyboardInterrupt):
            print(f"\nInterrupted. {error}".rstrip(), file=sys.stderr)  # what goes on says so
            sys.exit(INTERRUPTED)
        if isinstance(error, Terminated):
            print(f"\nTold to end. {error}", file=sys.stderr)
            sys.exit(TERMINATED)
        message = _explain(error, words)
        print(f"Error: {message}", file=sys.stderr)
        sys.exit(1)


def _explain(error: Exception, words: Sequence[str]) -> str:
    if isinstance(error, (HydraException, OmegaConfBaseException)):  # some of which are OSErrors, too
        return config.explain(error, words)
    return files.explain(error) if isinstance(error, OSError) else str(error)


if __name__ == "__main__":
    sys.exit(main())
