"""One no-reference image-quality model from many datasets whose scores do not compare."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name != "load":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from mimi_lightning.ruler.ruler import load  # only now: importing torch takes seconds

    return load
