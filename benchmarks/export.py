"""Exported files against PyTorch: pictures a second of one processor, and what 8 bits cost in SRCC.

On the test part of the demo's miniature datasets, batches of one, one thread, processor time; 8 bits are calibrated on
training pictures.

A second table has the speed alone, of a network of whole convolutions and larger pictures: ResNet-34, random weights.

    make demo
    make bench-export
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import pandas as pd
import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

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


def measure_speed(score: Score, pictures: list[torch.Tensor]) -> tuple[float, np.ndarray]:
    """Pictures a second, and their proxy scores."""
    score(pictures[0])
    start = time.process_time()
    proxy = np.array([score(picture) for picture in pictures])
    return len(pictures) / (time.process_time() - start), proxy


def measure(score: Score, pictures: list[torch.Tensor], rows: pd.DataFrame) -> tuple[float, np.ndarray, float]:
    """Pictures a second, proxy scores, and the mean of the datasets' SRCC."""
    speed, proxy = measure_speed(score, pictures)
    groups = rows.assign(proxy=proxy).groupby("dataset")
    return (
        speed,
        proxy,
        float(np.mean([srcc(group["proxy"].to_numpy(), group["mos"].to_numpy()) for _, group in groups])),
    )


def main(run: Path) -> None:
    torch.set_num_threads(1)
    model = QualityModel.load(run / "checkpoints" / "best.ckpt").requires_grad_(False)
    data = make_data(OmegaConf.to_container(OmegaConf.load(run / "config.yaml")))
    data.setup()
    pictures, rows = whole(data, "test")
    trained = whole(data, "train")[0]
    seen = [picture.numpy() for picture in trained[:: len(trained) // CALIBRATED]]
    with TemporaryDirectory() as folder:
        file, program = Path(folder) / "best.onnx", Path(folder) / "best.pt2"
        start = time.perf_counter()
        write_onnx(model, file)
        print(f"exported in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        write_program(model, program)
        exported = torch.export.load(program).module()
        ways = {
            "PyTorch": (lambda picture: model(picture).item(), run / "checkpoints" / "best.ckpt"),
            "torch.export": (lambda picture: exported(picture)[0].item(), program),
            "ONNX": (with_onnx(file), file),
        }
        for kept in (0, KEPT, 16):
            quantised = Path(folder) / f"{kept}.onnx"
            quantise(file, quantised, seen, kept)
            ways[f"ONNX, 8 bits but for {kept} convolutions"] = with_onnx(quantised), quantised
        show({way: (*measure(score, pictures, rows), os.path.getsize(file)) for way, (score, file) in ways.items()})
    time_resnet(model)


def time_resnet(demo: QualityModel) -> None:
    regressor = {**demo.hparams["regressor"], "name": "resnet34", "weights": "none"}
    model = QualityModel(**{**demo.hparams, "regressor": regressor}).eval().requires_grad_(False)
    pictures = list(torch.randint(256, (12, 1, 3, 384, 512), dtype=torch.uint8))
    table = Table("", "pictures/s", title="ResNet-34, 12 pictures of 384x512")
    with TemporaryDirectory() as folder:
        file, small = Path(folder) / "32.onnx", Path(folder) / "8.onnx"
        write_onnx(model, file)
        quantise(file, small, [picture.numpy() for picture in pictures[:3]])
        ways = {"PyTorch": lambda picture: model(picture).item(), "ONNX": with_onnx(file), "8 bits": with_onnx(small)}
        for way, score in ways.items():
            table.add_row(way, f"{measure_speed(score, pictures)[0]:.2f}")
    Console(width=110).print(table)


def show(found: dict[str, tuple[float, np.ndarray, float, int]]) -> None:
    expected = found["PyTorch"][1]
    table = Table(title=f"{len(expected)} test pictures")
    for heading in ("", "pictures/s", "SRCC", "largest difference", "of the spread", "MB"):
        table.add_column(heading, justify="right" if heading else "left")
    for way, (speed, proxy, figure, size) in found.items():
        error = np.abs(proxy - expected)
        spread = (error**2).mean() ** 0.5 / expected.std()
        table.add_row(way, f"{speed:.1f}", f"{figure:.4f}", f"{error.max():.1g}", f"{spread:.1%}", f"{size / 1e6:.1f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else RUN)
