"""Transport jetstream and the stream itself: what is changed of an existing one, how long messages live, switching."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from faults.stack import EmbeddedStack
from system import sql
from system.settings import CONSUMERS_MAX
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, event, eventually, problem
from tests.system.test_retention import CRITICAL, STANDARD, expire, notices, publish, replayed

pytestmark = [pytest.mark.stack, pytest.mark.parametrize("transport", ["jetstream"], indirect=True)]

DAY_NS = 86_400 * 10**9


async def config(relay: InProcess) -> dict[str, Any]:
    """The stream's settings, in JetStream's own words."""
    found: dict[str, Any] = (await relay.ask_jetstream("STREAM.INFO.MESH_EVENTS"))["config"]
    return found


async def test_a_stream_of_the_other_transport_is_changed_and_nothing_else_of_it(start_relay: StartRelay) -> None:
    """The window for repeats grows to the longest retention, the age to what is asked for, messages may say how long
    they live; whatever else an operator had set stays.
    """
    old = await start_relay(transport="cursor", stream_max_age_s=3600, dedupe_window_s=60)
    await old.publish(event("e1"))
    before = await config(old)
    before["description"] = "an operator's"
    before["max_msgs"] = 1_000_000
    assert "error" not in await old.ask_jetstream("STREAM.UPDATE.MESH_EVENTS", before)
    await old.relay.drain()
    new = await start_relay()
    await eventually(lambda: new.relay._link.allows_ttl, "a fitted stream")
    after = await config(new)
    changed = {key for key in after if after[key] != before.get(key)} - {"metadata"}
    assert changed == {"duplicate_window", "max_age", "allow_msg_ttl", "max_consumers"}
    # a stream that names no number may have a thousand consumers (NATS 2.15.1): the 1,001st agent was never served
    assert after["max_consumers"] == CONSUMERS_MAX
    assert (after["duplicate_window"], after["max_age"], after["allow_msg_ttl"]) == (7 * DAY_NS, 8 * DAY_NS, True)
    assert (await new.page(cursor="earliest")).json()["events"][0]["event"]["id"] == "e1"


async def test_a_stream_that_cannot_be_changed_is_not_read(
    stack: EmbeddedStack, fresh_database: str, transport: dict[str, Any]
) -> None:
    """What NATS refuses is said, and replay is an honest 503 until it is mended: repeats would pass unseen."""
    name = f"nats-{fresh_database[-8:]}"
    limits = f'jetstream {{ store_dir: "{stack.run_dir / name}-limited", limits: {{ duplicate_window: "1h" }} }}'
    server = stack.add_nats(name, more=limits)
    await server.start()
    try:
        old = await InProcess.start(fresh_database, server, transport="cursor", allow_unsafe_storage=True)
        await old.ready()
        await old.publish(event("e1"))
        await old.settled()
        new = await InProcess.start(fresh_database, server, **transport, allow_unsafe_storage=True)
        await new.ready()

        async def told() -> bool:
            return "NATS refused" in problem(await new.page(cursor="earliest"), 503)["detail"]

        await eventually(told, "the reason")
        assert (await old.page(cursor="earliest")).json()["events"][0]["event"]["id"] == "e1"
        await new.stop()
        await old.stop()
    finally:
        await stack.remove(server)


async def test_standard_events_say_how_long_they_live(start_relay: StartRelay) -> None:
    """Standard events live for retention and margin, rounded up to whole seconds; critical ones as long as the stream
    keeps anything, redispatched ones among them.
    """
    relay = await start_relay(
        retention_standard_s=3600.2, expiry_margin_s=60, redispatch_after_s=0.2, stream_max_age_s=30 * 86_400
    )
    await eventually(lambda: relay.relay._link.allows_ttl, "a fitted stream")
    cursors = await relay.publish(event(type=STANDARD), event(type=CRITICAL))
    lives = [
        ((await relay.stream_message(int(cursor.split("-")[1]))).headers or {}).get("Nats-TTL") for cursor in cursors
    ]
    assert lives == ["3661", None]

    async def redispatched() -> bool:
        return (await relay.stream_state())[1] >= 3

    await eventually(redispatched, "a redispatch")
    assert "Nats-TTL" not in ((await relay.stream_message(3)).headers or {})


async def test_cursors_survive_switching(start_relay: StartRelay) -> None:
    """From the table to the stream and back, with the same cursors: nothing is missed, repeated, or told to be gone."""
    got: list[str] = []
    wanted: list[str] = []
    place = "earliest"
    for round_, transport in enumerate(("cursor", "jetstream", "cursor", "jetstream")):
        relay = await start_relay(transport=transport)
        made = [event(f"r{round_}-{number}", subject="ann" if number % 3 else "_all") for number in range(10)]
        wanted += [one["id"] for one in made]
        await relay.publish(*made)
        await relay.settled()
        async with relay.stream(last_event_id=place) as stream:
            got += await stream.events(len(wanted) - len(got) - (0 if round_ == 3 else 2))
            place = str(stream.last_id)
            assert set(notices(stream)) <= {".", "cursor"}
        await relay.relay.drain()
    assert got == wanted


async def test_what_is_gone_is_told_and_not_given(start_relay: StartRelay) -> None:
    """The stream still has what Postgres has expired: it is told as gone or as a gap, exactly as from the table, and
    nothing of it is delivered behind that.
    """
    relay = await start_relay()
    cursors = await publish(relay, STANDARD, CRITICAL, STANDARD, CRITICAL, STANDARD)
    tag = cursors[0].split("-")[0]
    await expire(relay, "k1", "k2")
    assert (await relay.stream_state()) == (5, 5), "the stream has everything"
    problem(await relay.page(cursor=f"{tag}-1"), 410)
    stream = await replayed(relay, cursor=f"{tag}-0", on_gone="skip")
    assert (notices(stream), stream.delivered) == (["gone", ".", ".", ".", "cursor"], ["k3", "k4", "k5"])
    await expire(relay, "k3")
    stream = await replayed(relay, cursor=f"{tag}-2")
    assert (notices(stream), stream.delivered) == (["gap", ".", ".", "cursor"], ["k4", "k5"])


async def test_what_lies_below_a_floor_and_is_stored_is_given(start_relay: StartRelay) -> None:
    """A clock that was set back lets a later event expire first: the earlier one is still retained, and delivered."""
    relay = await start_relay()
    cursors = await publish(relay, *[STANDARD] * 5)
    await expire(relay, "k2", "k4")
    stream = await replayed(relay, cursor=f"{cursors[0].split('-')[0]}-0")
    assert (notices(stream), stream.delivered) == (["gap", ".", ".", ".", "cursor"], ["k1", "k3", "k5"])


async def test_nothing_is_told_by_floors_that_are_old(start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweeper that has stood still for half the margin: replay is refused, with the reason, and a live session goes
    on; when it has swept again, replay is served.
    """
    relay = await start_relay(expiry_margin_s=2)
    await relay.publish(event("e1"))
    sweeping = asyncio.Event()
    sweep = relay.relay._leader._sweeper.sweep

    async def held() -> int:
        await sweeping.wait()
        return await sweep()

    async with relay.stream() as live:
        assert await live.events(1) == ["e1"]
        monkeypatch.setattr(relay.relay._leader._sweeper, "sweep", held)

        async def refused() -> bool:
            return (await relay.page(cursor="earliest")).status_code == 503

        await eventually(refused, "a refusal")
        assert "sweep" in problem(await relay.page(cursor="earliest"), 503)["detail"]
        await relay.publish(event("e2"))
        assert await live.events(1) == ["e2"]
        sweeping.set()

        async def served() -> bool:
            return (await relay.page(cursor="earliest")).status_code == 200

        await eventually(served, "a page")


