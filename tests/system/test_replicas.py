"""Two replicas: one leads, each serves, and whatever happens to the leader nothing is lost, repeated or moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from faults.stack import EmbeddedStack, NatsProcess, RelayProcess
from system import sql
from system.database import Database
from tests.system.conftest import StartRelay
from tests.system.harness import QUICK, STREAM, UnderTest, all_transports, event, eventually, held_tail, under_test
from tests.system.traffic import traffic

pytestmark = pytest.mark.stack

LEASE_S = 2.0
TAKE_OVER_S = LEASE_S * 1.4 + 3.0
"""A lease runs out, the next try comes within 0.4 of it; 3 s for two busy cores."""


@dataclass
class Replica:
    """A relay's process and what a test asks of it."""

    process: RelayProcess
    relay: UnderTest

    async def leads(self) -> bool:
        """Whether it says that it leads."""
        try:
            response = await self.relay.http.get("/readyz", timeout=1.0)
        except httpx.TransportError:
            return False
        return bool(response.json().get("leading"))


@pytest.fixture
async def replicas(
    stack: EmbeddedStack, fresh_database: str, fresh_nats: NatsProcess, transport: dict[str, Any]
) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two replicas as processes; the first leads."""
    made: list[Replica] = []
    for number in range(2):
        settings = {name.upper(): str(value) for name, value in (QUICK | transport).items()}
        process = stack.add_relay(
            f"{fresh_nats.name}-relay-{number}",
            settings
            | {
                "NATS_URL": fresh_nats.url,
                "NATS_MONITOR_URL": fresh_nats.monitor_url,
                "POSTGRES_DSN": fresh_database,
                "LEASE_S": str(LEASE_S),
                "READY_AFTER_SILENCE_S": "3",
            },
        )
        process.start_nowait()
        made.append(Replica(process, under_test(process, fresh_database, fresh_nats, stack.jwt_secret)))
    for one in made:
        await one.process.wait_ready()
    await eventually(lambda: _leaders(made), "a leader")
    if not await made[0].leads():
        made.reverse()
    yield made[0], made[1]
    for one in made:
        await one.relay.close()
        await stack.remove(one.process)


async def _leaders(replicas: list[Replica]) -> list[Replica]:
    return [one for one in replicas if await one.leads()]


async def test_one_leads_and_both_serve(start_relay: StartRelay) -> None:
    """Exactly one writes; an agent gets from either what was published at the other, at once and from the beginning."""
    leader = await start_relay()
    await eventually(lambda: leader.relay.readiness()[1]["leading"], "a leader")
    other = await start_relay()
    assert (leader.relay.readiness()[1]["leading"], other.relay.readiness()[1]["leading"]) == (True, False)
    async with leader.stream(cursor="now") as one, other.stream(cursor="now") as two:
        await other.publish(event("via-other"))
        await leader.publish(event("via-leader"))
        for stream in (one, two):
            assert await stream.events(2) == ["via-other", "via-leader"]
        assert one.cursors == two.cursors


async def test_a_cursor_of_one_replica_is_good_at_another_that_is_behind(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that moves to a replica whose tail has not caught up waits there: it is not told that it is ahead, and
    goes on without a loss or a repeat.
    """
    leader, other = await start_relay(), await start_relay()
    gate = held_tail(other.relay, monkeypatch)
    await asyncio.sleep(0.1)  # the reading under way, if any, ends
    (cursor,) = await leader.publish(event("e1"))
    await leader.settled()
    async with other.stream(last_event_id=cursor) as stream:
        assert (stream.response.status_code, (await stream.frame()).retry_ms is not None) == (200, True)
        await leader.publish(event("e2"))
        await leader.settled()
        gate.set()
        assert await stream.events(1) == ["e2"]
        assert stream.delivered == ["e2"]


