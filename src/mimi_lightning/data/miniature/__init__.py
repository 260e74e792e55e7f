"""Six tiny datasets of real photographs in the owners' layouts, for the demo and the tests."""

from mimi_lightning.data.miniature.build import MARKER, SEED, make_miniature

__all__ = ["MARKER", "SEED", "make_miniature"]
