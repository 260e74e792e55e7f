"""Names of files as people write them: those that differ only in case, `./`, slashes or Unicode form are one."""

from __future__ import annotations

import posixpath
import unicodedata
from pathlib import Path

from mimi_lightning.data.places import names_in
from mimi_lightning.errors import DatasetError


def plain_name(name: str) -> str:
    """What all spellings of a path have in common: `./Images//É.BMP` is `images/é.bmp`."""
    return unicodedata.normalize("NFC", posixpath.normpath(name)).casefold()


class Folder:
    """A folder in which files are found as they are written, or else by another spelling of their name.

    Args:
        root: the folder; what names are relative to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: dict[str, str | None] = {}
        self.listed: dict[str, set[str]] = {}
        self.spellings: dict[str, dict[str, list[str]]] = {}

    def find(self, name: str) -> str | None:
        """A file or folder as the disk spells it, relative to the root; None where there is none.

        Raises:
            DatasetError: the name is written as none of several files that differ only in their spelling.
        """
        if name not in self.found:
            self.found[name] = self._find(posixpath.normpath(name))
        return self.found[name]

    def _find(self, name: str) -> str | None:
        parent, base = posixpath.split(name)
        if name.startswith("/") or (parent and (parent := self.find(parent)) is None):
            return None
        alike = [base] if base in self._names(parent) else self._spelt(parent).get(plain_name(base), [])
        if len(alike) > 1:
            raise DatasetError(
                f"'{name}' may be {' or '.join(sorted(alike))} in {self.root / parent}, whose names differ only in "
                "their spelling. Write it as one of them, or delete the others."
            )
        return posixpath.join(parent, alike[0]) if alike else None

    def _names(self, directory: str) -> set[str]:
        if directory not in self.listed:
            try:
                self.listed[directory] = set(names_in(self.root / directory))
            except OSError:  # no directory, or words that are too long for a name
                self.listed[directory] = set()
        return self.listed[directory]

    def _spelt(self, directory: str) -> dict[str, list[str]]:
        """Names in a directory by what their spellings have in common."""
        if directory not in self.spellings:
            spellings = self.spellings[directory] = {}
            for name in self._names(directory):
                spellings.setdefault(plain_name(name), []).append(name)
        return self.spellings[directory]
