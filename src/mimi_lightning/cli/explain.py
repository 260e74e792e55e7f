"""`explain`: what a score means."""

from __future__ import annotations

import argparse
import math
from typing import Any

from mimi_lightning.cli.words import add_checkpoint
from mimi_lightning.errors import ConfigError


def add(verbs: Any) -> None:
    """Add the parser of this verb."""
    explain = verbs.add_parser(
        "explain",
        help="say what a score means",
        description="Say where a score lies in the range and among the training labels of a dataset, and which of its "
        "pictures were rated nearest to it.",
    )
    explain.add_argument("scores", metavar="SCORE", nargs="+", type=float, help="on the scale of the dataset")
    explain.add_argument("--scale", metavar="DATASET", required=True, help="whose scale it is")
    explain.add_argument("--examples", metavar="N", type=int, default=4, help="pictures to name (%(default)s)")
    add_checkpoint(explain)
    explain.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if any(math.isnan(score) for score in args.scores):
        raise ConfigError("nan is no score.")
    if args.examples < 1:
        raise ConfigError(f"--examples {args.examples}: expected a whole number, 1 or more.")
    from mimi_lightning.ruler.ruler import load

    ruler = load(args.checkpoint, "cpu")
    for score in args.scores:
        meaning = ruler.explain(score, args.scale, args.examples)
        print(f"{score:g} on the scale of {args.scale}, {meaning.low:g} (worst) to {meaning.high:g} (best)")
        if meaning.outside:
            print("  outside of it: a guess")
        if not meaning.examples:
            print("  The checkpoint names no training pictures: it is of an earlier version.")
            continue
        print(f"  better than {meaning.percentile:.0f} % of the training pictures; rated nearest to it:")
        for image, mos in meaning.examples:
            print(f"  {mos:8.4g}  {image}")
    return 0
