"""The training loader against a plain formulation of the same work, the cores that feed a GPU, and building the cache.

The plain one is the textbook's: for every image PIL open, convert, resize, random crop, flip, ToTensor, Normalize. Both
read the same files in the same process with one thread, KonIQ-like JPEGs of 1024x768 and KADID-like PNGs of 512x384
cut from real photographs. In ours normalisation belongs to the network, on its device; what it costs on this CPU is
told beside. How fast `data check` reads is told as well.

    python benchmarks/data.py [--photos DIR]
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from mimi_lightning.data.cache import CachedImages
from mimi_lightning.data.cache_build import open_cache
from mimi_lightning.data.check import read_digest
from mimi_lightning.data.datamodule import ImageRows, View, collate
from mimi_lightning.data.decode import read_image
from mimi_lightning.data.images import ImageFiles, TrainView, mirror
from mimi_lightning.data.miniature.contents import list_photos
from mimi_lightning.data.patches import TrainPatches
from mimi_lightning.data.sampling import MixedBatchSampler
from mimi_lightning.progress import in_threads

RESIZE, CROP, BATCH = 512, 384, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINDS = {"koniq": ((1024, 768), ".jpg", {"quality": 95}), "kadid": ((512, 384), ".png", {})}
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


def rate(make, number: int, repeats: int) -> float:
    """Images a second of one core's time, the best of some passes over `number` images."""
    best = 0.0
    for _ in range(repeats + 1):  # the first one warms the disk's cache
        start = time.process_time()  # not the clock on the wall: others may use this machine as well
        for _ in make():
            pass
        best = max(best, number / (time.process_time() - start))
    return best


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, metavar="DIR", help="photographs of your own")
    parser.add_argument("--images", type=int, default=96, help="of each kind (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="timed passes, of which the best counts (%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    photos = bundled_photos()
    if arguments.photos:
        photos = [read_image(path) for path in list_photos(arguments.photos)]
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), photos, arguments.images, arguments.repeats)


def measure(folder: Path, photos: list[Image.Image], number: int, repeats: int) -> None:
    speed = Table(title=f"Training loader, images/s of one core ({number} files of each kind)", title_justify="left")
    headings = "", "plain", "files", "", "cached", "", "cached, normalised here", "one worker: plain", "cached", ""
    for heading in headings:
        speed.add_column(heading, justify="right" if heading else "left")
    checks = Table(title="Reading pictures as `data check` does, images/s of one core", title_justify="left")
    for heading in ("", "decode only", "decode and hash", f"10,000 images on {os.cpu_count()} cores, extrapolated"):
        checks.add_column(heading, justify="right" if heading else "left")
    cores = Table(title="Cores that feed one H100, while the cache is built and after", title_justify="left")
    for heading in ("", "pictures/s", "files: of a core", "cores", "cached: of a core", "cores", "built", "decoded"):
        cores.add_column(heading, justify="right" if heading else "left")
    for kind in KINDS:
        paths = write_pictures(folder, photos, kind, number)
        cached = build_cache(folder, kind, paths, RESIZE)
        files = cached.files
        rates = {
            "plain": rate(lambda p=paths: plain_loader(p), number, repeats),
            "files": rate(lambda f=files: mirrored(our_loader(f)), number, repeats),
            "cached": rate(lambda c=cached: mirrored(our_loader(c)), number, 10 * repeats),
            "normalised": rate(lambda c=cached: normalised(mirrored(our_loader(c))), number, 3 * repeats),
        }
        plain_worker = from_worker(plain_loader(paths * 10, workers=1))
        ours_worker = from_worker(our_loader(cached, 1, steps=2000))
        speed.add_row(
            f"{kind}-like {paths[0].suffix}",
            f"{rates['plain']:.0f}",
            f"{rates['files']:.0f}",
            f"[bold]{rates['files'] / rates['plain']:.2f}x[/bold]",
            f"{rates['cached']:,.0f}",
            f"[bold]{rates['cached'] / rates['plain']:.0f}x[/bold]",
            f"{rates['normalised']:,.0f}",
            f"{plain_worker:.0f}",
            f"{ours_worker:,.0f}",
            f"[bold]{ours_worker / plain_worker:.0f}x[/bold]",
        )
        decode = rate(lambda p=paths: in_threads(read_image, p, "", visible=False), number, repeats)
        check = rate(lambda p=paths: in_threads(read_digest, p, "", visible=False), number, repeats)
        seconds = 10_000 / check / os.cpu_count()
        checks.add_row(f"{kind}-like", f"{decode:.0f}/s", f"{check:.0f}/s", f"{seconds:.0f} s")
        feed_gpu(cores, folder, kind, paths, repeats)
    memory = Table(title="Peak memory of one worker, MB of its own", title_justify="left")
    for heading in ("", *(f"{rows:,} rows" for rows in ROWS)):
        memory.add_column(heading, justify="right" if heading else "left")
    many = [repeat_rows(cached, rows) for rows in ROWS]
    memory.add_row("cached", *(f"{worker_memory(images, 400):.0f}" for images in many))
    memory.add_row("files", *(f"{worker_memory(images.files, 12):.0f}" for images in many))
    for shown in (speed, cores, memory, checks):
        Console(width=140).print(shown)


def build_cache(folder: Path, kind: str, paths: list[Path], resize: int) -> CachedImages:
    table = pd.DataFrame({"dataset": kind, "image": [path.name for path in paths]})
    return open_cache(table, folder, {kind: kind}, ImageFiles(paths, resize), folder / "cache")


def feed_gpu(cores: Table, folder: Path, kind: str, paths: list[Path], repeats: int) -> None:
    """Rows of how many cores read what one GPU trains on, and how fast the cache is built beside decoding alone."""
    decoded = rate(lambda: in_threads(read_image, paths, "", visible=False), len(paths), repeats)
    for name, (view, wanted) in VIEWS.items():

        def build(resize: int = view.resize) -> Iterator[None]:
            shutil.rmtree(folder / "cache", ignore_errors=True)
            build_cache(folder, kind, paths, resize)
            yield

        built = rate(build, len(paths), repeats)
        cached = build_cache(folder, kind, paths, view.resize)
        reads = [
            rate(lambda i=images, v=view: mirrored(our_loader(i, view=v)), len(paths), times * repeats)
            for images, times in ((cached.files, 1), (cached, 10))
        ]
        figures = [figure for read in reads for figure in (f"{read:,.0f}", f"[bold]{wanted / read:.1f}[/bold]")]
        cores.add_row(f"{kind}-like, {name}", f"{wanted:,}", *figures, f"{built:.0f}/s", f"{decoded:.0f}/s")


def from_worker(loader: DataLoader, seconds: float = 4.0) -> float:
    """Images a second of wall time from a worker that is already running."""
    batches = iter(loader)
    next(batches)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(batches)
        count += BATCH
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
