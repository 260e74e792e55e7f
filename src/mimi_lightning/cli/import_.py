"""`import`: checkpoints of other authors, as checkpoints of this project."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mimi_lightning.errors import ConfigError


def add(verbs: Any) -> None:
    """Add the parser of this verb."""
    importing = verbs.add_parser(
        "import",
        help="read a checkpoint of MIMI's, LIQE's or UNIQUE's authors",
        description="Read a checkpoint of MIMI-CNN, MIMI-CLIP, LIQE or UNIQUE as its authors distribute it, and write "
        "one of this project. Nothing in the file is run; whatever is no weight of these networks is refused. Native "
        "scores need the labels that it was trained on, by --lists or --labels; otherwise it gives proxy scores only.",
    )
    importing.add_argument("file", metavar="FILE", type=Path, help="such as BaseCNN-best.pt or LIQE.pt")
    importing.add_argument("--out", metavar="CKPT", type=Path, required=True, help="checkpoint to write")
    importing.add_argument("--lists", metavar="DIR", type=Path, help="the authors' lists of partitions, with --split")
    importing.add_argument("--split", metavar="N", type=int, help="which of their ten it was trained on")
    importing.add_argument(
        "--labels",
        metavar="NAME=LOW:HIGH",
        nargs="+",
        default=[],
        help="lowest and highest MOS of a dataset's training part, such as koniq=1.12:4.29",
    )
    importing.set_defaults(run=_import)


def _import(args: argparse.Namespace) -> int:
    ends = dict(map(_ends, args.labels))

    from mimi_lightning.foreign import import_checkpoint

    found = import_checkpoint(args.file, args.out, ends, args.lists, args.split)
    others = [name for name in found.model.names if name not in found.native]
    print(f"{found.title}, {found.model.regressor.name}")
    if found.native:
        print(f"native scores of {', '.join(found.native)}")
    if others:
        print(f"proxy scores only, no native ones, of {', '.join(others)}")
    print(f"checkpoint {args.out}")
    if found.labels:
        print(f"labels {found.labels}")
    return 0


def _ends(word: str) -> tuple[str, tuple[float, float]]:
    name, _, ends = word.partition("=")
    low, _, high = ends.partition(":")
    try:
        return name, (float(low), float(high))
    except ValueError as error:
        raise ConfigError(f"--labels {word}: expected NAME=LOW:HIGH, such as koniq=1.12:4.29.") from error
