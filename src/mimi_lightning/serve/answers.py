"""What the endpoint and the page say: answers of a ruler as JSON knows them, null where a number is not known."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from matplotlib.ticker import MaxNLocator
from pydantic import BaseModel, ConfigDict, Field

from mimi_lightning.errors import DatasetError
from mimi_lightning.ruler.ruler import PROXY, Ruler
from mimi_lightning.serve.uploads import read_picture

TICKS = 6  # on a scale, about


class Example(BaseModel):
    """A picture that the model has learned from."""

    image: str
    mos: float


class Native(BaseModel):
    """A score on the scale of a dataset, and what it means there."""

    scale: str
    score: float
    std: Annotated[float | None, Field(description="how sure the model is; null where it does not say")] = None
    low: float
    high: float
    outside: Annotated[bool, Field(description="whether the score lies outside the published range, low to high")]
    percentile: Annotated[float | None, Field(description="of a hundred training labels so many lie below")]
    examples: Annotated[list[Example], Field(description="training pictures whose labels are nearest to the score")]


class Score(BaseModel):
    """What the model says of a picture."""

    name: str
    width: int
    height: int
    proxy: Annotated[float, Field(description="comparable across datasets; higher is better")]
    std: Annotated[float | None, Field(description="how sure the model is; null where it does not say")]
    native: list[Native]


class Refusal(BaseModel):
    """Why a picture has no score."""

    name: str
    error: str


class Scores(BaseModel):
    """A row for each picture, in the order in which they were sent."""

    pictures: list[Score | Refusal]


class Translation(BaseModel):
    """A score on another scale."""

    model_config = ConfigDict(populate_by_name=True)

    source: Annotated[str, Field(alias="from")]
    target: Annotated[str, Field(alias="to")]
    score: float
    translated: Annotated[float | None, Field(description="null where no proxy score reaches the score")]
    outside: Annotated[bool, Field(description="whether either score lies outside the published range of its dataset")]


class Tick(BaseModel):
    """A place on the ruler."""

    score: float
    proxy: float


class Scale(BaseModel):
    """The scale of a dataset on the ruler."""

    scale: str
    low: Annotated[float, Field(description="low end of the published range")]
    high: float
    ticks: Annotated[list[Tick], Field(description="round scores and their proxy scores; none without an inverse")]


class Scales(BaseModel):
    """All scales, and the span of proxy scores that the training labels take."""

    low: float | None
    high: float | None
    scales: list[Scale]


def tell_score(ruler: Ruler, name: str, data: bytes) -> Score | Refusal:
    """Score a picture on all scales, or say why not."""
    try:
        picture = read_picture(data, ruler.view.resize)
        judgement = ruler.judge([ruler.view(picture)])
    except DatasetError as error:
        return Refusal(name=name, error=str(error))
    width, height = picture.image.size
    proxy, std = (float(each[0]) for each in ruler.on_scale(judgement, None))
    native = []
    for scale in ruler.scales:
        score, spread = (float(each[0]) for each in ruler.on_scale(judgement, scale))
        native.append(tell_meaning(ruler, score, scale, spread))
    return Score(name=name, width=width, height=height, proxy=proxy, std=_known(std), native=native)


def tell_meaning(ruler: Ruler, score: float, scale: str, std: float = math.nan) -> Native:
    """Say what a score on the scale of a dataset means."""
    meaning = ruler.explain(score, scale)
    return Native(
        scale=scale,
        score=score,
        std=_known(std),
        low=meaning.low,
        high=meaning.high,
        outside=meaning.outside,
        percentile=_known(meaning.percentile),
        examples=[Example(image=image, mos=mos) for image, mos in meaning.examples],
    )


def tell_translation(ruler: Ruler, source: str, target: str, score: float) -> Translation:
    """Translate a score; errors as those of `Ruler.translate`."""
    translated = float(ruler.translate([score], source, target)[0])
    outside = any(_outside(ruler, *each) for each in ((source, score), (target, translated)))
    return Translation(source=source, target=target, score=score, translated=_known(translated), outside=outside)


def tell_scales(ruler: Ruler) -> Scales:
    """Lay all scales on the proxy axis."""
    if not invertible(ruler):
        scales = [Scale(scale=name, low=low, high=high, ticks=[]) for name, (low, high) in _ranges(ruler)]
        return Scales(low=None, high=None, scales=scales)
    ends = [ruler.translate(label_span(ruler, name), name, PROXY, clamp=True) for name in ruler.scales]
    scales = [Scale(scale=name, low=low, high=high, ticks=_ticks(ruler, name)) for name, (low, high) in _ranges(ruler)]
    return Scales(low=float(np.min(ends)), high=float(np.max(ends)), scales=scales)


def invertible(ruler: Ruler) -> bool:
    """Whether its scores can be translated."""
    return ruler.model.mapper.invertible


def label_span(ruler: Ruler, scale: str) -> tuple[float, float]:
    """Lowest and highest training label of a dataset; its published range where the checkpoint does not tell."""
    marks = ruler.model.marks.get(scale)
    return (marks[0][1], marks[-1][1]) if marks else ruler.range(scale)


def _ranges(ruler: Ruler) -> list[tuple[str, tuple[float, float]]]:
    return [(name, ruler.range(name)) for name in ruler.scales]


def _ticks(ruler: Ruler, scale: str) -> list[Tick]:
    low, high = label_span(ruler, scale)
    scores = MaxNLocator(TICKS, steps=[1, 2, 5, 10]).tick_values(low, high).round(9)
    scores = scores[(scores >= low) & (scores <= high)]
    proxies = ruler.translate(scores, scale, PROXY)
    return [Tick(score=s, proxy=q) for s, q in zip(scores.tolist(), proxies.tolist(), strict=True) if math.isfinite(q)]


def _outside(ruler: Ruler, scale: str, score: float) -> bool:
    low, high = (-math.inf, math.inf) if scale == PROXY else ruler.range(scale)
    return not low <= score <= high


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