async def test_a_sweep_noted_ahead_of_the_clock_tells_nothing(start_relay: StartRelay) -> None:
    """Postgres's clock set back behind the last sweep: how old the floors are is unknown until the next one."""
    relay = await start_relay(sweep_interval_s=3600)
    await relay.publish(event("e1"))

    async def swept() -> bool:
        return (await relay.page(cursor="earliest")).status_code == 200

    await eventually(swept, "a page")
    await relay.rows("UPDATE sweep_mark SET completed_at = now() + interval '2 days' RETURNING 1")
    assert "sweep" in problem(await relay.page(cursor="earliest"), 503)["detail"]
    await relay.relay._leader._sweeper.sweep()
    assert await swept()


async def test_what_the_stream_no_longer_has_comes_from_the_table(start_relay: StartRelay) -> None:
    """A stream that kept less until now, as one purged by hand: what Postgres retains is delivered from there, in
    order, and then what the stream has.
    """
    relay = await start_relay()
    await publish(relay, CRITICAL, STANDARD, CRITICAL, STANDARD)
    await relay.ask_jetstream("STREAM.PURGE.MESH_EVENTS", {"seq": 4})
    stream = await replayed(relay, cursor="earliest")
    assert stream.delivered == ["k1", "k2", "k3", "k4"]
    page = (await relay.page(cursor="earliest", limit=2)).json()
    assert [one["event"]["id"] for one in page["events"]] == ["k1", "k2"]
    rest = (await relay.page(cursor=page["next"])).json()
    assert [one["event"]["id"] for one in rest["events"]] == ["k3", "k4"]


