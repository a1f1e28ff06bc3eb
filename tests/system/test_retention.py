"""Expiry (G2): an agent is told if and only if something addressed to it is gone, exactly, in every form there is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from system import stream_session, sweeper
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, event, eventually, problem, told_by_postgres
from tests.system.sse_reader import SseReader

pytestmark = pytest.mark.stack

CRITICAL, STANDARD = "task.assigned", "note.made"


async def publish(relay: InProcess, *kinds: str, subject: str = "ann", data: Any = None) -> list[str]:
    """Publish one event of each kind, named k1, k2, … after their sequences; wait until they are stored."""
    last = (await relay.stream_state())[1]
    made = [event(f"k{last + 1 + index}", type=kind, subject=subject, data=data) for index, kind in enumerate(kinds)]
    cursors = await relay.publish(*made)
    await relay.settled()
    return cursors


async def expire(relay: InProcess, *ids: str) -> None:
    """Let these events grow old, and wait until they are swept."""
    await relay.rows("UPDATE agent_events SET persisted_at = now() - interval '30 days' WHERE id = ANY($1)", list(ids))

    async def swept() -> bool:
        return not await relay.rows("SELECT 1 FROM agent_events WHERE id = ANY($1)", list(ids))

    await eventually(swept, f"the end of {ids}")


async def replayed(relay: InProcess, agent: str = "ann", **query: str) -> SseReader:
    """Everything that a stream brings up to its first bookmark, or its end."""
    async with relay.stream(agent, **query) as stream:
        assert stream.response.status_code == 200, stream.response.text
        await stream.until(lambda frame: frame.event in ("relay.cursor", "relay.close"))
        return stream


def notices(stream: SseReader) -> list[str]:
    """The names of what a stream was told, in order, with events as dots."""
    return ["." if frame.is_event else str(frame.event)[6:] for frame in stream.seen if frame.event]


@told_by_postgres
async def test_a_cursor_at_the_floor_has_missed_nothing_and_one_before_it_has(relay: InProcess) -> None:
    """Exact to one sequence, for both classes: the floor itself is a good cursor."""
    cursors = await publish(relay, CRITICAL, STANDARD, CRITICAL, STANDARD, CRITICAL)
    tag = cursors[0].split("-")[0]
    await expire(relay, "k1", "k2")
    at = await replayed(relay, cursor=cursors[1])
    assert (notices(at), at.delivered) == ([".", ".", ".", "cursor"], ["k3", "k4", "k5"])
    before_standard = await replayed(relay, cursor=cursors[0])
    assert (notices(before_standard), before_standard.delivered) == (
        ["gap", ".", ".", ".", "cursor"],
        ["k3", "k4", "k5"],
    )
    document = problem(await relay.get(f"/v1/agents/ann/events?cursor={tag}-0", Accept="text/event-stream"), 410)
    assert document["reason"] == "expired"
    assert document["floors"] == {"critical": cursors[0], "standard": cursors[1]}
    assert document["head"] == cursors[4]


@told_by_postgres
async def test_a_gap_is_told_ahead_of_the_replay_without_an_id(relay: InProcess) -> None:
    """Only standard events gone: relay.gap, which must not move the cursor, then all that is retained."""
    cursors = await publish(relay, STANDARD, CRITICAL, STANDARD, STANDARD)
    await expire(relay, "k1", "k3")
    tag = cursors[0].split("-")[0]
    stream = await replayed(relay, cursor=f"{tag}-0")
    assert notices(stream) == ["gap", ".", ".", "cursor"]
    gap = next(frame for frame in stream.seen if frame.event == "relay.gap")
    assert gap.id is None
    assert gap.data == {
        "reason": "expired",
        "class": "standard",
        "cursor": f"{tag}-0",
        "floors": {"critical": None, "standard": cursors[2]},
        "head": cursors[3],
    }
    assert stream.delivered == ["k2", "k4"]
    assert await relay.metric("sse_relay_gap_total") == 1
    assert await relay.metric("sse_cursor_410_total", reason="expired") == 0
    assert (await relay.page(cursor=f"{tag}-0")).json()["gap"] == gap.data
    assert await relay.metric("sse_relay_gap_total") == 2


@told_by_postgres
async def test_a_quiet_agent_is_never_told_of_others_losses(relay: InProcess) -> None:
    """Another agent's expired events are not one's own: no 410 and no gap, however old the cursor; an expired
    broadcast is everybody's.
    """
    (place,) = await publish(relay, CRITICAL, subject="bob")
    await publish(relay, *[CRITICAL, STANDARD] * 10)
    await expire(relay, *(f"k{number}" for number in range(2, 22)))
    assert notices(await replayed(relay, "bob", cursor=place)) == ["cursor"]
    await publish(relay, STANDARD, CRITICAL, subject="_all")
    await expire(relay, "k22")
    assert notices(await replayed(relay, "bob", cursor=place)) == ["gap", ".", "cursor"]
    await expire(relay, "k23")
    problem(await relay.get(f"/v1/agents/bob/events?cursor={place}", "bob", Accept="text/event-stream"), 410)


@told_by_postgres
async def test_whoever_asks_for_what_there_is_is_told_of_no_loss(relay: InProcess) -> None:
    """A new agent, and `earliest` and `now`, get what is retained; an agent that goes on from an ack is told."""
    cursors = await publish(relay, CRITICAL, STANDARD, CRITICAL)
    await expire(relay, "k1", "k2")
    for query in ({}, {"cursor": "earliest"}, {"cursor": "acked"}):
        stream = await replayed(relay, **query)
        assert (notices(stream), stream.delivered) == ([".", "cursor"], ["k3"])
    assert notices(await replayed(relay, cursor="now")) == ["cursor"]
    await relay.ack(cursors[0])
    assert notices(await replayed(relay)) == ["gap", ".", "cursor"]
    await expire(relay, "k3")
    for query in ({}, {"cursor": "acked"}):
        async with relay.stream(**query) as stream:
            assert problem(stream.response, 410)["cursor"] == cursors[0]


@pytest.fixture
async def gone(relay: InProcess) -> str:
    """A cursor after which two critical events and a standard one are gone, and two events are retained: k4, k6."""
    cursors = await publish(relay, STANDARD, CRITICAL, STANDARD, CRITICAL, CRITICAL, STANDARD)
    await expire(relay, "k2", "k3", "k5")
    return cursors[0]


@told_by_postgres
async def test_410_leads_to_all_that_is_retained(relay: InProcess, gone: str) -> None:
    """The document has an address; followed as it is, by stream or by pages, it tells once more and goes on with what
    is retained after the cursor.
    """
    async with relay.stream(cursor=gone) as refused:
        document = problem(refused.response, 410, "resync")
    assert document["resync"] == f"/v1/agents/ann/events?cursor={gone}&on_gone=skip"
    async with relay.http.stream("GET", document["resync"], headers=relay.bearer()) as response:
        stream = SseReader(response)
        assert await stream.events(2) == ["k4", "k6"]
        assert notices(stream) == ["gone", ".", "."]
    page = (await relay.get(document["resync"])).json()
    assert [one["event"]["id"] for one in page["events"]] == ["k4", "k6"]
    assert page["gone"]["floors"] == document["floors"]
    assert page["gap"] is None
    assert await relay.metric("sse_cursor_410_total", reason="expired") == 3


@told_by_postgres
async def test_gone_in_band_ends_the_stream_without_moving_the_cursor(relay: InProcess, gone: str) -> None:
    """on_gone=event: 200, relay.gone without an id, and the end; a client that comes back is told again."""
    for _ in range(2):
        async with relay.stream(cursor=gone, on_gone="event") as stream:
            frames = await stream.rest()
            assert [frame.event for frame in frames if frame.event] == ["relay.gone", "relay.close"]
            assert stream.last_id is None
            assert frames[0].retry_ms
            told = next(frame.data for frame in frames if frame.event == "relay.gone")
            assert (told["status"], told["reason"], told["cursor"]) == (410, "expired", gone)


@told_by_postgres
async def test_skip_goes_on_live(relay: InProcess, gone: str) -> None:
    """on_gone=skip: told once, then what is retained, then live, and nothing is told a second time."""
    async with relay.stream(cursor=gone, on_gone="skip") as stream:
        await stream.named("relay.cursor")
        await publish(relay, CRITICAL)
        assert await stream.events(1) == ["k7"]
        assert notices(stream) == ["gone", ".", ".", "cursor", "."]
        again = stream.last_id
    assert notices(await replayed(relay, cursor=str(again))) == ["cursor"]


@told_by_postgres
async def test_pages_tell_too(relay: InProcess, gone: str) -> None:
    """JSON: a 410 by default; a gap beside the events if only standard ones are gone; neither if nothing is."""
    problem(await relay.page(cursor=gone), 410)
    page = (await relay.page(cursor=gone, on_gone="event")).json()
    assert page["gone"]["reason"] == "expired"
    tag = gone.split("-")[0]
    assert (await relay.page(cursor=f"{tag}-5")).json()["gap"] is None
    await expire(relay, "k6")
    page = (await relay.page(cursor=f"{tag}-5")).json()
    assert (page["gone"], page["gap"]["class"], page["events"]) == (None, "standard", [])


@told_by_postgres
async def test_a_live_agent_is_not_told_of_what_it_has_got(relay: InProcess) -> None:
    """Events that were delivered may expire: neither the live stream nor the place it leaves behind has lost any."""
    async with relay.stream(cursor="now") as stream:
        await publish(relay, CRITICAL, STANDARD)
        await stream.events(2)
        await expire(relay, "k1", "k2")
        await publish(relay, CRITICAL)
        assert await stream.events(1) == ["k3"]
        assert set(notices(stream)) == {".", "cursor"}
        place = stream.last_id
    assert notices(await replayed(relay, cursor=str(place))) == ["cursor"]


@told_by_postgres
async def test_age_counts_in_seconds_of_postgres(start_relay: StartRelay) -> None:
    """With retentions of four and eight seconds, by the servers' own time: first nothing, then a gap, then 410, for
    good; what came later is still there.
    """
    relay = await start_relay(retention_standard_s=4, retention_critical_s=8)
    cursors = await publish(relay, CRITICAL, STANDARD, CRITICAL)
    place = f"{cursors[0].split('-')[0]}-0"
    seen: list[str] = []

    async def told() -> bool:
        page = await relay.page(cursor=place)
        kind = "gone" if page.status_code == 410 else "gap" if page.json()["gap"] else "whole"
        if kind == "whole":
            assert [one["event"]["id"] for one in page.json()["events"]] == ["k1", "k2", "k3"]
        if not seen or seen[-1] != kind:
            seen.append(kind)
        return kind == "gone"

    await eventually(told, "410")
    assert seen == ["whole", "gap", "gone"]
    await publish(relay, CRITICAL)
    assert (await replayed(relay, cursor="earliest")).delivered[-1] == "k4"


@pytest.fixture
def _single_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first page of a replay is as small as all others."""
    monkeypatch.setattr(stream_session, "FIRST_PAGE_ROWS", 1)


