"""The relay's HTTP application: routes, refusals, CORS, and the guard against idle connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from aiohttp import web

from system.http.access import require
from system.http.events import AgentEndpoint
from system.http.openapi import document
from system.http.problems import Problem, json_response
from system.http.publish import PublishEndpoint
from system.metrics import Metrics
from system.settings import Settings
from system.tokens import TokenChecker

log = structlog.get_logger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}
CLIENT_LEFT = 499
"""Stands in our own books for an answer that nobody was there to read; nginx's number."""
EXPOSED_HEADERS = "Retry-After, WWW-Authenticate"
_TOO_MANY = msgspec.json.encode(Problem(503, "this replica has as many connections open as it may").document())
REFUSAL_AT_CAPACITY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_TOO_MANY), _TOO_MANY)
)


def make_app(
    settings: Settings,
    *,
    guard: Guard,
    publish: PublishEndpoint,
    agents: AgentEndpoint,
    checker: TokenChecker,
    metrics: Metrics,
    health: Callable[[], tuple[bool, dict[str, Any]]],
    readiness: Callable[[], tuple[bool, dict[str, Any]]],
    ask: Callable[[], Awaitable[None]],
) -> web.Application:
    """Build the application; `health` and `readiness` answer (good, details), after `ask` of what is known now."""

    async def post_events(request: web.Request) -> web.StreamResponse:
        await require(request, checker, settings, "publish")
        return await publish.handle(request)

    async def get_openapi(_: web.Request) -> web.StreamResponse:
        return json_response(200, document())

    async def get_metrics(_: web.Request) -> web.StreamResponse:
        await ask()
        return web.Response(body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    def told(good: bool, details: dict[str, Any]) -> web.StreamResponse:
        return json_response(200 if good else 503, details)

    async def get_health(_: web.Request) -> web.StreamResponse:
        return told(*health())

    async def get_readiness(_: web.Request) -> web.StreamResponse:
        await ask()
        return told(*readiness())

    app = web.Application(middlewares=[guard.spoke, _refuse, _preflight], client_max_size=settings.body_bytes_max)
    app.on_response_prepare.append(_cors(settings))
    app.router.add_post("/v1/events", post_events)
    app.router.add_get("/v1/agents/{agent}/events", agents.events, allow_head=False)
    app.router.add_post("/v1/agents/{agent}/acks", agents.acks)
    app.router.add_get("/v1/openapi.json", get_openapi)
    app.router.add_get("/metrics", get_metrics)
    app.router.add_get("/healthz", get_health)
    app.router.add_get("/readyz", get_readiness)
    return app


@web.middleware
async def _refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal becomes a problem document; a bug becomes a 500 and a log entry."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPException as refused:
        if refused.status < 400:
            raise
        allow = {"Allow": refused.headers["Allow"]} if "Allow" in refused.headers else None
        return Problem(
            refused.status, f"{request.method} {request.path[:200]}: {refused.reason}", headers=allow
        ).response()
    except asyncio.CancelledError:
        raise
    except Exception as error:  # a task's root: the client gets an honest 500, the log gets the trace
        if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
            return web.Response(status=CLIENT_LEFT)  # nobody reads it; to raise would be an error in the log
        log.exception("http.fault", method=request.method, path=request.path)
        return Problem(500, "a fault in the relay; its log has the trace").response()


def _cors(settings: Settings) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Adds the cross-origin headers for configured origins; `*` allows all (tokens are bearer, never cookies)."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        origin = request.headers.get("Origin", "")
        if origin and settings.cors_origins & {origin, "*"}:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
            response.headers["Vary"] = "Origin"

    return add


@web.middleware
async def _preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers a CORS preflight; without an allowed origin the browser refuses by itself."""
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return web.Response(status=204, headers=PREFLIGHT_HEADERS)
    return await handler(request)


class Guard:
    """A protocol factory that bounds connections, and the time a connection may take to its first request."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.server: web.Server | None = None
        self._silent: dict[asyncio.Protocol, float] = {}
        self._came = asyncio.Event()

    def __call__(self) -> asyncio.Protocol:
        """A protocol for a new connection (the factory that `create_server` calls)."""
        assert self.server is not None, "set `server` before listening"
        if len(self.server.connections) >= self._settings.connections_max:
            return _Refusal()
        protocol = self.server()
        self._silent[protocol] = asyncio.get_running_loop().time()
        self._came.set()
        return protocol

    @web.middleware
    async def spoke(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note that a connection has sent a whole request head."""
        self._silent.pop(request.protocol, None)
        return await handler(request)

    async def cut_silent(self) -> None:
        """Cut connections that have sent no request within the limit, for ever."""
        while True:
            if not self._silent:
                self._came.clear()
                await self._came.wait()
            await asyncio.sleep(1.0)
            limit = asyncio.get_running_loop().time() - self._settings.request_timeout_s
            for protocol in [one for one, since in self._silent.items() if since < limit]:
                del self._silent[protocol]
                transport = getattr(protocol, "transport", None)
                if transport is not None:
                    transport.abort()


class _Refusal(asyncio.Protocol):
    """Answers 503 to a connection too many and closes it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(REFUSAL_AT_CAPACITY)
        transport.close()
