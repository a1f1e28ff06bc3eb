"""Sweeps on a database that ends what takes too long."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from system.database import Database, DatabaseUnavailable
from system.host import Host
from system.metrics import Metrics
from system.settings import Settings
from system.sweeper import CHUNK_ROWS, Sweeper
from tests.system.harness import SECRET, eventually


class Slow:
    """Too slow for more than so many rows a statement, until it is asked for fewer."""

    def __init__(self, rows_max: int, left: int) -> None:
        self.rows_max, self.left = rows_max, left
        self.asked: list[int] = []

    async def fetchrow(self, _text: str, _stream: str, _kept: int, _retention_s: float, rows: int, _since: Any) -> Any:
        """Sweep a piece."""
        self.asked.append(rows)
        if rows > self.rows_max:
            raise DatabaseUnavailable("canceling statement due to statement timeout")
        count = min(rows, self.left)
        self.left -= count
        return {"count": count, "last": None}

    async def execute(self, _text: str, _retention_s: float) -> None:
        """Prune."""

    def patient(self, _timeout_s: float) -> Slow:
        """The same."""
        return self

    async def close(self) -> None:
        """Nothing to close."""


async def test_what_takes_too_long_is_swept_in_smaller_pieces() -> None:
    """A piece that Postgres ends at its limit leaves nothing done: the next ones are smaller, until all is swept."""
    slow = Slow(rows_max=100, left=500)
    settings = Settings(jwt_hs256_secret=SECRET, sweep_interval_s=0.001, sweep_pause_s=0)
    sweeping = asyncio.create_task(Sweeper(settings, cast(Database, slow), Host.real(), Metrics()).run())
    await eventually(lambda: not slow.left, "everything to be swept")
    sweeping.cancel()
    assert slow.asked[:3] == [CHUNK_ROWS, CHUNK_ROWS // 4, CHUNK_ROWS // 16]
