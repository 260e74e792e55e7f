"""Loggers that need more than their constructor."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.loggers import WandbLogger

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
