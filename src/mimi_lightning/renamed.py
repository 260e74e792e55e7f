"""What earlier versions wrote in run folders and checkpoints, as this version says it."""

from __future__ import annotations

from typing import Any

# By `_target_`: what a node is told now.
RENAMED = {
    "mimi_lightning.models.regressor.BilinearRegressor": {
        "_target_": "mimi_lightning.models.regressor.PooledRegressor",
        "pool": "bilinear",
        "says": "score",
    },
}


def renamed(node: Any) -> Any:
    """A tree of settings in which all classes have their names of this version."""
    if not isinstance(node, dict):
        return node
    return {key: renamed(value) for key, value in node.items()} | RENAMED.get(node.get("_target_"), {})


def with_gauge(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run with its gauge: before it was a setting, regression had none, and MIMI today's default."""
    regression = settings.get("objective", {}).get("_target_") == "mimi_lightning.objectives.Regression"
    return {"gauge": {"_target_": "mimi_lightning.gauges.Free"}, **settings} if regression else settings
