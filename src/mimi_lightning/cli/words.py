"""Words that several verbs share."""

from pathlib import Path

PROGRAM = "python -m mimi_lightning"
CONFIG_DIR = {"metavar": "DIR", "type": Path, "help": "holds dataset/NAME.yaml of datasets of your own"}
