"""Loggers that need more than their constructor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers import WandbLogger as LightningWandbLogger

from mimi_lightning.errors import ConfigError
from mimi_lightning.evaluation.protocol import FIGURES
from mimi_lightning.run_folder import RunFolder


class WandbLogger(LightningWandbLogger):
    """Weights & Biases: online when logged in, otherwise into files that `wandb sync` uploads later.

    Raises:
        ConfigError: the package is not installed.
    """

    def __init__(self, **arguments: Any) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ConfigError('logger=wandb needs: pip install "mimi-lightning[wandb]"') from error
        # Said to `wandb.init` as well: it reads the environment, where Lightning says it, only once, and that was now.
        offline = {} if wandb.login(prompt=False) else {"offline": True, "mode": "offline"}
        super().__init__(**offline, **arguments)


def log_results(loggers: Iterable[Logger], figures: pd.DataFrame, best: Mapping[str, float], run: RunFolder) -> None:
    """Log what a run came to; a W&B run also gets its predictions, its score mappers and the best validation.

    Args:
        loggers: of the trainer.
        figures: of `score_run`; logged as test/<figure>_<dataset>.
        best: best values of validation figures.
        run: the run's folder, with its results.
    """
    values = figures[list(FIGURES)].rename_axis("dataset").reset_index().melt("dataset", var_name="figure").dropna()
    test = {f"test/{row.figure}_{row.dataset}": row.value for row in values.itertuples()}
    for logger in loggers:
        logger.log_metrics(test)
        if isinstance(logger, WandbLogger):
            _log_to_wandb(logger.experiment, best, run)


def _log_to_wandb(experiment: Any, best: Mapping[str, float], run: RunFolder) -> None:
    import wandb

    curves = pd.read_csv(run.file("mappings"))
    experiment.log(
        {
            "predictions": wandb.Table(dataframe=pd.read_csv(run.file("predictions"))),
            "mappings": wandb.Table(dataframe=curves),
            "mappings_picture": wandb.Image(str(run.file("picture"))),
        }
    )
    experiment.summary.update({f"best/{name}": value for name, value in best.items()})


def finish(loggers: Iterable[Logger], status: str) -> None:
    """Close the loggers of a run; an open W&B run would swallow the next split's in the same process."""
    for logger in loggers:
        logger.finalize(status)
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=int(status != "success"))
