"""Another life of the stream: old cursors are told apart, and new events are never taken for old ones."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from system import sql
from system.client import (
    AgentClient,
    ClientSettings,
    Delivery,
    GapNotice,
    GoneNotice,
    MemoryCursorStore,
    Observer,
    PageReader,
)
from system.host import Host
from tests.system.conftest import StartRelay
from tests.system.harness import STREAM, InProcess, all_transports, event, eventually, problem

pytestmark = pytest.mark.stack


async def recreate(relay: InProcess) -> None:
    """Delete the stream, as an operator by mistake; the relay makes it anew."""
    await (await relay.nats()).jetstream().delete_stream(STREAM)


async def epochs(relay: InProcess) -> list[tuple[str, str]]:
    """Tags and reasons of all epochs."""
    return [(row["tag"], row["reason"]) for row in await relay.rows("SELECT * FROM stream_epoch ORDER BY ordinal")]


async def begun(relay: InProcess, count: int) -> None:
    """Wait until so many epochs are known and this replica has followed."""

    async def there() -> bool:
        found = await epochs(relay)
        head = str(relay.relay.readiness()[1].get("head"))
        return len(found) == count and head.startswith(found[-1][0])

    await eventually(there, f"epoch {count}")


async def publish_until_taken(relay: InProcess, *ids: str) -> list[str]:
    """Publish with retries, as publishers do, until the stream is there again."""

    async def taken() -> list[str]:
        response = await relay.post([event(one) for one in ids])
        if response.status_code != 202:
            problem(response, 503)
            return []
        return [one["cursor"] for one in response.json()["events"]]

    cursors: list[str] = await eventually(taken, f"the publish of {ids}")
    return cursors


@all_transports
async def test_a_recreated_stream_is_a_new_epoch(relay: InProcess) -> None:
    """Delete the stream under a running relay: live sessions end with reason `epoch`, old cursors and acks are 410
    wrong_epoch, new events flow under a new tag although their sequences begin at 1 again, and what is stored stays.
    """
    old = await relay.publish(event("a1"), event("a2"), event("a3"))
    await relay.settled()
    await relay.ack(old[0])
    async with relay.stream(cursor="now") as live:
        await live.named("relay.cursor")
        await recreate(relay)
        close = (await live.rest())[-1]
        assert (close.event, close.data["reason"]) == ("relay.close", "epoch")
    await begun(relay, 2)
    (first_tag, _), (tag, reason) = await epochs(relay)
    assert (reason, tag != first_tag) == ("stream_recreated", True)

    new = await publish_until_taken(relay, "b1", "b2")
    assert [int(cursor.split("-")[1]) for cursor in new] == [1, 2]
    await relay.settled()
    for cursor in (*old, f"{first_tag}-0", f"{first_tag}-99"):
        document = problem(await relay.get(f"/v1/agents/ann/events?cursor={cursor}", Accept="text/event-stream"), 410)
        assert (document["reason"], document["cursor"]) == ("wrong_epoch", cursor)
        problem(await relay.ack(cursor), 410)
    async with relay.stream() as unknown:
        document = problem(unknown.response, 410)  # the ack was of the old epoch
        assert (document["reason"], document["cursor"]) == ("wrong_epoch", None)

    async def resynced() -> list[dict[str, Any]] | None:
        events = (await relay.get(document["resync"])).json()["events"]
        return events if len(events) >= 5 else None  # Redis is fed after Postgres knows

    events = await eventually(resynced, "both lives' events in one page")
    assert [one["event"]["id"] for one in events] == ["a1", "a2", "a3", "b1", "b2"]
    assert [one["cursor"] for one in events] == [*old, *new]
    # who stays with the address may come back from within the former life
    async with relay.http.stream("GET", document["resync"], headers=relay.bearer() | {"Last-Event-ID": old[1]}) as back:
        assert back.status_code == 200
    async with relay.stream(cursor=new[0]) as stream:
        assert await stream.events(1) == ["b2"]
    assert (await relay.ack(new[1])).json() == {"acked": new[1]}
    async with relay.stream() as stream:
        assert (await stream.named("relay.cursor")).id == new[1]


@all_transports
async def test_pages_lead_through_a_former_life(relay: InProcess) -> None:
    """What is retained of the stream's former life is read page by page, for each page is asked for with the head of
    the one before. Its end is a cursor of the former life: it was answered with the first page again, for ever.
    """
    old = await relay.publish(*(event(f"a{number}") for number in range(1, 8)))
    await relay.settled()
    await recreate(relay)
    await begun(relay, 2)
    new = await publish_until_taken(relay, "b1", "b2", "b3")
    await relay.settled()
    async with relay.stream(cursor="earliest") as stream:
        await stream.events(10)  # over Redis it is fed after Postgres knows
    token = relay.token("ann")
    async with PageReader(relay.url, "ann", token, Host.real(), page_events_max=2) as reader:
        for start in ("earliest", old[1]):
            pages = [page async for page in reader.read(start=start)]
            seen = [one.cursor for page in pages for one in page.events]
            assert seen == [*old, *new]  # a cursor of the former life means nothing to who was not told
            assert [page.gone and page.gone.reason for page in pages] == [
                None if start == "earliest" else "wrong_epoch",
                *(None for _ in pages[1:]),
            ]
        behind = [page async for page in reader.read(start=old[4], told=new[0])]
    assert [one.cursor for page in behind for one in page.events] == [*old[5:], *new]
    for told in (old[6], "zzzzzz-1"):
        document = problem(await relay.page(cursor=old[4], told=told), 410)
        assert document["reason"] == "wrong_epoch"
    problem(await relay.page(cursor=old[4], told="head"), 400, "told")


@all_transports
async def test_an_agent_gets_through_a_former_life_by_short_streams(relay: InProcess) -> None:
    """Its streams are closed while it is at work, again and again. It is told once that its cursor means nothing, and
    begins with what is retained; there it goes on. It was told with each connection, and began again each time.
    """
    old: list[str] = []
    for _ in range(10):
        old += await relay.publish(*(event(data="x" * LARGE) for _ in range(10)))
    await relay.settled()
    await recreate(relay)
    await begun(relay, 2)
    new = await publish_until_taken(relay, "b1")
    await relay.settled()
    agent = ShortStreams(relay, old[2], until=new[0])
    await asyncio.wait_for(agent.client.run(), 60)
    assert agent.told == ["wrong_epoch"]
    assert agent.handled == [*old, *new]
    assert agent.streams > 2


LARGE = 250_000
"""Characters of an event: a hundred are more than kernels and client keep of a stream that was closed."""


class ShortStreams(Observer):
    """An agent whose streams the relay closes whenever it is at work."""

    def __init__(self, relay: InProcess, cursor: str, *, until: str) -> None:
        self._relay = relay
        self._until = until
        self.streams = 0
        self.handled: list[str] = []
        self.told: list[str] = []
        settings = ClientSettings(backoff_base_s=0.01, backoff_max_s=0.05)
        store, token = MemoryCursorStore(cursor), relay.token("ann")
        self.client = AgentClient(relay.url, "ann", token, self, store, Host.real(), settings=settings, observer=self)

    def connecting(self, conn: int, presented: str | None, resync: bool) -> None:
        """A stream is asked for."""
        self.streams = conn

    async def on_event(self, delivery: Delivery) -> None:
        """Have the relay close what there is."""
        self.handled.append(delivery.cursor)
        if delivery.cursor == self._until:
            self.client.stop()
        self._relay.relay._sessions.close_all("slow")
        await asyncio.sleep(0.05)

    async def on_gap(self, notice: GapNotice) -> None:
        """Nothing expires here."""
        raise AssertionError(notice)

    async def on_gone(self, notice: GoneNotice) -> None:
        """Note it."""
        self.told.append(notice.reason)


@all_transports
async def test_an_event_of_the_old_life_published_again_is_no_new_one(relay: InProcess) -> None:
    """G4: ids are remembered across epochs: a retry after the stream was lost is a duplicate with its old cursor."""
    (cursor,) = await relay.publish(made := event("a1"))
    await relay.settled()
    await recreate(relay)
    await begun(relay, 2)
    answer = await relay.post(made)
    assert answer.json()["events"] == [{"id": "a1", "cursor": cursor, "duplicate": True}]
    problem(await relay.post(made | {"data": "other"}), 409)


@all_transports
async def test_a_stream_recreated_while_no_relay_ran(start_relay: StartRelay) -> None:
    """The identity is checked at every start: a watermark is never applied to another stream's sequences, even if the
    new stream has grown beyond it.
    """
    relay = await start_relay()
    await relay.publish(event("a1"), event("a2"))
    await relay.settled()
    jetstream = (await relay.nats()).jetstream()
    config = (await jetstream.stream_info(STREAM)).config
    await relay.relay.drain()
    await jetstream.delete_stream(STREAM)
    await jetstream.add_stream(config)
    subject = "mesh.events.ann.task.assigned"
    for number in range(1, 6):
        await jetstream.publish(subject, b"{}" if number == 3 else _json(f"b{number}"))
    again = await start_relay(wait=False)
    await begun(again, 2)
    await again.decided(5)
    async with again.stream(cursor="earliest") as stream:
        assert await stream.events(6) == ["a1", "a2", "b1", "b2", "b4", "b5"]


def _json(event_id: str) -> bytes:
    return json.dumps(event(event_id)).encode()


@all_transports
async def test_a_stream_that_lost_its_tail_is_a_new_epoch(start_relay: StartRelay) -> None:
    """Power loss without fsync: the server hands out sequences again that agents have seen. The relay notices by the
    last sequence, or by the time of the message at the watermark, begins a new epoch, and delivers the new events.
    """
    relay = await start_relay()
    await relay.publish(*(event(f"a{number}") for number in range(1, 6)))
    await relay.settled()
    # as if Postgres had seen two events more, and another third one
    await relay.relay.drain()
    await relay.rows("UPDATE event_stream SET watermark = watermark + 2 RETURNING 1")
    truncated = await start_relay(wait=False)
    await begun(truncated, 2)
    assert (await epochs(truncated))[1][1] == "stream_truncated"
    await publish_until_taken(truncated, "b1")
    await truncated.settled()
    assert await truncated.rows("SELECT id FROM agent_events WHERE id = 'b1'")
    await truncated.relay.drain()
    await truncated.rows("UPDATE event_stream SET mark_ns = mark_ns - 1000000000 RETURNING 1")
    rewritten = await start_relay(wait=False)
    await begun(rewritten, 3)
    assert (await epochs(rewritten))[2][1] == "stream_rewritten"
    await publish_until_taken(rewritten, "c1")
    await rewritten.settled()
    async with rewritten.stream(cursor="earliest") as stream:
        assert await stream.events(7) == ["a1", "a2", "a3", "a4", "a5", "b1", "c1"]


@all_transports
async def test_what_was_swept_does_not_come_back_with_a_new_epoch(start_relay: StartRelay) -> None:
    """G4: a stream that lost its tail is read again from its start; what had been delivered and swept before is not
    stored and delivered once more, though its id is known no longer.
    """
    brief: dict[str, Any] = {"retention_standard_s": 1, "sweep_interval_s": 0.2}
    relay = await start_relay(**brief)
    await relay.publish(event("old", type="note.made"), event("kept"))
    await relay.settled()

    async def swept() -> bool:
        return [row["id"] for row in await relay.rows("SELECT id FROM agent_events")] == ["kept"]

    await eventually(swept, "the sweep")
    await relay.relay.drain()
    await relay.rows("UPDATE event_stream SET watermark = watermark + 2 RETURNING 1")
    truncated = await start_relay(wait=False, **(brief | {"retention_standard_s": 300}))
    await begun(truncated, 2)
    await publish_until_taken(truncated, "new")
    await truncated.settled()
    assert [row["id"] for row in await truncated.rows("SELECT id FROM agent_events ORDER BY pos")] == ["kept", "new"]


async def test_a_deleted_consumer_is_made_anew(relay: InProcess) -> None:
    """pg-writer's consumer may be deleted at any time: it is made again behind the watermark, nothing is lost or
    repeated, and the epoch stays.
    """
    jetstream = (await relay.nats()).jetstream()
    await relay.publish(event("a1"))
    await relay.settled()
    async with relay.stream(cursor="earliest") as stream:
        for number in range(2, 5):
            await jetstream.delete_consumer(STREAM, "pg-writer")
            await relay.publish(event(f"a{number}"))
            assert (await stream.events(1 + (number == 2)))[-1] == f"a{number}"
    assert len(await epochs(relay)) == 1


@all_transports
async def test_a_purged_stream_goes_on(relay: InProcess) -> None:
    """A purge takes the messages and keeps the sequence: the same epoch, nothing stored is lost, events flow."""
    cursors = await relay.publish(event("a1"), event("a2"))
    await relay.settled()
    await (await relay.nats()).jetstream().purge_stream(STREAM)
    async with relay.stream(cursor=cursors[0]) as stream:
        await relay.publish(event("a3"))
        assert await stream.events(2) == ["a2", "a3"]
    assert len(await epochs(relay)) == 1


async def test_an_epoch_that_comes_too_late_leaves_nothing(relay: InProcess) -> None:
    """Another leader takes over while an epoch is to begin: the statement finds the fence moved, and nothing is left.

    It left an epoch that nobody was in, and the next one failed on its ordinal, at every start.
    """
    await relay.settled()
    await relay.relay.drain()
    taker = await asyncpg.connect(relay.dsn)
    for text, rest in (
        (sql.LOST_EPOCH, ("aaaaaa", "messages_lost", 0, 0)),
        (sql.NEW_EPOCH, ("bbbbbb", "stream_truncated", "created", 0, 0)),
    ):
        (row,) = await relay.rows("SELECT fence, watermark FROM event_stream")
        held = (row["fence"], row["watermark"]) if text == sql.LOST_EPOCH else (row["fence"],)
        async with taker.transaction():
            await taker.execute("UPDATE event_stream SET fence = fence + 1")
            waiting = asyncio.create_task(relay.rows(text, STREAM, *held, *rest))
            await asyncio.sleep(0.2)
            assert not waiting.done()
        assert await waiting == []
    await taker.close()
    assert len(await epochs(relay)) == 1


@pytest.mark.parametrize("has_row", [False, True])
async def test_a_stream_that_can_lose_events_is_not_used(start_relay: StartRelay, has_row: bool) -> None:
    """A stream in memory would forget what was acknowledged: the relay stays alive, not ready, and says what is wrong
    and what to do; once mended, it serves.

    On a database that did not know the stream yet, the relay ended instead.
    """
    relay = await start_relay()
    if has_row:
        await relay.publish(event())
        await relay.settled()
    jetstream = (await relay.nats()).jetstream()
    config = (await jetstream.stream_info(STREAM)).config
    await relay.relay.drain()
    await jetstream.delete_stream(STREAM)
    if not has_row:
        await relay.rows("TRUNCATE event_stream, stream_epoch CASCADE")
    await jetstream.add_stream(config.evolve(storage="memory"))
    again = await start_relay(wait=False)

    def told() -> bool:
        return "expected file" in again.relay.readiness()[1].get("problem", "")

    await eventually(told, "the problem in /readyz")
    answer = await again.http.get("/readyz")
    assert answer.status_code == 503
    assert "storage" in answer.json()["problem"]
    assert not again.relay.failed.done()
    await jetstream.delete_stream(STREAM)
    await again.ready()
    assert (await again.http.get("/readyz")).status_code == 200
    await publish_until_taken(again, "a1")


@all_transports
async def test_everyone_ends_when_the_epoch_changes(relay: InProcess) -> None:
    """All live sessions and those in replay end; none goes on under the old tag."""
    await relay.publish(*(event(subject="_all") for _ in range(3)))
    await relay.settled()
    async with asyncio.timeout(20), relay.stream("ann") as ann, relay.stream("bob", types="note.made") as bob:
        await ann.named("relay.cursor")
        await bob.named("relay.cursor")
        await recreate(relay)
        for stream in (ann, bob):
            assert (await stream.rest())[-1].data["reason"] == "epoch"
