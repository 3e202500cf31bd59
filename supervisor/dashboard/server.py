"""The web page's server: what the watcher knows, as a stream of changes; commands, with a token; metrics.

Owns no socket of the engine's. Each page has a stream of its own (server-sent events): first all that is known, then
five times a second what has changed since. Who reads slowly gets fewer and larger changes; nothing is kept for him.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from actors.clock import now_us
from supervisor.cli.asking import HALT_TIMEOUT_S, halt_engine
from supervisor.cli.naming import Target
from supervisor.cli.operation_verbs import operate
from supervisor.cli.output import Failure
from supervisor.dashboard.metrics import EngineCollector
from supervisor.dashboard.picture import PANELS, TAPES, Picture
from supervisor.dashboard.watcher import Watcher

STATIC: Final = Path(__file__).with_name("static")
STREAM_S: Final = 0.2
OPERATE_TIMEOUT_S: Final = 5.0
STREAMS_MAX: Final = 32
"""Pages at once."""
BODY_BYTES_MAX: Final = 4096
ARGUMENT_MAX: Final = 500
VERBS: Final = ("HALT", "REDUCE", "RESUME", "FLATTEN", "CANCEL")
"""What a page may ask for."""
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass
class Cursor:
    """What one page has seen."""

    versions: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)

    def changes(self, picture: Picture, now: int) -> dict[str, Any]:
        """What is new since the last call; the first time all."""
        panels = {
            name: picture.read(name) for name in PANELS if picture.versions[name] != self.versions.get(name, 0)
        }  # fmt: skip
        self.versions = dict(picture.versions)
        tapes: dict[str, Any] = {}
        for name in TAPES:
            tape, seen = picture.tapes[name], self.ends.get(name, 0)
            if tape.end != seen:
                rows = tape.since(seen)
                tapes[name] = {"rows": rows, "is_whole": seen == 0 or tape.end - seen > len(rows)}
            self.ends[name] = tape.end
        ages_ms = {name: (now - known) // 1000 if known else None for name, known in picture.known_us.items()}
        return {"time_us": now, "panels": panels, "tapes": tapes, "ages_ms": ages_ms}


class Dashboard:
    """token: what a page must show to command; "": nobody may."""

    def __init__(self, watcher: Watcher, target: Target, token: str) -> None:
        self._watcher = watcher
        self._target = target
        self._token = token
        self._halting = ThreadPoolExecutor(2, "halt")
        self._streams = 0
        self.is_ending: Callable[[], bool] = lambda: False
        """Streams end with the server: whoever waits for them waits for ever."""
        self._registry = CollectorRegistry()
        self._registry.register(EngineCollector(watcher))

    def application(self, hosts: Sequence[str]) -> Starlette:
        """hosts: by which names it may be called; another would be a page of somebody else's (DNS rebinding)."""
        routes = [
            Route("/", self._page),
            Route("/api/stream", self._stream),
            Route("/api/command", self._command, methods=["POST"]),
            Route("/metrics", self._metrics),
            Route("/healthz", self._healthz),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]
        return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))])

    async def _page(self, request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers=_HEADERS)

    async def _stream(self, request: Request) -> Response:
        if self._streams >= STREAMS_MAX:
            return Response(f"{STREAMS_MAX} pages are open already", status_code=503)
        return StreamingResponse(self._changes(request), media_type="text/event-stream", headers=_HEADERS)

    async def _changes(self, request: Request) -> AsyncIterator[str]:
        cursor = Cursor()
        self._streams += 1
        try:
            while not (self.is_ending() or await request.is_disconnected()):
                changes = await asyncio.to_thread(
                    self._watcher.read, lambda picture: json.dumps(cursor.changes(picture, now_us()))
                )
                yield f"data: {changes}\n\n"
                await asyncio.sleep(STREAM_S)
        finally:
            self._streams -= 1

    async def _command(self, request: Request) -> Response:
        """`{"verb": "HALT", "argument": "why"}` with `Authorization: Bearer TOKEN`."""
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not self._token or not secrets.compare_digest(shown.encode(), self._token.encode()):
            return _refused(403, "this page may only look: open it by the whole address that the server printed")
        try:
            asked = json.loads(await _body(request))
            verb, argument = asked["verb"], str(asked.get("argument", ""))[:ARGUMENT_MAX]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return _refused(400, f"no command: {error}")
        if verb not in VERBS:
            return _refused(400, f"no such command here: {verb!r}; there are {', '.join(VERBS)}")
        # HALT waits for no thread in which others wait for an engine that hangs.
        threads = self._halting if verb == "HALT" else None
        return await asyncio.get_running_loop().run_in_executor(
            threads, self._carry_out, verb, " ".join(argument.split())
        )

    def _carry_out(self, verb: str, argument: str) -> Response:
        try:
            if verb == "HALT":
                halted = halt_engine(self._target, HALT_TIMEOUT_S, argument)
                said = " ".join([f"{halted.reply['response']}.", *halted.words])
                return JSONResponse(halted.reply | {"response": said})
            return JSONResponse(operate(self._target, OPERATE_TIMEOUT_S, f"{verb} {argument}".strip()))
        except Failure as failure:
            return _refused(502, f"{failure.message} {failure.hint}".strip())

    async def _metrics(self, request: Request) -> Response:
        text = await asyncio.to_thread(generate_latest, self._registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def _healthz(self, request: Request) -> Response:
        """A halted engine is a healthy one: who restarts it would undo an operator's word."""
        reachable, why = self._watcher.read(lambda picture: (picture.is_reachable, picture.why_not))
        return JSONResponse({"reachable": reachable, "why_not": "" if reachable else why}, 200 if reachable else 503)


async def _body(request: Request) -> bytes:
    """Raises: ValueError for one that is too long."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise ValueError(f"a command has at most {BODY_BYTES_MAX} bytes")
    return body


def _refused(code: int, response: str) -> JSONResponse:
    return JSONResponse({"status": "error", "response": response}, status_code=code)
