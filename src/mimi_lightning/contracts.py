"""What the parts of a model are to each other: `QualityModel` ties them by this alone.

Every kind is a base class. An option of a configuration group names a subclass and its arguments, and inherits a test
class (tests/test_contracts.py) that says in code what is promised here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mimi_lightning.errors import ConfigError
from mimi_lightning.models.fitting import least_squares, score_ends
from mimi_lightning.models.monotone import FullPrecision
from mimi_lightning.models.targets import TOP


@dataclass(frozen=True)
class Judgement:
    """What a regressor says of B pictures.

    Args:
        proxy: proxy scores, higher is better, float32 [B].
        std: how much it doubts each of them, in units of the proxy score, [B].
        tasks: by name, what it sees beside: probabilities of `scene` [B, 9], of the groups of `distortion` [B, 11], of
            the five levels of `quality` [B, 5], in the order of `mimi_lightning.vocabulary`.
        hidden: last hidden layer of its head, if it has one, [B, H].
    """

    proxy: Tensor
    std: Tensor | None = None
    tasks: Mapping[str, Tensor] = field(default_factory=dict)
    hidden: Tensor | None = None


@dataclass(frozen=True)
class Opinions:
    """What raters said of B pictures.

    Args:
        score: opinion scores on the target scale, [B].
        std: standard deviation of the opinions on the target scale, NaN where it is not known, [B].
        dataset: index 0..D-1 of each picture's dataset, int64 [B].
    """

    score: Tensor
    std: Tensor
    dataset: Tensor


class Regressor(nn.Module, ABC):
    """From pictures to the one proxy score that is comparable across datasets.

    Its constructor takes `name`, of this backbone in run folders and messages, and `weights`, of which `none` loads
    nothing: a checkpoint brings all weights itself.
    """

    judges: tuple[str, ...] = ()  # the tasks of its judgements
    trunk: tuple[str, ...] = ()  # its modules that come before `features`
    ends: tuple[float, float] = (-2.0, 2.0)  # between which most proxy scores lie before anything was learned
    deviates: bool = False  # whether its judgements have a `std`

    @abstractmethod
    def forward(self, images: Tensor) -> Judgement:
        """Judge pictures as the view makes them: uint8 [B, 3, H, W], or stacks of P patches [B, P, 3, side, side].

        Scores are float32 under any precision of the trainer.
        """

    def features(self, images: Tensor) -> Tensor:
        """All that comes before what learns, in evaluation and without gradients: pictures to features [B, F], float32.

        A regressor that cannot be divided leaves it and `judge` out.

        Raises:
            ConfigError: as it is configured, something learns from the beginning; says what to set instead.
        """
        raise NotImplementedError

    def judge(self, features: Tensor) -> Judgement:
        """Judge pictures by their features [B, F]: of `features(images)` it says what `forward(images)` does."""
        raise NotImplementedError

    @property
    def divisible(self) -> bool:
        """Whether it has `features`."""
        return type(self).features is not Regressor.features

    @abstractmethod
    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that come pretrained, or adapt those; they learn at a rate of their own."""


