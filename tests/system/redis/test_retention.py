"""Expiry under Redis (G2): trimmed and told in one step, exactly, by Redis's own clock."""

from __future__ import annotations

import asyncio

import pytest

from faults.stack import RedisProcess
from system import stream_session
from system.transport.redis import trimmer
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, event, eventually, problem
from tests.system.redis.ground import PREFIX, age, asked, fed, stored, trimmed
from tests.system.test_retention import CRITICAL, STANDARD, notices, publish, replayed

pytestmark = pytest.mark.stack


async def test_a_cursor_at_the_floor_has_missed_nothing_and_one_before_it_has(
    relay: InProcess, fresh_redis: RedisProcess
) -> None:
    """Exact to one sequence, for both classes, in a stream, in pages and as a 410; a standard event of a day is gone
    when a critical one is not; what is trimmed is never delivered.
    """
    cursors = await publish(relay, CRITICAL, STANDARD, CRITICAL, STANDARD, CRITICAL)
    tag = cursors[0].split("-")[0]
    await fed(relay, fresh_redis, cursors[4])
    await age(fresh_redis, cursors[3], days=2)
    await trimmed(fresh_redis, "ann", "s", cursors[3])
    at = await replayed(relay, cursor=cursors[3])
    assert (notices(at), at.delivered) == ([".", "cursor"], ["k5"])
    before = await replayed(relay, cursor=cursors[2])
    assert (notices(before), before.delivered) == (["gap", ".", "cursor"], ["k5"])
    everything = await replayed(relay, cursor="earliest")
    assert (notices(everything), everything.delivered) == ([".", ".", ".", "cursor"], ["k1", "k3", "k5"])
    await age(fresh_redis, cursors[1], days=8)
    await trimmed(fresh_redis, "ann", "c", cursors[0])
    document = problem(await relay.get(f"/v1/agents/ann/events?cursor={tag}-0", Accept="text/event-stream"), 410)
    assert document["floors"] == {"critical": cursors[0], "standard": cursors[3]}
    page = (await relay.page(cursor=cursors[0])).json()
    assert [one["event"]["id"] for one in page["events"]] == ["k3", "k5"]
    assert (page["gap"] is not None, page["gone"]) == (True, None)

    async def counted() -> bool:
        return await relay.metric("relay_redis_trimmed_total", retention_class="critical") == 1

    await eventually(counted, "the count of what was trimmed")


async def test_a_quiet_agent_is_never_told_of_others_losses(relay: InProcess, fresh_redis: RedisProcess) -> None:
    """Another agent's trimmed events are not one's own; a trimmed broadcast is everybody's."""
    (place,) = await publish(relay, CRITICAL, subject="bob")
    cursors = await publish(relay, *[CRITICAL, STANDARD] * 10)
    await fed(relay, fresh_redis, cursors[-1])
    await age(fresh_redis, cursors[-1], days=8)
    await trimmed(fresh_redis, "ann", "c", cursors[-2])
    assert notices(await replayed(relay, "bob", cursor=place)) == ["cursor"]
    *_, last = await publish(relay, STANDARD, CRITICAL, subject="_all")
    await fed(relay, fresh_redis, last)
    await age(fresh_redis, last, days=2)
    await eventually(lambda: asked(fresh_redis, "HGET", f"{PREFIX}floors:s", "_all"), "the broadcast's end")
    assert notices(await replayed(relay, "bob", cursor=place)) == ["gap", ".", "cursor"]
    await age(fresh_redis, last, days=8)
    await trimmed(fresh_redis, "_all", "c", last)
    problem(await relay.get(f"/v1/agents/bob/events?cursor={place}", "bob", Accept="text/event-stream"), 410)


async def test_age_counts_in_seconds_of_redis(start_relay: StartRelay, fresh_redis: RedisProcess) -> None:
    """By the clock: a standard event is there for its seconds, and soon after it is gone; a critical one stays. What
    is sweeping in Postgres does not matter, and nothing is left of a stream without events but its floor.
    """
    relay = await start_relay(retention_standard_s=4)
    loop = asyncio.get_running_loop()
    published_at = loop.time()
    cursors = await publish(relay, STANDARD, CRITICAL)
    await fed(relay, fresh_redis, cursors[-1])
    assert (await replayed(relay, cursor="earliest")).delivered == ["k1", "k2"]
    await trimmed(fresh_redis, "ann", "s", cursors[0])
    assert loop.time() - published_at >= 4
    assert (await replayed(relay, cursor="earliest")).delivered == ["k2"]
    found = await stored(fresh_redis)
    assert f"{PREFIX}agent:ann:s" not in found
    assert f"{PREFIX}oldest:s" not in found
    assert len(found[f"{PREFIX}agent:ann:c"]) == 1


