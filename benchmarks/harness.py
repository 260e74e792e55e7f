"""What all benchmarks share: ways of doing one thing take turns in one process, and medians come with their spread.

A benchmark is a module with `cases(quick)`, which yields `Case`s to time and `Fact`s to tell, and `main(cases)` at its
end. `quick` asks for sizes that only show that it runs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table

Timed = Callable[[], float]  # does its work and says how many seconds it took
LEAST = 5  # calls of each side, of which a median and its spread say something


class Case(NamedTuple):
    """One thing that is done in several ways; the others are compared with the first, the plain one.

    Args:
        name: of the thing.
        sides: each way of doing it, see `wall` and `core`.
        items: images, or the like, of one call.
        repeats: how often each side is timed at least, where one call says little.
    """

    name: str
    sides: Mapping[str, Timed]
    items: int = 1
    repeats: int = 0


class Fact(NamedTuple):
    """What is told beside times, such as an error."""

    name: str
    value: str


class Timing(NamedTuple):
    """Seconds of the calls of one side."""

    case: str
    side: str
    items: int
    seconds: list[float]

    @property
    def median(self) -> float:
        """Seconds of a call."""
        return median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """Lower and upper quartile of the calls."""
        low, _, high = quantiles(self.seconds, method="inclusive") if len(self.seconds) > 1 else 3 * self.seconds
        return low, high


def wall(work: Callable[[], object]) -> Timed:
    """Time it by the clock on the wall, a GPU's part included."""
    return lambda: _timed(work, time.perf_counter)


def core(work: Callable[[], object]) -> Timed:
    """Time it by what its process used of processors: others may use the machine as well."""
    return lambda: _timed(work, time.process_time)


def _timed(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return clock() - start


def alternate(case: Case, repeats: int) -> list[Timing]:
    """Time all sides in turn, so that what else the machine does slows all alike; the first calls of many only warm."""
    timings = [Timing(case.name, side, case.items, []) for side in case.sides]
    repeats = max(repeats, case.repeats)
    for number in range(repeats + (repeats > 1)):
        for timing, side in zip(timings, case.sides.values(), strict=True):
            seconds = side()
            if number or repeats == 1:
                timing.seconds.append(seconds)
    return timings


def show(title: str, timings: list[Timing], facts: Iterable[Fact]) -> None:
    """Print all of it."""
    table = Table(title=title, title_justify="left")
    for heading in ("", "side", "median", "quartiles", "items/s", "times as fast"):
        table.add_column(heading, justify="left" if heading in ("", "side") else "right")
    first = {timing.case: timing for timing in reversed(timings)}
    for timing in timings:
        plain = first[timing.case]
        table.add_row(
            timing.case if timing is plain else "",
            timing.side,
            duration(timing.median),
            " to ".join(map(duration, timing.spread)),
            f"{timing.items / timing.median:,.1f}" if timing.items > 1 else "",
            "" if timing is plain else f"{plain.median / timing.median:.2f}x",
        )
    console = Console(width=120)
    console.print(table)
    for fact in facts:
        console.print(f"{fact.name}: {fact.value}", highlight=False)


def duration(seconds: float) -> str:
    """Three digits, with a unit."""
    unit, factor = ("s", 1) if seconds >= 1 else ("ms", 1e3)
    return f"{factor * seconds:.3g} {unit}"


def main(cases: Callable[[bool], Iterator[Case | Fact]], threads: int | None = None) -> None:
    """The command line of one benchmark.

    Args:
        cases: of the benchmark.
        threads: of torch, unless asked for otherwise; None takes torch's own number.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small sizes, to see whether it runs")
    parser.add_argument(
        "--repeats", type=int, help=f"timed calls of each side ({LEAST}, of quick ones more; 1 with --quick)"
    )
    parser.add_argument("--threads", type=int, default=threads, help="of torch")
    parser.add_argument("--device", default="cpu", help="where tensors are made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    words = parser.parse_args()
    if words.threads:
        torch.set_num_threads(words.threads)
    torch.set_default_device(words.device)
    timings, facts = [], []
    for found in cases(words.quick):
        if isinstance(found, Fact):
            facts.append(found)
        else:
            timings += alternate(found, words.repeats or (1 if words.quick else LEAST))
    threads = torch.get_num_threads()
    where = torch.cuda.get_device_name() if words.device.startswith("cuda") else f"{threads} thread{'s'[: threads - 1]}"
    show(where, timings, facts)
    if words.json:
        found = {"where": where, "timings": [t._asdict() for t in timings], "facts": [f._asdict() for f in facts]}
        words.json.write_text(json.dumps(found))