SLOW: dict[str, Any] = {"hub_window_events": 1, "hub_window_bytes": 1024, "page_bytes": 1024, "slow_client_bytes": 1024}
"""A replay that goes page by page at the client's pace, and no window to jump into."""


@told_by_postgres
@pytest.mark.usefixtures("_single_rows")
@pytest.mark.parametrize("on_gone", ["status", "event", "skip"])
async def test_a_sweep_in_mid_replay_is_told(start_relay: StartRelay, on_gone: str) -> None:
    """Critical events that expire ahead of a slow reader: it is told in the stream when it gets there, which ends the
    stream unless it said skip; every event is delivered, or lies between its cursor and the floor that it was told.
    """
    relay = await start_relay(**SLOW)
    kinds = [CRITICAL] * 80
    cursors = await publish(relay, *kinds[:1])
    for _ in range(8):
        cursors += await publish(relay, *kinds[:10], data="x" * 250_000)
    async with relay.stream(cursor=f"{cursors[0].split('-')[0]}-0", on_gone=on_gone) as stream:
        assert await stream.events(1) == ["k1"]
        await expire(relay, *(f"k{number}" for number in range(60, 70)))
        gone = await stream.named("relay.gone")
        assert gone.id is None
        got = stream.delivered
        assert got == [f"k{number}" for number in range(1, len(got) + 1)]
        assert len(got) < 60
        assert gone.data["cursor"] == cursors[len(got) - 1] == stream.last_id
        assert gone.data["floors"] == {"critical": cursors[68], "standard": None}
        if on_gone == "skip":
            rest = [number for number in range(len(got) + 1, 82) if not 60 <= number < 70]
            assert await stream.events(len(rest)) == [f"k{number}" for number in rest]
        else:
            frames = await stream.rest()
            assert [frame.event for frame in frames if frame.event] == ["relay.close"]
            assert stream.delivered == got


