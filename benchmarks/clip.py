"""Time the vision-language regressor against its plain formulation: `make bench-clip`.

Plain: all 495 prompts padded to 77 tokens and encoded in every step and for every test batch, patch logits averaged
one by one. Both sides have the real ViT-B/32 architecture and the same random weights. Both keep the memory that they
free, as training on a CPU does (`mimi_lightning.memory`), and both compute in float32 and in what suits the processor:
neither belongs to one of them.

The plain training step needs some 25 GB at once. So that it can be timed anywhere, its text features are encoded
beforehand, untimed, and the text pass follows in parts, with the gradients of these features: every operation of the
step runs once, and all gradients are those of the whole step. What memory it would need, `clip_memory` extrapolates.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import open_clip
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.harness import Case, Fact, Timed, main, wall
from mimi_lightning import vocabulary
from mimi_lightning.contracts import Judgement
from mimi_lightning.machine import BFLOAT, best_precision
from mimi_lightning.memory import keep_memory
from mimi_lightning.models import clip, prompts
from mimi_lightning.tasks import distortion_fidelity, scene_fidelity

MODEL = "ViT-B-32-quickgelu"
TINY = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 1, "width": 32, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "layers": 1, "width": 16, "heads": 2},
}
IMAGES, PATCHES = 48, 3
TEST_IMAGES, TEST_PATCHES = 16, 15
CHUNK = 99  # prompts whose plain gradients are computed together; their sum is that of all at once


class PlainRegressor(clip.CLIPRegressor):
    """The same function, written down without any of the savings."""

    def __init__(self, name: str, model: str = MODEL, weights: str = "none") -> None:
        super().__init__(name, model, weights)
        self.tokens = open_clip.get_tokenizer(model)(prompts.joint_prompts())

    def forward(self, patches: Tensor) -> Judgement:
        pixels = (patches.flatten(0, 1) / 255 - self.mean) / self.std
        image = normalize(self.clip.encode_image(pixels), dim=-1)
        text = normalize(self.text_features(), dim=-1)
        logits = (self.clip.logit_scale.exp() * image @ text.T).unflatten(0, patches.shape[:2]).mean(1)
        joint = logits.softmax(-1).unflatten(-1, (len(clip.QUALITIES), len(clip.SCENES), len(clip.DISTORTION_GROUPS)))
        quality = joint.sum((2, 3))
        return Judgement(
            quality @ torch.arange(1.0, 6.0), tasks={"scene": joint.sum((1, 3)), "distortion": joint.sum((1, 2))}
        )

    def text_features(self) -> Tensor:
        return self.clip.encode_text(self.tokens)


def make(kind: type[clip.CLIPRegressor], model: str) -> clip.CLIPRegressor:
    torch.manual_seed(0)
    return kind("benchmark", model, "none")


def tiny_model() -> str:
    """Name of an open_clip model like the real one in all but its size."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tiny-benchmark.json"
        file.write_text(json.dumps(TINY))
        open_clip.add_model_config(file)
        return file.stem


class TextPass:
    """Forward and backward pass of all prompts' features, on one regressor's weights, whole or in parts."""

    def __init__(self, regressor: PlainRegressor, plain: bool) -> None:
        self.model, tokens = regressor.clip, regressor.tokens
        pull = torch.randn(len(tokens), self.model.text_projection.shape[1], generator=torch.Generator().manual_seed(1))
        tower = prompts.text_tower(self.model)
        self.whole = partial(self.model.encode_text, tokens) if plain else partial(regressor.prompts, tower)
        pieces = zip(tokens.split(CHUNK), pull.split(CHUNK), strict=True)
        self.parts = (
            [(partial(self.model.encode_text, piece), weights) for piece, weights in pieces]
            if plain
            else [(self.whole, pull)]
        )

    @torch.no_grad()
    def forward(self) -> Tensor:
        return self.whole()

    def train(self) -> dict[str, Tensor]:
        """Gradients of the text parameters."""
        self.model.zero_grad()
        for encode, weights in self.parts:
            (encode() * weights).sum().backward()
        return {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}


