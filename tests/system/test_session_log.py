"""What a replica logs of its sessions is what it did, wherever sessions read from and however they end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import structlog

from system import session_log
from tests.system.conftest import StartRelay
from tests.system.harness import all_transports, event, eventually, told_by_postgres

pytestmark = pytest.mark.stack
Lines = Sequence[Mapping[str, Any]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Everything that sessions of relays in this process log.

    A logger that was used before, under a relay's own settings, keeps these: the sessions are given a new one. And a
    command that was called in this process may have left a higher level.
    """
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    try:
        with structlog.testing.capture_logs() as found:
            monkeypatch.setattr(session_log, "log", structlog.get_logger())
            yield found
    finally:
        structlog.configure(**before)


def named(lines: Lines, name: str) -> Lines:
    """The lines of this event."""
    return [line for line in lines if line["event"] == name]


def seqs(cursors: list[str]) -> list[int]:
    """Their sequences."""
    return [int(cursor.partition("-")[2]) for cursor in cursors]


@all_transports
async def test_a_connection_is_two_lines(start_relay: StartRelay, lines: Lines) -> None:
    """Where it began, and what it was sent: replayed and live events alike, by count, sum and bounds."""
    relay = await start_relay()
    before = await relay.publish(*[event() for _ in range(3)], event(subject="bob"))
    await relay.settled()
    async with relay.stream(cursor="earliest") as stream:
        await stream.events(3)
        await relay.publish(event(subject="_all"), event(subject="bob"), event())
        await stream.events(2)
        sent = stream.cursors
    [closed] = await eventually(lambda: named(lines, "session.closed"), "a session's end in the log")
    [opened] = named(lines, "session.opened")
    assert (opened["agent"], opened["presented"], opened["start"]) == ("ann", "earliest", None)
    assert closed["conn"] == opened["conn"]
    assert (closed["count"], closed["sum"]) == (5, sum(seqs(sent)))
    assert (closed["first"], closed["last"]) == (before[0], sent[-1])
    assert seqs([closed["reached"]])[0] >= seqs(sent)[-1]
    assert named(lines, "session.sent") == []


@all_transports
async def test_the_next_connection_begins_where_it_asks(start_relay: StartRelay, lines: Lines) -> None:
    """Another name, the cursor that was presented, and what lies behind it."""
    relay = await start_relay()
    cursors = await relay.publish(*[event(type="note.posted") for _ in range(2)], event())
    for start in (cursors[0], cursors[1]):
        async with relay.stream(last_event_id=start, types="task.assigned", told=cursors[2]) as stream:
            await stream.events(1)
    await eventually(lambda: len(named(lines, "session.closed")) == 2, "two ends in the log")
    assert [line["told"] for line in named(lines, "session.opened")] == [cursors[2]] * 2
    first, second = named(lines, "session.closed")
    assert first["conn"] != second["conn"]
    assert [line["start"] for line in (first, second)] == cursors[:2]
    assert [(line["count"], line["types"], line["first"]) for line in (first, second)] == [
        (1, ["task.assigned"], cursors[2])
    ] * 2


@all_transports
async def test_every_cursor_is_logged_if_asked_for(start_relay: StartRelay, lines: Lines) -> None:
    """With MESHRELAY_DELIVERY_LOG the log has every event sent, once, in order."""
    relay = await start_relay(delivery_log=True)
    await relay.publish(*[event() for _ in range(4)])
    await relay.settled()
    async with relay.stream(cursor="earliest") as stream:
        await stream.events(4)
        await relay.publish(*[event() for _ in range(3)])
        await stream.events(3)
        received = stream.cursors
    assert [cursor for line in named(lines, "session.sent") for cursor in line["cursors"]] == received


@all_transports
async def test_what_did_not_go_out_is_not_claimed(start_relay: StartRelay, lines: Lines) -> None:
    """Agents leave while events come: up to the place that a line names, it counts exactly what is stored."""
    relay = await start_relay()
    for round_number in range(5):
        async with relay.stream("ann", cursor="now" if round_number else "earliest") as stream:
            await relay.publish(*[event() for _ in range(20)])
            await stream.events(1 + round_number * 4)
            leaving = asyncio.create_task(stream.response.aclose())
            await relay.publish(*[event() for _ in range(20)])
            await leaving
    await eventually(lambda: len(named(lines, "session.closed")) == 5, "five ends in the log")
    await relay.settled()
    stored = [row["seq"] for row in await relay.rows("SELECT pos & ((1::bigint << 48) - 1) AS seq FROM agent_events")]
    for line in named(lines, "session.closed"):
        start = 0 if line["start"] is None else seqs([line["start"]])[0]
        due = [seq for seq in stored if start < seq <= seqs([line["reached"]])[0]]
        assert (line["count"], line["sum"]) == (len(due), sum(due)), line
    assert sum(line["count"] for line in named(lines, "session.closed")) >= 45


@told_by_postgres
async def test_a_gap_is_logged(start_relay: StartRelay, lines: Lines) -> None:
    """With the session that was told, where it stood, and the floors."""
    relay = await start_relay(retention_standard_s=0.5)
    start, standard, _ = await relay.publish(event(), event(type="note.posted"), event())
    await relay.settled()
    await eventually(lambda: _left(relay, 2), "the standard event swept")
    async with relay.stream(last_event_id=start) as stream:
        await stream.named("relay.gap")
    [told] = named(lines, "session.told")
    assert told["conn"] == named(lines, "session.opened")[0]["conn"]
    assert (told["notice"], told["via"], told["reason"]) == ("gap", "event", "expired")
    assert (told["cursor"], told["critical"], told["standard"]) == (start, None, standard)


@told_by_postgres
async def test_a_loss_is_logged(start_relay: StartRelay, lines: Lines) -> None:
    """A 410, a loss told in a stream, and a foreign cursor, each with its reason; who got no stream has no session."""
    relay = await start_relay(retention_critical_s=0.5, retention_standard_s=0.5)
    start, standard, critical = await relay.publish(event(), event(type="note.posted"), event())
    await relay.settled()  # before it is stored nothing is left either
    await eventually(lambda: _left(relay, 0), "all swept")
    async with relay.stream(last_event_id=start) as stream:
        assert stream.response.status_code == 410
    async with relay.stream(last_event_id=start, on_gone="event") as stream:
        await stream.named("relay.gone")
    async with relay.stream(last_event_id="zzzzzz-1") as stream:
        assert stream.response.status_code == 410
    told = named(lines, "session.told")
    assert [(line["notice"], line["via"], line["reason"]) for line in told] == [
        ("gone", "status", "expired"),
        ("gone", "event", "expired"),
        ("gone", "status", "wrong_epoch"),
    ]
    assert [line["conn"] is None for line in told] == [True, False, True]
    assert {(line["cursor"], line["critical"], line["standard"]) for line in told[:2]} == {(start, critical, standard)}
    assert told[2]["cursor"] == "zzzzzz-1"


async def _left(relay: Any, count: int) -> bool:
    return len(await relay.rows("SELECT 1 FROM agent_events")) == count
