"""Wrong input that hypothesis draws: values of any key, bytes of tables, labels, pictures and checkpoints.

A draw may happen to be right. What is refused must be so by one message, within seconds, and leave nothing.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from mimi_lightning import config
from mimi_lightning.errors import MimiError
from tests.fuzz.commands import Hang, Outcome, _limit

WRONG_VALUES = (
    *("null", "true", "0", "1", "-1", "1.5", "nan", "inf", "-inf", "1e9", "10000000", "x", "''", "[]", "[null]", "[x]"),
    *("[-1]", "[1,2,3]", "{}", "{x: 1}", "..", "/nope", "val/x", "auto", "none", "[[1]]", "${nope}", "ä"),
)
BASES = (
    (),
    *((f"mapper={mapper}",) for mapper in ("linear", "logistic", "spline", "bernstein", "heads", "none")),
    *((f"objective={objective}",) for objective in ("regression", "plcc", "margin", "sum", "emd")),
    ("callbacks=[early_stopping,ema,lr_monitor]",),
    ("backbone=clip_vit_b32",),
    ("scheduler=cosine",),
)
Check = Callable[[Any], None]


def judged(check: Check, value: Any, seconds: float = 20) -> Outcome:
    """What became of an input that a function was given: it `runs`, or one of `CLASSES`."""
    try:
        with _limit(seconds):
            check(value)
    except MimiError as error:
        return Outcome("clean", str(error))
    except Hang as late:
        return Outcome("hang", "".join(traceback.format_tb(late.__traceback__)[-3:]))
    except Exception:
        return Outcome("traceback", traceback.format_exc())
    return Outcome("runs", "")


def many(strategy: st.SearchStrategy, check: Check, until: float) -> Counter[str]:
    """Judge what is drawn, hundreds by hundreds, until the time is up."""
    counts: Counter[str] = Counter()
    for number in count():
        counts += some(strategy, check, until, 100, number)
        if time.monotonic() > until:
            return counts


def some(strategy: st.SearchStrategy, check: Check, until: float, most: int, number: int = 0) -> Counter[str]:
    """Judge so many draws, the same of each number; tell every outcome that is neither clean nor runs."""
    counts: Counter[str] = Counter()

    @seed(number)
    @settings(max_examples=most, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def draw(value: Any) -> None:
        if time.monotonic() > until:
            return
        outcome = judged(check, value)
        counts[outcome.kind] += 1
        if outcome.kind not in ("clean", "runs"):
            print(f"{outcome.kind}: {value!r}\n{outcome.said}\n", file=sys.stderr, flush=True)

    draw()
    return counts


@cache
def _keys(base: tuple[str, ...]) -> list[str]:
    from omegaconf import OmegaConf

    from mimi_lightning.rules import flatten

    return sorted(key for key, _ in flatten(OmegaConf.to_container(config.load([*base]))) if key != "datasets")


def settings_drawn() -> st.SearchStrategy:
    """Words of a command line: a base, and one to three of its keys with a value that is rarely right."""

    def with_values(base: tuple[str, ...]) -> st.SearchStrategy:
        word = st.builds("{}={}".format, st.sampled_from(_keys(base)), st.sampled_from(WRONG_VALUES))
        return st.lists(word, min_size=1, max_size=3).map(lambda words: [*base, *words])

    return st.sampled_from(BASES).flatmap(with_values)


def check_settings(words: list[str]) -> None:
    """Compose and check a configuration, as the command does."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        config.load(words)
    except (HydraException, OmegaConfBaseException) as error:  # which `main` explains
        raise MimiError(config.explain(error, words)) from error


def _drawn_settings(datasets: Path, scratch: Path, until: float) -> Counter[str]:
    return many(settings_drawn(), check_settings, until)


CELLS = st.sampled_from(
    ["live", "csiq", "1", "3,5", "2.5", "nan", "inf", "", "x", '"', "ä", "\x00", "a.png", "..\\a.png", "-1", "1e400"]
)
HEADS = [
    "dataset,split,mos,proxy",
    "dataset,split,mos,proxy,image,part",
    "image;mos",
    "image,mos",
    "x",
    "",
    "run,dataset",
]


