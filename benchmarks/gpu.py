"""Time training steps and test passes of the published variants on one device: `make bench-gpu`.

Networks have random weights, and batches lie on the device already: neither loader nor transfer is included. Steps go
through Lightning as in training, the optimiser's part too. The first row of an experiment is `trainer=exact` but for
deterministic kernels; in the others the optimiser is fused and cuDNN searches, as `trainer=auto` has it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, IterableDataset

from mimi_lightning import config
from mimi_lightning.machine import FixedShapes, compile_or_not
from mimi_lightning.module import QualityModel
from mimi_lightning.train import PARTS

EXPERIMENTS = ("mimi_resnet34", "mimi_vgg16", "mimi_clip")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
COMPILED = "bf16-mixed, compiled"  # of the first experiment alone: it takes minutes
WARM = 5  # steps before the clock starts
TEST = 16  # images of a test batch


class Repeated(IterableDataset):
    """One batch, again and again."""

    def __init__(self, batch: dict[str, Any], times: int) -> None:
        self.batch, self.times = batch, times

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for _ in range(self.times):
            yield dict(self.batch)


class Clock(lightning.Callback):
    """Mean seconds of a batch after the first few."""

    def start(self, trainer: lightning.Trainer, model: lightning.LightningModule, batch: Any, number: int) -> None:
        if number == WARM:
            _synchronise(trainer)
            self.begin = time.perf_counter()

    def stop(self, trainer: lightning.Trainer, *args: Any) -> None:
        _synchronise(trainer)
        self.seconds = (time.perf_counter() - self.begin) / (trainer.limit_train_batches - WARM)

    on_train_batch_start = on_predict_batch_start = start
    on_train_end = on_predict_end = stop


def _synchronise(trainer: lightning.Trainer) -> None:
    if trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize()


def make_model(settings: dict[str, Any]) -> QualityModel:
    facts = {
        name: {"range": d["range"], "labels": d["range"], "weight": d["weight"], "size": d["images"]}
        for name, d in settings["datasets"].items()
    }
    parts = {key: settings[key] for key in PARTS}
    return QualityModel(settings["backbone"], datasets=facts, view=settings["view"]["test"], **parts)


def shapes(settings: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What training and testing see of a picture: crop and whole picture of twice its side, or stacks of patches."""
    train, test = settings["view"]["train"], settings["view"]["test"]
    if side := train.get("crop"):
        return (3, side, side), (3, 2 * side, 2 * side * 4 // 3)
    return tuple((view["patches"], 3, view["side"], view["side"]) for view in (train, test))


def make_batch(settings: dict[str, Any], shape: tuple[int, ...], device: str) -> dict[str, Any]:
    """A mixed batch by the quotas, of random pixels."""
    quotas = [d["quota"] for d in settings["datasets"].values()]
    dataset = torch.arange(len(quotas)).repeat_interleave(torch.tensor(quotas))
    images = len(dataset)
    batch = {
        "image": torch.randint(0, 256, (images, *shape), dtype=torch.uint8),
        "mos": torch.rand(images),
        "std": torch.full((images,), torch.nan),
        "dataset": dataset,
        "row": torch.arange(images),
        "scenes": torch.eye(9)[torch.arange(images) % 9],
        "distortion": torch.arange(images) % 11,
    }
    return {**{name: values.to(device) for name, values in batch.items()}, "names": tuple(settings["datasets"])}


def measure(settings: dict[str, Any], precision: str, accelerator: str, steps: int) -> list[str]:
    """Images per second in training and testing, milliseconds of a step, its peak memory."""
    torch.manual_seed(0)
    shape, test = shapes(settings)
    device = "cuda" if accelerator == "gpu" else accelerator
    exact = precision == PRECISIONS[0]
    optimizer = settings["optimizer"] if exact else {**settings["optimizer"], "fused": True}
    model, clock = make_model({**settings, "optimizer": optimizer}), Clock()
    if precision == COMPILED:
        model.regressor.compile(backend=compile_or_not)
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision.partition(",")[0],
        max_epochs=1,
        limit_train_batches=steps,
        callbacks=[clock, FixedShapes(search=not exact, compiled=precision == COMPILED)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batch = make_batch(settings, shape, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trainer.fit(model, DataLoader(Repeated(batch, steps), batch_size=None))
    step, images = clock.seconds, len(batch["dataset"])
    memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GB" if device == "cuda" else "-"
    whole = make_batch(settings, test, device)
    small = {name: values if name == "names" else values[:TEST] for name, values in whole.items()}
    trainer.predict(model, DataLoader(Repeated(small, steps), batch_size=None))
    tested = len(small["dataset"]) / clock.seconds
    return [f"{1e3 * step:.0f} ms", f"{images / step:,.0f}", memory, f"{tested:,.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accelerator", default="gpu", choices=("gpu", "cpu"))
    parser.add_argument("--steps", type=int, default=30, help="of each measurement, the first few untimed")
    parser.add_argument("overrides", nargs="*", help="of the configuration, such as view.train.crop=64 on a CPU")
    arguments = parser.parse_args()
    table = Table(title=torch.cuda.get_device_name() if arguments.accelerator == "gpu" else "CPU")
    for heading in ("experiment", "precision", "step", "images/s", "peak memory", "tested images/s"):
        table.add_column(heading, justify="left" if heading in ("experiment", "precision") else "right")
    for experiment in EXPERIMENTS:
        words = [f"experiment={experiment}", "splits=generated", "backbone.weights=none", *arguments.overrides]
        settings = OmegaConf.to_container(config.load(words), resolve=True)
        for precision in (*PRECISIONS, COMPILED) if experiment == EXPERIMENTS[0] else PRECISIONS:
            table.add_row(experiment, precision, *measure(settings, precision, arguments.accelerator, arguments.steps))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
