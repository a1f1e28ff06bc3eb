"""Transport jetstream: each session reads the stream itself, and gets the same as from the table."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from faults.stack import EmbeddedStack, NatsProcess
from system.transport import consumer, source
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, event, eventually, problem, under_test
from tests.system.traffic import traffic

pytestmark = [pytest.mark.stack, pytest.mark.parametrize("transport", ["jetstream"], indirect=True)]


async def no_consumers(relay: InProcess) -> None:
    """Wait until no session's consumer is left."""

    async def gone() -> bool:
        return not await relay.session_consumers()

    await eventually(gone, "the end of all session consumers")


async def test_replay_then_live(start_relay: StartRelay) -> None:
    """What was published before comes by replay, what comes after live, and a cursor goes on where it was given."""
    relay = await start_relay()
    first = [event() for _ in range(5)]
    await relay.publish(*first, event(subject="bob"))
    async with relay.stream() as stream:
        assert await stream.events(5) == [one["id"] for one in first]
        more = event()
        await relay.publish(event(subject="bob"), more)
        assert await stream.events(1) == [more["id"]]
        last = event(subject="_all")
        await relay.publish(last)
        assert await stream.events(1) == [last["id"]]
        ids = [frame.id for frame in stream.seen if frame.id is not None]
        assert len(ids) - len(set(ids)) <= 1, "an id that is known need not be told again, but for the first 'live'"
    async with relay.stream(last_event_id=stream.cursors[2]) as again:
        assert await again.events(4) == [*(one["id"] for one in first[3:]), more["id"], last["id"]]


async def test_the_handoff_under_load(start_relay: StartRelay) -> None:
    """G1, G3, G4: while events are published, agents come from the beginning, by pages of a few rows, and go live in
    the midst of it: each gets all, once, in order.
    """
    relay = await start_relay(page_rows=7)
    made = [event(subject=subject) for subject in ["ann", "_all", "bob"] * 100]
    wanted = [one["id"] for one in made if one["subject"] != "bob"]

    async def publish() -> None:
        for start in range(0, len(made), 5):
            await relay.publish(*made[start : start + 5])
            await asyncio.sleep(0.005)

    async def read(after_s: float) -> list[str]:
        await asyncio.sleep(after_s)
        async with relay.stream(cursor="earliest") as stream:
            return await stream.events(len(wanted))

    _, *got = await asyncio.gather(publish(), *(read(after_s) for after_s in (0.0, 0.05, 0.1, 0.2)))
    assert got == [wanted] * 4


async def test_each_session_has_a_place_of_its_own(start_relay: StartRelay) -> None:
    """Several sessions of one agent, by different cursors: each goes on from its own, and has a consumer of its own
    that tells whose it is; when they end, none is left, and the gauge says so.
    """
    relay = await start_relay()
    cursors = await relay.publish(*(event(f"e{number}") for number in range(1, 6)))
    async with (
        relay.stream(last_event_id=cursors[0]) as one,
        relay.stream(last_event_id=cursors[3]) as two,
        relay.stream("bob") as three,
    ):
        assert await one.events(4) == ["e2", "e3", "e4", "e5"]
        assert await two.events(1) == ["e5"]
        await three.named("relay.cursor")
        names = await relay.session_consumers()
        assert [name.split("-")[1] for name in names] == ["ann", "ann", "bob"]
        assert await relay.metric("relay_session_consumers") == 3
        await relay.publish(event("e6", subject="_all"))
        assert [await stream.events(1) for stream in (one, two, three)] == [["e6"]] * 3
    await no_consumers(relay)
    assert await relay.metric("relay_session_consumers") == 0
    assert await relay.metric("relay_session_consumers_made_total") == 3


async def test_pages_leave_no_consumer(start_relay: StartRelay) -> None:
    """JSON pages walk through everything, and each gives its consumer back."""
    relay = await start_relay()
    made = [event() for _ in range(25)]
    await relay.publish(*made)
    got: list[str] = []
    cursor, more = "earliest", True
    while more:
        page = (await relay.page(cursor=cursor, limit=10)).json()
        got += [one["event"]["id"] for one in page["events"]]
        cursor, more = page["next"], page["more"]
    assert got == [one["id"] for one in made]
    await no_consumers(relay)


