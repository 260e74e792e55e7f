"""`serve`: a page and a JSON endpoint that score pictures with a checkpoint."""

from __future__ import annotations

import argparse
from typing import Any

from mimi_lightning.cli.words import add_checkpoint, add_device
from mimi_lightning.errors import ConfigError


def add(verbs: Any) -> None:
    """Add the parser of this verb."""
    serve = verbs.add_parser(
        "serve",
        help="a page, and a JSON endpoint, that score pictures with a checkpoint",
        description="Serve a page where pictures are dropped onto one ruler and scores are translated between scales, "
        "and a JSON endpoint, which /openapi.json describes. Pictures stay in memory, and nothing is fetched from "
        "elsewhere.",
    )
    add_checkpoint(serve)
    add_device(serve)
    serve.add_argument("--host", default="127.0.0.1", help="who may come: this machine alone (%(default)s)")
    serve.add_argument("--port", type=int, default=7860, help="%(default)s; 0 takes a free one")
    serve.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    try:
        from mimi_lightning.serve.app import serve
    except ImportError as error:
        raise ConfigError('serve needs: pip install "mimi-lightning[serve]"') from error
    serve(args.checkpoint, args.host, args.port, args.device)
    return 0
