"""A file of strangers: tensors by their names, and nothing that runs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimi_lightning.errors import ConfigError

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)
NAMED = 3  # names in one message


class Figure:
    """Stands for a scalar of NumPy and its type: figures of validation beside the weights, which nobody looks at."""

    def __init__(self, *parts: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# What is called so in a file; of `numpy.core` before NumPy 2.
FIGURES = [(Figure, f"numpy.{name}") for name in ("core.multiarray.scalar", "_core.multiarray.scalar", "dtype")]


def read(file: Path) -> dict[str, Any]:
    """Read what a file of PyTorch holds; whatever is not data is refused, and none of it runs.

    Raises:
        ConfigError: no such file, no file of PyTorch, or one that holds more than data.
    """
    if not file.is_file():
        raise ConfigError(f"There is no file {file}.")
    try:
        with torch.serialization.safe_globals(FIGURES), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other versions of pickle
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever unpickling a file of unknown origin may raise
        if found := re.search(r"GLOBAL (\S+)", str(error)):  # PyTorch's words advise to run it
            raise ConfigError(
                f"{file} is refused: it holds {listed([found[1]])}, which is no data. Nothing was run."
            ) from None
        raise ConfigError(f"{file} is refused: PyTorch cannot read weights from it.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file} is refused: it holds a {type(content).__name__}, not weights by their names.")
    return content


class Weights:
    """Tensors of a state dict, each to be taken once, in the shape that it has to have.

    Args:
        tensors: by name.
        file: that they were read from, for messages.
    """

    def __init__(self, tensors: Mapping[str, Tensor], file: Path) -> None:
        self.left = dict(tensors)
        self.file = file

    def __contains__(self, name: str) -> bool:
        return name in self.left

    def take(self, name: str, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Take a tensor, from whatever width its numbers have in the file.

        Raises:
            ConfigError: it is not there, has another shape, or is no tensor of finite numbers of this kind.
        """
        self._look(name)
        tensor = self.left.pop(name).detach()
        if tensor.shape != torch.Size(shape):
            raise ConfigError(f"{self.file} is refused: {name} has the shape {[*tensor.shape]}, not {[*shape]}.")
        if tensor.is_floating_point() != dtype.is_floating_point or not tensor.isfinite().all():
            raise ConfigError(f"{self.file} is refused: {name} does not hold finite numbers of {dtype}.")
        return tensor.to(dtype)

    def widths(self, names: Sequence[str], most: Sequence[int]) -> list[int]:
        """How many entries these biases have: the widths of their layers, which the file tells.

        Args:
            names: of the biases.
            most: of each, as published.

        Raises:
            ConfigError: one is not there or has too many entries.
        """
        return [self._width(name, limit) for name, limit in zip(names, most, strict=True)]

    def close(self) -> None:
        """Make sure that all tensors were taken.

        Raises:
            ConfigError: names those that were not.
        """
        if self.left:
            raise ConfigError(f"{self.file} is refused: it holds {listed(self.left)}, which the layout does not have.")

    def _width(self, name: str, most: int) -> int:
        width = self._look(name).numel()
        if not 1 <= width <= most:
            raise ConfigError(f"{self.file} is refused: {name} has {width:,} entries, not 1 to {most:,}.")
        return width

    def _look(self, name: str) -> Tensor:
        if name not in self.left:
            raise ConfigError(f"{self.file} is refused: it lacks {name}.")
        tensor = self.left[name]
        plain = isinstance(tensor, Tensor) and tensor.layout == torch.strided and tensor.dtype in DTYPES
        if not plain or tensor.device.type != "cpu":
            raise ConfigError(f"{self.file} is refused: {name} is no tensor of plain numbers.")
        return tensor


def listed(names: Iterable[Any]) -> str:
    """The first names, and how many follow; as they are written in Python, whatever characters they have."""
    words = [ascii(name)[:80] for name in names]
    more = f" and {len(words) - NAMED:,} more" if len(words) > NAMED else ""
    return ", ".join(words[:NAMED]) + more
