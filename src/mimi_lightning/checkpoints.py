"""Checkpoints of earlier versions, read as if they were of this one: the same weights, the same scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mimi_lightning.models.mappers.lines import softplus_inverse
from mimi_lightning.models.targets import TOP
from mimi_lightning.renamed import renamed

FORMAT = 3  # of the checkpoints that this version writes; the first ones did not tell theirs
LINEAR = "mimi_lightning.models.mappers.Linear"

Checkpoint = Mapping[str, Any]


def upgrade(checkpoint: Checkpoint) -> Checkpoint:
    """Bring hyper-parameters and weights of a checkpoint to this version's names and format."""
    checkpoint = {**checkpoint, "hyper_parameters": renamed(checkpoint["hyper_parameters"])}
    form = _format(checkpoint)
    if form == 1:
        return _from_format_1(checkpoint)
    return _from_format_2(checkpoint) if form == 2 else checkpoint


def goes_on(checkpoint: Checkpoint) -> bool:
    """Whether training of this version goes on from a checkpoint as its own version would have."""
    form = _format(checkpoint)
    return form == FORMAT or (form == 2 and checkpoint["hyper_parameters"]["mapper"]["_target_"] != LINEAR)


def forget_idle(checkpoint: Checkpoint, pretrained: int) -> None:
    """Let go, in place, of parameters behind the chosen level of a backbone, which former versions told optimisers of.

    They stood last, and nothing trained them: the optimiser holds no state of them.

    Args:
        checkpoint: to go on from.
        pretrained: number of parameters of the backbone today, which the second group of the optimiser holds.
    """
    for state in checkpoint["optimizer_states"]:
        del state["param_groups"][1]["params"][pretrained:]


def _format(checkpoint: Checkpoint) -> int:
    return checkpoint.get("format", 1)


def _from_format_2(checkpoint: Checkpoint) -> Checkpoint:
    """In format 2 linear mappers had slopes and offsets on the target scale 0..10, now shares of it."""
    if checkpoint["hyper_parameters"]["mapper"]["_target_"] != LINEAR:
        return checkpoint
    weights = dict(checkpoint["state_dict"])
    weights["mapper.slope"] = softplus_inverse(softplus(weights["mapper.slope"]) / TOP)
    weights["mapper.offset"] = weights["mapper.offset"] / TOP
    return {**checkpoint, "state_dict": weights}


def _from_format_1(checkpoint: Checkpoint) -> Checkpoint:
    """In format 1 VGG16 lacked its last max-pooling, and MINN's tables ended at 16, with constants for s and b."""
    parameters, weights = dict(checkpoint["hyper_parameters"]), dict(checkpoint["state_dict"])
    if parameters["regressor"]["_target_"] == "mimi_lightning.models.regressor.PooledRegressor":
        if parameters["regressor"]["name"] == "vgg16":
            parameters["regressor"] = {**parameters["regressor"], "name": "vgg16_cut"}
        weights["regressor.head.0.weight"] = _rescale_off_diagonals(weights["regressor.head.0.weight"])
    if parameters["mapper"]["_target_"] == "mimi_lightning.models.mappers.MINN":
        parameters["mapper"] = {"reach": 16.0, **parameters["mapper"]}
        old = {key: weights.pop(key) for key in list(weights) if key.startswith("mapper.functions.")}
        functions = _with_networks({key.removeprefix("mapper.functions."): value for key, value in old.items()})
        weights |= {f"mapper.functions.{key}": value for key, value in functions.items()}
    return {**checkpoint, "hyper_parameters": parameters, "state_dict": weights}


def _rescale_off_diagonals(weight: Tensor) -> Tensor:
    """Of a head on packed pooling, [out, C (C + 1) / 2]: off-diagonals came times sqrt(2), and now come times 2."""
    channels = int((2 * weight.shape[1]) ** 0.5)
    rows, columns = torch.triu_indices(channels, channels)
    return weight / torch.where(rows == columns, 1.0, 2.0**0.5)


def _with_networks(functions: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Increasing functions whose constants s and b are said by networks, and whose integrands have two idle inputs."""
    weights, biases = ([functions[f"{kind}.{i}"] for i in range(_layers(functions))] for kind in ("weights", "biases"))
    idle = weights[0].new_zeros(*weights[0].shape[:2], 2)
    said = torch.stack([functions["log_scale"], functions["offset"]], dim=-1)[:, None]
    silent = [torch.zeros_like(weight) for weight in weights[1:-1]]
    networks = {
        "integrands.weights": [torch.cat([weights[0], idle], dim=2), *weights[1:]],
        "integrands.biases": biases,
        "constants.weights": [idle, *silent, torch.zeros_like(weights[-1]).expand(-1, 2, -1).contiguous()],
        "constants.biases": [*map(torch.zeros_like, biases[:-1]), said],
    }
    return {f"{name}.{i}": tensor for name, tensors in networks.items() for i, tensor in enumerate(tensors)}


def _layers(functions: Mapping[str, Tensor]) -> int:
    return sum(key.startswith("weights.") for key in functions)