@pytest.mark.parametrize("first", [1, 3])
async def test_a_trim_between_two_pages_is_told(
    start_relay: StartRelay, fresh_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """What goes ahead of a reader, after its first page was read, is told before anything beyond it is sent."""
    monkeypatch.setattr(stream_session, "FIRST_PAGE_ROWS", first)
    relay = await start_relay(page_rows=first)
    cursors = await publish(relay, *[CRITICAL] * 9)
    await fed(relay, fresh_redis, cursors[-1])
    gate, transport = asyncio.Event(), relay.relay._transport
    read, asked_for = transport.read_page, []  # type: ignore[attr-defined]

    async def held(agent: str, after: int, rows_max: int) -> object:
        asked_for.append(after)
        if len(asked_for) > 1:
            await gate.wait()
        return await read(agent, after, rows_max)

    monkeypatch.setattr(transport, "read_page", held)
    async with relay.stream(cursor=f"{cursors[0].split('-')[0]}-0", on_gone="skip") as stream:
        got = await stream.events(first)
        await age(fresh_redis, cursors[5], days=8)
        await trimmed(fresh_redis, "ann", "c", cursors[5])
        gate.set()
        got += await stream.events(3)
        assert got == [*(f"k{number}" for number in range(1, first + 1)), "k7", "k8", "k9"]
        assert notices(stream)[first] == "gone"


async def test_no_page_during_a_trim_hides_a_loss(
    start_relay: StartRelay, fresh_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and floors are of one snapshot: while agents are trimmed one by one, each page either has everything after
    its cursor or says that it has not.
    """
    monkeypatch.setattr(trimmer, "STREAMS_MAX", 1)
    relay = await start_relay(sweep_pause_s=0.005)
    agents = [f"agent{number}" for number in range(15)]
    cursors = [cursor for agent in agents for cursor in await publish(relay, CRITICAL, CRITICAL, subject=agent)]
    await fed(relay, fresh_redis, cursors[-1])
    start = f"{cursors[0].split('-')[0]}-0"
    page = (await relay.page(agents[0], cursor=start, on_gone="skip")).json()
    told = {page["gone"] is None}  # nothing is old yet
    await age(fresh_redis, cursors[-1], days=8)
    for _ in range(100):
        is_over = not await asked(fresh_redis, "ZCARD", f"{PREFIX}oldest:c")
        for agent in agents:
            page = (await relay.page(agent, cursor=start, on_gone="skip")).json()
            assert (page["gone"] is None) == (len(page["events"]) == 2), page
            told.add(page["gone"] is None)
        if is_over:
            break
    assert told == {True, False}
    assert await asked(fresh_redis, "ZCARD", f"{PREFIX}oldest:c") == 0


async def test_a_stream_that_is_added_to_while_it_is_emptied_keeps_what_is_new(
    relay: InProcess, fresh_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trimmer finds only old events in a stream; before it deletes the stream an event is added: it stays, and it
    is trimmed in its turn.
    """
    (old,) = await publish(relay, CRITICAL)
    await fed(relay, fresh_redis, old)
    trim = relay.relay._transport._trimmer  # type: ignore[attr-defined]
    look = trim._look
    made: list[str] = []

    async def raced(lent: object, kept_class: object, agents: object, cutoff: object) -> object:
        found = await look(lent, kept_class, agents, cutoff)
        if len(made) < 2 and found[0].following is None:
            made.append((await relay.publish(event(f"new{len(made)}")))[0])
            await fed(relay, fresh_redis, made[-1])
        return found

    monkeypatch.setattr(trim, "_look", raced)
    await age(fresh_redis, old, days=8)
    await trimmed(fresh_redis, "ann", "c", old)
    assert (await replayed(relay, cursor="earliest")).delivered == [f"new{number}" for number in range(len(made))]
    assert made
    monkeypatch.undo()
    await age(fresh_redis, made[-1], days=8)
    await trimmed(fresh_redis, "ann", "c", made[-1])
