"""Names of earlier versions, in run folders and checkpoints, as this version says them."""

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