async def test_an_epoch_that_reads_again_repeats_nothing(start_relay: StartRelay) -> None:
    """The stream is made anew while sessions are open: they are closed, their cursors are 410, and from the beginning
    an agent gets what Postgres retains of the one before and what the new one has, each once.
    """
    relay = await start_relay()
    await publish(relay, CRITICAL, STANDARD)
    async with relay.stream() as stream:
        assert await stream.events(2) == ["k1", "k2"]
        assert "error" not in await relay.ask_jetstream("STREAM.DELETE.MESH_EVENTS")
        link = relay.relay._link.current()
        link.nc._transport._io_writer.transport.abort()  # type: ignore[union-attr]
        assert (await stream.named("relay.close")).data["reason"] == "epoch"
        place = str(stream.last_id)

    async def published() -> bool:
        return (await relay.post(event("n1", data=1))).status_code == 202

    await eventually(published, "a publish into the new stream")
    await relay.settled()
    assert problem(await relay.page(cursor=place), 410)["reason"] == "wrong_epoch"
    assert (await replayed(relay, cursor="earliest")).delivered == ["k1", "k2", "n1"]


async def test_what_was_stored_late_comes_from_the_table(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that pg-writer stores later than half the margin after they came into the stream may leave it before
    Postgres tells that they are gone: they are counted, and replayed from the table, also when the stream lost them.
    """
    relay = await start_relay(expiry_margin_s=1)
    await relay.publish(event("e1"))
    await relay.settled()
    late = await relay.metric("relay_writer_late_total")
    writing, write = asyncio.Event(), relay.relay._writer._commit_piece

    async def held(*args: Any) -> Any:
        await writing.wait()
        return await write(*args)

    monkeypatch.setattr(relay.relay._writer, "_commit_piece", held)
    await relay.publish(event("e2"), event("e3"))
    await asyncio.sleep(0.7)
    writing.set()
    await relay.settled()
    assert await relay.metric("relay_writer_late_total") > late
    for seq in (2, 3):
        assert (await relay.ask_jetstream("STREAM.MSG.DELETE.MESH_EVENTS", {"seq": seq}))["success"]
    await relay.publish(event("e4"))
    assert (await replayed(relay, cursor="earliest")).delivered == ["e1", "e2", "e3", "e4"]


async def test_only_this_transport_notes_sweeps(start_relay: StartRelay) -> None:
    """With the other one a sweep does no more than it did."""
    relay = await start_relay(transport="cursor")
    await publish(relay, CRITICAL)
    await expire(relay, "k1")
    assert await relay.rows("SELECT completed_at FROM sweep_mark") == [{"completed_at": None}]
    (row,) = await relay.rows(sql.READ_GROUND, "MESH_EVENTS", "ann")
    assert row["swept_ago_s"] is None
