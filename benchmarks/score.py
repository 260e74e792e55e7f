"""Time `score` on a folder of 1024x768 JPEGs against the plain loop: `make bench-score`.

The plain loop opens a picture, makes a tensor of it, normalises it and calls the network, one picture at a time; its
network is the plain formulation, with whole Gram matrices and pictures in the order of their channels. All sides have
the same weights but pyiqa, which is timed as well where it is installed: its UNIQUE is of the size of ours on ResNet34.
"""

from __future__ import annotations

import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torchvision
from omegaconf import OmegaConf
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor, nn
from torchvision import transforms

from benchmarks.data import KINDS, bundled_photos, write_pictures
from benchmarks.harness import Case, Fact, main, wall
from mimi_lightning import config
from mimi_lightning.data.images import resized_size
from mimi_lightning.module import QualityModel
from mimi_lightning.ruler.files import score_files
from mimi_lightning.ruler.ruler import Ruler
from mimi_lightning.train import PARTS

NETWORKS = {"resnet34": "none", "efficientnet_lite0": "imagenet"}  # and their weights
RESIZE = 768
PICTURES, MORE = 24, 4000  # that are timed; tiny ones, for memory


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


def make_model(network: str, *overrides: str) -> QualityModel:
    """A published variant on another backbone, with a head that was not trained."""
    weights = NETWORKS.get(network, "none")
    words = [f"backbone={network}", f"backbone.weights={weights}", "dataset=[koniq,live]", *overrides]
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


def pyiqa_unique() -> Callable[[list[str]], list[float]]:
    """UNIQUE as pyiqa scores files with it; weights do not matter here, and are not downloaded."""
    import pyiqa

    plain = partial(torchvision.models.resnet34, weights=None)
    with (
        patch("torchvision.models.resnet34", lambda **_: plain()),
        patch("pyiqa.archs.unique_arch.load_pretrained_network"),
    ):
        metric = pyiqa.create_metric("unique", device="cpu")
    return lambda paths: [float(metric(path)) for path in paths]


def cases(quick: bool) -> Iterator[Case | Fact]:
    with tempfile.TemporaryDirectory() as place:
        folder, photos = Path(place), bundled_photos()
        KINDS["score"] = ((64, 48) if quick else (1024, 768), ".jpg", {"quality": 90})
        paths = [str(path) for path in write_pictures(folder, photos, "score", 5 if quick else PICTURES)]
        for network in [*NETWORKS][:1] if quick else NETWORKS:
            yield from cases_of(network, paths)
        if not quick:
            yield Fact("peak memory", measure_memory(folder, photos, MORE))


def cases_of(network: str, paths: list[str]) -> Iterator[Case | Fact]:
    """All sides in turn, and how their scores agree with those of the plain loop."""
    sides = {
        "plain loop": plain_loop(make_model(network)),
        "score": ours(make_model(network), "32"),
        "score, bf16": ours(make_model(network), "bf16"),
    }
    if network == "resnet34" and find_spec("pyiqa"):
        sides["pyiqa, UNIQUE"] = pyiqa_unique()
    scores: dict[str, list[float]] = {}
    timed = {
        name: wall(lambda name=name, side=side: scores.update({name: side(paths)})) for name, side in sides.items()
    }
    yield Case(network, timed, len(paths))
    plain = np.array(scores["plain loop"])
    for name in ("score", "score, bf16"):
        difference = np.abs(np.array(scores[name]) - plain).max() / plain.std()
        agree = f"{difference:.1e} of the spread at most, SRCC {spearmanr(scores[name], plain)[0]:.4f}"
        yield Fact(f"{network}, {name}, from the plain loop", agree)


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


if __name__ == "__main__":
    main(cases)
