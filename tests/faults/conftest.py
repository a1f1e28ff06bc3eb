"""A Toxiproxy for the tests of this folder, and a small HTTP server behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import typer
from aiohttp import web

from faults import cli
from faults.stack import EmbeddedStack, ReservedPort
from faults.toxiproxy import Route, Toxiproxy


@pytest.fixture(scope="session")
def toxic_stack() -> Iterator[EmbeddedStack]:
    """NATS, Postgres and Toxiproxy, for all tests of an xdist worker; don't kill its processes."""
    running = asyncio.run(EmbeddedStack.open(toxiproxy=True))
    yield running
    running.close()


def chaos_app() -> typer.Typer:
    """A root command with nothing but `chaos`."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    cli.register(app)
    return app


@asynccontextmanager
async def health_server() -> AsyncIterator[tuple[str, int]]:
    """A server that answers every GET with 200 and a short text; its address."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(text="ok\n")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield host, port
    finally:
        await runner.cleanup()


@asynccontextmanager
async def route_to(toxiproxy: Toxiproxy, name: str, upstream: tuple[str, int]) -> AsyncIterator[Route]:
    """A proxy to this server, for the length of an `async with`."""
    port = ReservedPort()
    route = await toxiproxy.create(name, listen=("127.0.0.1", port.number), upstream=upstream)
    try:
        yield route
    finally:
        await toxiproxy.remove(route)
        port.release()
