"""The report as one page that needs no network: page.html with its style, its script, its data and small pictures."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf
from PIL import Image

from mimi_lightning.evaluation import tables
from mimi_lightning.evaluation.findings import Report
from mimi_lightning.evaluation.protocol import FIGURES, OVER_DATASETS, titled
from mimi_lightning.evaluation.study import Run, Study
from mimi_lightning.progress import in_threads

WORST = 12  # pictures of each model, split and dataset that are shown as misses
PICTURES = 1500  # embedded at most; the others are told by name
SIDE = 128  # of a picture, in pixels
POINT = ("mos", "proxy", "prediction", "aligned", "level", "error")

Key = tuple[str, str]  # dataset, image


def write_page(report: Report, file: Path, images: Path | None = None, progress: bool = False) -> None:
    """Write the page.

    Args:
        report: what it shows; `study.predictions` need the column `error`.
        file: HTML to write.
        images: root of the datasets' folders, for tables that belong to no run; pictures that are not there are told
            by their names.
        progress: show a bar while pictures are made small.
    """
    folders = _folders(report.study, images)
    data = {**_numbers(report), "pictures": _pictures(report.study.tested, folders, progress)}
    # A script ends at the first </script>, wherever it stands: also in the name of a picture.
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    page = _asset("page.html").replace("/* style */", _asset("page.css")).replace("/* script */", _asset("page.js"))
    file.write_text(page.replace("/* data */", text), encoding="utf-8")


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _numbers(report: Report) -> dict[str, Any]:
    study = report.study
    return {
        "figures": {figure: titled(figure, report.fits) for figure in FIGURES},
        "lower": tables.LOWER_IS_BETTER,
        "means": OVER_DATASETS,
        "models": study.models,
        "images": int(study.tested.drop_duplicates(["dataset", "image"]).shape[0]),
        "summary": _records(report.summary),
        "results": _records(report.results[["model", "split", "dataset", "n", *FIGURES, "srcc_low", "srcc_high"]]),
        "details": [{"title": title, "grid": grid} for title, grid in reversed(list(tables.details(report)))],
        "notes": list(report.notes),
        "points": [_points(*group) for group in study.tested.groupby(["model", "split", "dataset"])],
        "runs": [_provenance(run) for run in study.runs],
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{name: _rounded(value) for name, value in row.items()} for row in table.to_dict("records")]


def _points(key: tuple[str, int, str], rows: pd.DataFrame) -> dict[str, Any]:
    model, split, dataset = key
    columns = {name: [_rounded(value) for value in rows[name]] for name in POINT if rows[name].notna().any()}
    return {
        **{"model": model, "split": int(split), "dataset": dataset},
        **{"image": list(rows["image"]), "distortion": list(rows["distortion"]), **columns},
        "worst": [int(place) for place in _worst(rows)],
    }


def _worst(rows: pd.DataFrame) -> np.ndarray:
    """Places of the largest errors, the largest first."""
    errors = rows["error"].abs().to_numpy()
    order = np.argsort(-errors, kind="stable")
    return order[np.isfinite(errors[order])][:WORST]


def _rounded(value: Any) -> Any:
    """Five significant digits, and None for what is not known."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _provenance(run: Run) -> dict[str, Any]:
    metrics = run.metrics
    facts = {
        "seed": metrics["seed"],
        "best epoch": metrics["best_epoch"],
        "commit": metrics["commit"] or "not a checkout",
        "versions": ", ".join(f"{name} {version}" for name, version in metrics["versions"].items()),
        "partition": metrics["partition"]["protocol"],
        "sha256 of the partition": metrics["partition"]["sha256"],
        "pictures left out": metrics["skipped"] + sum(metrics["partition"]["left_out"].values()),
    }
    settings = OmegaConf.to_yaml(OmegaConf.create(dict(run.settings)))
    return {"model": run.model, "split": run.split, "facts": facts, "settings": settings}


def _folders(study: Study, images: Path | None) -> dict[str, Path]:
    """Folder of each dataset: as the runs had it, or below the root that is given."""
    found = {}
    if images is not None:
        found = {name: images / node["folder"] for name, node in study.described.items() if "folder" in node}
    for run in study.runs:
        root = Path(run.settings["data"]["root"])
        found |= {name: root / node["folder"] for name, node in run.settings["datasets"].items()}
    return found


def _pictures(predictions: pd.DataFrame, folders: Mapping[str, Path], progress: bool) -> dict[str, str]:
    """Small pictures as data URLs, by dataset/image."""
    keys = [key for key in _chosen(predictions) if key[0] in folders and (folders[key[0]] / key[1]).is_file()]
    small = in_threads(lambda key: _small(folders[key[0]] / key[1]), keys, "Making pictures small", progress)
    return {"/".join(key): url for key, url in zip(keys, small, strict=True) if url}


def _chosen(predictions: pd.DataFrame) -> list[Key]:
    """The worst of every model, split and dataset, then others evenly, as many as a page can carry."""
    keys = predictions[["dataset", "image"]]
    worst = [rows.index[_worst(rows)] for _, rows in predictions.groupby(["model", "split", "dataset"])]
    first = keys.loc[np.concatenate(worst)].drop_duplicates()
    rest = pd.concat([first, keys.drop_duplicates()]).drop_duplicates(keep=False)
    room = max(0, PICTURES - len(first))
    even = rest.iloc[np.unique(np.linspace(0, len(rest) - 1, min(room, len(rest))).astype(int))] if len(rest) else rest
    chosen = pd.concat([first.iloc[:PICTURES], even])
    return list(chosen[chosen["image"] != ""].itertuples(index=False, name=None))


def _small(file: Path) -> str | None:
    """None of a picture that cannot be read: the report does not need it."""
    stream = io.BytesIO()
    try:
        with Image.open(file) as picture:
            picture.draft("RGB", (2 * SIDE, 2 * SIDE))
            small = picture.convert("RGB")
            small.thumbnail((SIDE, SIDE))
            small.save(stream, "JPEG", quality=72)
    except (OSError, ValueError):
        return None
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
