"""A training step of every mapper, with the gauge and the objective that it comes with: 192 images of six datasets.

make bench-mappers
"""

from collections.abc import Callable, Iterator

import torch

from benchmarks.harness import Case, Fact, main, wall
from benchmarks.mapper import DATASETS, IMAGES, synthetic_batch
from mimi_lightning import config
from mimi_lightning.contracts import Gauge, Judgement, Mapper, Objective, Opinions
from mimi_lightning.specs import build

NAMES = [*map(str, range(DATASETS))]
HIDDEN = 64  # width of the regressor's last hidden layer


def make_step(mapper: Mapper, gauge: Gauge, objective: Objective) -> Callable[[], None]:
    """Forward and backward of a batch that a regressor has judged."""
    proxy, target, dataset, ends = synthetic_batch()
    judged = Judgement(proxy.requires_grad_(), hidden=torch.randn(len(proxy), HIDDEN, requires_grad=True))
    opinions = Opinions(target, torch.full_like(target, torch.nan), dataset)

    def step() -> None:
        q = mapper.read(judged, dataset)
        prediction, own = mapper.learn(q, dataset, ends)
        terms = objective(judged, prediction, opinions, own)
        gauge(terms, mapper, q, ends, own)["loss"].backward()

    return step


def cases(quick: bool) -> Iterator[Case | Fact]:
    torch.manual_seed(0)
    mappers, sides = {}, {}
    for name in ("minn", *sorted({path.stem for path in (config.conf_dir() / "mapper").glob("*.yaml")} - {"minn"})):
        chosen = config.load([f"mapper={name}", f"backbone.hidden=[{HIDDEN}]"])
        gauge, objective = build(chosen.gauge, Gauge), build(chosen.objective, Objective, weights=[1.0] * DATASETS)
        mappers[name] = gauge.pin(build(chosen.mapper, Mapper, NAMES))
        sides[name] = wall(make_step(mappers[name], gauge, objective))
    yield Case(f"training step, {DATASETS} datasets x {IMAGES} images", sides, repeats=1 if quick else 30)
    for name, mapper in mappers.items():
        state = mapper.state_dict()
        shared = sum(state[key].numel() for key in mapper.shared)
        rows = (sum(value.numel() for value in state.values()) - shared) // DATASETS
        yield Fact(f"numbers of {name}", f"{rows:,} a dataset, {shared:,} shared")


if __name__ == "__main__":
    main(cases)
