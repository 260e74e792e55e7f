"""The tasks beside quality: which scene a picture shows and what distorts it, and how the three are weighed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch import distributed as dist
from torchmetrics import Metric

from mimi_lightning.contracts import Judgement, Task
from mimi_lightning.labels import Translation, check_translation, make_labels
from mimi_lightning.models.monotone import FullPrecision

EPSILON = 1e-8
SOURCES = {  # of labels, beside the published lists
    "scene": "scenes.csv at the root of the datasets (columns dataset, reference, scenes)",
    "distortion": "owners who tell what they did to a picture",
}


def scene_fidelity(probability: Tensor, label: Tensor) -> Tensor:
    """Loss of several right answers: mean over scenes of 1 - sqrt(p g + e) - sqrt((1 - p)(1 - g) + e).

    Args:
        probability: p, [B, 9].
        label: g, ones and zeros, [B, 9].

    Returns:
        Loss of each image, [B].
    """
    yes = (probability * label + EPSILON).sqrt()
    no = ((1 - probability) * (1 - label) + EPSILON).sqrt()
    return (1 - yes - no).mean(-1)


def distortion_fidelity(probability: Tensor, label: Tensor) -> Tensor:
    """Loss of one right answer: 1 - sum_i sqrt(p_i g_i + e), g being 1 for the label and 0 elsewhere.

    Args:
        probability: p, [B, 11].
        label: index of the right group, int64, [B].

    Returns:
        Loss of each image, [B].
    """
    right = torch.nn.functional.one_hot(label, probability.shape[-1])
    return 1 - (probability * right + EPSILON).sqrt().sum(-1)


def scene_hits(probability: Tensor, label: Tensor) -> Tensor:
    """Whether each label of an image with k labels is among its k most probable scenes.

    Args:
        probability: [B, 9].
        label: ones and zeros, [B, 9].

    Returns:
        bool, one for every label of all images.
    """
    place = probability.argsort(-1, descending=True).argsort(-1)
    return (place < label.sum(-1, keepdim=True))[label > 0]


def distortion_hits(probability: Tensor, label: Tensor) -> Tensor:
    """Whether each label is the most probable group; images without one (-1) do not count. Arguments as the loss."""
    return (probability.argmax(-1) == label)[label >= 0]


class DynamicWeightAverage(FullPrecision):
    """Weigh most the task whose loss falls slowest.

    weight_k = K softmax_k(r_k / T), r_k = mean loss of task k in the last epoch / in the one before; r_k = 1 where
    either is not known, as in the first two epochs.

    A task that had no label in both epochs weighs 1, and the others are weighed as if it did not exist: K is then their
    number, and all weights still sum to the number of tasks. Without any label its loss is 0, whatever it weighs.

    Source: Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019.

    All that it knows is equal on all ranks after every step and goes into the checkpoint.

    Args:
        tasks: number K of tasks.
        temperature: T > 0; higher is more even.
    """

    def __init__(self, tasks: int, temperature: float = 2.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("means", torch.full((2, tasks), torch.nan))  # of the last two epochs, the older first
        self.register_buffer("totals", torch.zeros(2, tasks))  # of this epoch: summed loss, number of labelled images
        self.register_buffer("epoch", torch.tensor(0))

    def forward(self, losses: Tensor, counts: Tensor, epoch: int) -> Tensor:
        """Weights of this step; its losses will count in the weights of later epochs.

        Args:
            losses: mean loss of each task over its labelled images, [K].
            counts: number of labelled images of each task, [K].
            epoch: number of this epoch.

        Returns:
            [K], whose sum is K.
        """
        if epoch != self.epoch:
            self._close_epoch(epoch)
        seen = torch.stack([losses.detach() * counts, counts])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(seen)
        self.totals += seen
        return self.weights()

    def weights(self) -> Tensor:
        """Weights of this epoch, [K]."""
        before, last = self.means
        ratio = last / before
        ratio = torch.where(ratio.isfinite(), ratio, 1.0)
        labelled = self.means.isfinite().any(0)
        shares = torch.softmax((ratio / self.temperature).masked_fill(~labelled, -torch.inf), dim=0)
        return torch.where(labelled, labelled.sum() * shares, 1.0)

    def _close_epoch(self, epoch: int) -> None:
        total, count = self.totals
        self.means = torch.stack([self.means[1], total / count])
        self.totals.zero_()
        self.epoch.fill_(epoch)


class Accuracy(Metric):
    """Share of labels that were hit, over all ranks."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("labels", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, hits: Tensor) -> None:
        """Count labels, right (True) or wrong."""
        self.right += hits.sum()
        self.labels += hits.numel()

    def compute(self) -> Tensor:
        """Right labels / labels; nan where there were none."""
        return self.right / self.labels


