"""Bounds that hold when things go wrong: what a slow link, a purge, a cancel or a failover must not break."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.js.api import PubAck

from system.batch import Incoming, pieces
from system.cursor import Position, pack
from system.event import Event
from system.host import Host
from system.http.app import REFUSAL_AT_CAPACITY
from system.hub import Hub
from system.link import Connection
from system.metrics import Metrics
from system.settings import Settings
from system.stream import publish_all
from system.tail import Tail


@given(sizes=st.lists(st.integers(0, 300), max_size=40), bytes_max=st.integers(1, 500))
def test_pieces_keep_everything_in_order_and_within_the_bound(sizes: list[int], bytes_max: int) -> None:
    """Whatever the sizes, no message is lost or moved, and only a single message may exceed the bound.

    1,000 events of 256 KiB once made one statement of 256 MB, which on a slow link timed out and came again for ever.
    """
    messages = [Incoming(seq, 0, None, "", b"x" * size) for seq, size in enumerate(sizes)]
    cut = list(pieces(messages, bytes_max))
    assert [message for piece in cut for message in piece] == messages
    assert all(piece for piece in cut)
    for piece in cut:
        assert len(piece) == 1 or sum(len(message.raw) for message in piece) <= bytes_max


def test_the_refusal_at_capacity_is_whole() -> None:
    """Its Content-Length is its body's, which is valid JSON: it was one byte short once."""
    head, _, body = REFUSAL_AT_CAPACITY.partition(b"\r\n\r\n")
    lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    assert int(lengths[0].partition(b":")[2]) == len(body)
    assert json.loads(body)["status"] == 503


async def test_a_cancelled_publish_frees_its_slots() -> None:
    """A client that gives up leaves no future open: each would keep one of the connection's publish slots for good."""
    futures: list[asyncio.Future[PubAck]] = []

    async def publish_async(*_: Any, **__: Any) -> asyncio.Future[PubAck]:
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    parts = {"js": SimpleNamespace(publish_async=publish_async), "nc": SimpleNamespace(max_payload=1_000_000)}
    connection = cast(Connection, SimpleNamespace(**parts))
    events = [Event(f"e{number}", "task.assigned", "ann", "{}") for number in range(3)]
    publishing = asyncio.create_task(publish_all(connection, "S", events, timeout_s=60.0))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(futures) == 3
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert all(future.cancelled() for future in futures)


class _OlderEachTime:
    """A database whose watermark moves back, as after a failover that lost commits."""

    def __init__(self, watermarks: list[int]) -> None:
        self._watermarks = watermarks

    async def fetch(self, *_: object) -> list[Any]:
        watermark = pack(1, self._watermarks.pop(0))
        return [_Row(watermark=watermark, epoch=1, swept=0, pos=None, agent=None, type=None, payload=None)]


class _Row(dict[str, Any]):
    def __iter__(self) -> Any:
        return iter(self.values())


async def test_the_head_never_moves_back() -> None:
    """A watermark below the head releases nothing and leaves the head: the same positions will come again, once."""
    hub = Hub(events_max=10, bytes_max=10_000)

    async def ensure_tag(_: Position) -> None:
        return None

    tail = Tail(
        Settings(jwt_hs256_secret=cast(Any, "s" * 32)),
        cast(Any, _OlderEachTime([102, 100, 103])),
        cast(Any, None),
        Host.real(),
        Metrics(),
        places=cast(Any, SimpleNamespace(ensure_tag=ensure_tag, prefix_of=lambda _: "abcdef-")),
        hub=hub,
        on_epoch=lambda: None,
        on_moved=lambda: None,
    )
    heads = []
    for _ in range(3):
        await tail._step()
        heads.append(hub.head)
    assert heads == [pack(1, 102), pack(1, 102), pack(1, 103)]
