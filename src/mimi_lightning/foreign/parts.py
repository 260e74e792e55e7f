"""Parts of networks as other authors name and shape their weights, put into the parts of this project."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from mimi_lightning.foreign.weights import Weights
from mimi_lightning.models.mappers import MINN
from mimi_lightning.models.pooling import SymmetricBilinearPool

# Modules of torchvision's ResNet that come before its classifier, by their places in this project's backbone.
RESNET = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
CLASSIFIER = {"weight": (1000, 512), "bias": (1000,)}  # of ResNet34, which authors keep without using it

NETWORKS = {"integrands": "integrand.net", "constants": "net"}  # of a monotone function
KINDS = {"weights": "weight", "biases": "bias"}


@torch.no_grad()
def put_module(module: nn.Module, weights: Weights, name: Callable[[str], str]) -> None:
    """Set all tensors of a module.

    Args:
        module: of the same kind as the authors' one.
        weights: theirs.
        name: what they call the tensor that the module calls so.
    """
    for key, own in module.state_dict().items():
        own.copy_(weights.take(name(key), own.shape, own.dtype))


def put_backbone(features: nn.Module, weights: Weights, name: str) -> None:
    """Set the feature maps of vgg16, named as ours are, or of resnet34, of which authors keep the whole network."""
    if name == "vgg16":
        return put_module(features, weights, lambda key: f"backbone.{key}")

    def renamed(key: str) -> str:
        place, _, rest = key.partition(".")
        return f"backbone.{RESNET[place]}.{rest}"

    put_module(features, weights, renamed)
    for kind, shape in CLASSIFIER.items():
        if f"backbone.fc.{kind}" in weights:
            weights.take(f"backbone.fc.{kind}", shape)


@torch.no_grad()
def put_head(head: nn.Sequential, pool: SymmetricBilinearPool, weights: Weights, name: Callable[[str], str]) -> None:
    """Set the layers of a head, whose first one theirs has on the whole Gram matrix; `name` as in `put_module`."""
    first = head[0]
    first.weight.copy_(pool.fold(weights.take(name("0.weight"), (first.out_features, pool.channels**2))))
    first.bias.copy_(weights.take(name("0.bias"), first.bias.shape))
    put_module(head[1:], weights, name)


def put_mapper(mapper: MINN, dataset: str, weights: Weights, roles: Sequence[str]) -> None:
    """Set the monotone functions of a dataset.

    Theirs say offset and logarithm of the scale in this order, ours the other way round.

    Args:
        mapper: with the widths of theirs.
        dataset: its name.
        weights: theirs.
        roles: what they call M, F_1, G_1, F_2, G_2, ...
    """
    rows = {}
    for key, own in mapper.state_dict().items():
        _, network, kind, layer = key.split(".")
        name, shape = f"{NETWORKS[network]}.{2 * int(layer)}.{KINDS[kind]}", own[0].shape
        taken = [weights.take(f"{role}.{name}", shape if kind == "weights" else shape[1:]) for role in roles]
        if network == "constants" and int(layer) == len(mapper.functions.constants.weights) - 1:
            taken = [tensor.flip(0) for tensor in taken]
        rows[key] = torch.stack(taken).view(len(roles), 1, *shape)
    mapper.put([dataset], rows)
