"""Fixtures that several folders share: the real stack, an empty database, an empty NATS.

What lives longer than a test holds processes only, never an object of an event loop, so that every test may have its
own loop. A part that can't be had fails the test with the sentence that says why; it never skips it.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import hypothesis
import pytest
from xdist.scheduler import WorkStealingScheduling

from faults.stack import EmbeddedStack, NatsProcess, RedisProcess
from faults.transports import TransportName
from tests import nightly
from tests.counts import pytest_collection_modifyitems, pytest_runtest_makereport, pytest_terminal_summary

__all__ = ["pytest_collection_modifyitems", "pytest_runtest_makereport", "pytest_terminal_summary"]

MARKERS = ("sim", "determinism", "options", "report", "chaos", "conformance")

# How long an example takes says how busy the machine is, and nothing of the property.
hypothesis.settings.register_profile("meshrelay", deadline=None)
hypothesis.settings.load_profile("meshrelay")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files unread that never name the one marker asked for: `pytest -m sim` then imports no fuzzer."""
    marker = config.option.markexpr
    if marker not in MARKERS or not collection_path.name.startswith("test_"):
        return None
    return f"mark.{marker}" not in collection_path.read_text(encoding="utf-8") or None


def pytest_addoption(parser: pytest.Parser) -> None:
    """The properties of the simulated world hold over every transport; they are played over one at a time."""
    parser.addoption("--transport", choices=[one.value for one in TransportName], help="Play properties over this.")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WorkStealingScheduling:
    """A worker that is done takes tests from one that is not: the longest are a tenth of `pytest -m sim`."""
    return WorkStealingScheduling(config, log)


def pytest_report_header() -> str:
    """Say how many random tests are to be played."""
    return nightly.header()


@pytest.fixture(scope="session")
def stack() -> Iterator[EmbeddedStack]:
    """NATS and Postgres, started by the first test of an xdist worker that asks; don't kill its processes."""
    running = asyncio.run(EmbeddedStack.open())
    yield running
    running.close()


@pytest.fixture
async def fresh_database(stack: EmbeddedStack) -> AsyncIterator[str]:
    """The connection string of an empty database, dropped afterwards with whatever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    await _execute(stack.postgres_dsn, f"create database {name}")
    yield re.sub(r"/[^/]*$", f"/{name}", stack.postgres_dsn)
    await _execute(stack.postgres_dsn, f"drop database {name} with (force)")


@pytest.fixture
async def fresh_nats(stack: EmbeddedStack) -> AsyncIterator[NatsProcess]:
    """A NATS server with an empty JetStream for this test alone; it may be killed, paused and restarted."""
    server = stack.add_nats(f"nats-{uuid.uuid4().hex[:8]}")
    await server.start()
    yield server
    await stack.remove(server)


@pytest.fixture
async def fresh_redis(stack: EmbeddedStack) -> AsyncIterator[RedisProcess]:
    """An empty Redis for this test alone; it may be killed, paused and restarted."""
    server = stack.add_redis(f"redis-{uuid.uuid4().hex[:8]}")
    await server.start()
    yield server
    await stack.remove(server)


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
