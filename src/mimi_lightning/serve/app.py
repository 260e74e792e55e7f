"""The JSON endpoint, with the page of `page.py` in front of it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from mimi_lightning import __version__
from mimi_lightning.errors import ConfigError, MimiError
from mimi_lightning.ruler.ruler import Ruler, load
from mimi_lightning.serve.answers import Scales, Scores, Translation, tell_scales, tell_score, tell_translation
from mimi_lightning.serve.page import mount_page
from mimi_lightning.serve.uploads import read_uploads

LOOPBACK = ("127.0.0.1", "localhost", "::1")
GRADIO = "/gradio_api/"
OPEN = ("queue", "heartbeat", "info", "startup-events", "run")  # of Gradio's own routes, what the page needs

# Whatever a library writes into the page, a browser fetches nothing from elsewhere. Gradio makes functions of text
# (page.js is one), and its styles stand in the page.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; frame-ancestors 'none'"
)

PICTURES = {  # OpenAPI's words for a form of files
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["pictures"],
                    "properties": {"pictures": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            }
        },
    }
}


def make_app(ruler: Ruler) -> FastAPI:
    """Page and endpoint of a ruler.

    Scoring goes picture by picture, of whatever requests: the memory of one is all that it takes.
    """
    app = FastAPI(title="MIMI ruler", version=__version__, docs_url=None, redoc_url=None)  # both would load a CDN
    lock = Lock()

    @app.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        """Close what Gradio can beside the page: uploads and deep links, which write files, and proxies."""
        path = request.url.path
        if path.startswith(GRADIO) and path.removeprefix(GRADIO).partition("/")[0] not in OPEN:
            return JSONResponse({"error": "There is nothing here."}, 404)
        response = await answer(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    @app.exception_handler(MimiError)
    async def refuse(_: Request, error: MimiError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, getattr(error, "status", 422))

    @app.post("/score", openapi_extra=PICTURES)
    async def score(request: Request) -> Scores:
        """Score pictures: the proxy score, and on every native scale score, range, percentile and examples.

        A picture that cannot be read has its error instead; the others are scored.
        """
        uploads = await read_uploads(request)

        def tell() -> Scores:
            rows = []
            for name, data in uploads:
                with lock:
                    rows.append(tell_score(ruler, name, data))
            return Scores(pictures=rows)

        return await run_in_threadpool(tell)

    @app.get("/translate")
    def translate(
        source: Annotated[str, Query(alias="from", description="a scale, or `proxy`")],
        target: Annotated[str, Query(alias="to", description="a scale, or `proxy`")],
        score: Annotated[float, Query(allow_inf_nan=False)],
    ) -> Translation:
        """Translate a score from one scale to another."""
        return tell_translation(ruler, source, target, score)

    @app.get("/scales")
    def scales() -> Scales:
        """Name the scales, with their published ranges and where round scores lie on the proxy axis."""
        return tell_scales(ruler)

    mount_page(app, ruler)
    return app


def serve(checkpoint: Path | str, host: str, port: int, device: str | None) -> None:
    """Serve a checkpoint until Ctrl-C.

    Raises:
        ConfigError: a checkpoint that cannot be a ruler, or a host and port that cannot be had.
    """
    ruler = load(checkpoint, device)
    with listen(host, port) as listening:
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        print(f"page        {address}\nendpoint    {address}/openapi.json", flush=True)
        if host not in LOOPBACK:
            print("Whoever reaches this machine can use it: there is no password.", flush=True)
        print("Ctrl-C ends it.", flush=True)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(uvicorn.Config(make_app(ruler), log_level="warning")).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """Take a port of a host, or raise a ConfigError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"{host}:{port} cannot be served: {error}. Try --port 0, which takes a free one.") from error
