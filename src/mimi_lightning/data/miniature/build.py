"""Building the miniature datasets: all of them or nothing, and only once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from mimi_lightning.data.miniature.coverage import COVERAGES
from mimi_lightning.errors import DatasetError
from mimi_lightning.files import work_folder

MARKER = "miniature.json"
RECIPE = 2  # counts changes of what the same parameters build
EARLIER = {"coverage": "own"}  # parameters of builds from before there was a choice
SEED = 19901116


def make_miniature(
    folder: Path,
    *,
    photos: Path | str | None = None,
    seed: int = SEED,
    side: int = 160,
    references: int = 12,
    scenes: int = 20,
    per_content: int = 15,
    coverage: str = "own",
    progress: bool = True,
) -> Path:
    """Build six tiny datasets of real photographs in their owners' layouts, or reuse those that are there.

    Below the folder stand databaserelease2, CSIQ, BID, ChallengeDB_release, koniq-10k and kadid10k;
    `hidden_quality.csv` with the quality that the labels hide (JOD, never read by training); `contents.csv` with the
    photographs that show the same content; `scenes.csv` with what they show, as far as it is known; and
    `miniature.json`, which marks a complete build. The same parameters give the same bytes.

    Args:
        folder: where to build; must not exist, be empty, or hold a build of the same parameters.
        photos: a folder of pictures to use instead of those of scikit-image and scikit-learn.
        seed: of contents, faults and raters.
        side: of every picture, in pixels, at least 32.
        references: at most so many for each of LIVE, CSIQ and KADID-10k, at least 10.
        scenes: at most so many contents for each of BID, CLIVE and KonIQ-10k, at least 10.
        per_content: at most so many pictures of one content in a dataset.
        coverage: own, shared or scale: which part of the quality range every dataset covers, and how it is graded;
            see `mimi_lightning.data.miniature.coverage`.
        progress: show a progress bar.

    Returns:
        The folder.

    Raises:
        DatasetError: the folder holds something else, a package is missing, or the photographs do not suffice.
    """
    folder, photos = Path(folder).absolute(), photos if photos is None else Path(photos)
    parameters = {
        "recipe": RECIPE,
        "photos": None if photos is None else _fingerprint(photos),
        "seed": seed,
        "side": side,
        "references": references,
        "scenes": scenes,
        "per_content": per_content,
        "coverage": coverage,
    }
    _check(parameters)
    if _is_complete(folder, parameters):
        return folder
    try:
        with work_folder(folder) as work:
            _build(work, photos, parameters, progress)
            _move(work, folder, parameters)
    except OSError as error:
        raise DatasetError(f"The miniature datasets cannot be built in {folder}: {error}.") from error
    return folder


def _check(parameters: Mapping[str, object]) -> None:
    for name, least in {"side": 32, "references": 10, "scenes": 10, "per_content": 1, "seed": 0}.items():
        if parameters[name] < least:
            raise DatasetError(f"Miniature datasets: {name} must be at least {least}, not {parameters[name]}.")
    if parameters["coverage"] not in COVERAGES:
        known = " or ".join(COVERAGES)
        raise DatasetError(f"Miniature datasets: coverage must be {known}, not {parameters['coverage']}.")


def _fingerprint(photos: Path) -> str:
    """Tell folders of photographs apart by names and sizes, without reading them."""
    from mimi_lightning.data.miniature.contents import list_photos

    listing = [(path.name, path.stat().st_size) for path in list_photos(photos)]
    return hashlib.sha256(repr(listing).encode()).hexdigest()


def _is_complete(folder: Path, parameters: Mapping[str, object]) -> bool:
    """Look for a complete build of the same parameters; refuse everything else that may be there."""
    remedy = "Delete it or choose another folder."
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder. {remedy}")
    if not folder.exists() or not any(folder.iterdir()):
        return False
    if not (folder / MARKER).is_file():
        raise DatasetError(f"{folder} holds other files and no complete miniature datasets. {remedy}")
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        found, labels = {**EARLIER, **marker["parameters"]}, marker["labels"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{folder / MARKER} is damaged. {remedy}") from error
    different = [name for name, value in parameters.items() if found.get(name) != value]
    if different:
        listing = ", ".join(f"{name} {found.get(name)} instead of {parameters[name]}" for name in different)
        as_it_is = f"To train on it as it is: paths.datasets={folder} view.train.crop={found.get('side')}"
        raise DatasetError(f"{folder} holds miniature datasets of other parameters: {listing}. {remedy} {as_it_is}")
    for name, digest in labels.items():
        if not (folder / name).is_file() or _sha256(folder / name) != digest:
            raise DatasetError(f"{folder / name} is missing or was changed after it was built. {remedy}")
    return True


def _move(work: Path, folder: Path, parameters: Mapping[str, object]) -> None:
    """Put the build into its place, unless another process was faster."""
    try:
        work.rename(folder)
    except OSError:
        if not _is_complete(folder, parameters):
            raise


def _build(work: Path, photos: Path | None, parameters: Mapping[str, object], progress: bool) -> None:
    from mimi_lightning.data.miniature.datasets import write_datasets  # only now: it loads torch

    write_datasets(work, photos, parameters, progress)
    labels = [path for path in work.rglob("*") if path.suffix in (".csv", ".mat", ".xlsx")]
    marker = {
        "what": "miniature IQA datasets; every score is a pseudo-MOS computed by ColorVideoVDP, none is human",
        "parameters": parameters,
        "labels": {path.relative_to(work).as_posix(): _sha256(path) for path in sorted(labels)},
    }
    (work / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
