"""Weights and hyper-parameters in one file: the checkpoints of training, and safetensors.

A safetensors file holds the tensors bit for bit, and in its header, as JSON, what else `QualityModel` is built from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mimi_lightning.files import aside

if TYPE_CHECKING:
    from mimi_lightning.module import QualityModel

SUFFIX = ".safetensors"
KEY = "mimi_lightning"  # of the header's metadata, whose values are strings


def read(path: Path | str) -> dict[str, Any]:
    """Read `state_dict`, `hyper_parameters` and `format` of a checkpoint, on the CPU; no code of the file runs.

    Args:
        path: of a checkpoint of training, or of a file that ends in .safetensors.

    Raises:
        OSError: the file is missing.
        UnpicklingError, RuntimeError, EOFError, KeyError: it is of another kind.
    """
    if Path(path).suffix != SUFFIX:
        return torch.load(path, map_location="cpu", weights_only=True)
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {})[KEY]
            return {**json.loads(header), "state_dict": {key: file.get_tensor(key) for key in file.keys()}}  # noqa: SIM118
    except SafetensorError as error:
        raise RuntimeError(f"safetensors cannot read it ({error})") from error


def write_safetensors(model: QualityModel, file: Path) -> None:
    """Write a model as safetensors, whole or not at all; `QualityModel.load` reads it.

    Args:
        model: with the weights to keep.
        file: its name has to end in .safetensors.
    """
    checkpoint: dict[str, Any] = {"hyper_parameters": model.hparams}
    model.on_save_checkpoint(checkpoint)
    # Convolutions keep their weights in an order of their own, which the file has not.
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    with aside(file) as draft:
        # `save_file` would let nobody else read it.
        draft.write_bytes(save(tensors, {"format": "pt", KEY: json.dumps(checkpoint)}))
