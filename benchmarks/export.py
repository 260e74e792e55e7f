"""Exported files against PyTorch: pictures a second of one processor, and what 8 bits cost in SRCC.

Speed is that of a network of whole convolutions, ResNet-34 with random weights; pictures come one by one. What 8 bits
cost is told on the test part of the demo's miniature datasets, where the demo has run (`make demo`); they are
calibrated on its training pictures.

    make bench-export
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import torch
from omegaconf import OmegaConf

from benchmarks.harness import Case, Fact, core, main
from benchmarks.score import make_model
from mimi_lightning.data.datamodule import MixedDataModule
from mimi_lightning.exporting.onnx_file import KEPT, quantise, write_onnx
from mimi_lightning.exporting.program import write_program
from mimi_lightning.metrics import srcc
from mimi_lightning.module import QualityModel
from mimi_lightning.train import make_data

RUN = Path("outputs/demo/efficientnet_lite0/split01")
CALIBRATED = 48
Score = Callable[[torch.Tensor], float]


def whole(data: MixedDataModule, part: str) -> tuple[list[torch.Tensor], pd.DataFrame]:
    """All pictures of a part, [1, 3, H, W] each, and their rows."""
    batches = list(data.part_dataloader(part))
    pictures = [picture[None] for batch in batches for picture in batch["image"]]
    return pictures, data.table.loc[torch.cat([batch["row"] for batch in batches]).numpy()]


def with_onnx(file: Path) -> Score:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda picture: session.run(None, {"image": picture.numpy()})[0].item()


def ways(model: QualityModel, folder: Path, seen: list[np.ndarray], kept: tuple[int, ...]) -> dict[str, Score]:
    """The model, and the files that it is exported to; `kept` convolutions are left out of 8 bits."""
    program, file = folder / "model.pt2", folder / "model.onnx"
    write_program(model, program)
    write_onnx(model, file)
    exported = torch.export.load(program).module()
    found = {
        "PyTorch": lambda picture: model(picture).item(),
        "torch.export": lambda picture: exported(picture)[0].item(),
        "ONNX": with_onnx(file),
    }
    for number in kept:
        quantised = folder / f"{number}.onnx"
        quantise(file, quantised, seen, number)
        found[f"ONNX, 8 bits but for {number} convolutions"] = with_onnx(quantised)
    return found


def cases(quick: bool) -> Iterator[Case | Fact]:
    with tempfile.TemporaryDirectory() as folder:
        model = make_model("resnet34").requires_grad_(False)
        pictures = list(torch.randint(256, (4, 1, 3, *((64, 96) if quick else (384, 512))), dtype=torch.uint8))
        sides = ways(model, Path(folder), [picture.numpy() for picture in pictures], () if quick else (KEPT,))
        timed = {way: core(lambda score=score: [*map(score, pictures)]) for way, score in sides.items()}
        yield Case("ResNet-34, pictures one by one", timed, len(pictures))
    if RUN.is_dir() and not quick:
        yield from cases_of_demo()


def cases_of_demo() -> Iterator[Case | Fact]:
    model = QualityModel.load(RUN / "checkpoints" / "best.ckpt").requires_grad_(False)
    data = make_data(OmegaConf.to_container(OmegaConf.load(RUN / "config.yaml")))
    data.setup()
    pictures, rows = whole(data, "test")
    trained = whole(data, "train")[0]
    seen = [picture.numpy() for picture in trained[:: len(trained) // CALIBRATED]]
    proxies: dict[str, np.ndarray] = {}

    def score_all(way: str, score: Score) -> None:
        proxies[way] = np.array([*map(score, pictures)])

    with tempfile.TemporaryDirectory() as folder:
        sides = ways(model, Path(folder), seen, (0, KEPT, 16))
        timed = {way: core(lambda way=way, score=score: score_all(way, score)) for way, score in sides.items()}
        yield Case("demo, test pictures one by one", timed, len(pictures))
    for way, proxy in proxies.items():
        groups = rows.assign(proxy=proxy).groupby("dataset")
        figure = np.mean([srcc(group["proxy"].to_numpy(), group["mos"].to_numpy()) for _, group in groups])
        error = np.abs(proxy - proxies["PyTorch"])
        spread = (error**2).mean() ** 0.5 / proxies["PyTorch"].std()
        yield Fact(
            f"demo, {way}", f"SRCC {figure:.4f}, differs by {error.max():.1g} at most, {spread:.1%} of the spread"
        )


if __name__ == "__main__":
    main(cases, threads=1)
