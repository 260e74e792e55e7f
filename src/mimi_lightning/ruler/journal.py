"""Rows of a long list on disk, so that the same command goes on after an interruption."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Journal:
    """Rows as JSON lines beside the file that they will become.

    Args:
        out: that file.
        said: what all rows depend on, such as the checkpoint and the scales: of other words, other rows.
    """

    def __init__(self, out: Path, *said: bytes | str) -> None:
        key = hashlib.sha256(b"\0".join(word if isinstance(word, bytes) else word.encode() for word in said))
        self.file = out.with_name(f"{out.name}.{key.hexdigest()[:12]}.part")

    def read(self) -> list[Row]:
        """Rows that were written whole."""
        if not self.file.is_file():
            return []
        text = self.file.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            self.file.write_bytes(whole)  # a kill in the middle of a row
        return [json.loads(line) for line in whole.splitlines()]

    def keep(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Write rows down as they come by."""
        with self.file.open("a", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
                file.flush()
                yield row

    def remove(self) -> None:
        """Remove the rows: they have become what they were kept for."""
        self.file.unlink(missing_ok=True)
