"""Where a stream begins and what it holds: cursors, words, acks, filters, broadcasts; each event once and in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from system.session import FIRST_PAGE_ROWS
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, all_transports, event, eventually, problem
from tests.system.sse_reader import SseReader

pytestmark = pytest.mark.stack


async def first_events(relay: InProcess, count: int, last_event_id: str | None = None, **query: str) -> list[str]:
    """The first events that a stream brings, and nothing but them before its first bookmark."""
    async with relay.stream(last_event_id=last_event_id, **query) as stream:
        assert stream.response.status_code == 200, stream.response.text
        await stream.named("relay.cursor")
        assert len(stream.delivered) == count
        return stream.delivered


@pytest.fixture
async def five(relay: InProcess) -> list[str]:
    """The cursors of five events for ann, e1 to e5, all stored."""
    cursors = await relay.publish(*(event(f"e{number}") for number in range(1, 6)))
    await relay.readable()
    return cursors


@all_transports
async def test_each_way_to_name_a_place(relay: InProcess, five: list[str]) -> None:
    """A cursor goes on behind it; `earliest` has all; `now` none; without a word and without an ack it is the earliest;
    `acked` without an ack too.
    """
    assert await first_events(relay, 3, cursor=five[1]) == ["e3", "e4", "e5"]
    assert await first_events(relay, 5, cursor="earliest") == ["e1", "e2", "e3", "e4", "e5"]
    assert await first_events(relay, 0, cursor="now") == []
    assert len(await first_events(relay, 5)) == 5
    assert len(await first_events(relay, 5, cursor="acked")) == 5
    tag = five[0].split("-")[0]
    assert len(await first_events(relay, 5, cursor=f"{tag}-0")) == 5
    assert await first_events(relay, 0, cursor=five[4]) == []


async def test_a_publishers_cursor_is_good_before_its_event_is_stored(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cursor that a 202 answers can be used at once: a stream from it waits for pg-writer and goes on behind it.

    It was a 410 `ahead` until pg-writer had the event. An ack of it waits likewise, and is a 503 at last: a replica of
    another transport may have delivered the event from the stream.
    """
    relay = await start_relay(request_timeout_s=0.5)
    writing, write = asyncio.Event(), relay.relay._writer._commit_piece

    async def held(*args: Any) -> Any:
        await writing.wait()
        return await write(*args)

    monkeypatch.setattr(relay.relay._writer, "_commit_piece", held)
    (cursor,) = await relay.publish(event("e1"))
    assert problem(await relay.ack(cursor), 503)["detail"].startswith("pg-writer has not stored")
    beyond = f"{cursor.split('-')[0]}-99"
    assert problem(await relay.ack(beyond), 410)["reason"] == "ahead"
    page = (await relay.page(cursor=cursor)).json()
    assert (page["events"], page["next"], page["more"]) == ([], cursor, False)
    async with relay.stream(cursor=cursor) as stream:
        assert stream.response.status_code == 200
        writing.set()
        await relay.publish(event("e2"))
        assert await stream.events(1) == ["e2"]
    assert (await relay.ack(cursor)).status_code == 200


@all_transports
async def test_last_event_id_wins_over_the_query(relay: InProcess, five: list[str]) -> None:
    """A browser keeps the address of its first connection and adds the header: the header knows better."""
    assert await first_events(relay, 1, last_event_id=five[3], cursor=five[0]) == ["e5"]
    assert await first_events(relay, 1, last_event_id=five[3], cursor="garbage") == ["e5"]
    assert await first_events(relay, 5, last_event_id="earliest", cursor="now") == ["e1", "e2", "e3", "e4", "e5"]
    assert await first_events(relay, 3, last_event_id="", cursor=five[1]) == ["e3", "e4", "e5"]


@all_transports
async def test_without_a_cursor_it_goes_on_from_the_last_ack(relay: InProcess, five: list[str]) -> None:
    """An agent that lost its state gets what it has not acknowledged; another agent's ack does not matter."""
    assert (await relay.ack(five[2])).json() == {"acked": five[2]}
    assert await first_events(relay, 2) == ["e4", "e5"]
    assert await first_events(relay, 2, cursor="acked") == ["e4", "e5"]
    assert await first_events(relay, 5, cursor="earliest") == ["e1", "e2", "e3", "e4", "e5"]
    await relay.publish(event("broadcast", subject="_all"))
    async with relay.stream("bob") as bob:
        assert await bob.events(1) == ["broadcast"]


