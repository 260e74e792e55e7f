"""`push`: a checkpoint given away."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    """Add the parser of this verb."""
    push = verbs.add_parser(
        "push",
        help="give a checkpoint away, on the Hugging Face hub or as a folder",
        description="Write a checkpoint as model.safetensors with config.json and its model card, README.md.",
    )
    push.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="such as outputs/.../checkpoints/best.ckpt")
    push.add_argument("target", metavar="DIR|hf://OWNER/NAME", help="a new folder, or a repository of the hub")
    push.add_argument("--public", action="store_true", help="let everybody see a new repository")
    push.set_defaults(run=_push)


def _push(args: argparse.Namespace) -> int:
    from mimi_lightning.ruler.hub import push

    print(f"pushed {push(args.checkpoint, args.target, args.public)}")
    return 0
