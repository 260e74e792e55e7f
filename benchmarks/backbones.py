"""Backbones with poolings and adapters: seconds of one processor for a training step and for the features of a picture.

Random weights, float32, one thread; the head and the loss are in the step, the mapper is not.

    make bench-backbones
"""

import copy
from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.harness import Case, Fact, core, main
from mimi_lightning.models.regressor import PooledRegressor

IMAGES, SIDE = 4, 224
KINDS = [
    ("resnet34", "bilinear", None),
    ("resnet34", "mean_std", None),
    ("vit_small_patch16_dinov3", "bilinear", None),
    ("vit_small_patch16_dinov3", "mean_std", None),
    ("vit_small_patch16_dinov3", "cls", None),
    ("vit_small_patch16_dinov3", "attention", None),
    ("vit_small_patch16_dinov3", "cls", 8),
]


def cases(quick: bool) -> Iterator[Case | Fact]:
    images = torch.randint(0, 256, (IMAGES, 3, *(2 * [64 if quick else SIDE])), dtype=torch.uint8)
    steps, forwards = {}, {}
    for name, pool, rank in KINDS[:2] if quick else KINDS:
        called = f"{name}, {pool}" + (f", LoRA of rank {rank}" if rank else "")
        torch.manual_seed(0)
        regressor = PooledRegressor(name, "none", pool=pool, lora={"rank": rank})
        steps[called] = core(partial(step, regressor, images))
        forwards[called] = core(partial(judge, copy.deepcopy(regressor).eval(), images))
        learning = sum(p.numel() for p in regressor.parameters() if p.requires_grad)
        yield Fact(called, f"{regressor.pool.out_features:,} features, {learning / 1e6:.1f} M numbers learn")
    yield Case("training step", steps, IMAGES)
    yield Case("forward", forwards, IMAGES)


def step(regressor: PooledRegressor, images: torch.Tensor) -> None:
    regressor.zero_grad()
    regressor(images).proxy.square().mean().backward()


@torch.no_grad()
def judge(regressor: PooledRegressor, images: torch.Tensor) -> None:
    regressor(images)


if __name__ == "__main__":
    main(cases, threads=1)
