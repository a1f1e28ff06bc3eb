"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.system.client.scripted import ScriptedRelay, scripted_relay


@pytest.fixture
async def relay() -> AsyncIterator[ScriptedRelay]:
    """A relay that does what the test says, on a free loopback port."""
    async with scripted_relay() as scripted:
        yield scripted
