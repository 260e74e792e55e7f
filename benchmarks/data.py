"""The training loader against a plain formulation of the same work, the cores that feed a GPU, and building the cache.

The plain one is the textbook's: for every image PIL open, convert, resize, random crop, flip, ToTensor, Normalize. Both
read the same files in the same process with one thread, KonIQ-like JPEGs of 1024x768 and KADID-like PNGs of 512x384
cut from real photographs. In ours normalisation belongs to the network, on its device; what it costs on this CPU is
told beside. A worker process is timed while it runs, in wall time.

    make bench-data
"""

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.harness import Case, Fact, Timed, core, main
from mimi_lightning.data.cache import CachedImages
from mimi_lightning.data.cache_build import open_cache
from mimi_lightning.data.check import read_digest
from mimi_lightning.data.datamodule import ImageRows, View, collate
from mimi_lightning.data.decode import read_image
from mimi_lightning.data.images import ImageFiles, TrainView, mirror
from mimi_lightning.data.patches import TrainPatches
from mimi_lightning.data.sampling import MixedBatchSampler
from mimi_lightning.progress import in_threads

RESIZE, CROP, BATCH = 512, 384, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINDS = {"koniq": ((1024, 768), ".jpg", {"quality": 95}), "kadid": ((512, 384), ".png", {})}
IMAGES = 96  # of each kind
ROWS = (100, 100_000)  # of small and large datasets, for memory
CROPS = TrainView(RESIZE, CROP)
# Of each view, pictures a second that train one H100, an estimate: ResNet34 at 384, CLIP's image tower at 23 ms for 48.
VIEWS = {"crops of 384": (CROPS, 2500), "3 patches of 224": (TrainPatches(768, 3), 2087)}


class PlainDataset(Dataset):
    """What a first version of every project looks like."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.transform = transforms.Compose(
            [
                transforms.Lambda(self.resize),
                transforms.RandomCrop(CROP),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    @staticmethod
    def resize(image: Image.Image) -> Image.Image:
        return transforms.functional.resize(image, RESIZE) if min(image.size) > RESIZE else image

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, float]:
        return self.transform(Image.open(self.paths[row]).convert("RGB")), 0.5


def bundled_photos() -> list[Image.Image]:
    """The photographs of scikit-image and scikit-learn."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    arrays = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), *load_sample_images().images]
    return [Image.fromarray(array) for array in arrays]


def write_pictures(folder: Path, photos: list[Image.Image], kind: str, number: int) -> list[Path]:
    """Cut windows of one size from the photographs, enlarged where they are too small."""
    (width, height), suffix, options = KINDS[kind]
    rng, paths = np.random.default_rng(0), []
    (folder / kind).mkdir()
    for i, photo in zip(range(number), cycle(photos), strict=False):
        scale = max(1.0, 1.2 * width / photo.width, 1.2 * height / photo.height)
        large = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)
        left, top = rng.integers(large.width - width + 1), rng.integers(large.height - height + 1)
        paths.append(folder / kind / f"{i:04d}{suffix}")
        large.crop((left, top, left + width, top + height)).save(paths[-1], **options)
    return paths


def our_loader(
    images: ImageFiles | CachedImages, workers: int = 0, steps: int | None = None, view: View = CROPS
) -> DataLoader:
    count = len(images)
    rows = ImageRows(images, {"mos": np.full(count, 0.5)}, view)
    sampler = MixedBatchSampler({"a": range(count)}, {"a": BATCH}, seed=0, steps=steps)
    return DataLoader(rows, batch_sampler=sampler, collate_fn=collate, num_workers=workers)


def plain_loader(paths: list[Path], workers: int = 0) -> DataLoader:
    return DataLoader(PlainDataset(paths), BATCH, shuffle=True, num_workers=workers)


def mirrored(loader: DataLoader) -> Iterator[torch.Tensor]:
    """Our batches with the part of the work that is done on the device."""
    for batch in loader:
        yield mirror(batch["image"], batch["seed"])


