"""What an exported file computes: from pictures to proxy scores, and to scores on the scale of every dataset."""

from __future__ import annotations

import copy
import json

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mimi_lightning import __version__
from mimi_lightning.errors import ConfigError
from mimi_lightning.exporting.settle import settle
from mimi_lightning.module import UNKNOWN, QualityModel

MIDDLING = 96, 128  # height and width of the pictures that a program is traced with


class Scorer(nn.Module):
    """A trained model, and what it says of a picture as a plain list of scores.

    Args:
        model: in evaluation, on the CPU.

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
        self.view = {key: value for key, value in view.items() if key != "_target_"}
        self.patches = "patches" in self.view
        self.axes = {0: "batch"} if self.patches else {0: "batch", 2: "height", 3: "width"}  # of any length
        self.known = model.scale.known.nonzero().flatten().tolist()  # datasets whose labels, and so whose scale, are
        names = [model.names[number] for number in self.known]
        self.ranges = {name: list(model.hparams.datasets[name]["range"]) for name in names}
        self.outputs = ["proxy", *(["std"] if model.regressor.deviates else []), *names]
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Scores of B pictures.

        Args:
            image: as `QualityModel` takes them: uint8 [B, 3, H, W], or stacks of patches [B, P, 3, side, side].

        Returns:
            The proxy scores; their standard deviations, where the model knows them; the scores on the native scale of
            every dataset whose scale it knows, in the order of `names`. Each float32 [B].
        """
        judgement = self.model.judge(image)

        def read(number: int) -> Tensor:
            return self.model.mapper.read(judgement, torch.full_like(judgement.proxy, number, dtype=torch.int64))

        said = read(UNKNOWN), *([] if judgement.std is None else [judgement.std])
        if not self.known:
            return said
        native = self.model.predict_mos(torch.stack([read(d) for d in self.known]), torch.tensor(self.known)[:, None])
        return *said, *native.unbind()

    def example(self, pictures: int = 2, size: tuple[int, int] = MIDDLING) -> Tensor:
        """Noise in the shape of a batch.

        Args:
            pictures: B.
            size: (height, width) of pictures that may have any.
        """
        shape = [self.view["patches"], 3, *[self.view["side"]] * 2] if self.patches else [3, *size]
        return torch.randint(256, (pictures, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def trace(self) -> ExportedProgram:
        """Its program, for any batch, and for pictures of any height and width where no patches are cut.

        What no picture changes is computed once, see `settle`.
        """
        settled = settle(copy.deepcopy(self).requires_grad_(False))
        return torch.export.export(
            settled, (self.example(),), dynamic_shapes=({axis: Dim.DYNAMIC for axis in self.axes},)
        )

    def facts(self) -> dict[str, str]:
        """What a reader of the file has to know, by name: JSON, but for the version."""
        return {
            "mimi_lightning": __version__,
            "view": json.dumps(self.view),
            "scales": json.dumps(self.ranges),
        }