class Step:
    """A training step: forward, three losses, backward, AdamW.

    Args:
        regressor: one side's.
        images: of a batch.
        whole: encode the plain text at once, not in parts.
    """

    def __init__(self, regressor: clip.CLIPRegressor, images: int, whole: bool = False) -> None:
        plain = isinstance(regressor, PlainRegressor)
        self.regressor, self.in_parts = regressor, plain and not whole
        learning = [p for p in regressor.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(learning, lr=5e-6, weight_decay=1e-3, fused=None if plain else True)
        self.patches = random_patches(regressor, images, PATCHES)
        self.shown = torch.zeros(images, len(clip.SCENES))
        self.shown[:, 0] = 1
        self.distortion = torch.arange(images) % len(vocabulary.DISTORTION_GROUPS)
        if self.in_parts:
            with torch.no_grad():
                self.features = regressor.prompts(prompts.text_tower(regressor.clip))
            regressor.text_features = self.features.requires_grad_

    def __call__(self) -> None:
        judgement = self.regressor(self.patches)
        scene = scene_fidelity(judgement.tasks["scene"], self.shown)
        distortion = distortion_fidelity(judgement.tasks["distortion"], self.distortion)
        (judgement.proxy + (scene + distortion)).mean().backward()
        if self.in_parts:
            parts = self.regressor.tokens.split(CHUNK), self.features.grad.split(CHUNK)
            for tokens, gradient in zip(*parts, strict=True):
                self.regressor.clip.encode_text(tokens).backward(gradient)
            self.features.grad = None
        self.optimizer.step()
        self.optimizer.zero_grad()


def random_patches(regressor: clip.CLIPRegressor, images: int, patches: int) -> Tensor:
    shape = images, patches, 3, regressor.side, regressor.side
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def tested(regressor: clip.CLIPRegressor, patches: Tensor) -> Callable[[], Judgement]:
    return torch.inference_mode()(partial(regressor.eval(), patches))


def cases(quick: bool) -> Iterator[Case | Fact]:
    keep_memory()
    model, images, test_images = (tiny_model(), 2, 2) if quick else (MODEL, IMAGES, TEST_IMAGES)
    regressor = make(PlainRegressor, model)
    text = {side: TextPass(regressor, side == "plain") for side in ("plain", "ours")}
    yield Case("text pass, forward", {side: wall(each.forward) for side, each in text.items()})
    yield Case("text pass, forward and backward", {side: wall(each.train) for side, each in text.items()})
    yield from text_facts(text["plain"], text["ours"])
    sides = {"plain": regressor, "ours": make(clip.CLIPRegressor, model)}
    patches = random_patches(regressor, test_images, TEST_PATCHES)
    name = f"test batch, {test_images} images x {TEST_PATCHES} patches"
    yield Case(name, in_precisions({side: tested(each, patches) for side, each in sides.items()}), test_images)
    steps = in_precisions({side: Step(each.train(), images) for side, each in sides.items()})
    yield Case(f"training step, {images} images x {PATCHES} patches", steps, images)


def in_precisions(sides: dict[str, Callable[[], object]]) -> dict[str, Timed]:
    """Both sides in float32, and in bfloat16 where the processor multiplies it."""

    def rounded(work: Callable[[], object]) -> Callable[[], object]:
        return torch.autocast("cpu", torch.bfloat16)(work)

    if best_precision("cpu") == BFLOAT:
        sides |= {f"{side}, {BFLOAT}": rounded(work) for side, work in sides.items()}
    return {side: wall(work) for side, work in sides.items()}


def text_facts(plain: TextPass, ours: TextPass) -> Iterator[Fact]:
    features = (plain.forward() - ours.forward()).abs().max()
    expected = {name: gradient.clone() for name, gradient in plain.train().items()}
    gaps = [
        (gradient - expected[name]).abs().max() / expected[name].abs().max() for name, gradient in ours.train().items()
    ]
    yield Fact("text features differ by", f"{features:.1e} at most")
    yield Fact(f"gradients of {len(gaps)} text parameters differ by", f"{max(gaps):.1e} of their largest")


if __name__ == "__main__":
    main(cases)
