"""`evaluate`: datasets scored with a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mimi_lightning.cli.words import CONFIG_DIR, PROGRAM
from mimi_lightning.errors import ConfigError

OWN = ("checkpoint", "labels", "out")  # keys that are evaluate's own


def add(verbs: Any) -> None:
    """Add the parser of this verb."""
    evaluate = verbs.add_parser(
        "evaluate",
        help="score datasets with a checkpoint, trained on or not",
        description="Score datasets with a checkpoint and write a table of predictions, which `report` lays out. "
        "Images that the model was trained on are left out.",
        usage=f"{PROGRAM} evaluate checkpoint=FILE [labels=FILE] [out=CSV] [KEY=VALUE ...]",
    )
    evaluate.add_argument(
        "words",
        metavar="KEY=VALUE",
        nargs="+",
        help="checkpoint=FILE of a run; labels=FILE, its labels.csv, if it lies elsewhere; out=CSV; and as in "
        "training: data=miniature, dataset=[tid2013], paths.datasets=DIR, trainer=gpu",
    )
    evaluate.add_argument("--config-dir", **CONFIG_DIR)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> int:
    from omegaconf import OmegaConf

    from mimi_lightning import config

    own = {key: Path(value) for key, _, value in (word.partition("=") for word in args.words) if key in OWN}
    if "checkpoint" not in own:
        raise ConfigError("evaluate needs checkpoint=FILE, such as outputs/mimi/resnet34/split03/checkpoints/best.ckpt")
    cfg = config.load([word for word in args.words if word.partition("=")[0] not in OWN], args.config_dir)

    from mimi_lightning.scoring import evaluate

    print(f"predictions {evaluate(settings=OmegaConf.to_container(cfg, resolve=True), **own)}")
    return 0
