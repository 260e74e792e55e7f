"""Where the time of a training step goes, for every published variant: `make bench-profile-step`.

Networks have random weights; precision and optimiser are those of `trainer=auto`. Pictures are KonIQ-like JPEGs that
the process of the step reads and crops itself, of full batches; in training, worker processes and a cache take that
from it. What Lightning adds between steps is left out. On a GPU every part waits for its end, so that parts do not
overlap as they do in training.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.data import DataLoader

from benchmarks.clip import tiny_model
from benchmarks.data import bundled_photos, write_pictures
from benchmarks.gpu import EXPERIMENTS, make_model
from benchmarks.harness import duration
from mimi_lightning import config
from mimi_lightning.data.datamodule import ImageRows, collate
from mimi_lightning.data.images import ImageFiles, mirror
from mimi_lightning.data.sampling import MixedBatchSampler
from mimi_lightning.machine import BFLOAT, FULL, HALF, best_precision
from mimi_lightning.memory import keep_memory
from mimi_lightning.module import QualityModel
from mimi_lightning.specs import build

STEP = "whole step"
WATCHED = {  # parts of `training_step`, and where the model has them
    "backbone": ("regressor.backbone.forward", "regressor.image_features"),
    "text pass": ("regressor.text_features",),
    "pooling": ("regressor.pool.forward",),
    "head": ("regressor.judge",),
    "mapper": ("mapper.learn",),
    "objective": ("objective.forward", "gauge.forward", "tasks.forward"),
}
PARTS = ("loader", "transfer", *WATCHED, "backward", "optimiser")
DTYPES = {BFLOAT: torch.bfloat16, HALF: torch.float16}
OPERATORS = 8  # that are told, of those that take most


@contextmanager
def part(name: str) -> Iterator[None]:
    """What happens inside counts as this part of the step."""
    with record_function(name):
        yield
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()


def watch(model: QualityModel) -> None:
    """Let every call of the `WATCHED` count."""
    for name, places in WATCHED.items():
        for place in places:
            owner, method = place.rsplit(".", 1)
            try:
                called = attrgetter(place)(model)
            except AttributeError:  # this variant has none
                continue
            setattr(attrgetter(owner)(model), method, part(name)(called))


def batches(settings: dict[str, Any], folder: Path, pictures: int) -> Iterator[dict[str, Any]]:
    """Mixed batches by the quotas, without end; every dataset has the same pictures."""
    view, datasets = build(settings["view"]["train"], Callable), settings["datasets"]
    paths = write_pictures(folder, bundled_photos(), "koniq", pictures) * len(datasets)
    dataset = np.arange(len(datasets)).repeat(pictures)
    facts = {
        "mos": np.random.default_rng(0).uniform(0, 1, len(paths)).astype(np.float32),
        "std": np.full(len(paths), np.nan, np.float32),
        "dataset": dataset,
        "scenes": np.eye(9, dtype=np.float32)[np.arange(len(paths)) % 9],
        "distortion": np.arange(len(paths)) % 11,
    }
    rows = {name: np.flatnonzero(dataset == number) for number, name in enumerate(sorted(datasets))}
    sampler = MixedBatchSampler(rows, {name: d["quota"] for name, d in datasets.items()}, seed=0, steps=10**6)
    return iter(
        DataLoader(ImageRows(ImageFiles(paths, view.resize), facts, view), batch_sampler=sampler, collate_fn=collate)
    )


def take_step(
    model: QualityModel, optimizer: torch.optim.Optimizer, loaded: Iterator[dict[str, Any]], precision: str
) -> None:
    with part("loader"):
        batch = next(loaded)
    with part("transfer"):
        batch.pop("broken")
        batch = {name: values.to(model.device) for name, values in batch.items()}
        batch["image"] = mirror(batch["image"], batch.pop("seed"))
        batch["names"] = tuple(model.names)
    with torch.autocast(model.device.type, DTYPES.get(precision), enabled=precision in DTYPES):
        loss = model.training_step(batch)
    with part("backward"):
        loss.backward()
    with part("optimiser"):
        optimizer.step()
        optimizer.zero_grad()


def measure(settings: dict[str, Any], folder: Path, steps: int, device: str, precision: str, pictures: int) -> profile:
    """Profile some steps after one that warms."""
    torch.manual_seed(0)
    model = make_model(settings).train().to(device)
    model.log = model.log_dict = lambda *args, **options: None  # there is no trainer
    optimizer = model.configure_optimizers()["optimizer"]
    loaded = batches(settings, folder, pictures)
    watch(model)
    take_step(model, optimizer, loaded, precision)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(steps):
            with part(STEP):
                take_step(model, optimizer, loaded, precision)
    return seen


def show(title: str, seen: profile, steps: int) -> None:
    seconds = {event.key: event.cpu_time_total / 1e6 / steps for event in seen.key_averages()}
    whole = seconds[STEP]
    seconds["other"] = whole - sum(seconds.get(name, 0) for name in PARTS)
    table = Table()
    for heading in ("part", "time", "share"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for name in (*PARTS, "other"):
        if name in seconds:
            table.add_row(name, duration(seconds[name]), f"{seconds[name] / whole:.1%}")
    operators = sorted(seen.key_averages(), key=lambda event: -event.self_cpu_time_total)
    most = [event for event in operators if event.key.startswith("aten::")][:OPERATORS]
    said = ", ".join(f"{e.key[6:]} {e.self_cpu_time_total / 1e6 / steps / whole:.1%}" for e in most)
    console = Console(width=120)
    console.print(f"[bold]{title}[/bold]: {duration(whole)} a step", table, highlight=False)
    console.print(f"Operators that take most: {said}\n", highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see whether it runs")
    parser.add_argument("--steps", type=int, default=3, help="of each variant (%(default)s)")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--exact", action="store_true", help="in float32, with an optimiser that is not fused")
    parser.add_argument("overrides", nargs="*", help="of the configuration, such as data.quota=4")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_memory()
    precision = FULL if arguments.exact else best_precision(torch.device(arguments.device).type)
    for experiment in EXPERIMENTS:
        words = [f"experiment={experiment}", "splits=generated", "backbone.weights=none", *arguments.overrides]
        settings = OmegaConf.to_container(config.load(words + small(experiment) * arguments.quick), resolve=True)
        if not arguments.exact:
            settings["optimizer"]["fused"] = True
        with tempfile.TemporaryDirectory() as place:
            pictures = 2 if arguments.quick else 24
            seen = measure(settings, Path(place), arguments.steps, arguments.device, precision, pictures)
        images = sum(d["quota"] for d in settings["datasets"].values())
        title = f"{experiment}, {images} images, {precision}, threads: {torch.get_num_threads()}"
        show(title, seen, arguments.steps)


def small(experiment: str) -> list[str]:
    """Words of a configuration that takes seconds."""
    network = ["view.train.crop=64"]
    if experiment == "mimi_clip":
        network = [f"backbone.model={tiny_model()}", "view.train.side=32"]
    return ["dataset=[koniq,live]", "datasets.koniq.quota=2", "datasets.live.quota=2", *network]


if __name__ == "__main__":
    main()
