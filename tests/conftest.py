"""Fixtures of the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest

SMALL = {"side": 64, "references": 10, "scenes": 10, "per_content": 2, "progress": False}


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six miniature datasets of about twenty pictures each; copy what you want to change.

    Built once a session. Under pytest-xdist every worker is a session of its own and builds its own.
    """
    from mimi_lightning.data.miniature import make_miniature

    return make_miniature(tmp_path_factory.mktemp("datasets") / "miniature", **SMALL)
