"""Loggers that need more than their constructor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger

from mimi_lightning.errors import ConfigError


def wandb_logger(**arguments: Any) -> WandbLogger:
    """Weights & Biases: online when logged in, otherwise into files that `wandb sync` uploads later.

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise ConfigError('logger=wandb needs: pip install "mimi-lightning[wandb]"') from error
    return WandbLogger(offline=not wandb.login(prompt=False), **arguments)


def finish(loggers: Iterable[Logger], status: str) -> None:
    """Close the loggers of a run; an open W&B run would swallow the next split's in the same process."""
    for logger in loggers:
        logger.finalize(status)
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()
