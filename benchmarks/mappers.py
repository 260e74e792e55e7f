"""A training step of every mapper, with the gauge and the objective that it comes with: 192 images of six datasets.

Mappers take their steps in turns, so that what else the machine does slows all of them alike.

    python -m benchmarks.mappers
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

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


def seconds(steps: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median of each step."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=31, help="timed steps")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    torch.set_default_device(arguments.device)
    torch.manual_seed(0)
    mappers, steps = {}, {}
    for path in sorted((config.conf_dir() / "mapper").glob("*.yaml")):
        chosen = config.load([f"mapper={path.stem}", f"backbone.hidden=[{HIDDEN}]"])
        gauge, objective = build(chosen.gauge, Gauge), build(chosen.objective, Objective, weights=[1.0] * DATASETS)
        mappers[path.stem] = gauge.pin(build(chosen.mapper, Mapper, NAMES))
        steps[path.stem] = make_step(mappers[path.stem], gauge, objective)
    times = seconds(steps, arguments.repeats)

    where = f"{torch.get_num_threads()} threads" if arguments.device == "cpu" else torch.cuda.get_device_name()
    table = Table(title=f"{DATASETS} datasets x {IMAGES} images, {where}")
    for heading in ("mapper", "numbers a dataset", "shared", "training step", "of MINN's"):
        table.add_column(heading, justify="left" if heading == "mapper" else "right")
    for name, mapper in mappers.items():
        state = mapper.state_dict()
        shared = sum(state[key].numel() for key in mapper.shared)
        rows = (sum(value.numel() for value in state.values()) - shared) // DATASETS
        share = times[name] / times["minn"]
        table.add_row(name, f"{rows:,}", f"{shared:,}", f"{1e3 * times[name]:.2f} ms", f"{share:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
