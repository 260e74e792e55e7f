"""Checkpoints of other authors, as checkpoints of this project: `python -m mimi_lightning import FILE --out CKPT`."""

from mimi_lightning.foreign.importing import import_checkpoint
from mimi_lightning.foreign.layouts import LAYOUTS

__all__ = ["LAYOUTS", "import_checkpoint"]
