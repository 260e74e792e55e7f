"""A model that has learned one more scale."""

from __future__ import annotations

import copy
from collections.abc import Mapping as Rows
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mimi_lightning.contracts import Mapper
from mimi_lightning.models.mappers import Anchored
from mimi_lightning.models.targets import TargetScale
from mimi_lightning.module import QualityModel
from mimi_lightning.ruler.marks import choose_marks
from mimi_lightning.ruler.own_scores import OwnScores
from mimi_lightning.specs import Spec, build, find_class

JOINED = "mimi_lightning.models.mappers.Joined"


class NewScale(NamedTuple):
    """What a model has to know of a new scale.

    Args:
        name: of the scale.
        facts: see `datasets` of `QualityModel`.
        mapper: specification of its mapper.
        rows: of that mapper, see `Mapper.rows`.
        marks: of the scale, see `choose_marks`.
    """

    name: str
    facts: dict[str, Any]
    mapper: Spec
    rows: Rows[str, Tensor]
    marks: list[tuple[str, float]]


def alone(model: QualityModel, new: NewScale) -> QualityModel:
    """A model that knows nothing but the new scale, by the same network."""
    only = QualityModel(
        regressor=model.hparams.regressor,
        mapper=new.mapper,
        objective={"_target_": "mimi_lightning.objectives.Regression"},
        datasets={new.name: new.facts},
        view=model.hparams.view,
        labels=model.hparams.labels,
        marks={new.name: new.marks},
    )
    only.regressor.load_state_dict(model.regressor.state_dict())
    only.mapper.put([new.name], new.rows)
    return only.eval()


def with_regressor(model: QualityModel, other: QualityModel) -> QualityModel:
    """A model with the network of another one, which comes from the same."""
    told = {**model.hparams, "regressor": other.hparams.regressor}
    changed = QualityModel(**copy.deepcopy(told), marks=model.marks)
    changed.mapper.load_state_dict(model.mapper.state_dict())
    changed.regressor.load_state_dict(other.regressor.state_dict())
    return changed.eval()


def learn_facts(model: QualityModel, scores: OwnScores) -> dict[str, Any]:
    """What a model has to know of a dataset, see `datasets` of `QualityModel`."""
    mos = scores.rows["mos"].to_numpy()
    labels = find_class(model.hparams.labels, TargetScale).learn(mos)
    return {"range": list(scores.range), "labels": labels, "weight": 1, "size": len(mos)}


def target_scale(model: QualityModel, facts: Spec) -> TargetScale:
    """The target scale of a dataset by itself."""
    return build(model.hparams.labels, TargetScale, [facts])


def marks_of(scores: OwnScores) -> list[tuple[str, float]]:
    """The scale's marks."""
    return choose_marks(scores.rows)[scores.name]


@torch.no_grad()
def add_scale(model: QualityModel, new: NewScale) -> QualityModel:
    """A model that knows a scale more, with a mapper of any kind; on all others its predictions stay, bit for bit.

    The mappers stand in one `Joined`, the new one as its last part.
    """
    old = copy.deepcopy(dict(model.hparams))
    joined = old["mapper"]["_target_"] == JOINED
    parts = old["mapper"]["parts"] if joined else [{"mapper": old["mapper"], "datasets": model.names}]
    old["mapper"] = {"_target_": JOINED, "parts": [*parts, {"mapper": dict(new.mapper), "datasets": [new.name]}]}
    old["datasets"] = {**old["datasets"], new.name: new.facts}
    richer = QualityModel(**old, marks={**model.marks, new.name: new.marks})
    richer.regressor.load_state_dict(model.regressor.state_dict())
    *known, added = unbound(richer.mapper).parts
    mapper = unbound(model.mapper)
    for part, learned in zip(known, mapper.parts if joined else [mapper], strict=True):
        part.load_state_dict(learned.state_dict())
    added.put([new.name], new.rows)
    return richer.eval()


def unbound(mapper: Mapper) -> Mapper:
    """The mapper that a gauge may have bound."""
    return mapper.free if isinstance(mapper, Anchored) else mapper
