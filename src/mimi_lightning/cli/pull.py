"""`pull`: a checkpoint that somebody has pushed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    """Add the parser of this verb."""
    pull = verbs.add_parser(
        "pull",
        help="get a checkpoint that somebody has pushed",
        description="Get model.safetensors with config.json and its model card, README.md.",
    )
    pull.add_argument("source", metavar="hf://OWNER/NAME[@REVISION]|DIR", help="where it was pushed to")
    pull.add_argument("folder", metavar="DIR", type=Path, help="a new folder for it")
    pull.set_defaults(run=_pull)


def _pull(args: argparse.Namespace) -> int:
    from mimi_lightning.ruler.hub import pull

    print(f"checkpoint {pull(args.source, args.folder)}")
    return 0
