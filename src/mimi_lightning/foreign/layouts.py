"""The layouts of checkpoints of other authors: how each is told, and where its weights belong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mimi_lightning.errors import ConfigError
from mimi_lightning.foreign.parts import put_backbone, put_head, put_mapper, put_module
from mimi_lightning.foreign.weights import Weights, listed
from mimi_lightning.module import QualityModel

MOST_BLOCKS = 3  # as many as the code of MIMI has by default; one was published
PARALLEL = "module."  # before all names of a network that was trained on several GPUs


class Layout(ABC):
    """How authors write a checkpoint."""

    title: str
    sign: str  # a tensor that no other layout has
    homes: tuple[str | None, ...]  # under which key a file keeps its tensors; None: they are all that it holds
    beside: tuple[str, ...]  # what else it holds; it is not looked at
    datasets: tuple[str, ...]  # that the authors trained on, in the order in which they count them
    lists: str | None = None  # protocol of their published partitions
    mapped: bool = False  # whether it has score mappers

    @abstractmethod
    def words(self, weights: Weights) -> list[str]:
        """The configuration that makes a model of the same shape, as on the command line."""

    @abstractmethod
    def put(self, model: QualityModel, weights: Weights) -> None:
        """Set all that the model has learned.

        Raises:
            ConfigError: what is lacking or has another shape.
        """


class Mapped(Layout):
    """A layout with a monotone function M and a monotonic invertible network for each dataset, numbered from 1."""

    mapped = True
    first: str  # what M of a dataset is called, before its number
    blocks: str  # and what the network

    def roles(self, number: int, blocks: int) -> list[str]:
        """What M, F_1, G_1, F_2, G_2, ... of a dataset are called."""
        pairs = [f"{self.blocks}{number}.operations.{k}.{role}" for k in range(blocks) for role in "FG"]
        return [f"{self.first}{number}", *pairs]

    def mapper_words(self, weights: Weights) -> list[str]:
        """Number of blocks, and widths of the integrands: those of the file."""
        blocks = sum(f"{self.blocks}1.operations.{k}.F.net.0.bias" in weights for k in range(MOST_BLOCKS))
        hidden = weights.widths([f"{self.first}1.integrand.net.{place}.bias" for place in (0, 2, 4)], [100] * 3)
        return [f"mapper.blocks={max(blocks, 1)}", f"mapper.hidden={hidden}"]

    def put_mappers(self, model: QualityModel, weights: Weights) -> None:
        """Set the score mappers of all datasets."""
        for number, name in enumerate(self.datasets, 1):
            put_mapper(model.mapper, name, weights, self.roles(number, model.mapper.blocks))


class MIMICNN(Mapped):
    """MIMI-ResNet and MIMI-VGG: `BaseCNN-best.pt`."""

    title = "MIMI-CNN"
    sign = "trans1.net.0.bias"
    homes = ("state_dict",)
    beside = ("epoch", "optimizer", "test_results_srcc")
    datasets = ("live", "csiq", "kadid", "bid", "clive", "koniq")
    lists = "mimi_cnn"
    first, blocks = "trans", "nlm"

    def words(self, weights: Weights) -> list[str]:
        """See `Layout.words`."""
        experiment = "mimi_vgg16" if "backbone.0.weight" in weights else "mimi_resnet34"
        hidden = weights.widths(("fc.0.bias", "fc.2.bias"), (512, 64))
        return [f"experiment={experiment}", f"backbone.hidden={hidden}", *self.mapper_words(weights)]

    def put(self, model: QualityModel, weights: Weights) -> None:
        """See `Layout.put`."""
        regressor = model.regressor
        put_backbone(regressor.backbone.features, weights, regressor.name)
        put_head(regressor.head, regressor.pool, weights, lambda key: f"fc.{key}")
        self.put_mappers(model, weights)


class MIMICLIP(Mapped):
    """MIMI-CLIP: `quality_best_ckpt.pt`, with the names of OpenAI's CLIP."""

    title = "MIMI-CLIP"
    sign = "clip_model.logit_scale"
    homes = ("model_state_dict",)
    beside = ("epoch", "optimizer_state_dict", "all_results")
    datasets = ("live", "csiq", "bid", "clive", "koniq", "kadid")
    lists = "liqe"
    first, blocks = "M", "MINN"

    def words(self, weights: Weights) -> list[str]:
        """See `Layout.words`."""
        return ["experiment=mimi_clip", *self.mapper_words(weights)]

    def put(self, model: QualityModel, weights: Weights) -> None:
        """See `Layout.put`."""
        put_module(model.regressor.clip, weights, lambda key: f"clip_model.{key}")
        self.put_mappers(model, weights)


