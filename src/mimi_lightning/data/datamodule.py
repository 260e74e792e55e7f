"""The LightningDataModule: one loader over the concatenation of all datasets, mixed batches by quota."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

from mimi_lightning.data.annotations import add_scenes, check_range, read_annotations
from mimi_lightning.data.cache import CachedImages
from mimi_lightning.data.cache_build import open_cache
from mimi_lightning.data.features import FeatureRows
from mimi_lightning.data.images import ImageFiles, Picture, Size, mirror
from mimi_lightning.data.partitions import Protocol, assign_parts, limit_training
from mimi_lightning.data.places import place
from mimi_lightning.data.sampling import Draw, MixedBatchSampler, SizeBatchSampler, share_quota
from mimi_lightning.errors import DatasetError
from mimi_lightning.processes import gathered, keep_sockets_short

Batch = dict[str, Any]
Images = ImageFiles | CachedImages
FEATURES_TOGETHER = 4096  # images whose features are tested together
View = Callable[[Picture, int], torch.Tensor]
Labels = Callable[[pd.DataFrame], Mapping[str, np.ndarray]]


@dataclass
class Broken:
    """Stands for an image that could not be read; travels out of a worker like a sample."""

    reason: str


class ImageRows(Dataset):
    """The images of an annotations table, by row.

    Args:
        images: picture of each row.
        facts: what a batch carries of each row beside its image, columns of the same length.
        view: makes the tensor from a picture and a seed.
    """

    def __init__(self, images: Images, facts: Mapping[str, np.ndarray], view: View) -> None:
        self.images, self.facts, self.view = images, facts, view

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: Draw) -> dict[str, Any] | Broken:
        row, seed = draw
        try:
            image = self.view(self.images[row], seed)
        except DatasetError as error:
            return Broken(str(error))
        facts = {name: column[row] for name, column in self.facts.items()}
        return {"image": image, "row": row, "seed": seed, **facts}


def collate(samples: Sequence[dict[str, Any] | Broken]) -> Batch:
    """Stack samples; the reasons of broken ones come along under `broken`.

    Returns:
        image uint8 [B, ...] as the view makes it, row and seed of the draws int64 [B], each of the facts [B, ...],
        broken [str].
    """
    whole = [sample for sample in samples if not isinstance(sample, Broken)]
    broken = [sample.reason for sample in samples if isinstance(sample, Broken)]
    if not whole:
        return {"broken": broken}
    facts = [{name: fact for name, fact in sample.items() if name != "image"} for sample in whole]
    return {"image": _stack([sample["image"] for sample in whole]), **default_collate(facts), "broken": broken}


def _stack(images: Sequence[torch.Tensor]) -> torch.Tensor:
    if get_worker_info() is not None:
        return default_collate(images)  # in memory that processes share
    # NumPy asks the system for huge pages. It clears new memory page by page, which takes longer than copying images.
    memory = np.empty((len(images), *images[0].shape), np.uint8)
    return torch.stack(images, out=torch.from_numpy(memory))


class MixedLoader(DataLoader):
    """The train loader, which goes on in the middle of an epoch.

    It counts the batches that it has handed out; how far its workers have read ahead does not matter.
    """

    resumed = 0  # the batch with which the next epoch begins

    def __iter__(self) -> Iterator[Batch]:
        self.given, self.resumed = self.resumed, 0
        self.batch_sampler.first = self.given
        return self._counted(super().__iter__())

    def _counted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self.given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """How many batches of this epoch were handed out; Lightning keeps it in checkpoints."""
        return {"given": self.given}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Begin with the next batch; Lightning asks for it only where an epoch was not finished."""
        self.resumed = state["given"]


