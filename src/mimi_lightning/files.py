"""Writing files that others may read at any moment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def aside(file: Path, draft: Path | None = None) -> Iterator[Path]:
    """Write a file that appears whole or not at all: yields where to write it, in the same folder.

    Args:
        file: what appears, with the rights that any new file gets.
        draft: where to write, if several processes may write the file at once.
    """
    draft = draft or file.with_name(f"{file.name}.part")
    try:
        yield draft
        with draft.open("rb+") as written:
            os.fsync(written.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
