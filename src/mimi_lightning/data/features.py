"""Frozen features: what a backbone that does not learn sees of every image, computed once and mapped into memory.

One file holds one dataset as one view shows it: float32 [V, N, F], V views of each of its N images. Its name ends in a
hash of all that the numbers depend on (network, view, image files), so that a file that is there is always right, and
what changed is computed anew. Nothing but the head is then trained, in seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock
from torch.utils.data import Dataset

from mimi_lightning.contracts import Regressor
from mimi_lightning.data.images import mirrored
from mimi_lightning.data.places import file_facts, on_disk, place
from mimi_lightning.data.sampling import Draw
from mimi_lightning.errors import DatasetError
from mimi_lightning.files import aside
from mimi_lightning.progress import progress_bar

if TYPE_CHECKING:
    from mimi_lightning.data.datamodule import MixedDataModule

# What a regressor is told that its features do not depend on.
AFTER = ("hidden", "says", "weights", "freeze", "keep_scaling", "lora", "max_channels")


class FeatureRows(Dataset):
    """The images of an annotations table by their features; whole batches at once.

    Args:
        features: of each dataset, [V, N, F].
        dataset: number of each row's dataset.
        facts: what a batch carries of each row beside its features, columns of the same length.
    """

    def __init__(self, features: Sequence[np.ndarray], dataset: np.ndarray, facts: Mapping[str, np.ndarray]) -> None:
        self.features, self.dataset, self.facts = features, dataset, facts
        self.place = np.concatenate([np.arange((dataset == number).sum()) for number in range(len(features))])

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, draws: Sequence[Draw]) -> dict[str, Any]:
        """A batch: of each draw the view that its seed chooses, features [B, F], row and seed and facts [B, ...]."""
        row, seed = np.array(draws).T
        features = np.empty((len(row), self.features[0].shape[2]), np.float32)
        for number in np.unique(self.dataset[row]):
            of, kept = self.dataset[row] == number, self.features[number]
            features[of] = kept[seed[of] % len(kept), self.place[row[of]]]
        batch = {"features": features, "row": row, "seed": seed, **{key: v[row] for key, v in self.facts.items()}}
        return {name: torch.from_numpy(column) for name, column in batch.items()}


def fingerprint(regressor: Regressor, spec: Mapping[str, Any]) -> str:
    """Hash of the network that makes features: what it was told, and the weights that features pass."""
    told = {key: value for key, value in spec.items() if key not in AFTER}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
    for name, value in regressor.state_dict().items():
        if name.partition(".")[0] in regressor.trunk:
            digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


def open_features(store: Path, name: str, key: Mapping[str, Any], compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Map the features of one dataset and view into memory, after computing them where they are not there.

    Any number of processes may ask for the same features at once: one computes them, the others wait.

    Args:
        store: folder of all features.
        name: of dataset and view, begins the file's name.
        key: all that the features depend on.
        compute: gives float32 [V, N, F].

    Raises:
        DatasetError: the store cannot be written.
    """
    file = store / f"{name}-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]}.npy"
    if (found := _load(file)) is not None:
        return found
    try:
        store.mkdir(parents=True, exist_ok=True)
        with FileLock(store / f".{name}.lock"):
            if (found := _load(file)) is not None:  # another process may have computed them while this one waited
                return found
            features = compute()
            with aside(file) as draft, draft.open("wb") as opened:
                np.save(opened, features)
    except OSError as error:
        raise DatasetError(
            f"The features {file} cannot be written: {error.strerror or error}. Set data.feature_store=DIR."
        ) from error
    return np.load(file, mmap_mode="r")


def _load(file: Path) -> np.ndarray | None:
    """Map a file of features into memory; None where there is none, or a damaged one."""
    try:
        return np.load(file, mmap_mode="r")
    except (FileNotFoundError, ValueError, EOFError):
        return None


def keep_features(
    data: MixedDataModule,
    regressor: Regressor,
    settings: Mapping[str, Any],
    views: Mapping[Callable, int],
    device: torch.device,
) -> dict[Callable, FeatureRows]:
    """What `data` loads instead of images.

    Args:
        data: set up.
        regressor: computes features.
        settings: resolved configuration: how the regressor was made (conf/backbone), and where features are kept.
        views: of which of its views, and how many of each image; of training, every second one is mirrored.
        device: where to compute.

    Raises:
        ConfigError: something learns before the features.
        DatasetError: an image that cannot be read, or a store that cannot be written.
    """
    store = place(settings["data"]["feature_store"])
    if not on_disk(store):
        raise DatasetError(f"Features are mapped into memory, not from {store}. Set data.feature_store=DIR on a disk.")
    network = fingerprint(regressor, settings["backbone"])
    training = regressor.training
    regressor.eval().to(device)
    numbers = data.facts["dataset"]
    kept = {}
    for view, times in views.items():
        features = []
        for number, name in enumerate(data.names):
            rows = np.flatnonzero(numbers == number)
            paths = data.images[view.resize].paths[rows]
            facts = file_facts(paths)
            files = [(image, *fact) for image, fact in zip(data.table["image"][rows], facts, strict=True)]
            key = {"network": network, "view": [type(view).__name__, vars(view)], "views": times, "files": files}
            compute = partial(_compute, data, regressor, view, rows, times, device, f"Features of {name}")
            features.append(open_features(store, f"{name}-{type(view).__name__}", key, compute))
        kept[view] = FeatureRows(features, numbers, data.facts)
    regressor.train(training)
    return kept


@torch.no_grad()
def _compute(
    data: MixedDataModule,
    regressor: Regressor,
    view: Callable,
    rows: np.ndarray,
    views: int,
    device: torch.device,
    title: str,
) -> np.ndarray:
    """Features of V views of N images, float32 [V, N, F]."""
    order, features = [], []
    with progress_bar() as bar:
        draws = _draws(data, view, rows, views)
        for batch in bar.track(data.loader(view, draws), description=title):
            batch = data.delivered(batch, device)
            order.append(batch["row"].cpu())
            features.append(regressor.features(batch["image"]).float().cpu())
    order = torch.cat(order).argsort(stable=True)  # by image, and its views in their order
    return torch.cat(features)[order].view(len(rows), views, -1).transpose(0, 1).contiguous().numpy()


def _draws(data: MixedDataModule, view: Callable, rows: np.ndarray, views: int) -> list[list[Draw]]:
    """Batches of all views of the images; seeds depend on an image's place in its dataset alone."""
    if view is data.test_view:
        return list(data.whole(rows))
    seeds = np.arange(4 * views * len(rows) + 100)
    seeds = [seeds[mirrored(seeds) == side].tolist() for side in (0, 1)]
    draws = [(int(row), seeds[v % 2][v * len(rows) + place]) for v in range(views) for place, row in enumerate(rows)]
    return [draws[i : i + data.test_batch] for i in range(0, len(draws), data.test_batch)]