class SceneDistortion(Task):
    """Scene and distortion beside quality, the three weighted by dynamic weight average.

    L = w_quality L_quality + w_scene L_scene + w_distortion L_distortion

    An image without a label of a task does not enter the loss of that task; a batch without any gives 0.

    Args:
        temperature: of the dynamic weight average.
        translate: of words that datasets use to known ones, see `mimi_lightning.labels`.

    Raises:
        ConfigError: a translation to words that are not known.
    """

    needs = ("scene", "distortion")
    names = ("quality", *needs)

    def __init__(self, temperature: float = 2.0, translate: Translation | None = None) -> None:
        super().__init__()
        self.translate = translate or {}
        check_translation(self.translate)
        self.weighting = DynamicWeightAverage(len(self.names), temperature)
        self.scene_accuracy = Accuracy()
        self.distortion_accuracy = Accuracy()

    def labels(self, annotations: pd.DataFrame) -> dict[str, np.ndarray]:
        """Make the columns that a batch brings for these tasks; warn of a task without any label in training.

        Args:
            annotations: annotations table of N images, with parts.

        Returns:
            `scenes` [N, 9] and `distortion` [N], see `mimi_lightning.labels`.

        Raises:
            DatasetError: words that are neither known nor translated.
        """
        columns = make_labels(annotations, self.translate)
        train = (annotations["part"] == "train").to_numpy()
        for name, labelled in _labelled(columns).items():
            if not labelled[train].any():
                rank_zero_warn(
                    f"The {name} task has no label in the training part: its loss is 0 for the whole run. Labels come "
                    f"from {SOURCES[name]} or, of published datasets, from splits=liqe splits.lists=DIR; tasks=none "
                    "learns quality alone."
                )
        return columns

    def forward(
        self, terms: Mapping[str, Tensor], judgement: Judgement, batch: Mapping[str, Tensor], epoch: int
    ) -> dict[str, Tensor]:
        """Extend the terms of a quality objective.

        Args:
            terms: `loss` of quality and what it is the sum of.
            judgement: what the regressor thinks of the B images.
            batch: `scenes` [B, 9] and `distortion` [B], as `labels` makes them.
            epoch: number of this epoch.

        Returns:
            The terms with a new `loss`; `quality`, `scene`, `distortion` and the weights that they got.
        """
        scenes, distortion = batch["scenes"], batch["distortion"]
        has_scene, has_distortion = _labelled(batch).values()
        scene = scene_fidelity(judgement.tasks["scene"][has_scene], scenes[has_scene])
        group = distortion_fidelity(judgement.tasks["distortion"][has_distortion], distortion[has_distortion])
        counts = torch.stack([torch.ones_like(has_scene).sum(), has_scene.sum(), has_distortion.sum()])
        losses = torch.stack([terms["loss"], _mean(scene), _mean(group)])
        weights = self.weighting(losses, counts, epoch)
        named = dict(zip(self.names, losses, strict=True))
        weighed = {f"weight_{name}": weight for name, weight in zip(self.names, weights, strict=True)}
        return {**terms, **named, **weighed, "loss": (weights * losses).sum()}

    def count(self, judgement: Judgement, batch: Mapping[str, Tensor]) -> None:
        """Count the labels of a validation or test batch, right or wrong."""
        self.scene_accuracy.update(scene_hits(judgement.tasks["scene"], batch["scenes"]))
        self.distortion_accuracy.update(distortion_hits(judgement.tasks["distortion"], batch["distortion"]))

    def accuracies(self) -> dict[str, float]:
        """Accuracies of what was counted since the last call, of tasks that have labels."""
        figures = {}
        for name in ("scene_accuracy", "distortion_accuracy"):
            metric = getattr(self, name)
            figures[name] = metric.compute().item()
            metric.reset()
        return {name: figure for name, figure in figures.items() if figure == figure}


def _labelled(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Which images have a label of each task, [N]; of arrays or tensors."""
    return {"scene": columns["scenes"].any(-1), "distortion": columns["distortion"] >= 0}


def _mean(losses: Tensor) -> Tensor:
    """Mean of any number of losses, 0 of none; the graph stays."""
    return losses.sum() / max(1, losses.numel())