@told_by_postgres
@pytest.mark.usefixtures("_single_rows")
async def test_a_sweep_of_standard_events_in_mid_replay_is_a_gap(start_relay: StartRelay) -> None:
    """The same with standard events: relay.gap, once, and the stream goes on with what is retained."""
    relay = await start_relay(**SLOW)
    cursors = await publish(relay, STANDARD)
    for _ in range(8):
        cursors += await publish(relay, *[STANDARD] * 10, data="x" * 250_000)
    async with relay.stream(cursor=cursors[0]) as stream:
        assert await stream.events(1) == ["k2"]
        await expire(relay, *(f"k{number}" for number in range(60, 70)))
        await stream.named("relay.gap")
        await stream.until(lambda frame: frame.id == cursors[-1])
        wanted = [number for number in range(2, 82) if not 60 <= number < 70]
        assert stream.delivered == [f"k{number}" for number in wanted]
        assert notices(stream).count("gap") == 1


async def test_a_sweep_that_overtakes_the_live_tail_is_told(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that was held up while events came and expired: its live sessions are told, and get what is left.

    They went on from the new head instead: neither the events nor a word, and a bookmark beyond them.
    """
    relay = await start_relay()
    gate = asyncio.Event()
    gate.set()
    tail = relay.relay._tail
    step = tail._step

    async def held() -> bool:
        await gate.wait()
        return await step()

    monkeypatch.setattr(tail, "_step", held)
    async with relay.stream(cursor="now") as ann, relay.stream("bob", cursor="now") as bob:
        for stream in (ann, bob):
            await stream.named("relay.cursor")
        gate.clear()
        await asyncio.sleep(0.1)  # the reading under way, if any, ends
        await publish(relay, STANDARD, CRITICAL, STANDARD, CRITICAL)
        await publish(relay, STANDARD, CRITICAL, subject="bob")
        await expire(relay, "k3", "k5")
        gate.set()
        assert await ann.events(3) == ["k1", "k2", "k4"]
        assert [name for name in notices(ann) if name != "cursor"] == ["gap", ".", ".", "."]
        assert await bob.events(1) == ["k6"]
        assert [name for name in notices(bob) if name != "cursor"] == ["gap", "."]
    assert await relay.metric("relay_hub_resets_total") == 1


@told_by_postgres
async def test_no_page_during_a_sweep_hides_a_loss(start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and floors are of one snapshot: while a sweep goes on, row by row, each page either has everything after
    its cursor or says that it has not; and it always has what is retained.
    """
    monkeypatch.setattr(sweeper, "CHUNK_ROWS", 1)
    relay = await start_relay(sweep_pause_s=0.005)
    kinds = [CRITICAL, STANDARD, STANDARD] * 20
    cursors = await publish(relay, *kinds)
    doomed = {f"k{number}" for number in range(11, 51)}
    sweeping = asyncio.create_task(expire(relay, *doomed))
    told, is_over = set(), False
    while not is_over:
        is_over = sweeping.done()  # the last round sees all of it
        for start in (0, 20, 45, 49):
            after = cursors[start]
            page = (await relay.page(cursor=after, limit=1000, on_gone="skip")).json()
            got = {one["event"]["id"] for one in page["events"]}
            end = int(page["next"].split("-")[1])  # a sweep between two pieces of a page ends it
            assert page["more"] or end == 60
            wanted = {f"k{number}" for number in range(start + 2, end + 1)}
            missing = wanted - got
            assert missing <= doomed
            critical = any(kinds[int(name[1:]) - 1] == CRITICAL for name in missing)
            told.add(expected := "gone" if critical else "gap" if missing else "")
            assert (page["gone"] is not None, page["gap"] is not None) == (expected == "gone", expected == "gap")
    await sweeping
    assert "gone" in told


@told_by_postgres
async def test_what_was_swept_is_counted_by_class(relay: InProcess) -> None:
    """Operators see how much expires; a swept assignment is no longer waited for."""
    await publish(relay, CRITICAL, STANDARD, STANDARD)
    await expire(relay, "k1", "k2", "k3")

    async def counted() -> bool:
        found = [await relay.metric("relay_swept_total", retention_class=name) for name in ("critical", "standard")]
        return found == [1, 2]

    await eventually(counted, "the count of what was swept")
    assert await relay.rows("SELECT * FROM open_assignments") == []
