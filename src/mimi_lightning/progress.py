"""Work in threads, in order, under a progress bar."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item, Result = TypeVar("Item"), TypeVar("Result")

AHEAD = 4  # results of each thread that may wait for their turn; bounds memory


def progress_bar(visible: bool = True) -> Progress:
    """Make a bar that tells what is done, how much of it, and how long it will still take (on standard error)."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), disable=not visible)


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], label: str, visible: bool = True
) -> Iterator[Result]:
    """Yield `work(item)` of every item, in their order.

    Threads suffice where the work is reading, decoding, resizing or hashing: all of them release the interpreter.

    Args:
        work: called in threads, one for each core of this process.
        items: what it is called with.
        label: in front of the bar.
        visible: show the bar.
    """
    with progress_bar(visible) as bar:
        yield from bar.track(ahead(work, items), len(items), description=label)


def ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `work(item)` of every item, in their order, while threads work on the next ones."""
    threads, rest = _cores(), iter(items)
    pool = ThreadPoolExecutor(threads)
    try:
        waiting = deque(pool.submit(work, item) for item in islice(rest, threads * AHEAD))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(rest, 1))
            yield done
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