class LIQE(Layout):
    """LIQE: `LIQE.pt` and the checkpoints of its training; the whole CLIP by OpenAI's names, without any mapper.

    Source: github.com/zwx8981/LIQE, demo.py.
    """

    title = "LIQE"
    sign = "logit_scale"
    homes = (None, "model_state_dict")
    beside = ("epoch", "optimizer_state_dict", "all_results")
    datasets = ("live", "csiq", "bid", "clive", "koniq", "kadid")
    lists = "liqe"

    def words(self, weights: Weights) -> list[str]:
        """See `Layout.words`."""
        return ["experiment=liqe"]

    def put(self, model: QualityModel, weights: Weights) -> None:
        """See `Layout.put`."""
        put_module(model.regressor.clip, weights, lambda key: key)


class UNIQUE(Layout):
    """UNIQUE: `model.pt` and the checkpoints of its training; ResNet34 and one layer, without any mapper.

    Source: github.com/zwx8981/UNIQUE, BaseCNN.py, TrainModel.py and demo.py.
    """

    title = "UNIQUE"
    sign = "fc.bias"
    homes = (None, "state_dict")
    beside = ("epoch", "optimizer", "train_loss", "train_std_loss", "test_results_srcc", "test_results_plcc")
    datasets = ("live", "csiq", "bid", "clive", "koniq", "kadid")

    def words(self, weights: Weights) -> list[str]:
        """See `Layout.words`."""
        return ["experiment=unique"]

    def put(self, model: QualityModel, weights: Weights) -> None:
        """See `Layout.put`."""
        regressor = model.regressor
        put_backbone(regressor.backbone.features, weights, regressor.name)
        put_head(regressor.head, regressor.pool, weights, lambda key: f"fc.{key.removeprefix('0.')}")


LAYOUTS: tuple[Layout, ...] = (MIMICNN(), MIMICLIP(), LIQE(), UNIQUE())


def recognise(content: Mapping[str, Any], file: Path) -> tuple[Layout, Weights]:
    """Tell a layout by the names of its tensors.

    Args:
        content: of the file.
        file: for messages.

    Raises:
        ConfigError: no layout that is known, or one mixed with something else.
    """
    home = next((key for layout in LAYOUTS for key in layout.homes if key is not None and key in content), None)
    tensors = content if home is None else content[home]
    if not isinstance(tensors, Mapping) or not all(isinstance(name, str) for name in (*content, *tensors)):
        raise ConfigError(f"{file} is refused: it does not hold weights by their names.")
    if all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): tensor for name, tensor in tensors.items()}
    layout = next((layout for layout in LAYOUTS if layout.sign in tensors), None)
    if layout is None:
        known = ", ".join(f"{layout.title} ({layout.sign})" for layout in LAYOUTS)
        holds = listed(tensors) or "nothing"
        raise ConfigError(f"{file} is refused: it holds {holds}, and the sign of no layout that is known: {known}.")
    if home not in layout.homes:
        right = " or ".join("at its top" if key is None else f"under {key}" for key in layout.homes)
        raise ConfigError(
            f"{file} is refused: it holds the weights of {layout.title} {f'under {home}' if home else 'at its top'}, "
            f"but {layout.title} has them {right}."
        )
    strangers = [] if home is None else [key for key in content if key not in (home, *layout.beside)]
    if strangers:
        raise ConfigError(f"{file} is refused: beside its weights it holds {listed(strangers)}.")
    return layout, Weights(tensors, file)
