"""Backbones with poolings and adapters: seconds of one processor for a training step and for the features of a picture.

Random weights, float32, one thread; the head and the loss are in the step, the mapper is not.

    make bench-backbones
"""

import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from mimi_lightning.models.regressor import PooledRegressor

IMAGES, SIDE, REPEATS = 4, 224, 5
KINDS = [
    ("resnet34", "bilinear", None),
    ("resnet34", "mean_std", None),
    ("vit_small_patch16_dinov3", "bilinear", None),
    ("vit_small_patch16_dinov3", "mean_std", None),
    ("vit_small_patch16_dinov3", "cls", None),
    ("vit_small_patch16_dinov3", "attention", None),
    ("vit_small_patch16_dinov3", "cls", 8),
]


def seconds(call: Callable[[], None]) -> float:
    """Processor time of a call for each image."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times[1:]) / IMAGES


def measure(name: str, pool: str, rank: int | None) -> list[str]:
    torch.manual_seed(0)
    regressor = PooledRegressor(name, "none", pool=pool, lora={"rank": rank})
    images = torch.randint(0, 256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8)

    def step() -> None:
        regressor.zero_grad()
        regressor(images).proxy.square().mean().backward()

    @torch.no_grad()
    def judge() -> None:
        regressor(images)

    learning = sum(p.numel() for p in regressor.parameters() if p.requires_grad)
    trained = seconds(step)
    regressor.eval()
    width = regressor.pool.out_features
    return [f"{width:,}", f"{learning / 1e6:.1f} M", f"{1e3 * trained:.0f} ms", f"{1e3 * seconds(judge):.0f} ms"]


def main() -> None:
    torch.set_num_threads(1)
    table = Table(title=f"{IMAGES} images of {SIDE} pixels, processor time an image")
    for heading in ("backbone", "pool", "LoRA", "features", "learn", "step", "forward"):
        table.add_column(heading, justify="left" if heading in ("backbone", "pool") else "right")
    for name, pool, rank in KINDS:
        table.add_row(name, pool, str(rank or "-"), *measure(name, pool, rank))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
