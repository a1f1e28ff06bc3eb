"""Stale redispatches: an assignment that is not acknowledged in time comes again, marked, a bounded number of times."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from system.event import Event
from system.stream import Published, TooLarge, publish_all
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, event, eventually

pytestmark = pytest.mark.stack


async def overdue(relay: InProcess) -> None:
    """Let every open assignment's time run out now."""
    await relay.rows("UPDATE open_assignments SET due_at = now() - interval '1 second' RETURNING 1")


async def opened(relay: InProcess) -> list[tuple[str, int]]:
    """Open assignments by the original's id, with their counts."""
    rows = await relay.rows(
        "SELECT e.id, o.count FROM open_assignments o JOIN agent_events e ON e.pos = o.pos ORDER BY o.pos"
    )
    return [(row["id"], row["count"]) for row in rows]


async def redispatched(relay: InProcess, count: int) -> None:
    """Wait until so many copies were counted."""

    async def counted() -> bool:
        return await relay.metric("relay_stale_redispatches_total") == count

    await eventually(counted, f"{count} redispatches")


async def test_an_overdue_assignment_comes_again_until_it_is_acked(start_relay: StartRelay) -> None:
    """The copy has the id ~r1, ~r2, … and says of which it is one; it is delivered and counted; an ack of any later
    cursor ends it.
    """
    relay = await start_relay(redispatch_after_s=600, redispatch_max=5)
    async with relay.stream(cursor="now") as stream:
        made = event("job", data={"n": 1.10}, traceparent="00-x")
        await relay.publish(made)
        await stream.events(1)
        await _due(relay)
        assert await stream.events(1) == ["job~r1"]
        copy = stream.seen[-1].data
        assert copy == made | {"id": "job~r1", "redispatchof": "job", "redispatchcount": 1}
        await _due(relay)
        assert await stream.events(1) == ["job~r2"]
        assert await opened(relay) == [("job", 2)]
        await redispatched(relay, 2)
        assert (await relay.ack(stream.last_id)).status_code == 200
    assert await opened(relay) == []


async def _due(relay: InProcess) -> None:
    """Let the time run out, and have the redispatcher look now."""
    await relay.settled()
    await overdue(relay)
    await relay.relay._leader._redispatcher.redispatch_once()


async def test_by_the_clock(start_relay: StartRelay) -> None:
    """With a limit of half a second: first, then again, up to the maximum, and no more."""
    relay = await start_relay(redispatch_after_s=0.5, redispatch_max=2)
    async with relay.stream(cursor="now") as stream:
        await relay.publish(event("job"))
        assert await stream.events(3) == ["job", "job~r1", "job~r2"]
        await redispatched(relay, 2)  # it is marked after it is published
        await relay.rows("UPDATE open_assignments SET due_at = now() - interval '1 hour' RETURNING 1")
        assert await relay.relay._leader._redispatcher.redispatch_once() == 0
        await relay.publish(marker := event(type="note.made"))
        assert await stream.events(1) == [marker["id"]]
    await redispatched(relay, 2)
    assert await opened(relay) == [("job", 2)]


async def test_an_ack_in_time_leaves_nothing_to_do(start_relay: StartRelay) -> None:
    """What is acknowledged does not come again; an ack covers what lies at or before it, of this agent only."""
    relay = await start_relay()
    cursors = await relay.publish(event("a"), event("b"), event("c"), event("for-bob", subject="bob"))
    await relay.settled()
    await relay.ack(cursors[1])
    assert await opened(relay) == [("c", 0), ("for-bob", 0)]
    await relay.ack(cursors[3])
    assert await opened(relay) == [("for-bob", 0)]
    await overdue(relay)
    assert await relay.relay._leader._redispatcher.redispatch_once() == 1
    async with relay.stream("bob") as stream:
        assert await stream.events(2) == ["for-bob", "for-bob~r1"]


@pytest.mark.parametrize("attributes", [{"type": "task.created"}, {"type": "note.made"}, {"subject": "_all"}])
async def test_only_assignments_of_one_agent_come_again(relay: InProcess, attributes: dict[str, Any]) -> None:
    """Other types, broadcasts, and copies themselves are not waited for."""
    await relay.publish(event("x", **attributes))
    await relay.settled()
    assert await opened(relay) == []


async def test_none_if_the_maximum_is_nought(start_relay: StartRelay) -> None:
    """redispatch_max=0 switches it off."""
    relay = await start_relay(redispatch_max=0)
    await relay.publish(event("x"))
    await relay.settled()
    await overdue(relay)
    assert await relay.relay._leader._redispatcher.redispatch_once() == 0


async def test_two_who_redispatch_at_once_publish_one_copy(relay: InProcess) -> None:
    """A zombie leader beside the new one: both look, both publish the same id, one copy is stored and delivered."""
    async with relay.stream(cursor="now") as stream:
        await relay.publish(event("job"))
        await relay.settled()
        await overdue(relay)
        redispatcher = relay.relay._leader._redispatcher
        await asyncio.gather(*(redispatcher.redispatch_once() for _ in range(3)))
        await relay.publish(marker := event(type="note.made"))
        assert await stream.events(3) == ["job", "job~r1", marker["id"]]
    assert await opened(relay) == [("job", 1)]


