"""The report as one page that needs no network: page.html with its style, its script, its data and small pictures."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
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
PAGE = 7_800_000  # bytes that pictures may fill the page up to,
ROOM = 1_000_000  # or that they take at most where the page is as large without them
SIDE = 128  # of a picture, in pixels
SHOWN = ["image", "mos", "distortion", "level"]  # what is the same whoever scores the picture
SAID = ["proxy", "prediction", "aligned"]  # what one model in one split says of it

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
    numbers = _script(_numbers(report))
    room = max(PAGE - len(numbers), ROOM)
    pictures = _script(_pictures(report.study.tested, folders, room, progress))
    page = _asset("page.html").replace("/* style */", _asset("page.css")).replace("/* script */", _asset("page.js"))
    page = page.replace("/* numbers */", numbers).replace("/* pictures */", pictures)
    file.write_text(page, encoding="utf-8")


def _script(data: Mapping[str, Any]) -> str:
    """JSON inside a script, which would end at the first </script>, also at one in the name of a picture."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _numbers(report: Report) -> dict[str, Any]:
    study = report.study
    shown = study.tested[["dataset", *SHOWN]].drop_duplicates()
    place = shown.groupby("dataset").cumcount().rename("at")
    tested = study.tested.merge(shown.assign(at=place), on=["dataset", *SHOWN])
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
        "shown": {name: _columns(rows, SHOWN) for name, rows in shown.groupby("dataset")},
        "points": [_points(*group) for group in tested.groupby(["model", "split", "dataset"])],
        "runs": [_provenance(run) for run in study.runs],
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{name: _rounded(value) for name, value in row.items()} for row in table.to_dict("records")]


def _columns(rows: pd.DataFrame, names: Sequence[str]) -> dict[str, list[Any]]:
    """Columns of which something is known."""
    return {name: [_rounded(value) for value in rows[name]] for name in names if rows[name].notna().any()}


def _points(key: tuple[str, int, str], rows: pd.DataFrame) -> dict[str, Any]:
    """Points of a scatter: `at` is their place in what is shown of the dataset."""
    model, split, dataset = key
    said = SAID if rows["prediction"].notna().all() else [*SAID, "error"]
    return {
        **{"model": model, "split": int(split), "dataset": dataset},
        **{"at": rows["at"].tolist(), **_columns(rows, said)},
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
    settings = OmegaConf.to_yaml(OmegaConf.create(dict(run.settings)))
    return {"model": run.model, "split": run.split, "facts": run.facts, "settings": settings}


def _folders(study: Study, images: Path | None) -> dict[str, Path]:
    """Folder of each dataset: as the runs had it, or below the root that is given."""
    found = {}
    if images is not None:
        found = {name: images / node["folder"] for name, node in study.described.items() if "folder" in node}
    for run in study.runs:
        found |= run.folders
    return found


def _pictures(predictions: pd.DataFrame, folders: Mapping[str, Path], room: int, progress: bool) -> dict[str, str]:
    """Small pictures as data URLs, by dataset/image, as many as there is room for in so many bytes."""
    keys = [key for key in _chosen(predictions) if key[0] in folders and (folders[key[0]] / key[1]).is_file()]
    small = in_threads(lambda key: _small(folders[key[0]] / key[1]), keys, "Making pictures small", progress)
    pictures = {}
    for key, url in zip(keys, small, strict=True):
        name = "/".join(key)
        room -= len(name) + len(url or "")
        if room < 0:
            break
        if url:
            pictures[name] = url
    return pictures


def _chosen(predictions: pd.DataFrame) -> list[Key]:
    """The worst of every model, split and dataset, the very worst of each first; then others evenly."""
    keys = predictions[["dataset", "image"]]
    places = [pd.Series(rows.index[_worst(rows)]) for _, rows in predictions.groupby(["model", "split", "dataset"])]
    worst = pd.concat(places).sort_index(kind="stable")  # by their place among the worst
    first = keys.loc[worst].drop_duplicates()
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
            small.save(stream, "WEBP", quality=60)
    except (OSError, ValueError):
        return None
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