class MixedDataModule(lightning.LightningDataModule):
    """Six (or any) IQA datasets as one stream of mixed batches.

    Args:
        datasets: of each dataset its reader, folder, url, range and quota, perhaps its table and limit (conf/dataset).
        split: 1..10.
        seed: of the order of images and of their random views.
        root: folder that holds the datasets' folders, or its address in object storage.
        splits: where the partitions come from (conf/splits), as `Protocol`; None takes all images as test part.
        labels: makes what batches carry beside mos and dataset, columns [N, ...], of the annotations table with parts.
        cache: keep decoded pictures: in `cache` below the root (true), or in this folder.
        epoch: `longest` for one pass over the dataset that needs most batches, or a number of batches.
        train_view: what training sees of a picture: a tensor from a picture and a seed.
        test_view: what validation and testing see; its `size` says which pictures can share a batch.
        test_batch: images of one size tested together, at most.
        workers: processes that read images.
        on_error: `raise` stops at an image that cannot be read; `skip` leaves it out and counts it.
    """

    def __init__(
        self,
        datasets: Mapping[str, Mapping[str, Any]],
        split: int,
        seed: int,
        *,
        root: Path | str,
        splits: Mapping[str, Any] | None,
        train_view: View,
        test_view: View,
        labels: Labels | None = None,
        cache: bool | Path | str | None = None,
        epoch: int | str = "longest",
        test_batch: int = 16,
        workers: int = 4,
        on_error: str = "raise",
    ) -> None:
        super().__init__()
        self.datasets = {name: dict(datasets[name]) for name in sorted(datasets)}
        self.split, self.seed = split, seed
        self.root, self.protocol = place(root), Protocol(**splits) if splits else None
        self.cache = self.root / "cache" if cache is True else place(cache) if cache else None
        self.steps = None if epoch == "longest" else int(epoch)
        self.train_view, self.test_view, self.labels = train_view, test_view, labels
        self.test_batch, self.workers, self.on_error = test_batch, workers, on_error
        self.skipped: set[str] = set()
        self.kept: dict[View, FeatureRows] = {}  # what is loaded instead of images, see `keep_features`
        self.table: pd.DataFrame | None = None

    @property
    def names(self) -> list[str]:
        """Names of the datasets; a batch's `dataset` counts along its `names`, which are these."""
        return list(self.datasets)

    def setup(self, stage: str | None = None) -> None:
        """Read all annotations, this split's parts and labels, build the decoded cache; nothing the second time."""
        if self.table is not None:
            return
        tables = [
            read_annotations(name, d["reader"], self.root / d["folder"], d["url"], d.get("table"))
            for name, d in self.datasets.items()
        ]
        for (name, d), rows in zip(self.datasets.items(), tables, strict=True):
            check_range(name, rows["mos"], d["range"])
        table = add_scenes(pd.concat(tables, ignore_index=True), self.root / "scenes.csv")
        self.table = self._assign_parts(table) if self.protocol else table.assign(part="test")
        self.facts = {
            "mos": self.table["mos"].to_numpy(np.float32),
            "std": self.table["std"].to_numpy(np.float32),
            "dataset": self.table["dataset"].map(self.names.index).to_numpy(),
            **(self.labels(self.table) if self.labels else {}),
        }
        self.images: dict[int, Images] = {}
        # The larger first: its cache serves the other one.
        for resize in sorted({self.train_view.resize, self.test_view.resize}, reverse=True):
            self.images[resize] = self._images(resize)

    def _assign_parts(self, table: pd.DataFrame) -> pd.DataFrame:
        folders = {name: d["folder"] for name, d in self.datasets.items()}
        self.parts = assign_parts(table, self.root, folders, self.split, self.protocol)
        for dataset, number in self.parts.left_out.items():
            rank_zero_warn(f"{number:,} images of {dataset} are in no part of split {self.split} and are left out.")
        limits = {name: d["limit"] for name, d in self.datasets.items() if d.get("limit")}
        return limit_training(self.parts.table, limits, self.split)

    def training_labels(self) -> dict[str, np.ndarray]:
        """MOS of each dataset's training part, native scale.

        Raises:
            DatasetError: all are alike in a dataset, which no scale can be made of.
        """
        train = self.table[self.table["part"] == "train"]
        labels = {name: mos.to_numpy() for name, mos in train.groupby("dataset")["mos"]}
        for name, mos in labels.items():
            if np.ptp(mos) == 0:
                raise DatasetError(f"All {len(mos)} training images of {name} have the same label, {mos[0]:g}.")
        return labels

    def sizes(self) -> dict[str, int]:
        """Number of images of each dataset, all parts together."""
        return {name: int(n) for name, n in self.table["dataset"].value_counts().sort_index().items()}

    def share_quota(self, world: int, least: int) -> None:
        """Let the quotas be those of the batches of all processes together, see `share_quota`."""
        shares = share_quota({name: d["quota"] for name, d in self.datasets.items()}, world, least)
        for name, quota in shares.items():
            self.datasets[name]["quota"] = quota

    def train_dataloader(self) -> DataLoader:
        """Mixed batches by quota."""
        train = self.table[self.table["part"] == "train"]
        sampler = MixedBatchSampler(
            rows={name: rows.index for name, rows in train.groupby("dataset")},
            quota={name: d["quota"] for name, d in self.datasets.items()},
            seed=self.seed,
            steps=self.steps,
            rank=self.trainer.global_rank if self.trainer else 0,
            world=self.trainer.world_size if self.trainer else 1,
        )
        # Lightning tells the epoch after workers have begun to read ahead: too late where a run goes on.
        sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed if self.trainer else 0)
        return self.loader(self.train_view, sampler, MixedLoader)

    def val_dataloader(self) -> DataLoader:
        """Whole images of the val part, each once."""
        return self.part_dataloader("val")

    def test_dataloader(self) -> DataLoader:
        """Whole images of the test part, each once."""
        return self.part_dataloader("test")

    predict_dataloader = test_dataloader

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Stop at a broken image, or count it when `on_error` is `skip`."""
        broken = batch.pop("broken", [])
        if broken and self.on_error == "raise":
            raise DatasetError(f"{broken[0]}\ndata.on_error=skip leaves such images out and counts them.")
        self.skipped.update(broken)
        return batch

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Mirror training pictures, on the device; say along which names the batch counts."""
        seed = batch.pop("seed", None)
        if "image" in batch:
            batch["image"] = mirror(batch["image"], seed)
        if "row" in batch:
            batch["names"] = tuple(self.names)
        return batch

    def state_dict(self) -> dict[str, list[str]]:
        """What all processes have skipped, for the count of a run that goes on; Lightning keeps it in checkpoints."""
        return {"skipped": sorted(set().union(*gathered(self.skipped)))}

    def load_state_dict(self, state: Mapping[str, Sequence[str]]) -> None:
        """Take over what was skipped before."""
        self.skipped.update(state["skipped"])

    def delivered(self, batch: Batch, device: torch.device) -> Batch:
        """A batch of a loader as a trainer would deliver it."""
        batch = self.on_before_batch_transfer(batch, 0)
        return self.on_after_batch_transfer(move_data_to_device(batch, device), 0)

    def part_dataloader(self, part: str, shared: bool = True) -> DataLoader:
        """Whole images of a part, each once: shared among the processes, or all in each of them."""
        return self.loader(self.test_view, self.whole(self.table.index[self.table["part"] == part], shared))

    def whole(self, rows: Sequence[int], shared: bool = True) -> SizeBatchSampler:
        """Draws each image once, as testing does: each process its share, or all."""
        alone = self.trainer is None or not shared
        rank, world = (0, 1) if alone else (self.trainer.global_rank, self.trainer.world_size)
        if self.test_view in self.kept:
            return SizeBatchSampler(rows, [None] * len(rows), FEATURES_TOGETHER, rank, world)
        return SizeBatchSampler(rows, self._sizes(rows), self.test_batch, rank, world)

    def _sizes(self, rows: Sequence[int]) -> list[Size | None]:
        """Sizes of what testing sees of the images; None where reading one will say what is wrong."""
        images = self.images[self.test_view.resize]

        def size(row: int) -> Size | None:
            try:
                return self.test_view.size(images.size(row))
            except DatasetError:
                return None

        with ThreadPoolExecutor(max_workers=8) as pool:  # headers only, but a network disk answers slowly
            return list(pool.map(size, rows))

    def _images(self, resize: int) -> Images:
        """Pictures of all rows, from the decoded cache if there is to be one."""
        folders = {name: d["folder"] for name, d in self.datasets.items()}
        roots = {name: str(self.root / folder) for name, folder in folders.items()}
        rows = zip(self.table["dataset"], self.table["image"], strict=True)
        files = ImageFiles([f"{roots[dataset]}/{image}" for dataset, image in rows], resize)
        if not self.cache:
            return files
        larger = next(iter(self.images.values()), None)
        return open_cache(self.table, self.root, folders, files, self.cache, larger)

    def loader(self, view: View, sampler: Sampler[list[Draw]], kind: type[DataLoader] = DataLoader) -> DataLoader:
        """Batches of what a sampler draws, as a view shows them; of frozen features where they are kept."""
        if view in self.kept:
            return kind(self.kept[view], batch_sampler=sampler, collate_fn=dict)
        if self.workers:
            keep_sockets_short()
        return kind(
            ImageRows(self.images[view.resize], self.facts, view),
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.workers > 0,
            generator=torch.Generator(),  # the common one would leave dropout other numbers with workers than without
        )
