"""Time `score` on a folder of 1024x768 JPEGs against the plain loop: `make bench-score`.

The plain loop opens a picture, makes a tensor of it, normalises it and calls the network, one picture at a time; its
network is the plain formulation, with whole Gram matrices and pictures in the order of their channels. All sides have
the same weights.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from torch import Tensor, nn
from torchvision import transforms

from benchmarks.data import KINDS, bundled_photos, write_pictures
from mimi_lightning import config
from mimi_lightning.data.images import resized_size
from mimi_lightning.module import QualityModel
from mimi_lightning.ruler.files import score_files
from mimi_lightning.ruler.ruler import Ruler
from mimi_lightning.train import PARTS

NETWORKS = {"resnet34": "none", "efficientnet_lite0": "imagenet"}  # and their weights
RESIZE = 768


class PlainNetwork(nn.Module):
    """The regressor as it is written down: feature maps, Gram matrix, square root, normalisation, three layers."""

    def __init__(self, model: QualityModel) -> None:
        super().__init__()
        regressor = model.regressor
        self.features = regressor.backbone.features.to(memory_format=torch.contiguous_format)
        self.reduce, self.rest = regressor.reduce, regressor.head[1:]
        first = regressor.head[0]
        channels = regressor.pool.channels
        self.first = nn.Linear(channels**2, first.out_features)
        rows, columns = torch.triu_indices(channels, channels)
        whole = torch.zeros(first.out_features, channels, channels)
        whole[:, rows, columns] = whole[:, columns, rows] = first.weight.detach()
        self.first.weight.data = whole.flatten(1)
        self.first.bias.data = first.bias.detach()

    def forward(self, pictures: Tensor) -> Tensor:
        maps = self.features(pictures)
        maps = self.reduce(maps[-1] if isinstance(maps, list) else maps).flatten(2)
        gram = maps @ maps.mT / maps.shape[2]
        pooled = nn.functional.normalize((gram.sign() * (gram.abs() + 1e-8).sqrt()).flatten(1))
        return self.rest(self.first(pooled))[:, 0]


def make_model(network: str) -> QualityModel:
    """A published variant on another backbone, with a head that was not trained."""
    words = [f"backbone={network}", f"backbone.weights={NETWORKS[network]}", "splits=generated", "dataset=[koniq,live]"]
    settings = OmegaConf.to_container(config.load(words), resolve=True)
    facts = {
        name: {"range": d["range"], "labels": d["range"], "weight": 1, "size": 1}
        for name, d in settings["datasets"].items()
    }
    torch.manual_seed(0)
    parts = {key: settings[key] for key in PARTS}
    return QualityModel(regressor=settings["backbone"], datasets=facts, view=settings["view"]["test"], **parts).eval()


@torch.no_grad()
def plain_loop(model: QualityModel) -> Callable[[list[str]], list[float]]:
    """Scores of files, one at a time."""
    network = PlainNetwork(model).eval()
    statistics = (getattr(model.regressor.backbone, name).flatten().tolist() for name in ("mean", "std"))
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*statistics)])

    def score(paths: list[str]) -> list[float]:
        scores = []
        for path in paths:
            image = Image.open(path).convert("RGB")
            image = image.resize(resized_size(image.size, RESIZE), Image.Resampling.BILINEAR)
            with torch.no_grad():
                scores.append(network(transform(image)[None]).item())
        return scores

    return score


def ours(model: QualityModel, precision: str) -> Callable[[list[str]], list[float]]:
    ruler = Ruler(model, precision)
    return lambda paths: [row["proxy"] for row in score_files(ruler, paths)]


def measure(network: str, paths: list[str], repeats: int) -> list[list[str]]:
    """Rows of the table: all sides in turn, the median of their rates, and how they agree with the plain loop."""
    sides = {
        "plain loop": plain_loop(make_model(network)),
        "score": ours(make_model(network), "32"),
        "score, bf16": ours(make_model(network), "bf16"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    scores = {name: side(paths[:4]) for name, side in sides.items()}  # which also warms them
    for _ in range(repeats):
        for name, side in sides.items():
            begin = time.perf_counter()
            scores[name] = side(paths)
            seconds[name].append(time.perf_counter() - begin)
    plain = np.array(scores["plain loop"])
    rows = []
    for name, values in seconds.items():
        rates = [len(paths) / value for value in values]
        difference = np.abs(np.array(scores[name]) - plain).max() / plain.std()
        rows.append(
            [
                network,
                name,
                f"{median(rates):.2f} ({min(rates):.2f} to {max(rates):.2f})",
                f"{median(rates) * median(seconds['plain loop']) / len(paths):.2f}x",
                f"{difference:.1e}",
                f"{spearmanr(scores[name], plain)[0]:.4f}",
            ]
        )
    return rows


def measure_memory(folder: Path, photos: list[Image.Image], number: int) -> str:
    """Peak memory of the process after some pictures, and after many more."""
    small = folder / "small.png"
    photos[0].resize((96, 64)).save(small)
    for i in range(number):
        shutil.copy(small, folder / f"{i:06d}.png")
    ruler, paths = Ruler(make_model("efficientnet_lite0")), [str(file) for file in sorted(folder.glob("0*.png"))]
    peaks = []
    for part in (paths[: number // 10], paths):
        for _ in score_files(ruler, part):
            pass
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return f"peak memory after {number // 10:,} pictures {peaks[0]:,.0f} MB, after {number:,} more {peaks[1]:,.0f} MB"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument("--memory", type=int, default=0, metavar="N", help="also peak memory over N pictures")
    args = parser.parse_args()
    table = Table("network", "", "pictures/s, median", "", "largest difference / std", "SRCC with plain")
    with tempfile.TemporaryDirectory() as folder:
        photos = bundled_photos()
        KINDS["score"] = ((1024, 768), ".jpg", {"quality": 90})
        paths = [str(path) for path in write_pictures(Path(folder), photos, "score", args.pictures)]
        for network in args.networks:
            for row in measure(network, paths, args.repeats):
                table.add_row(*row)
        memory = measure_memory(Path(folder), photos, args.memory) if args.memory else ""
    Console(width=120).print(table, f"{torch.get_num_threads()} threads", memory)


if __name__ == "__main__":
    main()