async def test_a_drain_leaves_no_consumer(start_relay: StartRelay, fresh_nats: NatsProcess) -> None:
    """A replica that ends in order takes the consumers of its open sessions with it."""
    other = await start_relay()
    await other.publish(event("e1"))
    ending = await start_relay()
    async with ending.stream() as stream:
        await stream.events(1)
        assert len(await other.session_consumers()) == 1
        await ending.relay.drain()
    await no_consumers(other)


async def test_a_killed_replica_s_consumers_go_by_themselves(
    stack: EmbeddedStack, start_relay: StartRelay, fresh_database: str, fresh_nats: NatsProcess
) -> None:
    """G8: after SIGKILL nobody deletes its consumers but the server, when nobody has pulled for the limit."""
    survivor = await start_relay()
    settings = {
        "TRANSPORT": "jetstream",
        "NATS_URL": fresh_nats.url,
        "NATS_MONITOR_URL": fresh_nats.monitor_url,
        "POSTGRES_DSN": fresh_database,
        "CONSUMER_IDLE_S": "1",
    }
    process = stack.add_relay(f"{fresh_nats.name}-relay", settings)
    await process.start()
    killed = under_test(process, fresh_database, fresh_nats, stack.jwt_secret)
    try:
        async with killed.stream() as stream:
            await stream.named("relay.cursor")
            assert len(await survivor.session_consumers()) == 1
            await process.kill()
        await no_consumers(survivor)
    finally:
        await killed.close()
        await stack.remove(process)


async def test_roaming_between_replicas(start_relay: StartRelay) -> None:
    """An agent that comes back to another replica each time goes on where it was, whoever leads."""
    relays = [await start_relay(), await start_relay()]
    made = [event() for _ in range(60)]

    async def publish() -> None:
        for number, one in enumerate(made):
            await relays[number % 2].publish(one)

    publishing = asyncio.create_task(publish())
    got: list[str] = []
    place: str | None = "earliest"
    while len(got) < len(made):
        async with relays[len(got) % 2].stream(last_event_id=place) as stream:
            got += await stream.events(min(7, len(made) - len(got)))
            place = stream.last_id
    await publishing
    assert got == [one["id"] for one in made]


async def test_a_consumer_that_is_gone_is_made_anew(start_relay: StartRelay) -> None:
    """Deleted by hand while its session is live: the session goes on from its own place with another one."""
    relay = await start_relay()
    async with relay.stream(cursor="now") as stream:
        await stream.named("relay.cursor")
        for name in ("e1", "e2", "e3"):
            for consumer in await relay.session_consumers():
                assert (await relay.ask_jetstream(f"CONSUMER.DELETE.MESH_EVENTS.{consumer}"))["success"]
            await relay.publish(event(name))
            assert await stream.events(1) == [name]
    assert stream.delivered == ["e1", "e2", "e3"]
    assert await relay.metric("relay_session_consumers_made_total") == 4


@pytest.mark.parametrize("how", ["restart", "kill", "reset"])
async def test_nats_comes_back(start_relay: StartRelay, fresh_nats: NatsProcess, how: str) -> None:
    """G8: NATS restarted or killed, or the relay's connection cut, under traffic: consumers in memory are gone, and
    what was acknowledged arrives once and in order all the same.
    """
    relay = await start_relay(publish_timeout_s=1, ready_after_silence_s=1.5)
    async with traffic(relay) as books:
        for _ in range(2):
            if how == "reset":
                transport: Any = relay.relay._link.current().nc._transport
                transport._io_writer.transport.abort()
            elif how == "kill":
                await fresh_nats.kill()
                await fresh_nats.start()
            else:
                await fresh_nats.restart()
            await books.more(20)
            await books.caught_up()
    assert not relay.relay.failed.done()


