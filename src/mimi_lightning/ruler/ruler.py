"""A trained mix as a ruler: pictures to scores, on the scale of every dataset that it has learned from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mimi_lightning.contracts import Judgement
from mimi_lightning.errors import ConfigError, DatasetError
from mimi_lightning.module import UNKNOWN, QualityModel
from mimi_lightning.ruler.marks import nearest, percentile
from mimi_lightning.ruler.pictures import Source, as_picture
from mimi_lightning.specs import build

PROXY = "proxy"  # the scale that all datasets share
PRECISIONS = ("32", "bf16")
TOGETHER = 16  # pictures of one size that pass the network together


class Meaning(NamedTuple):
    """What a score on the scale of a dataset means."""

    score: float
    low: float  # ends of the published range
    high: float
    percentile: float  # of a hundred training labels so many lie below; NaN where the checkpoint does not tell
    examples: list[tuple[str, float]]  # training pictures with the nearest labels: image, MOS

    @property
    def outside(self) -> bool:
        """Whether it lies outside the published range."""
        return not self.low <= self.score <= self.high


def load(checkpoint: Path | str, device: str | torch.device | None = None, precision: str = "32") -> Ruler:
    """Read a checkpoint as a ruler; needs neither datasets nor configuration.

    Args:
        checkpoint: file, such as outputs/mimi/resnet34/split03/checkpoints/best.ckpt.
        device: where the network computes; the first GPU, if there is one, by default.
        precision: see `Ruler`.

    Raises:
        ConfigError: no such device, or the file is missing, no checkpoint of this project, or does not say what testing
            saw of a picture.

    Example:
        >>> ruler = load(checkpoint)
        >>> score = ruler.score(picture)
        >>> score == ruler.score(Image.open(picture)), ruler.scales
        (True, ('csiq', 'live'))
        >>> float(ruler.score([picture, picture], scale="csiq")[1]) == ruler.score(picture, scale="csiq")
        True
    """
    model = QualityModel.load(checkpoint)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return Ruler(model.to(device), precision)
    except (RuntimeError, AssertionError) as error:  # no such device, or a PyTorch without it
        raise ConfigError(f"The device {device} cannot be used: {error}") from error


class Ruler:
    """Scores pictures. Higher is better; proxy scores compare whatever the pictures are of.

    A picture has one score: it is decoded, resized and cut as testing did (see `pictures`), in evaluation.

    Args:
        model: a trained one; it does not learn any more.
        precision: of the network, `32` (float32) or `bf16`, which modern processors and GPUs compute several times
            faster, and which changes scores in the third digit. Mappers and scores are float32 all the same.

    Raises:
        ConfigError: another precision, or a model that does not say what testing saw of a picture.
    """

    def __init__(self, model: QualityModel, precision: str = "32") -> None:
        if precision not in PRECISIONS:
            raise ConfigError(f"precision {precision}: expected {' or '.join(PRECISIONS)}.")
        self.model, self.precision = model.eval().requires_grad_(False), precision
        if not model.hparams.view:
            raise ConfigError(
                "The checkpoint is of an early version and does not say what testing saw of a picture. Train anew, or "
                "score with `QualityModel.load` and a view of your own."
            )
        self.view = build(model.hparams.view, Callable)

    @property
    def scales(self) -> tuple[str, ...]:
        """The datasets on whose scales it tells scores, beside `proxy`."""
        return tuple(name for name, known in zip(self.model.names, self.model.scale.known, strict=True) if known)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.model.device

    def to(self, device: str | torch.device) -> Ruler:
        """Let the network compute elsewhere."""
        self.model.to(device)
        return self

    def number(self, scale: str) -> Tensor:
        """Index of a dataset in the model, int64 [], on its device.

        Raises:
            ConfigError: the model does not know the scale.
        """
        (number,) = self.model.number([scale]).to(self.device)
        if not self.model.scale.known[number]:
            raise ConfigError(
                f"The checkpoint gives proxy scores of {scale} alone: the labels of its scale are not known."
            )
        return number

    def score(self, pictures: Source | Sequence[Source], scale: str | None = None, with_std: bool = False) -> Any:
        """Score a picture or several.

        Args:
            pictures: one of the kinds of `pictures`, or a list of them; a tensor [B, C, H, W] and an array
                [B, H, W, C] are several.
            scale: name of a dataset; the proxy score if it is None.
            with_std: also how sure the model is, in units of the scale; NaN where it does not know.

        Returns:
            A number for one picture and an array float32 [B] for several; tensors where tensors came, through which
            gradients reach pictures of floats. With `with_std` two of them.

        Raises:
            DatasetError: a picture that cannot be read, or is none.
            ConfigError: a scale that the model does not know.
        """
        several = isinstance(pictures, (list, tuple)) or getattr(pictures, "ndim", 0) == 4
        sources = list(pictures) if several else [pictures]
        if not sources:
            raise DatasetError("There is no picture to score.")
        with torch.set_grad_enabled(torch.is_grad_enabled() and any(map(_learns, sources))):
            views = (self.view(as_picture(source, self.view.resize)) for source in sources)
            told = self.on_scale(self.judge(views), scale)
        if not several:
            told = [each[0] for each in told]
        if not any(isinstance(source, Tensor) for source in sources):
            told = [each.cpu().numpy() if several else each.item() for each in told]
        score, std = told
        return (score, std) if with_std else score

    def judge(self, views: Iterable[Tensor]) -> Judgement:
        """What the regressor says of views of B pictures.

        Args:
            views: as the model's view makes them, of any sizes; uint8, or float32 of 0..255. A batch of them is held
                at a time.

        Raises:
            DatasetError: a picture that is too small for the network, or too large for the memory.
        """
        judged = [self._judge_alike(batch) for batch in _alike(views)]
        columns = {name: [getattr(each, name) for each in judged] for name in ("proxy", "std", "hidden")}
        return Judgement(**{name: torch.cat(parts) for name, parts in columns.items() if parts[0] is not None})

    def _judge_alike(self, views: list[Tensor]) -> Judgement:
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        try:
            with _exact(), autocast:
                return self.model.regressor(torch.stack(views).to(self.device))
        except RuntimeError as error:  # PyTorch's for shapes and for memory
            height, width = views[0].shape[-2:]
            raise DatasetError(f"The network cannot take a picture of {width} x {height} pixels: {error}") from error

    def on_scale(self, judgement: Judgement, scale: str | None) -> tuple[Tensor, Tensor]:
        """Scores [B] on the scale of a dataset, and their standard deviations; see `score`."""
        number = torch.tensor(UNKNOWN, device=self.device) if scale in (None, PROXY) else self.number(scale)
        dataset = number.expand(len(judgement.proxy))
        q = self.model.mapper.read(judgement, dataset)
        if scale not in (None, PROXY):
            return self.model.predict(q, judgement.std, dataset)
        return q, torch.full_like(q, torch.nan) if judgement.std is None else judgement.std

    def explain(self, score: float, scale: str, examples: int = 4) -> Meaning:
        """Say what a score on the scale of a dataset means.

        Raises:
            ConfigError: a scale that the model does not know.
        """
        pictures = nearest(score, self.model.marks.get(scale, []), examples)
        return Meaning(float(score), *self.range(scale), self.percentile(score, scale), pictures)

    def percentile(self, score: float, scale: str) -> float:
        """How many of a hundred training labels of a dataset lie below a score; NaN where the checkpoint has none."""
        marks = self.model.marks.get(scale)
        return percentile(score, marks) if marks else math.nan

    def range(self, scale: str) -> tuple[float, float]:
        """Ends of a dataset's published range; errors as those of `explain`."""
        self.number(scale)
        return tuple(self.model.hparams.datasets[scale]["range"])

    @torch.no_grad()
    def translate(self, scores: Any, source: str, target: str, clamp: bool = False) -> np.ndarray:
        """Scores from one scale to another, through the inverse of the source's mapper.

        Args:
            scores: on the scale `source`, any shape.
            source: name of a dataset, or `proxy`.
            target: likewise.
            clamp: move scores outside the source's published range to its ends first, and results to the target's.

        Returns:
            Float32, in the shape of the scores; NaN where no proxy score reaches the score.

        Raises:
            ConfigError: a scale that the model does not know, or one whose mapper has no inverse.
        """
        values = torch.as_tensor(np.asarray(scores, dtype=np.float32), device=self.device)
        for scale in {source, target} - {PROXY}:
            self._refuse_without_inverse(scale)
        proxy = values if source == PROXY else self._to_proxy(values, source, clamp)
        if target == PROXY:
            return proxy.cpu().numpy()
        result = self.model.predict_mos(proxy, self.number(target))
        return (result.clamp(*self.range(target)) if clamp else result).cpu().numpy()

    def _to_proxy(self, values: Tensor, scale: str, clamp: bool) -> Tensor:
        number = self.number(scale)
        if clamp:
            values = values.clamp(*self.range(scale))
        target = self.model.scale.normalise(values, number)
        reached = self.model.mapper.nearest(target, number)
        proxy = self.model.mapper.inverse(reached, number)
        return proxy if clamp else proxy.masked_fill(reached != target, torch.nan)

    def _refuse_without_inverse(self, scale: str) -> None:
        self.number(scale)
        if not self.model.mapper.invertible:
            kind = type(self.model.mapper).__name__
            raise ConfigError(f"Its mapper {kind} has no inverse: scores of {scale} cannot be translated.")


def _learns(source: Source) -> bool:
    return isinstance(source, Tensor) and source.requires_grad


def _alike(views: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Batches of views of one shape, in their order."""
    for _, alike in groupby(views, key=lambda view: (view.shape, view.dtype)):
        while batch := list(islice(alike, TOGETHER)):
            yield batch


def _exact() -> AbstractContextManager:
    """Convolutions of a GPU in whole float32, by the same algorithm every time."""
    return torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False)
