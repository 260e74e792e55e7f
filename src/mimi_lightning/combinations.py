"""Which parts of a model make sense together."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from mimi_lightning.contracts import Gauge, Mapper, Objective, Regressor, Task
from mimi_lightning.errors import ConfigError


def refuse_what_does_not_fit(
    backbone: str, regressor: Regressor, mapper: Mapper, gauge: Gauge, objective: Objective, tasks: Task | None
) -> None:
    """Refuse a combination in which a part lacks what another needs, or that would learn nothing.

    Raises:
        ConfigError: the first reason, and what to set instead.
    """
    for reason in _reasons(backbone, regressor, mapper, gauge, objective, tasks):
        raise ConfigError(reason)


def _reasons(
    backbone: str, regressor: Regressor, mapper: Mapper, gauge: Gauge, objective: Objective, tasks: Task | None
) -> Iterator[str]:
    objective_name, mapper_name, gauge_name = (type(part).__name__ for part in (objective, mapper, gauge))
    if lacking := _lacking(tasks.needs if tasks else (), regressor.judges):
        yield (
            f"backbone {backbone} does not judge {lacking}: set tasks=none, or choose one that does, such as "
            "backbone=clip_vit_b32."
        )
    if lacking := _lacking(objective.needs, mapper.offers):
        yield (
            f"objective {objective_name} needs the terms {lacking}, which mapper {mapper_name} does not offer: set "
            "objective=regression, or choose one that does, such as mapper=minn."
        )
    if lacking := _lacking(objective.sees, regressor.judges):
        yield (
            f"objective {objective_name} compares {lacking} levels, which backbone {backbone} does not judge: set "
            "backbone.says=levels."
        )
    if not (objective.teaches or mapper.fits):
        yield (
            f"objective {objective_name} orders pictures and teaches no scale, and mapper {mapper_name} has nothing to "
            "fit afterwards: its predictions would mean nothing. Choose one such as mapper=linear."
        )
    if mapper.refits and not objective.teaches:
        yield (
            f"objective {objective_name} teaches no scale, and mapper {mapper_name} keeps that of a dataset until its "
            "scores and labels correlate: choose one such as mapper=linear."
        )
    if gauge.through_mapper and not objective.teaches:
        yield (
            f"gauge {gauge_name} pins the proxy axis through the mapper, which objective {objective_name} does not "
            "teach: set gauge=moments or gauge=none."
        )
    if objective.collapses and not gauge.spreads:
        yield (
            f"objective {objective_name} is lowest where all proxy scores are equal: set gauge=moments, which keeps "
            "them apart."
        )
    low, high = regressor.ends
    if gauge.spreads and not low < 0 < high:
        yield (
            f"gauge {gauge_name} wants proxy scores around 0, but those of backbone {backbone} lie between {low:g} and "
            f"{high:g}: set gauge=none, or backbone.says=score."
        )
    if not mapper.fits and low > 0 and objective.through_mapper:
        yield (
            f"mapper {mapper_name} leaves scores as they are, and those of backbone {backbone} lie between {low:g} and "
            f"{high:g}, not on the target scale: choose a mapper such as mapper=linear, or backbone.says=score."
        )


def _lacking(needed: Collection[str], there: Collection[str]) -> str:
    return " and ".join(word for word in needed if word not in there)