async def test_what_is_no_event_is_passed_over(start_relay: StartRelay) -> None:
    """Anybody may publish on an agent's subject: what is no event of its, or says another subject, never arrives, and
    what comes behind it does, by replay and live; pg-writer has it among the dead letters.
    """
    relay = await start_relay()
    await relay.publish(event("e1"))

    async def litter() -> None:
        await relay.inject("mesh.events.ann.task.assigned", b"no event")
        await relay.inject("mesh.events.ann.other.type", str(event(subject="ann")).encode())
        await relay.inject("mesh.events.ann.task.assigned", b'{"specversion":"1.0","id":"x"}')
        await relay.inject("mesh.events.ann.x.y", b"\xff\xfe", {"Nats-Weird": "1"})

    await litter()
    await relay.publish(event("e2"))
    async with relay.stream() as stream:
        assert await stream.events(2) == ["e1", "e2"]
        await litter()
        await relay.publish(event("e3"))
        assert await stream.events(1) == ["e3"]
    await relay.settled()
    assert len(await relay.rows("SELECT * FROM dead_letters")) == 8


async def test_an_ack_ahead_of_the_writer_waits_for_it(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live event may be acknowledged before pg-writer has it: the ack is stored once it has, is an honest 503 if that
    takes too long, and never the 410 of a cursor that the stream did not issue.
    """
    relay = await start_relay(request_timeout_s=4)
    writing, write = asyncio.Event(), relay.relay._writer._commit_piece

    async def held(*args: Any) -> Any:
        await writing.wait()
        return await write(*args)

    monkeypatch.setattr(relay.relay._writer, "_commit_piece", held)
    async with relay.stream(cursor="now") as stream:
        await stream.named("relay.cursor")
        (cursor,) = await relay.publish(event("e1"))
        assert await stream.events(1) == ["e1"], "delivered though it is not stored"
        late = await relay.ack(cursor)
        assert (late.status_code, late.headers["Retry-After"] > "0") == (503, True)
        waiting = asyncio.create_task(relay.ack(cursor))
        await asyncio.sleep(0.1)
        writing.set()
        assert (await waiting).json() == {"acked": cursor}
        ahead = f"{cursor.split('-')[0]}-99"
        assert (await relay.ack(ahead)).json()["reason"] == "ahead"


async def test_a_session_that_ends_as_nats_answers_leaves_nothing(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-py loses a cancellation that comes with its answer: the consumer's task went on for ever, for nobody."""
    relay = await start_relay()
    make, made, lost = consumer.make_consumer, asyncio.Event(), asyncio.Event()

    async def losing(*args: Any, **options: Any) -> int:
        pending = await make(*args, **options)
        if not made.is_set():
            made.set()
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                lost.set()  # as wait_for, when the result is there
        return pending

    monkeypatch.setattr(source, "make_consumer", losing)
    async with relay.stream(cursor="earliest"):
        await made.wait()
    await lost.wait()
    await no_consumers(relay)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "session-consumer"]


async def test_a_page_does_not_wait_for_pg_writer(start_relay: StartRelay) -> None:
    """Postgres reads but does not write, and what comes next is to be told by the table: what is there is answered, and
    then that nothing can be read yet. A page asked on and on, and held its place until its client gave up.
    """
    relay = await start_relay()
    await relay.publish(event("a1"), event("a2"))
    await relay.settled()
    connection = await asyncpg.connect(relay.dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE agent_events IN SHARE ROW EXCLUSIVE MODE")
            # as pg-writer does ahead of a late write
            await relay.rows("UPDATE stream_epoch SET last_seq = 4")
            await relay.publish(event("a3"), event("a4"))
            page = (await relay.page(cursor="earliest")).json()
            assert ([one["event"]["id"] for one in page["events"]], page["more"]) == (["a1", "a2"], True)
            refused = await relay.page(cursor=page["next"])
            problem(refused, 503, "pg-writer has yet to store")
            assert refused.headers["retry-after"]
    finally:
        await connection.close()
    await relay.settled()

    async def behind() -> list[str] | None:
        answer = await relay.page(cursor=page["next"])
        return [one["event"]["id"] for one in answer.json()["events"]] if answer.status_code == 200 else None

    assert await eventually(behind, "the page behind") == ["a3", "a4"]
