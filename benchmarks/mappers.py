"""A training step of every mapper, with the gauge and the objective that it comes with.

Some 192 images, of 6, 24 and 100 datasets: what a batch costs there is the number of its datasets.

    make bench-mappers
"""

from collections.abc import Callable, Iterator

import torch

from benchmarks.harness import Case, Fact, main, wall
from benchmarks.mapper import DATASETS, IMAGES, synthetic_batch
from mimi_lightning import config
from mimi_lightning.contracts import Gauge, Judgement, Mapper, Objective, Opinions
from mimi_lightning.specs import build

SIZES = {DATASETS: IMAGES, 24: 8, 100: 2}  # datasets, and images of each in a batch
HIDDEN = 64  # width of the regressor's last hidden layer


def make_step(mapper: Mapper, gauge: Gauge, objective: Objective, images: int) -> Callable[[], None]:
    """Forward and backward of a batch that a regressor has judged, of so many images of each dataset."""
    proxy, target, dataset, ends = synthetic_batch(len(mapper.names), images)
    judged = Judgement(proxy.requires_grad_(), hidden=torch.randn(len(proxy), HIDDEN, requires_grad=True))
    opinions = Opinions(target, torch.full_like(target, torch.nan), dataset)

    def step() -> None:
        q = mapper.read(judged, dataset)
        prediction, own = mapper.learn(q, dataset, ends)
        terms = objective(judged, prediction, opinions, own)
        gauge(terms, mapper, q, ends, own)["loss"].backward()

    return step


def make(name: str, datasets: int, images: int) -> tuple[Mapper, Callable[[], None]]:
    """A mapper of so many datasets as the configuration has it, and its step."""
    chosen = config.load([f"mapper={name}", f"backbone.hidden=[{HIDDEN}]"])
    gauge, objective = build(chosen.gauge, Gauge), build(chosen.objective, Objective, weights=[1.0] * datasets)
    mapper = gauge.pin(build(chosen.mapper, Mapper, [*map(str, range(datasets))]))
    return mapper, make_step(mapper, gauge, objective, images)


def cases(quick: bool) -> Iterator[Case | Fact]:
    torch.manual_seed(0)
    names = ("minn", *sorted({path.stem for path in (config.conf_dir() / "mapper").glob("*.yaml")} - {"minn"}))
    for datasets, images in SIZES.items():
        made = {name: make(name, datasets, images) for name in names}
        sides = {name: wall(step) for name, (_, step) in made.items()}
        repeats = 1 if quick else 30 * DATASETS // datasets
        yield Case(f"training step, {datasets} datasets x {images} images", sides, repeats=repeats)
    for name, (mapper, _) in made.items():
        state = mapper.state_dict()
        shared = sum(state[key].numel() for key in mapper.shared)
        rows = (sum(value.numel() for value in state.values()) - shared) // datasets
        yield Fact(f"numbers of {name}", f"{rows:,} a dataset, {shared:,} shared")


if __name__ == "__main__":
    main(cases)
