"""The LightningModule: ties regressor, score mapper and objective, and keeps all that scoring needs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from mimi_lightning.checkpoints import FORMAT, forget_idle, goes_on, upgrade
from mimi_lightning.combinations import refuse_what_does_not_fit
from mimi_lightning.contracts import Gauge, Judgement, Mapper, Objective, Opinions, Regressor, Task
from mimi_lightning.errors import ConfigError, DatasetError, ScoreError
from mimi_lightning.exporting import weights
from mimi_lightning.metrics import srcc, weighted_mean
from mimi_lightning.models.targets import TargetScale
from mimi_lightning.resume import write_checkpoint
from mimi_lightning.score_table import ScoreTable
from mimi_lightning.specs import Spec, build

UNKNOWN = -1  # number of datasets that the model was not trained on

# What checkpoints that do not speak of them were trained with.
NO_GAUGE = {"_target_": "mimi_lightning.gauges.Free"}
MINMAX = {"_target_": "mimi_lightning.models.targets.MinMax"}


def build_labels(tasks: Spec | None) -> Callable[[pd.DataFrame], dict[str, np.ndarray]] | None:
    """Construct what makes the labels of the tasks (conf/tasks) from an annotations table; None without tasks."""
    return build(tasks, Task).labels if tasks else None


class QualityModel(lightning.LightningModule):
    """Images to proxy scores, proxy scores to every dataset's own scale.

    Args:
        regressor: specification of the quality regressor (conf/backbone).
        mapper: specification of the score mapper (conf/mapper).
        objective: specification of the objective (conf/objective).
        datasets: by name: `range` (published, native), `labels` (what the target scale has to know of those in
            training), `weight` (in the objective), `size` (number of images; weighs validation figures).
        optimizer: specification; `backbone_lr` is the rate of pretrained parameters. Not needed for scoring.
        scheduler: specification, stepped every epoch.
        tasks: specification of what is learned beside quality (conf/tasks), empty if nothing is.
        view: specification of what testing sees of a picture (conf/view), for those who score with a checkpoint.
        gauge: specification of what pins the proxy axis (conf/gauge).
        labels: specification of the target scale (conf/labels).
        marks: of datasets by name, training pictures at the percentiles 0..100 of their labels, `[image, mos]` each.
    """

    def __init__(
        self,
        regressor: Spec,
        mapper: Spec,
        objective: Spec,
        datasets: Mapping[str, Spec],
        optimizer: Spec | None = None,
        scheduler: Spec | None = None,
        tasks: Spec | None = None,
        view: Spec | None = None,
        gauge: Spec = NO_GAUGE,
        labels: Spec = MINMAX,
        marks: Mapping[str, Sequence[tuple[str, float]]] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="marks")  # which loggers would log, too
        self.marks = {name: [tuple(mark) for mark in each] for name, each in marks.items()}
        self.names = sorted(datasets)
        facts = [datasets[name] for name in self.names]
        self.regressor = build(regressor, Regressor)
        self.scale = build(labels, TargetScale, facts)
        span = self.scale.span().tolist()
        self.gauge = build(gauge, Gauge)
        self.mapper = build(mapper, Mapper, self.names, span=span)
        self.objective = build(objective, Objective, weights=[fact["weight"] for fact in facts], span=span)
        self.tasks = build(tasks, Task) if tasks else None
        refuse_what_does_not_fit(regressor["name"], self.regressor, self.mapper, self.gauge, self.objective, self.tasks)
        self.mapper = self.gauge.pin(self.mapper)
        self.mapper.begin(torch.tensor([self.regressor.ends] * len(self.names)))
        if not self.objective.through_mapper:
            self.mapper.requires_grad_(False)  # DistributedDataParallel would wait for its gradient
        self.sizes = {name: datasets[name]["size"] for name in self.names}
        self.table = ScoreTable()
        self.frozen: tuple[str, ...] = ()  # datasets whose rows of the mapper do not learn
        self._numbered: tuple[Any, Tensor | None] = None, None

    @classmethod
    def load(cls, path: Path | str) -> QualityModel:
        """Read a checkpoint, ready to score on the CPU; needs neither data nor configuration.

        Raises:
            ConfigError: the file is missing or no checkpoint of this project.
        """
        if not Path(path).is_file():
            raise ConfigError(f"There is no checkpoint {path}.")
        try:
            checkpoint = weights.read(path)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
        except Exception as error:  # of many kinds; the words of some advise to run what a file of strangers holds
            raise ConfigError(f"{path} is no checkpoint of MIMI Lightning: it cannot be read.") from error
        if not (isinstance(checkpoint, dict) and {"hyper_parameters", "state_dict"} <= checkpoint.keys()):
            raise ConfigError(f"{path} is no checkpoint of MIMI Lightning: it lacks hyper_parameters or state_dict.")
        try:
            checkpoint = upgrade(checkpoint)
            model = cls(**checkpoint["hyper_parameters"])
            model.load_state_dict(checkpoint["state_dict"])
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise ConfigError(f"{path} is no checkpoint of MIMI Lightning: {error}") from error
        return model.eval()

    def save(self, path: Path | str) -> None:
        """Write a checkpoint that `load` reads and that training starts from (`init=`): whole, or not at all.

        Optimiser and progress of a run are not in it: only a `Trainer` writes what an interrupted run goes on from.

        Args:
            path: of the file; its folder is made, and an older file replaced.
        """
        path = Path(path)
        checkpoint = {"state_dict": self.state_dict(), "hyper_parameters": dict(self.hparams)}
        self.on_save_checkpoint(checkpoint)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(checkpoint, path)

    def forward(self, images: Tensor) -> Tensor:
        """Uint8 images [B, 3, H, W], or what else the view makes, to proxy scores [B], float32, higher is better.

        Raises:
            DatasetError: images that are not uint8.
        """
        judgement = self.judge(images)
        return self.mapper.read(judgement, torch.full_like(judgement.proxy, UNKNOWN, dtype=torch.int64))

    def judge(self, images: Tensor) -> Judgement:
        """All that the regressor says of the images; arguments and errors as those of `forward`."""
        if images.dtype != torch.uint8:
            raise DatasetError(
                f"Images come as uint8 tensors of 0..255, not as {images.dtype}: the network normalises them itself.\n"
                "Of values in 0..1: (255 * image).round().to(torch.uint8)"
            )
        return self.regressor(images)

    def judge_batch(self, batch: Mapping[str, Any]) -> Judgement | None:
        """What the regressor says of a batch of images, or of their frozen features; None when none could be read."""
        if "features" in batch:
            return self.regressor.judge(batch["features"])
        return self.judge(batch["image"]) if "image" in batch else None

    def number(self, names: Iterable[str]) -> Tensor:
        """Index of each of these datasets, as `predict_mos` and `align` take it, int64.

        Raises:
            ConfigError: a dataset that the model was not trained on.
        """
        return self.mapper.number(names)

    def predict_mos(self, proxy: Tensor, dataset: Tensor) -> Tensor:
        """Proxy scores [B] to MOS [B] on the native scale of `dataset`, see `number`."""
        return self.scale.restore(self.mapper(proxy, dataset), dataset)

    def predict(self, proxy: Tensor, std: Tensor | None, dataset: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions as `predict_mos`, and their standard deviations: half of what lies between proxy -+ std, [B].

        They are NaN where the regressor gives none.
        """
        prediction = self.predict_mos(proxy, dataset)
        if std is None:
            return prediction, torch.full_like(prediction, torch.nan)
        return prediction, (self.predict_mos(proxy + std, dataset) - self.predict_mos(proxy - std, dataset)).abs() / 2

    def align(self, mos: Tensor, dataset: Tensor) -> Tensor:
        """Native MOS [B] of `dataset`, see `number`, to proxy scores [B]: inverse of `predict_mos`, NaN without one."""
        if not self.mapper.invertible:
            return torch.full_like(mos, torch.nan)
        known = self.scale.known[dataset]
        target = self.scale.normalise(mos, dataset).where(known, 0.0)
        return self.mapper.inverse(self.mapper.nearest(target, dataset), dataset).where(known, torch.nan)

    def training_step(self, batch: dict[str, Any]) -> Tensor | None:
        """One mixed batch; a batch in which no image could be read is passed over.

        Raises:
            DatasetError: there is such a batch, and other processes wait for its gradients.
        """
        if (judgement := self.judge_batch(batch)) is None:
            if self.trainer.world_size > 1:
                raise DatasetError(
                    "Not one picture of a training batch could be read, which one of several processes cannot pass "
                    "over. Mend the datasets (`data check` names the pictures): the same command goes on from there."
                )
            return None
        dataset, ends = self._dataset(batch), self.scale.ends()
        q = self.mapper.read(judgement, dataset)
        judgement = replace(judgement, proxy=q)
        prediction, own = self.mapper.learn(q, dataset, ends)
        terms = self.objective(judgement, prediction, self._opinions(batch, dataset), own, self.current_epoch)
        terms = self.gauge(terms, self.mapper, q, ends, own)
        if self.tasks is not None:
            terms = self.tasks(terms, judgement, batch, self.current_epoch)
        self.log_dict({f"train/{name}": value.detach() for name, value in terms.items()}, batch_size=len(dataset))
        self.log("loss", terms["loss"].detach(), prog_bar=True, logger=False)
        return terms["loss"]

    def validation_step(self, batch: dict[str, Any]) -> None:
        """Collect the scores of one batch, and count what it gets right beside quality."""
        if (judgement := self.judge_batch(batch)) is None:
            return
        dataset = self._dataset(batch)
        proxy = self.mapper.read(judgement, dataset)
        self.table.update(batch["row"], proxy, *self.predict(proxy, judgement.std, dataset))
        if self.tasks is not None:
            self.tasks.count(judgement, batch)

    test_step = validation_step

    def predict_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Columns of `ScoreTable` of the images of a batch, also of datasets that the model does not know.

        Empty when none could be read.
        """
        if (judgement := self.judge_batch(batch)) is None:
            return {}
        place = {name: number for number, name in enumerate(self.names)}
        numbers = torch.tensor([place.get(name, UNKNOWN) for name in batch["names"]], device=self.device)
        dataset = numbers[batch["dataset"]]
        proxy = self.mapper.read(judgement, dataset)
        prediction, std = self.predict(proxy, judgement.std, dataset.clamp(min=0))
        unknown = dataset == UNKNOWN
        prediction, std = (column.masked_fill(unknown, torch.nan) for column in (prediction, std))
        return {"index": batch["row"], "proxy": proxy, "prediction": prediction, "std": std}

    def on_validation_epoch_end(self) -> None:
        """Log the SRCC of proxy scores for every dataset, weighted by size and as a plain mean."""
        figures = self._srcc_by_dataset(self._collected())
        self.log_dict({f"val/srcc_{name}": value for name, value in figures.items()})
        self.log_dict({f"val/{name}": value for name, value in self._accuracies().items()})
        self.log("val/srcc_weighted", weighted_mean(figures, self.sizes), prog_bar=True)
        self.log("val/srcc_mean", np.mean(list(figures.values())), prog_bar=True)

    def on_test_epoch_end(self) -> None:
        """Keep what was collected of the test part: rows, proxy scores, native predictions; task accuracies."""
        self.scores = self._collected()
        self.accuracies = self._accuracies()
        self.log_dict({f"test/{name}": value for name, value in self.accuracies.items()})

    def configure_optimizers(self) -> dict[str, Any]:
        """Two learning rates: of pretrained parameters, and of all the others."""
        spec = dict(self.hparams.optimizer)
        backbone = list(self.regressor.backbone_parameters())
        pretrained = set(map(id, backbone))
        rest = [p for p in self.parameters() if id(p) not in pretrained]
        groups = [{"params": rest}, {"params": backbone, "lr": spec.pop("backbone_lr")}]
        optimizer = build(spec, torch.optim.Optimizer, groups)
        if self.frozen:
            self.mapper.freeze(self.frozen, optimizer)
        scheduler = build(self.hparams.scheduler, torch.optim.lr_scheduler.LRScheduler, optimizer)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name no pretrained weights: the checkpoint brings all weights itself, wherever it is read."""
        parameters = copy.deepcopy(dict(checkpoint["hyper_parameters"]))
        parameters["regressor"]["weights"] = "none"
        parameters["marks"] = self.marks
        checkpoint |= {"hyper_parameters": parameters, "format": FORMAT}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on from a run of an earlier version: it trained otherwise. `load` reads its checkpoints.

        Raises:
            ConfigError: the checkpoint is of another format.
        """
        if not goes_on(checkpoint):
            raise ConfigError(
                "This run was begun by an earlier version, which trained otherwise (docs/as-published.md).\n"
                "Start it anew with overwrite=true, or finish it with that version."
            )
        forget_idle(checkpoint, len(list(self.regressor.backbone_parameters())))

    def _opinions(self, batch: dict[str, Any], dataset: Tensor) -> Opinions:
        score = self.scale.normalise(batch["mos"], dataset)
        return Opinions(score, self.scale.spread(batch["mos"], batch["std"], dataset), dataset)

    def _dataset(self, batch: dict[str, Any]) -> Tensor:
        """Index of each image's dataset, [B]: a batch counts along names of its own, which hardly ever change."""
        key = batch["names"], self.device
        if key != self._numbered[0]:
            self._numbered = key, self.number(batch["names"]).to(self.device)
        return self._numbered[1][batch["dataset"]]

    def _accuracies(self) -> dict[str, float]:
        return {} if self.tasks is None else self.tasks.accuracies()

    def _collected(self) -> dict[str, Tensor]:
        # torchmetrics makes scalars of columns of one row.
        scores = {name: torch.atleast_1d(values.cpu()) for name, values in self.table.compute().items()}
        self.table.reset()
        if not scores["proxy"].isfinite().all():
            raise ScoreError("The proxy scores are not finite: training diverged. Try a lower optimizer.lr.")
        return scores

    def _srcc_by_dataset(self, scores: dict[str, Tensor]) -> dict[str, float]:
        """SRCC of the rows collected; where there is none (all scores alike) it is nan and said."""
        rows = self.trainer.datamodule.table.loc[scores["index"].numpy(), ["dataset", "mos"]]
        rows["proxy"] = scores["proxy"].double().numpy()
        figures = {}
        for name, group in rows.groupby("dataset"):
            try:
                figures[name] = srcc(group["proxy"].to_numpy(), group["mos"].to_numpy())
            except ScoreError as error:
                rank_zero_warn(f"val/srcc_{name} cannot be computed: {error}")
                figures[name] = math.nan
        return figures