def tables_drawn() -> st.SearchStrategy:
    """Bytes of a table: some header, rows of odd cells, some encoding, perhaps cut off."""
    rows = st.lists(st.lists(CELLS, min_size=0, max_size=7), max_size=6)
    encodings = st.sampled_from(["utf-8", "utf-16", "utf-8-sig", "utf-32"])

    def written(head: str, rows: list[list[str]], mark: str, encoding: str, cut: int) -> bytes:
        text = "\n".join([head, *(mark.join(row) for row in rows)])
        return text.encode(encoding)[: cut or None]

    marks = st.sampled_from([",", ";", "\t", " "])
    drawn = st.builds(written, st.sampled_from(HEADS), rows, marks, encodings, st.sampled_from([0, 0, 0, 10, 41]))
    return drawn | st.binary(max_size=200)


def check_predictions(text: bytes) -> None:
    """Read a table of predictions, as `report` does."""
    from mimi_lightning.evaluation.predictions import read_predictions

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scores.csv"
        file.write_bytes(text)
        read_predictions(file)


def check_labels(text: bytes) -> None:
    """Read a table of labels, as a dataset of one's own has it."""
    from mimi_lightning.data.annotations import read_annotations

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "labels.csv").write_bytes(text)
        (Path(folder) / "a.png").touch()
        where = {"file": "labels.csv", "image": "image", "mos": "mos"}
        read_annotations("own", "mimi_lightning.data.owners.table.read", Path(folder), "nowhere", where)


def check_partition_files(text: bytes) -> None:
    """Read scenes.csv of a root, and the labels of a run."""
    import pandas as pd

    from mimi_lightning.data.annotations import add_scenes

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scenes.csv"
        file.write_bytes(text)
        add_scenes(pd.DataFrame({"dataset": ["live"], "reference": ["a.png"], "scenes": [""]}), file)


def _drawn_tables(datasets: Path, scratch: Path, until: float) -> Counter[str]:
    share = (until - time.monotonic()) / 3
    counts: Counter[str] = Counter()
    for number, check in enumerate((check_predictions, check_labels, check_partition_files), 1):
        counts += many(tables_drawn(), check, until - share * (3 - number))
    return counts


@cache
def _pictures() -> list[bytes]:
    pixels = Image.fromarray(np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3))
    made = []
    for form, mode in (("PNG", "RGB"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("BMP", "RGB"), ("GIF", "P")):
        pixels.convert(mode).save(file := io.BytesIO(), form)
        made.append(file.getvalue())
    return made


def mutated(whole: st.SearchStrategy) -> st.SearchStrategy:
    """Bytes with a few of them changed, and perhaps the end missing."""

    def change(data: bytes, changes: list[tuple[int, int]], keep: float) -> bytes:
        changed = bytearray(data)
        for place, byte in changes:
            changed[place % len(changed)] = byte
        return bytes(changed[: int(keep * len(changed))])

    places = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4)
    return st.builds(change, whole, places, st.sampled_from([1.0, 1.0, 0.9, 0.3, 0.0]))


def check_picture(data: bytes) -> None:
    """Decode a picture, and read its header."""
    from mimi_lightning.data.decode import image_size, is_plain, read_image

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.png"
        file.write_bytes(data)
        is_plain(file)
        size = image_size(file)
        assert read_image(file).size == size


def _drawn_pictures(datasets: Path, scratch: Path, until: float) -> Counter[str]:
    return many(mutated(st.sampled_from(_pictures())), check_picture, until)


def check_checkpoint(data: bytes) -> None:
    """Load a checkpoint."""
    from mimi_lightning.module import QualityModel

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.ckpt"
        file.write_bytes(data)
        QualityModel.load(file)


@cache
def _checkpoints() -> list[bytes]:
    import torch

    made = []
    for content in (
        {"state_dict": {}, "hyper_parameters": {"regressor": {}}},
        [1],
        {"state_dict": {"a": torch.ones(2)}},
    ):
        torch.save(content, file := io.BytesIO())
        made.append(file.getvalue())
    return [*made, b"text\n"]


def _drawn_checkpoints(datasets: Path, scratch: Path, until: float) -> Counter[str]:
    return many(mutated(st.sampled_from(_checkpoints())), check_checkpoint, until)


DRAWS = {
    "drawn configurations": _drawn_settings,
    "drawn tables": _drawn_tables,
    "drawn pictures": _drawn_pictures,
    "drawn checkpoints": _drawn_checkpoints,
}
