"""`finetune`: a checkpoint learns from a few scores of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mimi_lightning.cli.calibrate import add_scores, columns, read_own, refuse_existing
from mimi_lightning.cli.words import CONFIG_DIR

LEARN = ("head", "late", "all", "lora")


def add(verbs: Any) -> None:
    """Add the parser of this verb."""
    finetune = verbs.add_parser(
        "finetune",
        help="teach a checkpoint's network your own scores",
        description="Calibrate, and then train the network behind the new scale: an ordinary run in "
        "outputs/NAME, which an interrupted command goes on with. The scales of the checkpoint stay, and what it cost "
        "on their datasets is measured where they are at hand.",
    )
    add_scores(finetune)
    finetune.add_argument("words", metavar="KEY=VALUE", nargs="*", help="as in training: trainer.max_epochs=10")
    finetune.add_argument(
        "--learn",
        choices=LEARN,
        default="head",
        help="head: what comes after the backbone; late: its last quarter of layers, too; all; lora: adapters of a "
        "transformer (%(default)s)",
    )
    finetune.add_argument("--out", metavar="FILE", type=Path, help="checkpoint to write (NAME.ckpt)")
    finetune.add_argument("--config-dir", **CONFIG_DIR)
    finetune.set_defaults(run=_finetune)


def _finetune(args: argparse.Namespace) -> int:
    out = args.out or Path(f"{args.name}.ckpt")
    refuse_existing(out)

    from mimi_lightning.ruler.finetune import Plan, finetune
    from mimi_lightning.ruler.ruler import load

    ruler = load(args.checkpoint)
    scores = read_own(args, ruler)
    plan = Plan(args.checkpoint, scores, args.scores, columns(args), args.learn, args.words, args.config_dir)
    finetune(plan, ruler.model, out)
    return 0
