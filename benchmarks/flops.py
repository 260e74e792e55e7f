"""What a training step of the published variants costs on any machine, counted and not timed: `make bench-flops`.

Tensors are torch's fake ones, which have shapes and no values: all of it is counted within seconds, whatever its
size. Words of the configuration say of what: `python -m benchmarks.flops view.train.crop=512 data.quota=8`.

FLOPs are those of matrix products and convolutions, 2 of a multiplication with its addition, forward and backward.
Activations are what the forward pass keeps for the backward pass in float32, each memory once.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any, NamedTuple

import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu import EXPERIMENTS, make_batch, make_model, shapes
from mimi_lightning import config
from mimi_lightning.module import QualityModel

FLOAT = 4  # bytes of a float32


class Cost(NamedTuple):
    """Of one variant; FLOPs and bytes.

    Args:
        images: of a batch.
        step: FLOPs of a training step.
        mapper: of which the mapper has so many.
        test: FLOPs of the test pass of one picture, text features being kept.
        weights: that learn; their gradients are as many, which processes exchange in every step.
        state: weights and Adam's two means of each: what a run goes on from.
        activations: of a batch.
        pixels: uint8, of a batch.
    """

    images: int
    step: int
    mapper: int
    test: int
    weights: int
    state: int
    activations: int
    pixels: int


def count(settings: dict[str, Any]) -> Cost:
    """The cost of what a configuration would train."""
    model = make_model(settings)
    model.log = model.log_dict = lambda *args, **options: None  # there is no trainer
    shape, test = shapes(settings)
    batch = make_batch(settings, shape, "cpu")
    # Of attention in one operation on a CPU, FLOPs are not known.
    with FakeTensorMode() as fake, sdpa_kernel(SDPBackend.MATH):
        model._apply(fake.from_tensor)
        fakes = {name: fake.from_tensor(values) for name, values in batch.items() if name != "names"}
        return _count(model, batch | fakes, test)


def _count(model: QualityModel, batch: dict[str, Any], test: tuple[int, ...]) -> Cost:
    kept, counter = Kept(model), FlopCounterMode(display=False)
    with counter:
        with kept:
            loss = model.training_step(batch)
        loss.backward()
    step, learning = counter.get_total_flops(), [p for p in model.parameters() if p.requires_grad]
    weights = FLOAT * sum(p.numel() for p in learning)
    return Cost(
        images=len(batch["dataset"]),
        step=step,
        mapper=count_mapper(model, batch),
        test=count_test(model, test),
        weights=weights,
        state=3 * weights,
        activations=kept.bytes,
        pixels=batch["image"].numel(),
    )


class Kept(torch.autograd.graph.saved_tensors_hooks):
    """Counts what a forward pass keeps for the backward pass, beside the weights."""

    def __init__(self, model: QualityModel) -> None:
        self.seen = {value.untyped_storage()._cdata for value in model.state_dict(keep_vars=True).values()}
        self.bytes = 0
        super().__init__(self.count, lambda value: value)

    def count(self, value: torch.Tensor) -> torch.Tensor:
        """Count the memory of a tensor that is kept; views of one memory are one."""
        memory = value.untyped_storage()
        if memory._cdata not in self.seen:
            self.seen.add(memory._cdata)
            self.bytes += memory.nbytes()
        return value


def count_mapper(model: QualityModel, batch: dict[str, Any]) -> int:
    """FLOPs of the mapper in a training step, of which its table has most."""
    proxy = torch.empty(len(batch["dataset"]), requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        prediction, own = model.mapper.learn(proxy, batch["dataset"], model.scale.ends())
        sum(value.sum() for value in (prediction, *own.values())).backward()
    return counter.get_total_flops()


@torch.no_grad()
def count_test(model: QualityModel, shape: tuple[int, ...]) -> int:
    """FLOPs of one picture in testing."""
    picture = torch.empty((1, *shape), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")  # of texts, to see them change
        model.eval()(picture)  # after which text features are there
    with FlopCounterMode(display=False) as counter:
        model(picture)
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", help="of the configuration, such as view.train.crop=512")
    overrides = parser.parse_args().overrides
    table = Table(title="TFLOP, and memory of a training step in float32")
    table.add_column("experiment")
    for heading in ("images", "step", "mapper", "test", "weights", "with Adam", "activations", "pixels"):
        table.add_column(heading, justify="right")
    for experiment in EXPERIMENTS:
        words = [f"experiment={experiment}", "splits=generated", "backbone.weights=none", "tasks=none", *overrides]
        cost = count(OmegaConf.to_container(config.load(words), resolve=True))
        flops = (f"{value / 1e12:.3g}" for value in (cost.step, cost.mapper, cost.test))
        memory = (f"{value / 2**30:.3g} GB" for value in cost[4:])
        table.add_row(experiment, str(cost.images), *flops, *memory)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