class Mapper(FullPrecision, ABC):
    """From proxy scores to the target scale of every dataset.

    The datasets are counted by their place in `names`, and the rows of the mapper as well: of everything that a
    checkpoint keeps of it, the first axis is n D long, and entry k D + d belongs to dataset d. What all datasets share
    stands in `shared`. It computes in float32 under any precision of the trainer (double after `.double()`).

    It begins as an increasing map onto the span of the targets, see `begin`.

    Args:
        names: of the D datasets.
        span: targets of the lowest and the highest training label of each dataset, [D][2]; 0 and 10 if it is None.
    """

    monotone: bool = True  # every dataset's q -> y increases strictly
    offers: tuple[str, ...] = ()  # its own terms of the loss
    fits: bool = True  # there is something that `fit` can set
    refits: bool = False  # learns by `fit` after every epoch, and by no gradient
    shared: tuple[str, ...] = ()  # keys of the state dict that hold no rows

    def __init__(self, names: Sequence[str], span: Sequence[Sequence[float]] | None = None) -> None:
        super().__init__()
        self.names = tuple(names)
        span = [(0.0, TOP)] * len(self.names) if span is None else span
        self.register_buffer("span", torch.tensor(span, dtype=torch.float32), persistent=False)

    def begin(self, ends: Tensor) -> None:
        """Begin as an increasing map of proxy scores between these ends onto the span; until it is told, of 0..1.

        A mapper that finds its way from proxy scores on any scale leaves it out.

        Args:
            ends: lowest and highest proxy score of each dataset, [D, 2].
        """

    def read(self, judgement: Judgement, dataset: Tensor) -> Tensor:
        """The scores [B] of pictures that it maps from; a dataset that it does not know is -1."""
        return judgement.proxy

    @abstractmethod
    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """Map proxy scores to the target scale of their dataset.

        Args:
            q: proxy scores, any shape.
            dataset: index 0..D-1 of each score's dataset, int64, broadcastable with q.

        Returns:
            Predictions y in the shape of both arguments broadcast. A score's prediction depends on no other score.
        """

    def inverse(self, y: Tensor, dataset: Tensor) -> Tensor:
        """Proxy scores q with forward(q) = y; shapes as those of `forward`. A mapper that has none leaves it out.

        Raises:
            ScoreError: a score that no proxy score reaches.
        """
        raise NotImplementedError

    @property
    def invertible(self) -> bool:
        """Whether it has an `inverse`."""
        return type(self).inverse is not Mapper.inverse

    def nearest(self, y: Tensor, dataset: Tensor) -> Tensor:
        """The nearest scores that `inverse` takes: y itself, where every score is reached."""
        return y

    def learn(self, q: Tensor, dataset: Tensor, ends: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Predictions of a training batch, and what the mapper itself offers to the loss.

        Args:
            q: proxy scores, [B].
            dataset: index of each score's dataset, int64 [B].
            ends: lower and upper end of each dataset's published range on the target scale, [D, 2].

        Returns:
            Predictions [B]; scalars by name, those of `offers`, not yet weighed.
        """
        return self(q, dataset), {}

    def fit(self, q: Tensor, y: Tensor, dataset: Tensor) -> None:
        """Fit to proxy scores and targets at once, for objectives that teach it nothing.

        Minimises (1/D) sum_d mean((forward(q) - y)^2) / width_d^2, width_d being that of the span: in float64 by
        L-BFGS, which begins where the proxy scores lie.

        Args:
            q: proxy scores of the training part, [N].
            y: their targets, [N].
            dataset: index of each score's dataset, int64 [N].
        """
        self.begin(score_ends(q, dataset, len(self.names)))
        least_squares(self, q, y, dataset)

    def stretch(self, y: Tensor, dataset: Tensor, top: float = 1.0) -> Tensor:
        """From 0..top to the span."""
        low, high = self.span[dataset].unbind(-1)
        return low + y * ((high - low) / top)

    def shrink(self, y: Tensor, dataset: Tensor, top: float = 1.0) -> Tensor:
        """From the span to 0..top."""
        low, high = self.span[dataset].unbind(-1)
        return (y - low) / ((high - low) / top)

    def number(self, names: Iterable[str]) -> Tensor:
        """Index of each of these datasets, int64.

        Raises:
            ConfigError: a dataset that has no row here.
        """
        names = list(names)
        if unknown := sorted({*names} - {*self.names}):
            raise ConfigError(f"The model does not know {', '.join(unknown)}; it knows {', '.join(self.names)}.")
        place = {name: index for index, name in enumerate(self.names)}
        return torch.tensor([place[name] for name in names], dtype=torch.int64)

    def rows(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Copies of the rows of these datasets by key of the state dict, [n, len(names), ...], and what is shared."""
        number = self.number(names)
        return {
            key: value.clone() if key in self.shared else self._by_dataset(value)[:, number]
            for key, value in self.state_dict().items()
        }

    def put(self, names: Iterable[str], rows: Mapping[str, Tensor]) -> None:
        """Set the rows of these datasets to what `rows` gave, and what is shared."""
        number = self.number(names)
        for key, value in self.state_dict().items():
            if key in self.shared:
                value.copy_(rows[key])
            else:
                self._by_dataset(value)[:, number] = rows[key]

    def freeze(self, names: Iterable[str], optimizer: Optimizer) -> None:
        """Keep the rows of these datasets as they are now through every step of an optimiser, its decay included.

        Raises:
            ConfigError: these datasets share what the others go on learning.
        """
        names = list(names)
        if self.shared and {*names} != {*self.names}:
            others = ", ".join(name for name in self.names if name not in names)
            raise ConfigError(
                f"freeze=[mappers]: mapper {type(self).__name__} shares {', '.join(self.shared)} among all datasets. "
                f"While {others} learn, no other dataset's predictions stay: freeze=[regressor] keeps the proxy scores."
            )
        rows = self.rows(names)
        optimizer.register_step_post_hook(lambda *_: self.put(names, rows))

    def _by_dataset(self, value: Tensor) -> Tensor:
        return value.unflatten(0, (-1, len(self.names)))


class Gauge(FullPrecision, ABC):
    """What pins the proxy axis, which mappers leave free up to an increasing map that all of them can undo."""

    through_mapper: ClassVar[bool] = False  # which the objective then has to teach
    spreads: ClassVar[bool] = False  # keeps proxy scores apart, whatever the objective

    def pin(self, mapper: Mapper) -> Mapper:
        """What the model maps with: the mapper itself, or one that this gauge has bound.

        Raises:
            ConfigError: the gauge makes no sense with this mapper.
        """
        return mapper

    @abstractmethod
    def forward(
        self, terms: Mapping[str, Tensor], mapper: Mapper, proxy: Tensor, ends: Tensor, own: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Extend the terms of the objective.

        Args:
            terms: `loss` and what it is made of, scalars.
            mapper: which `pin` gave.
            proxy: scores of a training batch, [B].
            ends: lower and upper end of each dataset's published range on the target scale, [D, 2].
            own: terms that the mapper offers.

        Returns:
            The terms and its own, with a new `loss`.
        """


class Objective(FullPrecision, ABC):
    """What a mix of datasets should make regressor and mapper learn.

    Args:
        weights: w_d >= 0 of every dataset, in the order of the dataset indices, [D].
        span: targets of the lowest and the highest training label of each dataset, [D][2]; 0 and 10 if it is None.
    """

    needs: tuple[str, ...] = ()  # terms that the mapper has to offer
    sees: tuple[str, ...] = ()  # tasks that the regressor has to judge
    teaches: bool = True  # the mapper all that predictions need; otherwise it is fitted after training
    through_mapper: bool = True  # its gradient reaches the mapper; otherwise the mapper does not learn
    pictures: int = 1  # of a dataset, that a batch needs for its loss
    collapses: bool = False  # is as low as can be where all proxy scores are equal

    def __init__(self, weights: Sequence[float], span: Sequence[Sequence[float]] | None = None) -> None:
        super().__init__()
        span = [(0.0, TOP)] * len(weights) if span is None else span
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32), persistent=False)
        self.register_buffer("span", torch.tensor(span, dtype=torch.float32), persistent=False)

    @abstractmethod
    def forward(
        self, judgement: Judgement, prediction: Tensor, opinions: Opinions, own: Mapping[str, Tensor], epoch: int = 0
    ) -> dict[str, Tensor]:
        """Compute the loss of one mixed batch.

        Args:
            judgement: of the B images, with the proxy scores that the mapper reads.
            prediction: of the mapper, on the target scale, [B].
            opinions: of raters on the B images.
            own: terms that the mapper offers; which of them count is the objective's affair.
            epoch: number of this epoch.

        Returns:
            Scalars: the `loss` to minimise, and by name the terms that it is made of.
        """

    def over_datasets(self, error: Tensor, dataset: Tensor) -> Tensor:
        """(1/D) sum_d w_d mean(error_d) of the errors [B] of a batch, written as one weighted sum over its images.

        D counts all datasets of the mix: one without an image in this batch adds nothing, and its share is not passed
        on to the others.
        """
        weights = self.weights.to(error.dtype)
        count = torch.zeros_like(weights).index_add_(0, dataset, torch.ones_like(error))
        # Datasets without an image get an infinite weight here, which no image ever picks.
        image_weight = (weights / (len(weights) * count))[dataset]
        return (image_weight * error).sum()


class Task(FullPrecision, ABC):
    """What is learned beside quality, from labels of its own; one module may hold several."""

    needs: ClassVar[tuple[str, ...]]  # tasks that the regressor has to judge

    @abstractmethod
    def labels(self, annotations: pd.DataFrame) -> dict[str, np.ndarray]:
        """Make the columns [N, ...] that a batch brings for it, of an annotations table of N images with parts.

        Raises:
            DatasetError: labels that it does not understand.
        """

    @abstractmethod
    def forward(
        self, terms: Mapping[str, Tensor], judgement: Judgement, batch: Mapping[str, Any], epoch: int
    ) -> dict[str, Tensor]:
        """Extend the terms of the objective.

        Args:
            terms: `loss` of quality and what it is made of, scalars.
            judgement: of the B images.
            batch: the columns that `labels` made, [B, ...].
            epoch: number of this epoch.

        Returns:
            The terms and its own, with a new `loss`.
        """

    @abstractmethod
    def count(self, judgement: Judgement, batch: Mapping[str, Any]) -> None:
        """Count what a validation or test batch gets right."""

    @abstractmethod
    def accuracies(self) -> dict[str, float]:
        """Shares, by name, of what was counted since the last call; none where nothing had a label."""