def normalised(batches: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    mean, std = (255 * torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    for batch in batches:
        yield (batch - mean) / std


def through(make: Callable[[], Iterable]) -> Timed:
    """Time of one core for all that it makes."""
    return core(lambda: deque(make(), maxlen=0))


def from_worker(make: Callable[[], DataLoader], batches: int) -> Timed:
    """Wall time of batches from a worker that is already running."""

    def seconds() -> float:
        loaded = iter(make())
        next(loaded)
        start = time.perf_counter()
        deque(islice(loaded, batches), maxlen=0)
        return time.perf_counter() - start

    return seconds


def worker_memory(images: ImageFiles | CachedImages, batches: int) -> float:
    """Peak memory of a worker's own (not that of files), in MB."""
    loader = iter(our_loader(images, 1, 2 * batches))
    status, peak = Path(f"/proc/{loader._workers[0].pid}/status"), 0
    for _ in islice(loader, batches):
        peak = max(peak, int(status.read_text().split("RssAnon:")[1].split()[0]))
    return peak / 1024


def repeat_rows(images: CachedImages, rows: int) -> CachedImages:
    """A dataset of so many rows, from few files."""
    many = CachedImages(ImageFiles(np.resize(images.files.paths, rows), RESIZE), [])
    many.caches, many.entries = images.caches, np.resize(images.entries, (rows, images.entries.shape[1]))
    return many


def cases(quick: bool) -> Iterator[Case | Fact]:
    number, batches = (BATCH, 1) if quick else (IMAGES, 12)
    with tempfile.TemporaryDirectory() as place:
        folder, photos = Path(place), bundled_photos()
        for kind in ["kadid"] if quick else KINDS:
            paths = write_pictures(folder, photos, kind, number)
            cached = build_cache(folder, kind, paths, RESIZE)
            name = f"{kind}-like {paths[0].suffix}"
            yield Case(f"{name}, one core", on_one_core(paths, cached.files, cached), number)
            sides = {
                "plain": from_worker(lambda paths=paths: plain_loader(paths * (batches + 3), workers=1), batches),
                "cached": from_worker(lambda cached=cached: our_loader(cached, 1, steps=batches + 3), batches),
            }
            yield Case(f"{name}, one worker", sides, BATCH * batches)
            sides = {
                "decode": through(lambda paths=paths: in_threads(read_image, paths, "", visible=False)),
                "and hash": through(lambda paths=paths: in_threads(read_digest, paths, "", visible=False)),
            }
            yield Case(f"{name}, `data check`", sides, number)
            for view, (shows, wanted) in VIEWS.items():
                yield Fact(f"{name}, {view}", f"one H100 trains on {wanted:,} pictures/s, an estimate")
                yield Case(f"{name}, {view}", for_view(folder, kind, paths, shows), number)
        yield from memory_facts(cached, quick)


def build_cache(folder: Path, kind: str, paths: list[Path], resize: int) -> CachedImages:
    table = pd.DataFrame({"dataset": kind, "image": [path.name for path in paths]})
    return open_cache(table, folder, {kind: kind}, ImageFiles(paths, resize), folder / "cache")


def on_one_core(paths: list[Path], files: ImageFiles, cached: CachedImages) -> dict[str, Timed]:
    return {
        "plain": through(lambda: plain_loader(paths)),
        "files": through(lambda: mirrored(our_loader(files))),
        "cached": through(lambda: mirrored(our_loader(cached))),
        "cached, normalised": through(lambda: normalised(mirrored(our_loader(cached)))),
    }


def for_view(folder: Path, kind: str, paths: list[Path], view: View) -> dict[str, Timed]:
    """What one core decodes, builds a cache of, and reads as the view shows it."""

    def build() -> Iterator[CachedImages]:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        yield build_cache(folder, kind, paths, view.resize)

    cached = build_cache(folder, kind, paths, view.resize)
    return {
        "decode": through(lambda: in_threads(read_image, paths, "", visible=False)),
        "build the cache": through(build),
        "files": through(lambda: mirrored(our_loader(cached.files, view=view))),
        "cached": through(lambda: mirrored(our_loader(build_cache(folder, kind, paths, view.resize), view=view))),
    }


def memory_facts(cached: CachedImages, quick: bool) -> Iterator[Fact]:
    many = [repeat_rows(cached, rows) for rows in ROWS]
    for name, datasets, batches in ("cached", many, 400), ("files", [each.files for each in many], 12):
        peaks = [f"{worker_memory(images, 1 if quick else batches):.0f} MB" for images in datasets]
        rows = " and ".join(f"{rows:,}" for rows in ROWS)
        yield Fact(f"peak of a worker's own memory, {name}, {rows} rows", " and ".join(peaks))


if __name__ == "__main__":
    main(cases, threads=1)
