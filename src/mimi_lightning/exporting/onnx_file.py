"""ONNX files that need neither PyTorch nor this project, of 32 bits or quantised to 8."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import onnxscript  # noqa: F401  PyTorch needs it
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from mimi_lightning.data.images import DecodedPicture
from mimi_lightning.errors import ConfigError
from mimi_lightning.exporting.scorer import MIDDLING, Scorer
from mimi_lightning.files import aside
from mimi_lightning.module import QualityModel
from mimi_lightning.ruler.ruler import Ruler

KEPT = 3  # convolutions of 32 bits in a file of 8
CLOSE = 1e-4  # as near as the scores of both have to be, absolutely or relatively
SIZES = ((1, (67, 53)), (3, MIDDLING))  # of the batches that are compared


def write_onnx(model: QualityModel, file: Path) -> float:
    """Write a model as ONNX, whole or not at all, after onnxruntime has computed the same scores with it.

    Input `image` and outputs are those of `Scorer`; the file's metadata are its `facts`.

    Args:
        model: a trained one.
        file: to write.

    Returns:
        The largest difference between scores of onnxruntime and PyTorch.

    Raises:
        ConfigError: the model cannot be exported, or onnxruntime computes other scores.
    """
    with aside(file) as draft:
        return _write(Scorer(model), draft)


def write_int8(model: QualityModel, file: Path, pictures: Sequence[Path]) -> float:
    """Write a model as ONNX whose convolutions compute with 8 bits, scaled by what they see in some pictures.

    Pooling, head and mappers keep 32 bits.

    Args:
        model: a trained one, with a backbone of convolutions.
        file: to write.
        pictures: files such as will be scored, dozens of them.

    Returns:
        The largest difference between its scores of these pictures and those of PyTorch.

    Raises:
        ConfigError: the model cannot be exported, or has no backbone of convolutions.
        DatasetError: a picture that cannot be read.
    """
    scorer = Scorer(model)
    if scorer.patches:
        raise ConfigError(f"backbone {model.regressor.name} keeps 32 bits: only convolutions of whole pictures get 8.")
    seen = [view.numpy()[None] for view in views(model, pictures)]
    with TemporaryDirectory() as folder, aside(file) as draft:
        whole = Path(folder) / "whole.onnx"
        _write(scorer, whole)
        quantise(whole, draft, seen)
        return _largest_difference(scorer, draft, map(torch.from_numpy, seen))[0]


class Views(CalibrationDataReader):
    """Pictures as onnxruntime asks for them.

    Args:
        seen: views, uint8 [1, 3, H, W] each.
    """

    def __init__(self, seen: Sequence[np.ndarray]) -> None:
        self.feeds = ({"image": view} for view in seen)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next one, None behind the last."""
        return next(self.feeds, None)


def quantise(whole: Path, file: Path, seen: Sequence[np.ndarray], kept: int = KEPT) -> None:
    """Quantise the convolutions of an ONNX file: weights by channel, what flows between them as a whole.

    Args:
        whole: of 32 bits.
        file: to write.
        seen: views of pictures, uint8 [1, 3, H, W] each.
        kept: how many convolutions that see the picture first keep 32 bits: few operations, on which all others rest.
    """
    with TemporaryDirectory() as folder, quiet():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        convolutions = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Conv"]
        quantize_static(
            prepared,
            file,
            Views(seen),
            nodes_to_quantize=convolutions[kept:],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def views(model: QualityModel, pictures: Sequence[Path]) -> Iterator[torch.Tensor]:
    """What a model sees of pictures, one after the other."""
    view = Ruler(model).view
    return (view(DecodedPicture(picture, view.resize)) for picture in pictures)


def _write(scorer: Scorer, file: Path) -> float:
    with quiet():
        program = torch.onnx.export(
            scorer.trace(), (), dynamo=True, input_names=["image"], output_names=scorer.outputs, verbose=False
        )
    (image,), outputs = program.model.graph.inputs, program.model.graph.outputs
    for axis, name in scorer.axes.items():
        image.shape[axis] = name
    for output in outputs:
        output.shape[0] = scorer.axes[0]
    program.model.metadata_props.update(scorer.facts())
    program.save(file)
    worst = _largest_difference(scorer, file, [scorer.example(*size) for size in SIZES])
    if worst[1] > CLOSE:
        raise ConfigError(f"onnxruntime computes other scores than PyTorch, by {worst[0]:.2g}: nothing was exported.")
    return worst[0]


@torch.no_grad()
def _largest_difference(scorer: Scorer, file: Path, images: Iterable[torch.Tensor]) -> tuple[float, float]:
    """Of scores by onnxruntime and by PyTorch: absolute, and relative to scores above 1."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    absolute = relative = 0.0
    for image in images:
        for score, other in zip(scorer(image), session.run(None, {"image": image.numpy()}), strict=True):
            difference = (score - torch.from_numpy(other)).abs().nan_to_num(torch.inf)
            absolute = max(absolute, float(difference.max()))
            relative = max(relative, float((difference / score.abs().clamp(min=1)).max()))
    return absolute, relative


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's warnings and log: that the scores are the same is tested here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
