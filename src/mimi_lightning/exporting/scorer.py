"""What an exported file computes: from pictures to proxy scores, and to scores on the scale of every dataset."""

from __future__ import annotations

import copy
import json
from typing import Any

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mimi_lightning import __version__
from mimi_lightning.errors import ConfigError
from mimi_lightning.exporting.same import SameConv
from mimi_lightning.models.backbones import TokenBackbone
from mimi_lightning.models.clip import CLIPRegressor
from mimi_lightning.models.monotone import MonotoneStack
from mimi_lightning.module import UNKNOWN, QualityModel

MIDDLING = 96, 128  # height and width of the pictures that a program is traced with


class Scorer(nn.Module):
    """A trained model without what only learning needs.

    What no picture changes is computed once: the tables of integrated networks, the text features of CLIP. Text tower
    and integrands are left out.

    Args:
        model: stays as it is; this is a copy of it.

    Raises:
        ConfigError: a model that cannot be exported; says why.
    """

    def __init__(self, model: QualityModel) -> None:
        super().__init__()
        view = model.hparams.view
        if not view:
            raise ConfigError(
                "The checkpoint is of an early version and does not say what testing saw of a picture: nobody could "
                "use its exported file. Train anew."
            )
        if any(isinstance(module, TokenBackbone) for module in model.modules()):
            raise ConfigError(
                f"backbone {model.regressor.name} cannot be exported: it interpolates its positions to the size of every "
                "picture, for which ONNX has no operation. Export it as safetensors."
            )
        self.view = {key: value for key, value in view.items() if key != "_target_"}
        self.ranges = {name: list(model.hparams.datasets[name]["range"]) for name in model.names}
        self.model = settle(copy.deepcopy(model).cpu().eval().requires_grad_(False))
        self.outputs = ["proxy", *(["std"] if model.regressor.deviates else []), *model.names]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Scores of B pictures.

        Args:
            image: as `QualityModel` takes them: uint8 [B, 3, H, W], or stacks of patches [B, P, 3, side, side].

        Returns:
            The proxy scores; their standard deviations, where the model knows them; the scores on the native scale of
            every dataset, in the order of `names`. Each float32 [B].
        """
        judgement = self.model.judge(image)

        def read(number: int) -> Tensor:
            return self.model.mapper.read(judgement, torch.full_like(judgement.proxy, number, dtype=torch.int64))

        datasets = range(len(self.model.names))
        native = self.model.predict_mos(torch.stack([read(d) for d in datasets]), torch.arange(len(datasets))[:, None])
        return read(UNKNOWN), *([] if judgement.std is None else [judgement.std]), *native.unbind()

    def example(self, pictures: int = 2, size: tuple[int, int] = MIDDLING) -> Tensor:
        """Noise in the shape of a batch.

        Args:
            pictures: B.
            size: (height, width) of pictures that may have any.
        """
        if "patches" in self.view:
            size = self.view["patches"], 3, self.view["side"], self.view["side"]
        else:
            size = 3, *size
        return torch.randint(256, (pictures, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def trace(self) -> ExportedProgram:
        """The program for batches of any size, and pictures of any height and width where no patches are cut."""
        free = [0] if "patches" in self.view else [0, 2, 3]
        return torch.export.export(self, (self.example(),), dynamic_shapes=({axis: Dim.DYNAMIC for axis in free},))

    def facts(self) -> dict[str, str]:
        """What a reader of the file has to know, by name: JSON, but for the version."""
        return {
            "mimi_lightning": __version__,
            "view": json.dumps(self.view),
            "scales": json.dumps(self.ranges),
        }


@torch.no_grad()
def settle(model: Any) -> Any:
    """Put in place, once and for all, what no picture changes."""
    for name, module in list(model.named_modules()):
        if isinstance(module, MonotoneStack):
            _fix(module)
        elif isinstance(module, CLIPRegressor):
            _drop_text(module)
        elif type(module) is Conv2dSame:
            model.set_submodule(name, SameConv(module))
    return model


def _fix(stack: MonotoneStack) -> None:
    table = stack.tabulate()
    stack.tabulate = lambda: table
    del stack.integrands, stack.constants


def _drop_text(regressor: CLIPRegressor) -> None:
    text = regressor.text_features()
    regressor.text_features = lambda: text
    del regressor.prompts
    for kind in (regressor.clip._modules, regressor.clip._parameters, regressor.clip._buffers):
        for name in [*kind]:
            if name not in ("visual", "logit_scale"):
                delattr(regressor.clip, name)
