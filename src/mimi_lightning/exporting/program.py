"""Programs of `torch.export`: a file that PyTorch alone runs, without this project."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from mimi_lightning.errors import ConfigError
from mimi_lightning.exporting.scorer import Scorer
from mimi_lightning.files import aside
from mimi_lightning.models.backbones import TokenBackbone
from mimi_lightning.module import QualityModel


def write_program(model: QualityModel, file: Path) -> None:
    """Write a model as a program, whole or not at all: `torch.export.load(file).module()(image)` gives its scores.

    Args:
        model: a trained one.
        file: its name has to end in .pt2.

    Raises:
        ConfigError: the model cannot be exported.
    """
    if any(isinstance(module, TokenBackbone) for module in model.modules()):
        raise ConfigError(
            f"backbone {model.regressor.name} cannot be exported --to torch: a program cannot say how many patches a "
            "picture of any size has. --to onnx takes it."
        )
    scorer = Scorer(model)
    draft = file.with_name(f"part.{file.name}")  # the ending has to stay
    with aside(file, draft), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it suspects that weights were not on the CPU
        torch.export.save(scorer.trace(), draft, extra_files={**scorer.facts(), "outputs": " ".join(scorer.outputs)})