async def test_what_was_given_up_on_its_way_does_not_take_the_lease_again(start_relay: StartRelay) -> None:
    """A leader that stops gives up what is under way: a write that Postgres comes to after the lease was handed back
    renewed it, for nobody, and nobody led for half a minute.
    """
    relay = await start_relay(lease_s=30)
    await eventually(lambda: relay.relay._leader.fence, "a leader")
    fence = relay.relay._leader.fence
    await relay.relay.drain()
    assert await relay.rows(sql.RENEW_LEASE, STREAM, fence, 30.0) == []
    (row,) = await relay.rows("SELECT lease_until < now() AS free FROM event_stream")
    assert row["free"]


async def test_a_lease_whose_answer_was_not_waited_for_is_handed_back(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica is stopped between taking the lease and hearing of it: whoever comes next need not wait for the lease
    to run out. It did: a restart at the wrong millisecond left nobody leading for half a minute.
    """
    taken = asyncio.Event()
    fetchrow = Database.fetchrow

    async def unheard(self: Database, text: str, *args: object) -> Any:
        row = await fetchrow(self, text, *args)
        if text == sql.TAKE_LEASE:
            taken.set()
            await asyncio.sleep(60)
        return row

    with monkeypatch.context() as patch:
        patch.setattr(Database, "fetchrow", unheard)
        relay = await start_relay(wait=False, lease_s=30)
        await taken.wait()
        await relay.relay.drain()
    (row,) = await relay.rows("SELECT holder, lease_until < now() AS free FROM event_stream")
    assert row["holder"] is not None
    assert row["free"]


async def test_a_lease_that_nobody_can_have_set_is_free(start_relay: StartRelay) -> None:
    """Postgres's clock was put back by hours, and the lease of a leader that died before lies as far ahead: the next
    one leads after a lease. Nobody led until the clock had come there again.
    """
    relay = await start_relay()
    await eventually(lambda: relay.relay._leader.fence, "a leader")
    await relay.relay.drain()
    await relay.rows("UPDATE event_stream SET holder = 'dead', lease_until = now() + interval '3 hours'")
    other = await start_relay(wait=False, lease_s=1)
    await eventually(lambda: other.relay._leader.fence, "a leader")
    await other.publish(event("e1"))
    await other.settled()


async def test_who_lives_keeps_its_lease_when_the_clock_is_put_back(start_relay: StartRelay) -> None:
    """Its next renewal is by the new time, and comes before anybody takes the lease for left over."""
    leader = await start_relay(lease_s=2)
    fence = await eventually(lambda: leader.relay._leader.fence, "a leader")
    await start_relay(lease_s=2, idle_check_s=0.1)
    for _ in range(3):
        await leader.rows("UPDATE event_stream SET lease_until = now() + interval '3 hours'")
        await asyncio.sleep(2.5)
    (row,) = await leader.rows("SELECT fence, lease_until < now() + interval '3 s' AS is_renewed FROM event_stream")
    assert (row["fence"], row["is_renewed"]) == (fence, True)


async def test_leases_of_two_lengths_change_hands_once(start_relay: StartRelay) -> None:
    """A replica with a much shorter lease takes a longer one for left over, once: that one's holder finds the shorter
    lease good, and follows.
    """
    longer = await start_relay(lease_s=8)
    await eventually(lambda: longer.relay._leader.fence, "a leader")
    shorter = await start_relay(lease_s=1)
    fence = await eventually(lambda: shorter.relay._leader.fence, "the shorter lease")
    await eventually(lambda: longer.relay._leader.fence is None, "a follower")
    await asyncio.sleep(3.0)  # three of the shorter ones
    assert (longer.relay._leader.fence, shorter.relay._leader.fence) == (None, fence)
    await longer.publish(event("e1"))
    await shorter.settled()


@all_transports
async def test_killed_and_stopped_leaders_are_replaced(replicas: tuple[Replica, Replica]) -> None:
    """G8, under traffic: after SIGKILL of the leader the other one leads within the lease's bound; the killed one comes
    back as a follower; after SIGTERM of the second it leads at once, because the lease was handed back, exit code 0,
    agents told. What was acknowledged all the while is delivered once, in order.
    """
    first, second = replicas
    loop = asyncio.get_running_loop()
    async with traffic(second.relay, first.relay) as books:
        await first.process.kill()
        killed_at = loop.time()
        await eventually(second.leads, "a new leader")
        assert loop.time() - killed_at < TAKE_OVER_S
        await books.more()
        await first.process.start()
        await books.more()
        await eventually(lambda: _only(second, first), "the second as the only leader")

        (held,) = await second.relay.rows("SELECT holder FROM event_stream")
        assert await second.process.stop() == 0
        (row,) = await first.relay.rows(
            "SELECT lease_until < now() OR holder <> $1 AS is_given FROM event_stream", held["holder"]
        )
        assert row["is_given"]
        await eventually(first.leads, "the first as leader again")
        await books.more()
        assert books.closes == ["drain"]


@all_transports
async def test_paused_replicas_do_no_harm_when_they_wake(replicas: tuple[Replica, Replica]) -> None:
    """G8: SIGSTOP of the leader past its lease makes a zombie that believes it leads: its writes are refused by the
    fence, it steps down, and the books of what came before, meanwhile and after are exact. Then the same replica, now
    a follower, sleeps through events: its own agent gets all of them when it wakes, and hears of no gap.
    """
    zombie, other = replicas
    async with traffic(other.relay) as books:
        zombie.process.pause()
        await eventually(other.leads, "a new leader")
        await books.more(30)
        zombie.process.resume()
        await books.more(30)
        await eventually(lambda: _only(other, zombie), "one leader")
    assert await other.relay.rows("SELECT * FROM dead_letters") == []
    (row,) = await other.relay.rows("SELECT count(*) AS rows, count(DISTINCT id) AS ids FROM agent_events")
    assert row["rows"] == row["ids"]

    async with zombie.relay.stream("bob", cursor="now") as stream:
        await stream.named("relay.cursor")
        zombie.process.pause()
        made = [event(subject="bob") for _ in range(50)]
        await other.relay.publish(*made)
        await other.relay.settled()
        zombie.process.resume()
        assert await stream.events(50) == [one["id"] for one in made]
        assert not [frame for frame in stream.seen if frame.event in ("relay.gap", "relay.gone")]


async def _only(leading: Replica, following: Replica) -> bool:
    return await leading.leads() and not await following.leads()


async def test_two_that_start_together_migrate_once(start_relay: StartRelay) -> None:
    """An empty database and two relays at once: each migration is applied once, a third start applies nothing."""
    relays = await asyncio.gather(*(start_relay(wait=False) for _ in range(3)))
    for relay in relays:
        await relay.ready()
    before = await relays[0].rows("SELECT * FROM schema_migration")
    assert [row["number"] for row in before] == list(range(1, len(before) + 1))
    await (await start_relay()).publish(event())
    assert await relays[0].rows("SELECT * FROM schema_migration") == before
    await eventually(lambda: any(one.relay.readiness()[1]["leading"] for one in relays), "a leader")
    leading = [relay for relay in relays if relay.relay.readiness()[1]["leading"]]
    assert len(leading) == 1
    assert len(await relays[0].rows("SELECT * FROM stream_epoch")) == 1


async def test_a_publisher_s_own_replica_needs_no_hint(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that has had a PubAck knows that the stream is ahead of it, and looks soon although no hint comes: its
    tail had gone to sleep for a minute before it knew, and nothing woke it.
    """
    relay = await start_relay()
    async with relay.stream(cursor="now") as stream:
        await stream.named("relay.cursor")
        await relay.publish(event("e1"))
        assert await stream.events(1) == ["e1"]
        monkeypatch.setattr("system.hints.WATERMARK_SUBJECT", "mesh.relay.nobody")
        began = asyncio.get_running_loop().time()
        for name in ("e2", "e3", "e4"):
            await asyncio.sleep(0.2)
            await relay.publish(event(name))
            assert await stream.events(1) == [name]
    assert asyncio.get_running_loop().time() - began < 5.0, "far below the idle check of 30 s"