@all_transports
async def test_acks_are_cumulative_and_never_go_back(relay: InProcess, five: list[str]) -> None:
    """The answer is the highest ack so far, whatever the order in which acks arrive."""
    tag = five[0].split("-")[0]
    assert (await relay.ack(five[3])).json() == {"acked": five[3]}
    assert (await relay.ack(five[1])).json() == {"acked": five[3]}
    assert (await relay.ack(f"{tag}-0")).json() == {"acked": five[3]}
    answers = await asyncio.gather(*(relay.ack(cursor) for cursor in [five[4], *five] * 3))
    assert {answer.status_code for answer in answers} == {200}
    assert (await relay.ack(five[0])).json() == {"acked": five[4]}


@all_transports
async def test_a_bookmark_is_a_place(relay: InProcess, five: list[str]) -> None:
    """A quiet agent's bookmarks move on with other agents' events, and going on from one misses nothing of its own."""
    async with relay.stream("bob", cursor="now") as stream:
        first = await stream.named("relay.cursor")
        assert first.id == five[4]
        assert first.data == {}
    await relay.publish(event(), event("for-bob", subject="bob"))
    async with relay.stream("bob", last_event_id=first.id) as stream:
        assert await stream.events(1) == ["for-bob"]


@all_transports
async def test_bookmarks_come_while_nothing_else_does(start_relay: StartRelay) -> None:
    """A live stream without events of its own is told the head now and then, once for each move, and is kept alive."""
    relay = await start_relay(bookmark_s=0.1, heartbeat_s=0.1)
    async with relay.stream("bob", cursor="now") as stream:
        await stream.named("relay.cursor")
        (cursor,) = await relay.publish(event(subject="ann"))
        assert (await stream.named("relay.cursor")).id == cursor
        assert (await stream.until(lambda frame: frame.comment is not None)).comment == ""
        await stream.until(lambda frame: frame.comment is not None)
        ids = [frame.id for frame in stream.seen if frame.event == "relay.cursor"]
        assert len(ids) == len(set(ids))


@all_transports
async def test_a_type_filter_skips_and_still_moves_on(start_relay: StartRelay) -> None:
    """Only wanted types arrive, by replay and live; a page without any moves the cursor by a bookmark, so that coming
    back does not read it again.
    """
    relay = await start_relay(bookmark_s=0.1, page_rows=16)
    kinds = ["note.made"] * 100 + ["task.created"] + ["note.made"] * 100
    cursors = await relay.publish(*(event(type=kind) for kind in kinds))
    await relay.settled()
    async with relay.stream(cursor="earliest", types="task.created, task.mentioned") as stream:
        found = await stream.event()
        assert (found.event, found.id) == ("task.created", cursors[100])
        await stream.until(lambda frame: frame.id == cursors[-1])
        bookmarks = [frame.id for frame in stream.seen if frame.event == "relay.cursor"]
        assert len(bookmarks) > 1, "pages without a wanted event"
        live = await relay.publish(event(), event(type="task.mentioned"), event())
        assert (await stream.event()).id == live[1]
        await stream.until(lambda frame: frame.id == live[2])
        assert [frame.event for frame in stream.seen if frame.is_event] == ["task.created", "task.mentioned"]
    page = (await relay.page(cursor="earliest", types="task.mentioned", limit=1000)).json()
    assert [one["event"]["type"] for one in page["events"]] == ["task.mentioned"]


def check_order(stream: SseReader) -> None:
    """G3: what a stream brought rises strictly by cursor."""
    seqs = [int(str(frame.id).split("-")[1]) for frame in stream.seen if frame.is_event]
    assert seqs == sorted(set(seqs))


@all_transports
async def test_broadcasts_come_in_order_with_ones_own(relay: InProcess) -> None:
    """G3, G5: own events and broadcasts arrive merged by cursor, live and by replay, and nobody else's among them."""
    subjects = ["ann", "_all", "bob", "ann", "_all", "_all", "bob", "ann", "cyd"] * 5
    made = [event(subject=subject, type="note.made") for subject in subjects]
    wanted = [one["id"] for one in made if one["subject"] in ("ann", "_all")]
    async with relay.stream(cursor="now") as live:
        for start in range(0, len(made), 7):
            await relay.publish(*made[start : start + 7])
        assert await live.events(len(wanted)) == wanted
        check_order(live)
    async with relay.stream(cursor="earliest") as replay:
        assert await replay.events(len(wanted)) == wanted
        check_order(replay)
    assert (await relay.page(cursor="earliest", limit=1000)).json()["events"] == [
        {"cursor": frame.id, "event": frame.data} for frame in replay.seen if frame.is_event
    ]


