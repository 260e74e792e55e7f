"""`calibrate`: a scale of one's own from a few scores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mimi_lightning.cli.words import add_checkpoint, refuse_unwritable
from mimi_lightning.errors import ConfigError


def add(verbs: Any) -> None:
    """Add the parser of this verb."""
    calibrate = verbs.add_parser(
        "calibrate",
        help="teach a checkpoint the scale of your own scores, in seconds",
        description="Fit a score mapper to pictures and scores of your own (50 suffice), and write a checkpoint that "
        "knows this scale beside the others. What the network says of a picture stays as it is.",
    )
    add_scores(calibrate)
    calibrate.add_argument("--out", metavar="FILE", type=Path, help="checkpoint to write (NAME.ckpt)")
    calibrate.set_defaults(run=_calibrate)


def add_scores(verb: argparse.ArgumentParser) -> None:
    """Add what says where scores of one's own are, and what they mean."""
    verb.add_argument("scores", metavar="CSV", type=Path, help="table of pictures and scores, higher is better")
    add_checkpoint(verb)
    verb.add_argument("--images", metavar="DIR", type=Path, help="where the pictures are (beside the table)")
    verb.add_argument("--name", default="mine", help="of the new scale (%(default)s)")
    verb.add_argument(
        "--range", metavar=("LOW", "HIGH"), nargs=2, type=float, help="scores that can be given (those that were)"
    )
    verb.add_argument("--image", metavar="COLUMN", default="image", help="of the pictures' names (%(default)s)")
    verb.add_argument("--mos", metavar="COLUMN", default="mos", help="of the scores (%(default)s)")


def columns(args: argparse.Namespace) -> dict[str, str]:
    """What the columns of the table are called."""
    return {"image": args.image, "mos": args.mos}


def read_own(args: argparse.Namespace, ruler: Any) -> Any:
    """Read what `add_scores` was told of: scores of one's own, on a scale that the ruler does not know yet."""
    from mimi_lightning.ruler.own_scores import read_scores

    return read_scores(args.scores, args.name, ruler.scales, args.images, args.range, columns(args))


def refuse_existing(file: Path) -> None:
    """Refuse to write over a file.

    Raises:
        ConfigError: it is there, or its folder is not.
    """
    if file.exists():
        raise ConfigError(f"{file} is there already: choose another --out, or delete it.")
    refuse_unwritable(file)


def _calibrate(args: argparse.Namespace) -> int:
    out = args.out or Path(f"{args.name}.ckpt")
    refuse_existing(out)

    from mimi_lightning.ruler.calibrate import calibrate, show
    from mimi_lightning.ruler.ruler import load
    from mimi_lightning.ruler.scales import add_scale

    ruler = load(args.checkpoint)
    scores = read_own(args, ruler)
    calibration = calibrate(ruler, scores)
    add_scale(ruler.model, calibration.scale).save(out)
    show(calibration, scores)
    print(f"checkpoint {out}")
    return 0
