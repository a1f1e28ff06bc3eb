"""Pages: everything retained, in order, with what is missing said; no page twice, no page without end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from system.client import Page, PageReader, ProtocolViolated, RelayRefused, RelayUnavailable
from system.client import pages as pages_module
from tests.system.client.scripted import FAST, FLOORS, RESYNC, ScriptedRelay, cursor, seeded_host


def page(*seqs: int, more: bool = False, **members: Any) -> bytes:
    """The JSON of a page with these events."""
    events = [
        {"cursor": cursor(seq), "event": {"id": f"e{seq}", "type": "a.b", "subject": "alice", "data": seq}}
        for seq in seqs
    ]
    body = {"events": events, "next": cursor(seqs[-1] if seqs else 9), "head": cursor(9), "more": more}
    return json.dumps({**body, "gap": None, "gone": None, **members}).encode()


@asynccontextmanager
async def reading(relay: ScriptedRelay, **read: Any) -> AsyncIterator[asyncio.Task[list[Page]]]:
    """A reader at work; the task gives all its pages."""
    async with PageReader(relay.base_url, "alice", "good", seeded_host(), types=("a.b",), settings=FAST) as reader:

        async def all_pages() -> list[Page]:
            return [one async for one in reader.read(**read)]

        task = asyncio.create_task(all_pages())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_pages_are_followed_to_the_head(relay: ScriptedRelay) -> None:
    """Each request asks behind the page before; the last page ends the reading."""
    async with reading(relay, start="earliest") as task:
        first = await relay.request()
        assert first.target == "/v1/agents/alice/events?cursor=earliest&types=a.b&limit=200&on_gone=skip"
        assert first.headers["accept"] == "application/json"
        await first.answer(200, page(1, 2, more=True))
        second = await relay.request()
        assert second.target.startswith(f"/v1/agents/alice/events?cursor={cursor(2)}&")
        await second.answer(200, page(5))
        found = await task
        assert [one.id for each in found for one in each.events] == ["e1", "e2", "e5"]
        assert found[0].events[1].decode()["data"] == 2
        assert (found[1].head, found[1].more) == (cursor(9), False)


async def test_a_resync_address_is_followed_as_given(relay: ScriptedRelay) -> None:
    """The first page comes from the relay's own address; what is missing before it is told."""
    missing = {"reason": "expired", "floors": FLOORS, "head": cursor(9), "resync": RESYNC}
    async with reading(relay, address=RESYNC) as task:
        exchange = await relay.request()
        assert exchange.target == RESYNC
        await exchange.answer(200, page(8, gone=missing, gap={"reason": "expired", "floors": FLOORS}))
        (found,) = await task
        assert found.gone is not None
        assert found.gone.floors.critical == cursor(5)
        assert found.gap is not None
        assert found.gap.floors.standard == cursor(7)


@pytest.mark.parametrize(("reason", "told"), [(None, cursor(9)), ("wrong_epoch", "life22-3")])
async def test_the_next_page_is_asked_for_with_what_was_told(
    relay: ScriptedRelay, reason: str | None, told: str
) -> None:
    """The head that the page came with, or that of the loss that it tells of, which may know of a newer life."""
    gone = reason and {"reason": reason, "floors": FLOORS, "head": "life22-3", "resync": RESYNC}
    async with reading(relay) as task:
        first = await relay.request()
        assert "told=" not in first.target
        await first.answer(200, page(1, more=True, gone=gone))
        second = await relay.request()
        assert f"&told={told}&" in second.target
        await second.answer(200, page(2))
        assert [one.told for one in await task] == [told, cursor(9)]


async def test_trouble_between_pages_is_waited_out(relay: ScriptedRelay) -> None:
    """Cuts and lack of capacity repeat the same page; nothing is read twice or left out."""
    async with reading(relay) as task:
        await (await relay.request()).answer(200, page(1, more=True))
        (await relay.request()).cut()
        await (await relay.request()).problem(503, title="Full", retry_after="0")
        await (await relay.request()).answer(200, page(2))
        assert [one.id for each in await task for one in each.events] == ["e1", "e2"]


async def test_trouble_without_end_is_said(relay: ScriptedRelay) -> None:
    """After so many attempts the reading ends with the last reason."""
    async with reading(relay) as task:
        for _ in range(pages_module.ATTEMPTS_MAX):
            await (await relay.request()).problem(503, title="Full")
        with pytest.raises(RelayUnavailable, match="within 8 attempts, got 503: Full"):
            await task
        assert task.done()


@pytest.mark.parametrize("status", [307, 400, 403, 404, 410])
async def test_a_definite_refusal_ends_the_reading(relay: ScriptedRelay, status: int) -> None:
    """What no retry changes is raised at the first answer."""
    async with reading(relay) as task:
        await (await relay.request()).problem(status, title="Never")
        with pytest.raises(RelayRefused, match=f"got {status}: Never") as raised:
            await task
        assert raised.value.status == status


@pytest.mark.parametrize(
    "body", [b"", b"[]", page(1, next=7), b'{"events":[{"cursor":"x","event":{}}],"next":"a","head":"b"}']
)
async def test_an_unreadable_page_is_raised(relay: ScriptedRelay, body: bytes) -> None:
    """A 200 that is no page is an error, not an empty page."""
    async with reading(relay) as task:
        await (await relay.request()).answer(200, body)
        with pytest.raises(ProtocolViolated, match="expected a page of events as JSON"):
            await task
        assert task.done()


async def test_pages_that_do_not_advance_are_an_error(relay: ScriptedRelay) -> None:
    """A relay that promises more behind the same cursor for ever is not followed for ever."""
    async with reading(relay) as task:
        await (await relay.request()).answer(200, page(4, more=True))
        await (await relay.request()).answer(200, page(4, more=True))
        with pytest.raises(ProtocolViolated, match="expected pages to advance"):
            await task
        assert task.done()


async def test_an_oversized_page_is_bounded(relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page beyond the limit is given up in the middle, with the next step."""
    monkeypatch.setattr(pages_module, "PAGE_BYTES_MAX", 10_000)
    async with reading(relay) as task:
        await (await relay.request()).answer(200, page(*range(1, 1000)))
        with pytest.raises(ProtocolViolated, match="lower page_events_max"):
            await task
        assert task.done()


async def test_a_foreign_address_is_refused_before_any_request(relay: ScriptedRelay) -> None:
    """Only a path and query of the same origin are followed with the token."""
    for address in (
        "//evil.example/x",
        "https://evil.example/x",
        "x",
        "/a#b",
        "/a b",
        "/\\evil.example",
        "/" + "x" * 9999,
    ):
        async with reading(relay, address=address) as task:
            with pytest.raises(ProtocolViolated, match="expected a resync address"):
                await task
            assert task.done()