async def test_many_overdue_at_once_all_come(start_relay: StartRelay) -> None:
    """More than one batch of overdue assignments is worked off in one go, each once."""
    relay = await start_relay(redispatch_after_s=60)
    made = [event(f"job{number}") for number in range(230)]
    await relay.publish(*made)
    await _due(relay)
    await redispatched(relay, 230)
    await relay.settled()
    rows = await relay.rows("SELECT id FROM agent_events WHERE id LIKE '%~r%'")
    assert {row["id"] for row in rows} == {f"{one['id']}~r1" for one in made}


async def test_each_comes_again_to_its_own_agent(relay: InProcess) -> None:
    """Overdue in one look, each is for whom it was."""
    await relay.publish(event("for-ann"), event("for-bob", subject="bob"))
    await relay.settled()
    await overdue(relay)
    await relay.relay._leader._redispatcher.redispatch_once()
    await relay.settled()
    for agent in ("ann", "bob"):
        page = (await relay.page(agent, cursor="earliest")).json()
        assert [one["event"]["id"] for one in page["events"]] == [f"for-{agent}", f"for-{agent}~r1"], page


async def test_a_large_event_can_be_redispatched(start_relay: StartRelay) -> None:
    """An event of exactly the largest size grows by its copy's attributes; the copy is stored all the same."""
    relay = await start_relay(event_bytes_max=2_048)
    made = event("i" * 128, data="")
    made["data"] = "x" * (2_048 - len(json.dumps(made)))
    await relay.publish(made)
    await _due(relay)
    async with relay.stream() as stream:
        assert await stream.events(2) == [made["id"], made["id"] + "~r1"]
    assert await relay.rows("SELECT * FROM dead_letters") == []


MAX_PAYLOAD = 1_048_576


@pytest.mark.parametrize("short", [20, 60, 90])
async def test_a_copy_that_nats_does_not_take_holds_nobody_up(start_relay: StartRelay, short: int) -> None:
    """An event near NATS's max_payload, put straight into NATS: its copy, marked as one, is larger than may be sent,
    with its headers at least. It is given up, counted and said once; it ended the connection before, at every look,
    and no other assignment came again.
    """
    relay = await start_relay(event_bytes_max=2_000_000, redispatch_max=3, publish_timeout_s=2)
    big = event("big", data={"x": ""})
    big["data"]["x"] = "y" * (MAX_PAYLOAD - short - len(json.dumps(big)))
    await relay.inject("mesh.events.ann.task.assigned", json.dumps(big).encode())
    await relay.publish(*(event(f"small{number}", subject="bob") for number in range(3)))
    connection = relay.relay._link.current().nc.client_id
    for count in (1, 2):
        await _due(relay)
        await redispatched(relay, 3 * count)
    await relay.settled()
    assert await opened(relay) == [("big", 3), ("small0", 2), ("small1", 2), ("small2", 2)]
    assert await relay.metric("relay_redispatches_too_large_total") == 1
    assert relay.relay._link.current().nc.client_id == connection


async def test_the_largest_copy_that_nats_takes_comes(start_relay: StartRelay) -> None:
    """What a publish adds is counted to the byte: a copy of exactly max_payload with its headers is sent and stored, of
    one more it is not.
    """
    relay = await start_relay(event_bytes_max=2_000_000)
    connection = relay.relay._link.current()
    headers = len("NATS/1.0\r\nNats-Msg-Id: bigN\r\nNats-Expected-Stream: MESH_EVENTS\r\n\r\n")
    events = [Event(f"big{n}", "task.assigned", "ann", "y" * (MAX_PAYLOAD - headers + n)) for n in (0, 1)]
    events.append(Event("last", "task.assigned", "ann", "y"))
    fits, does_not, last = await publish_all(connection, "MESH_EVENTS", events, timeout_s=5)
    assert (fits, last) == (Published(seq=1, duplicate=False), Published(seq=2, duplicate=False))
    assert isinstance(does_not, TooLarge)
    assert f"{MAX_PAYLOAD} bytes, got {MAX_PAYLOAD + 1}" in str(does_not)


async def test_more_of_them_than_a_batch_hold_nobody_up(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are due first are looked at first: what is given up makes room, also if it fills whole batches."""
    relay = await start_relay()
    await relay.publish(*(event(f"big{number}", data="y" * 2_000) for number in range(5)))
    await relay.settled()
    await relay.publish(event("small", subject="bob"))
    await relay.settled()
    await relay.rows("UPDATE open_assignments SET due_at = now() - interval '1 h' WHERE agent = 'ann' RETURNING 1")
    await relay.rows("UPDATE open_assignments SET due_at = now() - interval '1 s' WHERE agent = 'bob' RETURNING 1")
    monkeypatch.setattr("system.redispatch.BATCH", 2)
    relay.relay._link.current().nc._max_payload = 1_500
    redispatcher = relay.relay._leader._redispatcher
    assert [await redispatcher.redispatch_once() for _ in range(4)] == [2, 2, 2, 0]
    assert await relay.metric("relay_stale_redispatches_total") == 1
    assert await relay.metric("relay_redispatches_too_large_total") == 5
