"""Rows of scored pictures as a table on the screen, CSV, JSON lines, or a contact sheet."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
from rich.console import Console
from rich.table import Table

from mimi_lightning.data.decode import read_image
from mimi_lightning.errors import DatasetError
from mimi_lightning.files import aside
from mimi_lightning.progress import in_threads
from mimi_lightning.ruler.files import Row

SHOWN = 1000  # pictures of a contact sheet, at most
SIDE = 240  # of a small picture, in pixels


def flat(rows: Sequence[Row]) -> pd.DataFrame:
    """One column a fact: those of a scale are named after it, as `koniq`, `koniq_std`, `koniq_percentile`.

    Standard deviations that the model does not know have no column, and `error` comes last.
    """
    table = pd.DataFrame([_flat(row) for row in rows]).astype({"width": "Int64", "height": "Int64"})
    unknown = [name for name in table if name.rpartition("_")[2] == "std" and table[name].isna().all()]
    return table[[*(name for name in table if name not in (*unknown, "error")), "error"]]


def _flat(row: Row) -> dict[str, Any]:
    facts = {key: row.get(key) for key in ("path", "width", "height", "proxy", "std", "error")}
    for scale, native in row.get("scales", {}).items():
        facts |= {scale if key == "score" else f"{scale}_{key}": value for key, value in native.items()}
    return facts


def write_rows(rows: Sequence[Row], out: Path | TextIO, form: str | None = None) -> None:
    """Write rows as `csv` or `jsonl`; by its suffix, a file."""
    if isinstance(out, Path):
        with aside(out) as draft, draft.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            write_rows(rows, file, out.suffix[1:])
    elif form == "csv":
        flat(rows).to_csv(out, index=False)
    else:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def show_table(rows: Sequence[Row]) -> None:
    """Print rows; of each scale the score and, in percent, where it lies among the training labels."""
    scales = list(dict.fromkeys(scale for row in rows for scale in row.get("scales", ())))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("proxy", justify="right")
    doubts = any(row.get("std") is not None for row in rows)
    if doubts:
        table.add_column("std", justify="right")
    ends = {scale: native for row in rows for scale, native in row.get("scales", {}).items()}
    for scale in scales:
        table.add_column(f"{scale}\n{ends[scale]['low']:g}..{ends[scale]['high']:g}", justify="right")
    table.add_column("picture", overflow="fold")
    for row in rows:
        cells = [_number(row.get("proxy")), *([_number(row.get("std"))] if doubts else [])]
        cells += [_native(row.get("scales", {}).get(scale)) for scale in scales]
        table.add_row(*cells, f"{row['path']}: {row['error']}" if "error" in row else row["path"])
    Console().print(table, highlight=False, markup=False)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _native(native: Row | None) -> str:
    if native is None:
        return ""
    place = native["percentile"]
    return f"{native['score']:.4g}" + ("" if place is None else f" ({place:.0f} %)")


def write_html(rows: Sequence[Row], file: Path) -> None:
    """Write a contact sheet: small pictures with their scores, in one file that needs no network.

    Args:
        rows: in the order of the sheet; of more than `SHOWN`, the first and the last.
        file: HTML to write.
    """
    shown = [*rows] if len(rows) <= SHOWN else [*rows[: SHOWN // 2], *rows[-SHOWN // 2 :]]
    small = in_threads(lambda row: _small(row["path"]), shown, "Making pictures small")
    cards = [_card(row, picture) for row, picture in zip(shown, small, strict=True)]
    if left := len(rows) - len(shown):
        cards.insert(SHOWN // 2, f"<p>{left:,} pictures between them are not shown.</p>")
    with aside(file) as draft:
        page = PAGE.format(number=f"{len(rows):,}", cards="\n".join(cards))
        draft.write_text(page, encoding="utf-8", errors="replace")


def _card(row: Row, picture: str | None) -> str:
    path = html.escape(row["path"])
    image = f'<img alt="" src="data:image/jpeg;base64,{picture}">' if picture else '<div class="none"></div>'
    if "error" in row:
        return f"<figure>{image}<figcaption><b>no score</b>{html.escape(row['error'])}</figcaption></figure>"
    scales = "".join(
        f"<br>{html.escape(scale)} {native['score']:.4g} <i>of {native['low']:g} to {native['high']:g}</i>"
        for scale, native in row["scales"].items()
    )
    name = html.escape(Path(row["path"]).name)
    return f'<figure>{image}<figcaption title="{path}"><b>{row["proxy"]:.3f}</b>{name}{scales}</figcaption></figure>'


def _small(path: str) -> str | None:
    try:
        image = read_image(Path(path))
    except DatasetError:
        return None
    image.thumbnail((SIDE, SIDE))
    memory = io.BytesIO()
    image.save(memory, "JPEG", quality=80)
    return base64.b64encode(memory.getvalue()).decode()


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{number} pictures, best first</title>
<style>
:root {{ color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif }}
body {{ margin: 1.5rem; max-width: 1400px }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 1rem }}
figure {{ margin: 0 }}
img, .none {{ width: 100%; aspect-ratio: 4 / 3; object-fit: cover; border-radius: 4px; background: #8883 }}
figcaption {{ overflow-wrap: anywhere; font-size: .85rem }}
figcaption b {{ float: right; margin-left: .5em; font-variant-numeric: tabular-nums }}
figcaption i {{ opacity: .6; font-style: normal }}
p {{ grid-column: 1 / -1 }}
</style>
<h1>{number} pictures, best first</h1>
<main>
{cards}
</main>
</html>
"""
