"""Reading vectors from MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat

from mimi_lightning.data.places import readable
from mimi_lightning.errors import DatasetError


def read_vector(path: Path, name: str) -> np.ndarray:
    """Read one variable as a flat array of numbers, or of strings when it is a cell array.

    Args:
        path: a `.mat` file.
        name: name of the variable.

    Raises:
        DatasetError: the file cannot be read or has no such variable.
    """
    try:
        variables = loadmat(readable(path), squeeze_me=True)
    except Exception as error:  # SciPy raises many kinds for a damaged file
        raise DatasetError(f"{path} cannot be read as a MATLAB file ({error}).") from error
    if name not in variables:
        found = ", ".join(key for key in variables if not key.startswith("__"))
        raise DatasetError(f"{path} has no variable '{name}'; it has {found}.")
    values = np.atleast_1d(variables[name]).ravel()
    return values.astype(str) if values.dtype.kind in "OSU" else values


def require_equal_lengths(path: Path, **vectors: np.ndarray) -> None:
    """Refuse vectors that must describe the same images and do not have the same length."""
    if len({len(vector) for vector in vectors.values()}) > 1:
        lengths = ", ".join(f"{name} {len(vector)}" for name, vector in vectors.items())
        raise DatasetError(f"{path}: the labels have different lengths ({lengths}).")
