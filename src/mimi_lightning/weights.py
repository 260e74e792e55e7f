"""A model as hubs and other programs take it: its weights as safetensors, beside a description as JSON.

| file | holds |
|---|---|
| model.safetensors | the state dict |
| config.json | `format` of `checkpoints.py` and `hyper_parameters`, as in a run's checkpoint |
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from mimi_lightning.errors import ConfigError

if TYPE_CHECKING:
    from mimi_lightning.module import QualityModel

WEIGHTS, DESCRIPTION = "model.safetensors", "config.json"


def write_weights(model: QualityModel, folder: Path) -> None:
    """Write model.safetensors and config.json; without what training would need to go on."""
    weights = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    (folder / WEIGHTS).write_bytes(save(weights, {"format": "pt"}))  # `save_file` lets nobody else read it
    described = {"hyper_parameters": dict(model.hparams)}
    model.on_save_checkpoint(described)
    (folder / DESCRIPTION).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Read a run's checkpoint, or what `write_weights` wrote; nothing in it is executed.

    Raises:
        ConfigError: safetensors without their description, or a broken one of both.
    """
    if file.suffix != ".safetensors":
        return torch.load(file, map_location="cpu", weights_only=True)
    description = file.with_name(DESCRIPTION)
    try:
        weights, described = load_file(file), json.loads(description.read_text(encoding="utf-8"))
    except (SafetensorError, ValueError) as error:
        raise ConfigError(f"{file} or the {DESCRIPTION} beside it is damaged: {error}") from error
    except FileNotFoundError as error:
        if file.is_file():
            raise ConfigError(f"{file} needs {DESCRIPTION} beside it, which says how to read it.") from error
        raise
    return {**described, "state_dict": weights}
