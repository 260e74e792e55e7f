"""Words that several verbs share."""

import os
from argparse import ArgumentParser
from pathlib import Path

from mimi_lightning.errors import ConfigError

PROGRAM = "python -m mimi_lightning"
CONFIG_DIR = {"metavar": "DIR", "type": Path, "help": "holds dataset/NAME.yaml of datasets of your own"}


def add_checkpoint(parser: ArgumentParser) -> None:
    """Let a verb be told a checkpoint."""
    known = os.environ.get("MIMI_CHECKPOINT")
    text = "of a run, such as outputs/mimi/resnet34/split03/checkpoints/best.ckpt (MIMI_CHECKPOINT, if it is set)"
    parser.add_argument("--checkpoint", metavar="FILE", type=Path, required=known is None, default=known, help=text)


def add_device(parser: ArgumentParser) -> None:
    """Let a verb be told where its network computes."""
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (the first GPU, if there is one)")


def refuse_unwritable(file: Path) -> None:
    """Refuse to begin work whose result has no place.

    Raises:
        ConfigError: a file in no folder, or a folder.
    """
    if file.is_dir():
        raise ConfigError(f"{file} is a folder: name a file in it.")
    if not file.absolute().parent.is_dir():
        raise ConfigError(f"{file} cannot be written: there is no folder {file.absolute().parent}.")
