"""What the relay reads of Postgres at once is bounded in bytes: the tail by a limit, look-ups of ids by digests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from system import sql
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, event, held_tail, problem

pytestmark = pytest.mark.stack

LARGE = 40_000
COUNT = 20
PAGE_BYTES = 100_000


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[int]]:
    """How many bytes of text each answer to a statement had, so far."""
    sizes: list[tuple[str, int]] = []

    def note(text: str, rows: list[Any]) -> None:
        sizes.append((text, sum(len(value.encode()) for row in rows for value in row if isinstance(value, str))))

    fetch, fetchrow = asyncpg.Connection.fetch, asyncpg.Connection.fetchrow

    async def counted(self: Any, text: str, *args: Any) -> Any:
        rows = await fetch(self, text, *args)
        note(text, rows)
        return rows

    async def counted_row(self: Any, text: str, *args: Any) -> Any:
        row = await fetchrow(self, text, *args)
        note(text, [] if row is None else [row])
        return row

    monkeypatch.setattr(asyncpg.Connection, "fetch", counted)
    monkeypatch.setattr(asyncpg.Connection, "fetchrow", counted_row)
    return lambda wanted: [size for text, size in sizes if text == wanted]


def large(number: int, **more: Any) -> dict[str, Any]:
    """An event of which three are more than a page; its text has more bytes than characters."""
    return event(f"e{number}", data="é" * (LARGE // 2), **more)


async def published(relay: InProcess, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """Publish them in UTF-8; answers what the relay says of each."""
    response = await relay.post(json.dumps(events, ensure_ascii=False).encode())
    assert response.status_code == 202, response.text
    answers: list[dict[str, Any]] = response.json()["events"]
    return answers


async def test_a_reading_of_the_tail_has_a_bound_in_bytes(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, answered: Callable[[str], list[int]]
) -> None:
    """A tail that is far behind reads large events in pieces of a page's bytes and one event, and releases them all, in
    order. It read a thousand rows at once, whatever their size.
    """
    relay = await start_relay(page_bytes=PAGE_BYTES)
    async with relay.stream(cursor="now") as stream:
        await stream.named("relay.cursor")
        gate = held_tail(relay.relay, monkeypatch)
        await asyncio.sleep(0.1)  # the reading under way, if any, ends
        await published(relay, *(large(number) for number in range(COUNT)))
        await relay.settled()
        gate.set()
        assert await stream.events(COUNT) == [f"e{number}" for number in range(COUNT)]
    assert LARGE < max(answered(sql.READ_TAIL)) <= PAGE_BYTES + LARGE + 1_000


async def test_repeats_are_found_without_reading_what_is_stored(
    relay: InProcess, answered: Callable[[str], list[int]]
) -> None:
    """Repeats to the byte are known by digests; one in other words and one with other content are read, one at a time.
    A request of small events with a thousand ids read all that was stored under them.
    """
    events = [large(number) for number in range(COUNT)]
    first = await published(relay, *events)
    await relay.settled()
    assert await published(relay, *events) == [one | {"duplicate": True} for one in first]
    assert answered(sql.READ_STORED) == []
    in_other_words = dict(reversed(events[3].items()))
    assert await published(relay, in_other_words) == [first[3] | {"duplicate": True}]
    problem(await relay.post([event(f"e{number}", data="x") for number in range(COUNT)]), 409, "other content")

    assert max(answered(sql.READ_STORED_MANY)) < COUNT * 100
    assert max(answered(sql.READ_STORED)) < LARGE + 1_000
