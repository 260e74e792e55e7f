"""Fitting the score mapper to the training part, where training itself does not teach it.

Some objectives only order pictures, and some mappers learn by no gradient. Their mapper is fitted to proxy scores and
labels of the training part: after every epoch if training goes on with it, and to the weights that the run keeps.
"""

from __future__ import annotations

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from mimi_lightning.data.datamodule import MixedDataModule
from mimi_lightning.module import QualityModel
from mimi_lightning.resume import write_checkpoint
from mimi_lightning.run_folder import RunFolder


class Refit(Callback):
    """Fits a mapper that learns by no gradient after every epoch."""

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: QualityModel) -> None:
        """Fit it, before the checkpoint of this epoch is written."""
        if module.mapper.refits:
            fit_mapper(module, trainer.datamodule)


@torch.no_grad()
def fit_mapper(model: QualityModel, data: MixedDataModule) -> None:
    """Fit the mapper to the training part as testing would see it, but for frozen rows; every process does the same."""
    training = model.training
    model.eval()
    columns: list[tuple[torch.Tensor, ...]] = []
    for batch in data.part_dataloader("train", shared=False):
        batch = data.delivered(batch, model.device)
        if (judgement := model.judge_batch(batch)) is not None:
            dataset = model.number(data.names).to(model.device)[batch["dataset"]]
            columns.append((model.mapper.read(judgement, dataset), batch["mos"], dataset))
    q, mos, dataset = (torch.cat(column) for column in zip(*columns, strict=True))
    frozen = model.mapper.rows(model.frozen)
    model.mapper.fit(q, model.scale.normalise(mos, dataset), dataset)
    if model.frozen:
        model.mapper.put(model.frozen, frozen)
    model.train(training)


def fit_best(run: RunFolder, model: QualityModel, data: MixedDataModule) -> None:
    """Fit the mapper to the best weights of a run, and write it into their checkpoint; once, also if the run goes on.

    A second fit would begin where the first one ended, and could end in another last digit.
    """
    file = run.file("checkpoint")
    checkpoint = torch.load(file, map_location=model.device, weights_only=True)
    if checkpoint.get("fitted"):
        return
    model.load_state_dict(checkpoint["state_dict"])
    fit_mapper(model, data)
    checkpoint |= {"state_dict": model.state_dict(), "fitted": True}
    write_checkpoint(checkpoint, file)
