"""One wrong command, run as `python -m mimi_lightning` runs it, and what became of it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

CLASSES = ("clean", "leaves something", "traceback", "hang", "silent")
LONGEST = 60  # seconds of a command, which is tiny


class Hang(BaseException):
    """The time is up; no handler of errors may catch it."""


@dataclass(frozen=True)
class Outcome:
    """What became of a wrong command.

    Args:
        kind: of `CLASSES`: refused with a message and nothing else is clean; silent is not refused at all.
        said: what it printed on stderr, or where it was when it broke.
    """

    kind: str
    said: str


def run(words: Sequence[str], folder: Path, seconds: float = LONGEST) -> Outcome:
    """Run a wrong command in this process, which saves seconds of starting one.

    Args:
        words: after `python -m mimi_lightning`.
        folder: where it runs and may leave something; what it reads lies elsewhere.
        seconds: how long it may take.
    """
    from mimi_lightning.__main__ import main

    before, said = _entries(folder), io.StringIO()
    try:
        with _inside(folder, words), _limit(seconds), contextlib.redirect_stderr(said):
            code = main()
    except SystemExit as stop:
        code = stop.code
    except Hang as late:
        return Outcome("hang", "".join(traceback.format_tb(late.__traceback__)[-3:]))
    except BaseException:
        return Outcome("traceback", said.getvalue() + traceback.format_exc())
    message = said.getvalue()
    if "Traceback (most recent call last)" in message:
        return Outcome("traceback", message)
    if code in (0, None):
        return Outcome("silent", message)
    left = sorted(map(str, _entries(folder) - before))
    return Outcome("leaves something", f"{message}{left}") if left else Outcome("clean", message)


def _entries(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@contextlib.contextmanager
def _inside(folder: Path, words: Sequence[str]) -> Iterator[None]:
    """In another folder, with these words on the command line, and without the output that nobody reads."""
    from hydra.core.global_hydra import GlobalHydra

    here = Path.cwd()
    os.chdir(folder)
    try:
        with (
            mock.patch.object(sys, "argv", ["mimi_lightning", *words]),
            mock.patch.dict(os.environ),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
        ):
            yield
    finally:
        os.chdir(here)
        GlobalHydra.instance().clear()


@contextlib.contextmanager
def _limit(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
