"""The vision-language regressor: CLIP compares patches of a picture with sentences about quality."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import open_clip
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mimi_lightning.contracts import Judgement, Regressor
from mimi_lightning.errors import ConfigError
from mimi_lightning.models.heads import moments
from mimi_lightning.models.prompts import PromptTree, cut_sequences, joint_prompts, require_causal, text_tower
from mimi_lightning.models.towers import encode_image
from mimi_lightning.vocabulary import DISTORTION_GROUPS, QUALITIES, SCENES

# What OpenAI's archives hold besides tensors of the model.
NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size")

# Patches that a CPU encodes together without gradients. Of more, what one operation leaves for the next does not fit
# into the processor's cache, and every large tensor is new memory that the system has to clear first.
PORTION = 16


class CLIPRegressor(Regressor):
    """Joint probability of quality, scene and distortion (MIMI-CLIP).

    p(quality, scene, distortion) = softmax of the logits s <image, text> over all 495 prompts, averaged over the
    patches before the softmax; q = sum_k k p_quality(k), k = 1..5. The logit scale s stays as it was pretrained.

    Source: Zhang et al., "Blind Image Quality Assessment via Vision-Language Correspondence", CVPR 2023 (LIQE).

    Args:
        name: of this backbone in run folders and messages.
        model: of open_clip, with a causal text tower.
        weights: `openai` or another of the model's pretrained tags (open_clip's own download), the file of an OpenAI or
            open_clip state dict, or `none`.
        checkpointing: compute activations again in the backward pass instead of keeping them: slower, less memory.
    """

    judges = ("quality", "scene", "distortion")
    ends = (1.0, 5.0)
    deviates = True

    def __init__(
        self, name: str, model: str = "ViT-B-32-quickgelu", weights: str = "openai", checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.name = name
        self.clip = make_clip(model, weights)
        self.clip.set_grad_checkpointing(checkpointing)
        self.clip.logit_scale.requires_grad_(False)
        tower = text_tower(self.clip)
        require_causal(tower)
        self.prompts = PromptTree(cut_sequences(_tokenize(model, joint_prompts()), tower))
        statistics = open_clip.get_model_preprocess_cfg(self.clip)
        self.side = statistics["size"][0] if isinstance(statistics["size"], Sequence) else statistics["size"]
        self.register_buffer("mean", torch.tensor(statistics["mean"]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(statistics["std"]).view(3, 1, 1))
        self._kept: tuple[tuple, Tensor] | None = None

    def forward(self, patches: Tensor) -> Judgement:
        """Proxy scores, 1..5, their deviations, and the marginal probabilities of the joint distribution behind them.

        Args:
            patches: uint8 stacks of P patches, [B, P, 3, side, side].

        Raises:
            ConfigError: not stacks of patches of the model's own size.
        """
        self._check(patches)
        image, text = self.image_features(patches.flatten(0, 1)), self.text_features()
        with torch.autocast(patches.device.type, enabled=False):
            # Logits are linear in the image: their mean over patches is the logit of the patches' mean.
            image = normalize(image.float(), dim=-1).unflatten(0, patches.shape[:2]).mean(1)
            logits = self.clip.logit_scale.float().exp() * image @ normalize(text.float(), dim=-1).T
            joint = logits.softmax(-1).unflatten(-1, (len(QUALITIES), len(SCENES), len(DISTORTION_GROUPS)))
            marginals = joint.sum((2, 3)), joint.sum((1, 3)), joint.sum((1, 2))
            tasks = dict(zip(self.judges, marginals, strict=True))
            return Judgement(*moments(tasks["quality"]), tasks=tasks)

    def image_features(self, patches: Tensor) -> Tensor:
        """Features [N, D] of uint8 patches [N, 3, side, side], not normalised."""
        whole = torch.is_grad_enabled() or patches.is_cuda
        portions = [patches] if whole else patches.split(PORTION)
        return torch.cat([encode_image(self.clip, (part / 255 - self.mean) / self.std) for part in portions])

    def text_features(self) -> Tensor:
        """Features of all prompts [495, D]; where nothing of them learns, they are computed once and kept."""
        tower = text_tower(self.clip)
        if torch.is_grad_enabled() and any(weight.requires_grad for weight in self._text_weights()):
            return self.prompts(tower)
        state = self._text_state()
        if self._kept is None or self._kept[0] != state:
            self._kept = state, self.prompts(tower)
        return self._kept[1]

    def train(self, mode: bool = True) -> CLIPRegressor:
        """Switch between training and testing; kept text features are forgotten."""
        self._kept = None
        return super().train(mode)

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that come pretrained: all of them."""
        return self.clip.parameters()

    def _text_weights(self) -> list[nn.Parameter]:
        return [p for name, p in self.clip.named_parameters() if not name.startswith("visual.")]

    def _text_state(self) -> tuple:
        """Changes whenever a weight of the text tower is written or moved, or computes in another precision."""
        weights = self._text_weights()
        device = weights[0].device.type
        precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        return precision, *((p.data_ptr(), p._version) for p in weights)

    def _check(self, patches: Tensor) -> None:
        if patches.ndim != 5 or patches.shape[-2:] != (self.side, self.side):
            raise ConfigError(
                f"backbone {self.name} looks at stacks of patches of {self.side} pixels, not at tensors of shape "
                f"{list(patches.shape)}: choose view=patches view.train.side={self.side}."
            )


def make_clip(model: str, weights: str) -> nn.Module:
    """Build an open_clip model in float32.

    Args:
        model: open_clip's name of it.
        weights: one of the model's pretrained tags, a file, or `none`.

    Raises:
        ConfigError: unknown model, or weights that cannot be had or do not fit.
    """
    if model not in open_clip.list_models():
        raise ConfigError(f"backbone.model={model}: open_clip has no such model; open_clip.list_models() names them.")
    tags = open_clip.list_pretrained_tags_by_model(model)
    file = None if weights in ("none", *tags) else Path(weights)
    if file is not None and not file.is_file():
        known = ", ".join([*tags, "none"])
        raise ConfigError(f"backbone.weights={weights}: expected {known} or a file; there is no such file.")
    try:
        with _quiet():
            clip = open_clip.create_model(model, pretrained=weights if weights in tags else None)
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            f"The {weights} weights of {model} cannot be had: {error}\n"
            "Without network set backbone.weights=FILE, or none to start from random weights."
        ) from error
    if file is not None:
        _load(clip, file)
    return clip


def _load(clip: nn.Module, file: Path) -> None:
    try:
        state = _read(file)
        if hasattr(clip, "text"):  # the text tower is a module of its own; older files have it flat
            state = open_clip.model.convert_to_custom_text_state_dict(state)
        clip.load_state_dict(state)
    except Exception as error:  # whatever unpickling a file of unknown origin may raise
        raise ConfigError(f"backbone.weights={file} does not fit backbone.model: {error}") from error


def _read(file: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except RuntimeError:  # OpenAI publishes TorchScript archives
        state = torch.jit.load(file, map_location="cpu").state_dict()
    state = state.get("state_dict", state)
    return {key.removeprefix("module."): value for key, value in state.items() if key not in NO_WEIGHTS}


def _tokenize(model: str, prompts: list[str]) -> Tensor:
    try:
        return open_clip.get_tokenizer(model)(prompts)
    except (ImportError, OSError) as error:
        raise ConfigError(f"The tokenizer of {model} cannot be had: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without open_clip's warnings and log: what went wrong is said by this project, in one message."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