@all_transports
async def test_coming_and_going_loses_and_repeats_nothing(relay: InProcess) -> None:
    """G1, G3, G4: an agent that cuts its connection after every few events, while others are being published, gets all
    of them, once, in order.
    """
    made = [event() for _ in range(150)]

    async def publish() -> None:
        for start in range(0, len(made), 3):
            await relay.publish(*made[start : start + 3])
            await asyncio.sleep(0.005)

    publishing = asyncio.create_task(publish())
    got: list[str] = []
    place: str | None = "earliest"
    while len(got) < len(made):
        async with relay.stream(last_event_id=place) as stream:
            got += await stream.events(min(7, len(made) - len(got)))
            check_order(stream)
            place = stream.last_id
    await publishing
    assert got == [one["id"] for one in made]


@all_transports
async def test_pages_walk_through_everything_once(relay: InProcess, five: list[str]) -> None:
    """JSON pages: `next` leads on, `more` says whether it pays, `head` is the end; the last page's `next` is a cursor
    for a stream that begins right behind it.
    """
    got: list[str] = []
    cursor, more = "earliest", True
    while more:
        page = (await relay.page(cursor=cursor, limit=2)).json()
        assert len(page["events"]) <= 2
        assert (page["gap"], page["gone"], page["head"]) == (None, None, five[4])
        got += [one["event"]["id"] for one in page["events"]]
        assert [one["cursor"] for one in page["events"]] == five[len(got) - len(page["events"]) : len(got)]
        cursor, more = page["next"], page["more"]
    assert got == ["e1", "e2", "e3", "e4", "e5"]
    assert cursor == five[4]
    await relay.publish(event("e6"))
    await relay.readable()
    assert await first_events(relay, 1, cursor=cursor) == ["e6"]
    assert (await relay.page(cursor="now")).json()["events"] == []


@all_transports
async def test_a_page_of_large_events_is_cut_by_bytes(start_relay: StartRelay) -> None:
    """G7: whatever the limit asked for, a page grows past its first rows only as far as its bytes allow; one of
    1,000 events of 256 KiB each was 256 MB in memory for every client that asked.
    """
    relay = await start_relay(page_bytes=100_000)
    made = [event(data="x" * 20_000) for _ in range(150)]
    for start in range(0, 150, 50):
        await relay.publish(*made[start : start + 50])
    await relay.readable()
    got: list[str] = []
    cursor, more = "earliest", True
    while more:
        response = await relay.page(cursor=cursor, limit=1000)
        assert len(response.content) < FIRST_PAGE_ROWS * 21_000
        page = response.json()
        assert page["events"]
        got += [one["event"]["id"] for one in page["events"]]
        cursor, more = page["next"], page["more"]
    assert got == [one["id"] for one in made]


@all_transports
async def test_what_is_counted(relay: InProcess, five: list[str]) -> None:
    """Operators see replayed and live events, sessions and acks apart."""
    async with relay.stream(cursor="earliest") as stream:
        await stream.events(5)
        await stream.named("relay.cursor")
        assert await relay.metric("sse_sessions") == 1
        assert await relay.metric("sse_sessions_live") == 1
        await relay.publish(event())
        await stream.event()
    total = await relay.metric("sse_replay_events_total") + await relay.metric("sse_live_events_total")
    assert total == 6
    await relay.ack(five[0])
    assert await relay.metric("relay_acks_total") == 1
    assert await relay.metric("relay_published_total", duplicate="false") == 6

    async def gone() -> bool:
        return await relay.metric("sse_sessions") == 0 and await relay.metric("sse_sessions_live") == 0

    await eventually(gone, "the end of the session")
    assert await relay.metric("sse_sessions_closed_total", reason="client_left") == 1


@all_transports
async def test_five_streams_of_one_agent_get_everything_each(relay: InProcess) -> None:
    """An agent may have several connections; each is complete and in order."""
    made = [event() for _ in range(20)]
    async with (
        relay.stream(cursor="now") as one,
        relay.stream(cursor="earliest") as two,
        relay.stream(cursor="now", types="task.assigned") as three,
        relay.stream() as four,
        relay.stream(cursor="acked") as five,
    ):
        for start in range(0, 20, 4):
            await relay.publish(*made[start : start + 4])
        for stream in (one, two, three, four, five):
            assert await stream.events(20) == [event["id"] for event in made]
            check_order(stream)
