"""Training steps and a test pass of MIMI-ResNet34 against the plain formulation: `make bench-step`.

Plain, as published: float32 in PyTorch's usual memory layout, all 512 x 512 products of the pooling into the head, the
mappers one after the other by a rule of 101 nodes, Adam as it comes. Ours in float32, and in the precision that
`trainer=auto` chooses here. All begin as the same function; the losses of the first steps are told beside the times,
for a step that is fast and learns something else is no gain.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from benchmarks.gpu import make_batch, make_model
from benchmarks.harness import Case, Fact, main, wall
from benchmarks.mapper import PlainMapper
from benchmarks.score import PlainNetwork
from mimi_lightning import config
from mimi_lightning.machine import best_precision, describe
from mimi_lightning.memory import keep_memory
from mimi_lightning.module import QualityModel

WORDS = ["experiment=mimi_resnet34", "splits=generated", "backbone.weights=none"]
LEARNED = 50  # steps after which losses are compared


class PlainModel(nn.Module):
    """The function of a model with bilinear pooling, written down without any of the savings.

    Args:
        model: MIMI-ResNet or MIMI-VGG; its weights are copied.
    """

    def __init__(self, model: QualityModel) -> None:
        super().__init__()
        model = copy.deepcopy(model)
        self.mean, self.std = model.regressor.backbone.mean, model.regressor.backbone.std
        self.network, self.mapper = PlainNetwork(model), PlainMapper(model.mapper)

    def forward(self, images: Tensor) -> Tensor:
        """Uint8 images [B, 3, H, W] to proxy scores [B]."""
        return self.network((images / 255 - self.mean) / self.std)

    def loss(self, batch: dict[str, Any], ends: Tensor, target: Tensor) -> Tensor:
        """The MIMI objective with the range term; datasets have as many images each."""
        datasets = len(batch["names"])
        return self.mapper.loss(self(batch["image"]).view(datasets, -1), target.view(datasets, -1), ends)


def make(side: int, quota: int, *words: str) -> tuple[QualityModel, dict[str, Any]]:
    """MIMI-ResNet34 with random weights, all datasets of one weight; a batch of crops."""
    settings = OmegaConf.to_container(config.load([*WORDS, f"view.train.crop={side}", *words]), resolve=True)
    for dataset in settings["datasets"].values():
        dataset |= {"quota": quota, "weight": 1}
    torch.manual_seed(0)
    model = make_model(settings)
    model.log = model.log_dict = lambda *args, **kwargs: None  # which want a trainer
    return model, make_batch(settings, (3, side, side), "cpu")


def plain_step(model: QualityModel, batch: dict[str, Any]) -> Callable[[], Tensor]:
    """A step of the plain formulation; gives its loss."""
    plain, ends = PlainModel(model), model.scale.ends()
    target = model.scale.normalise(batch["mos"], batch["dataset"])
    optimiser = torch.optim.Adam(plain.parameters(), lr=6e-5)

    def step() -> Tensor:
        optimiser.zero_grad()
        loss = plain.loss(batch, ends, target)
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def our_step(model: QualityModel, batch: dict[str, Any], precision: str) -> Callable[[], Tensor]:
    """A step of a copy of the model, as a trainer takes it; gives its loss."""
    model = copy.deepcopy(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=6e-5, fused=True)

    def step() -> Tensor:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = model.training_step(dict(batch))
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def sides(model: QualityModel, batch: dict[str, Any]) -> dict[str, Callable[[], Tensor]]:
    """A step of each side."""
    ours = {f"ours, {precision}": our_step(model, batch, precision) for precision in precisions()}
    return {"plain": plain_step(model, batch), **ours}


def precisions() -> list[str]:
    """Float32, and what suits this processor, if that is another."""
    return list(dict.fromkeys(("32-true", best_precision("cpu"))))


def cases(quick: bool) -> Iterator[Case | Fact]:
    keep_memory()  # of which the plain formulation has as much
    yield Fact("processor", describe("cpu"))
    for quota in (1,) if quick else (1, 4):
        steps = sides(*make(64 if quick else 384, quota))
        yield Case(f"training step, {quota} x 6 crops", {name: wall(step) for name, step in steps.items()}, 6 * quota)
    yield from learned(2 if quick else LEARNED)
    yield tested(96 if quick else 768)


def learned(steps: int) -> Iterator[Fact]:
    """Losses of the sides over the first steps on one batch of small crops."""
    curves = {name: torch.stack([step() for _ in range(steps)]) for name, step in sides(*make(96, 4)).items()}
    exact = curves["ours, 32-true"]
    for name, curve in curves.items():
        apart = ((curve - exact).abs() / exact).max()
        yield Fact(f"loss of {name}", f"{curve[0]:.4f} to {curve[-1]:.4f}, at most {apart:.2%} from ours in float32")


def tested(side: int) -> Case:
    """A test pass over four whole pictures."""
    model, _ = make(64, 1)
    plain, images = PlainModel(model).eval(), torch.randint(0, 256, (4, 3, side, side * 4 // 3), dtype=torch.uint8)
    model.eval()

    def ours(precision: str) -> Callable[[], Tensor]:
        def score() -> Tensor:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                return model(images)

        return score

    def as_published() -> Tensor:
        with torch.inference_mode():
            return plain(images)

    ways = {"plain": as_published, **{f"ours, {precision}": ours(precision) for precision in precisions()}}
    return Case(f"test pass, short side {side}", {name: wall(way) for name, way in ways.items()}, len(images))


if __name__ == "__main__":
    main(cases)
