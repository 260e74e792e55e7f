"""`score`: pictures to scores."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mimi_lightning.cli.words import add_checkpoint, add_device, refuse_unwritable
from mimi_lightning.errors import GOES_ON, ConfigError

FORMATS = ("table", "csv", "jsonl")


def add(verbs: Any) -> None:
    """Add the parser of this verb."""
    score = verbs.add_parser(
        "score",
        help="score pictures",
        description="Score pictures with a checkpoint. One that cannot be read is a row with its error, and the exit "
        "code is 1 then. With --out, the same command goes on after an interruption.",
    )
    score.add_argument("paths", metavar="PATH", nargs="+", help="files, folders, patterns; - reads paths from stdin")
    add_checkpoint(score)
    add_device(score)
    score.add_argument(
        "--precision", choices=("32", "bf16"), default="32", help="bf16 is faster and less exact (%(default)s)"
    )
    score.add_argument("--scale", metavar="DATASET", action="append", help="also on its scale; `all` for all of them")
    score.add_argument("--top", metavar="N", type=int, help="only the N best, best first")
    score.add_argument("--format", choices=FORMATS, help="on the screen (a table; csv where it is no terminal)")
    score.add_argument("--out", metavar="FILE", type=Path, help="write .csv or .jsonl")
    score.add_argument("--html", metavar="FILE", type=Path, help="write a contact sheet, best first")
    score.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if args.out and args.out.suffix not in (".csv", ".jsonl"):
        raise ConfigError(f"--out {args.out}: expected a name that ends in .csv or .jsonl.")
    if args.top is not None and args.top < 1:
        raise ConfigError(f"--top {args.top}: expected a whole number, 1 or more.")
    for file in filter(None, (args.out, args.html)):
        refuse_unwritable(file)
    sys.stdout.reconfigure(errors="surrogateescape")  # names of files may be anything
    from mimi_lightning.ruler.files import best_first, find_pictures
    from mimi_lightning.ruler.journal import Journal
    from mimi_lightning.ruler.ruler import load
    from mimi_lightning.ruler.sheets import write_html, write_rows

    paths = find_pictures(_words(args.paths))
    ruler = load(args.checkpoint, args.device, args.precision)
    scales = ruler.scales if args.scale and "all" in args.scale else tuple(dict.fromkeys(args.scale or ()))
    for scale in scales:
        ruler.number(scale)
    journal = Journal(args.out, args.checkpoint.read_bytes(), args.precision, *scales) if args.out else None
    try:
        rows = _score(ruler, paths, scales, journal)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(GOES_ON if journal else "") from stop
    failed = sum("error" in row for row in rows)
    if args.top:
        rows = best_first(rows)[: args.top]
    if args.out:
        write_rows(rows, args.out)
    elif not args.html or args.format:
        _show(rows, args.format or ("table" if sys.stdout.isatty() else "csv"))
    if args.html:
        write_html(best_first(rows), args.html)
    if journal:
        journal.remove()
    if failed:
        print(f"{failed:,} of {len(paths):,} pictures could not be scored; their rows say why.", file=sys.stderr)
    return 1 if failed else 0


def _words(paths: list[str]) -> Iterator[str]:
    for path in paths:
        yield from _listed(sys.stdin.buffer) if path == "-" else [path]


def _listed(lines: Iterable[bytes]) -> Iterator[str]:
    return (os.fsdecode(line.rstrip(b"\r\n")) for line in lines if line.strip())


def _score(ruler: Any, paths: list[str], scales: tuple[str, ...], journal: Any) -> list[dict[str, Any]]:
    """Rows of all pictures; those that an interrupted command has scored are taken from its journal."""
    from mimi_lightning.progress import progress_bar
    from mimi_lightning.ruler.files import score_files

    done = {row["path"]: row for row in journal.read() if "error" not in row} if journal else {}
    rest = [path for path in paths if path not in done]
    if done:
        print(f"Going on: {len(paths) - len(rest):,} of {len(paths):,} pictures are scored.", file=sys.stderr)
    rows = score_files(ruler, rest, scales)
    with progress_bar(sys.stderr.isatty()) as bar:
        kept = bar.track(journal.keep(rows) if journal else rows, len(rest), description="Scoring")
        done |= {row["path"]: row for row in kept}
    return [done[path] for path in paths]


def _show(rows: list[dict[str, Any]], form: str) -> None:
    from mimi_lightning.ruler.sheets import show_table, write_rows

    if form == "table":
        show_table(rows)
    else:
        write_rows(rows, sys.stdout, form)
