"""Fixtures of the whole suite."""

from __future__ import annotations

import json
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


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of an open_clip model like ViT-B-32-quickgelu in all but its size; looks at patches of 32 pixels."""
    import open_clip

    vision = {"image_size": 32, "patch_size": 16, "layers": 2, "width": 32, "head_width": 16}
    text = {"context_length": 77, "vocab_size": 49408, "layers": 2, "width": 32, "heads": 2}
    file = tmp_path_factory.mktemp("open_clip") / "tiny-test.json"
    file.write_text(json.dumps({"embed_dim": 16, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(file)
    return file.stem
