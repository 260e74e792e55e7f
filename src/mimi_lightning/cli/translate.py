"""`translate`: scores from one dataset's scale to another's."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from mimi_lightning.cli.words import add_checkpoint, refuse_unwritable
from mimi_lightning.errors import ConfigError


def add(verbs: Any) -> None:
    """Add the parser of this verb."""
    translate = verbs.add_parser(
        "translate",
        help="take scores from one dataset's scale to another's",
        description="Take scores from the scale of one dataset to that of another, or to the proxy score, through the "
        "inverse of its mapper. The exit code is 1 when a score cannot be translated.",
    )
    translate.add_argument("scores", metavar="SCORE", nargs="*", type=float, help="on the scale that --from names")
    translate.add_argument("--from", dest="source", metavar="SCALE", required=True, help="a dataset, or proxy")
    translate.add_argument("--to", dest="target", metavar="SCALE", required=True, help="likewise")
    translate.add_argument("--csv", metavar="FILE", type=Path, help="translate a column of a table")
    translate.add_argument("--column", help="of the table (named as the scale that --from names)")
    translate.add_argument("--out", metavar="FILE", type=Path, help="write the table with a column more")
    translate.add_argument("--clamp", action="store_true", help="move scores outside a range to its ends")
    add_checkpoint(translate)
    translate.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if bool(args.scores) == bool(args.csv):
        raise ConfigError("translate takes scores, or --csv FILE.")
    if not args.csv and (args.column or args.out):
        raise ConfigError("--column and --out are of a table: give it as --csv FILE.")
    if args.out:
        refuse_unwritable(args.out)
    from mimi_lightning.ruler.ruler import load

    ruler = load(args.checkpoint, "cpu")
    if args.csv:
        return _translate_table(ruler, args)
    return _show(ruler, args)


def _show(ruler: Any, args: argparse.Namespace) -> int:
    results = ruler.translate(args.scores, args.source, args.target, args.clamp)
    for score, result in zip(args.scores, results.tolist(), strict=True):
        print(f"{score:g} {args.source} = {result:.6g} {args.target}")
    return _say_outside(ruler, args, args.scores, results.tolist())


def _translate_table(ruler: Any, args: argparse.Namespace) -> int:
    import pandas as pd

    from mimi_lightning.files import aside

    column = args.column or args.source
    try:
        table = pd.read_csv(args.csv)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise ConfigError(f"{args.csv} cannot be read as a table: {error}") from error
    if column not in table:
        raise ConfigError(f"{args.csv} has no column {column}; it has {', '.join(table)}. Choose one by --column.")
    if args.target in table:
        raise ConfigError(
            f"{args.csv} has a column {args.target} already, where the translation would stand: rename it."
        )
    if not pd.api.types.is_numeric_dtype(table[column]):
        raise ConfigError(f"The column {column} of {args.csv} holds other things than numbers.")
    known = table[column].notna()
    results = ruler.translate(table.loc[known, column], args.source, args.target, args.clamp)
    table.loc[known, args.target] = results.astype(float)
    if args.out:
        with aside(args.out) as draft:
            table.to_csv(draft, index=False)
    else:
        table.to_csv(sys.stdout, index=False)
    return _say_outside(ruler, args, table.loc[known, column].tolist(), results.tolist())


def _say_outside(ruler: Any, args: argparse.Namespace, scores: list[float], results: list[float]) -> int:
    """Say which scores lie outside the published ranges; returns the exit code."""
    for scale, values in ((args.source, scores), (args.target, results)):
        if scale == "proxy":
            continue
        low, high = ruler.range(scale)
        outside = [value for value in values if not math.isnan(value) and not low <= value <= high]
        if outside:
            those = ", ".join(f"{value:g}" for value in outside[:5]) + (", ..." if len(outside) > 5 else "")
            done = "moved to its ends" if args.clamp else "a guess; --clamp moves them to its ends"
            print(f"Outside the range {low:g} to {high:g} of {scale}: {those} ({done}).", file=sys.stderr)
    if lost := [score for score, result in zip(scores, results, strict=True) if math.isnan(result)]:
        those = ", ".join(f"{score:g}" for score in lost[:5])
        print(
            f"No proxy score reaches {those} on the scale of {args.source}. --clamp takes the nearest.", file=sys.stderr
        )
    return 1 if lost else 0
