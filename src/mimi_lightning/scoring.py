"""A checkpoint on datasets that it may never have seen: `python -m mimi_lightning evaluate checkpoint=FILE ...`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from mimi_lightning import machine
from mimi_lightning.data.datamodule import MixedDataModule
from mimi_lightning.data.owners.sheets import read_csv
from mimi_lightning.errors import ConfigError
from mimi_lightning.evaluation.predictions import UNSEEN
from mimi_lightning.files import aside
from mimi_lightning.module import QualityModel
from mimi_lightning.quiet import quiet
from mimi_lightning.results import make_predictions
from mimi_lightning.run_folder import RunFolder
from mimi_lightning.score_table import SCORE_TYPES
from mimi_lightning.train import make_data


def evaluate(checkpoint: Path, settings: dict[str, Any], labels: Path | None = None, out: Path | None = None) -> Path:
    """Score datasets with a checkpoint and write a predictions table.

    Of a dataset that the model was trained on, only those images count that were in no part of its split but test;
    its run's `labels.csv` tells. A dataset that it never saw counts as a whole, and its part is `unseen`.

    Args:
        checkpoint: of a run; best in the run's own folder.
        settings: resolved configuration: datasets, data and trainer are used.
        labels: the run's labels.csv, if the checkpoint lies elsewhere.
        out: table to write; in the run's folder, named after the datasets, when it is None.

    Returns:
        The table's path.

    Raises:
        ConfigError: no checkpoint, or nobody knows which images it was trained on.
        DatasetError: a dataset that cannot be read.
    """
    model = QualityModel.load(checkpoint)
    run = RunFolder(checkpoint.resolve().parent.parent)
    view = model.hparams.view
    data = make_data({**settings, "splits": None, "tasks": None, "view": {"train": view, "test": view}})
    data.setup()
    _leave_out_trained(data, model, labels or run.file("labels"))
    file = out or run.evaluations / f"{'-'.join(data.names)}.csv"
    with quiet(), run.held() if out is None else nullcontext():
        scores = _score(model, data, machine.settle(settings, run)["trainer"])
        data.table.loc[~data.table["dataset"].isin(model.names), "part"] = UNSEEN
        predictions = make_predictions(data.table, scores, model, *_name(run, checkpoint))
        file.parent.mkdir(parents=True, exist_ok=True)
        with aside(file) as draft:
            predictions.to_csv(draft, index=False)
    return file


def _leave_out_trained(data: MixedDataModule, model: QualityModel, labels: Path) -> None:
    """Give the images of datasets that the model knows the part that its run says; images it does not know are new."""
    table = data.table
    trained = table["dataset"].isin(model.names)
    if not trained.any():
        return
    if not labels.is_file():
        raise ConfigError(
            f"There is no {labels}, which tells what the checkpoint was trained on. Give the labels.csv of its run as "
            f"labels=FILE, or only datasets that it was not trained on (it was on {', '.join(model.names)})."
        )
    recorded = read_csv(labels, ("dataset", "image", "part"), dtype=str)
    parts = recorded.drop_duplicates(["dataset", "image"]).set_index(["dataset", "image"])["part"]
    images = pd.MultiIndex.from_frame(table.loc[trained, ["dataset", "image"]])
    table.loc[trained, "part"] = parts.reindex(images).fillna("test").to_numpy()


def _score(model: QualityModel, data: MixedDataModule, trainer: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Proxy scores of the images to test; predictions where the model has a score mapper of their dataset."""
    try:
        predictor = lightning.Trainer(
            accelerator=trainer["accelerator"],
            devices=1,
            precision=trainer["precision"],
            enable_progress_bar=trainer["enable_progress_bar"],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"The trainer cannot be set up: {error}") from error
    batches = [batch for batch in predictor.predict(model, data) if batch]
    return {column: torch.cat([batch[column].cpu() for batch in batches]) for column in SCORE_TYPES}


def _name(run: RunFolder, checkpoint: Path) -> tuple[str, int]:
    """The run's name and split; those of the file where there is no run."""
    if not run.finished:
        return checkpoint.stem, 1
    name = run.read_metrics()["run"]
    return name, int(name[-2:])
