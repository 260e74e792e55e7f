"""The tasks beside quality: which scene a picture shows and what distorts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torchmetrics import Metric

from mimi_lightning.contracts import Judgement, Task
from mimi_lightning.labels import Translation, check_translation, make_labels
from mimi_lightning.weighting import DynamicWeightAverage

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
