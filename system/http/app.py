"""The relay's HTTP application: routes, refusals, CORS, and the guard against idle connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
import structlog
from aiohttp import web

from system.http.access import require
from system.http.answers import Answers
from system.http.events import AgentEndpoint
from system.http.openapi import document
from system.http.problems import Problem, json_response, unavailable
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
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
SPARE_CONNECTIONS = 32
"""Beyond the limit, for one request of a probe each: a replica that is full is well, and must not be killed for it."""
TOO_MANY_RETRY_S = 5
_FULL = unavailable("this replica has as many connections open as it may", TOO_MANY_RETRY_S)
_FULL_BODY = msgspec.json.encode(_FULL.document())
REFUSAL_AT_CAPACITY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: %d\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (TOO_MANY_RETRY_S, len(_FULL_BODY), _FULL_BODY)
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


class _Newcomer(NamedTuple):
    """A connection that has sent no request yet."""

    since: float
    """Loop time, in s."""
    is_spare: bool
    """It is one too many: it is answered as a probe, or refused, and closed."""


class Guard:
    """A protocol factory that bounds connections, and the time a connection may take to its first request and to take
    an answer.
    """

    def __init__(self, settings: Settings, answers: Answers) -> None:
        self._settings = settings
        self._answers = answers
        self.server: web.Server | None = None
        self._silent: dict[asyncio.Protocol, _Newcomer] = {}
        self._came = asyncio.Event()

    def __call__(self) -> asyncio.Protocol:
        """A protocol for a new connection (the factory that `create_server` calls)."""
        assert self.server is not None, "set `server` before listening"
        too_many = len(self.server.connections) - self._settings.connections_max
        if too_many >= SPARE_CONNECTIONS:
            return _Refusal()
        protocol = self.server()
        self._silent[protocol] = _Newcomer(asyncio.get_running_loop().time(), is_spare=too_many >= 0)
        self._came.set()
        return protocol

    @web.middleware
    async def spoke(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note that a connection has sent a whole request head, and see to it that its answer is taken."""
        newcomer = self._silent.pop(request.protocol, None)
        if newcomer is not None:
            _notice_dead_peer(request.transport, self._settings.slow_client_timeout_s)
        is_spare = newcomer is not None and newcomer.is_spare
        response = _FULL.response() if is_spare and request.path not in PROBES else await handler(request)
        if is_spare:
            response.force_close()
        await self._answers.deliver(request, response)
        return response

    async def cut_silent(self) -> None:
        """Cut connections that have sent no request within the limit, for ever."""
        while True:
            if not self._silent:
                self._came.clear()
                await self._came.wait()
            await asyncio.sleep(1.0)
            limit = asyncio.get_running_loop().time() - self._settings.request_timeout_s
            for protocol in [one for one, newcomer in self._silent.items() if newcomer.since < limit]:
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


def _notice_dead_peer(transport: asyncio.Transport | None, timeout_s: float) -> None:
    """Have the kernel end a connection whose peer acknowledges or takes nothing for this long.

    Its own limit is 15 minutes for a peer that is gone, and none for one that acknowledges and does not read: such a
    connection would outlive its closing for ever.
    """
    sock = None if transport is None else transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux only
    if sock is not None and option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, round(timeout_s * 1000))
