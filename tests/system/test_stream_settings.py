"""Streams and consumers that somebody else has made or changed: what loses or stalls events is refused, and how."""

from __future__ import annotations

from typing import Any

import nats
import pytest
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, StorageType, StreamConfig

from faults.stack import NatsProcess
from system.stream import WRITER, stream_config
from system.stream_rules import differing, losing, raised_age_ns, stalling
from tests.system.conftest import StartRelay
from tests.system.harness import STREAM, InProcess, event, eventually

DAY_S = 86_400
OWN = stream_config(STREAM, max_age_s=8 * DAY_S, dedupe_window_s=120, replicas=1, max_bytes=-1)


async def make_stream(server: NatsProcess, **settings: Any) -> None:
    """A stream as an operator might make it."""
    usual: dict[str, Any] = {"storage": StorageType.FILE, "discard": DiscardPolicy.NEW, "max_age": 8 * DAY_S}
    connection = await nats.connect(server.url)
    config = StreamConfig(name=STREAM, subjects=["mesh.events.>"], duplicate_window=120, **(usual | settings))
    await connection.jetstream().add_stream(config)
    await connection.close()


async def make_consumer(server: NatsProcess, **settings: Any) -> None:
    """A consumer of pg-writer's name, as an operator might make it."""
    connection = await nats.connect(server.url)
    usual: dict[str, Any] = {"durable_name": WRITER, "ack_policy": AckPolicy.ALL}
    await connection.jetstream().add_consumer(STREAM, ConsumerConfig(**(usual | settings)))
    await connection.close()


async def problem_of(relay: InProcess) -> str:
    """What the relay says that keeps it from being ready."""
    found: str = await eventually(lambda: relay.relay.readiness()[1].get("problem"), "a problem")
    assert not relay.relay.readiness()[0]
    return found


async def settings_of(relay: InProcess, what: str) -> dict[str, Any]:
    """The settings of a stream or a consumer, in JetStream's own words."""
    found: dict[str, Any] = (await relay.ask_jetstream(what))["config"]
    return found


OLD = DiscardPolicy.OLD


@pytest.mark.stack
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"discard": OLD, "max_msgs_per_subject": 1}, "max_msgs_per_subject: expected no limit, got 1"),
        ({"max_msgs_per_subject": 1}, "max_msgs_per_subject: expected no limit, got 1"),
        ({"discard": OLD, "max_msgs": 100}, "max_msgs: expected no limit, or discard new, got 100 and discard old"),
        (
            {"discard": OLD, "max_bytes": 9_000},
            "max_bytes: expected no limit, or discard new, got 9000 and discard old",
        ),
    ],
)
async def test_a_stream_that_drops_what_it_acknowledged_is_refused(
    start_relay: StartRelay, fresh_nats: NatsProcess, settings: dict[str, Any], said: str
) -> None:
    """G1: 200 events were answered 202 and 130 of them lost, on a relay that was ready. Mended, it becomes ready."""
    await make_stream(fresh_nats, **settings)
    relay = await start_relay(wait=False)
    problem = await problem_of(relay)
    assert said in problem
    assert "`nats stream edit`" in problem
    found = await settings_of(relay, f"STREAM.INFO.{STREAM}")
    no_limits = {"max_msgs": -1, "max_bytes": -1, "max_msgs_per_subject": -1}
    assert "error" not in await relay.ask_jetstream(f"STREAM.UPDATE.{STREAM}", found | no_limits)
    await relay.ready()
    await relay.publish(event("e1"))
    await relay.settled()


@pytest.mark.stack
async def test_a_stream_that_refuses_honestly_is_taken(start_relay: StartRelay, fresh_nats: NatsProcess) -> None:
    """A full stream that refuses publishes loses nothing, whatever limits it has."""
    await make_stream(
        fresh_nats, max_msgs=100, max_bytes=9_000_000, max_msgs_per_subject=50, discard_new_per_subject=True
    )
    relay = await start_relay()
    await relay.publish(event("e1"))
    await relay.settled()
    assert [row["id"] for row in await relay.rows("SELECT id FROM agent_events")] == ["e1"]


@pytest.mark.stack
async def test_a_stream_that_forgets_too_early_is_given_the_age(
    start_relay: StartRelay, fresh_nats: NatsProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """An hour, where pg-writer may be away for longer; to keep messages longer loses none. What is set beside it
    stays; an age that is longer than wanted stays too, with a warning, for to lower it would delete.
    """
    await make_stream(fresh_nats, max_age=3_600, max_msgs=1_000, description="an operator's")
    relay = await start_relay(stream_max_age_s=8 * DAY_S)
    found = await settings_of(relay, f"STREAM.INFO.{STREAM}")
    assert (found["max_age"], found["max_msgs"], found["description"]) == (8 * DAY_S * 10**9, 1_000, "an operator's")
    await relay.relay.drain()
    capsys.readouterr()
    other = await start_relay(stream_max_age_s=2 * DAY_S)
    await other.publish(event("e1"))
    await other.settled()
    assert (await settings_of(other, f"STREAM.INFO.{STREAM}"))["max_age"] == 8 * DAY_S * 10**9
    assert "stream.settings_differ" in capsys.readouterr().out


@pytest.mark.stack
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"filter_subject": "mesh.events.ann.>"}, "filter_subject: expected none, got mesh.events.ann.>"),
        (
            {"filter_subjects": ["mesh.events.ann.>", "mesh.events.bob.>"]},
            "filter_subject: expected none, got mesh.events.ann.>, mesh.events.bob.>",
        ),
        ({"ack_policy": AckPolicy.EXPLICIT}, "ack_policy: expected all, got explicit"),
        ({"headers_only": True}, "headers_only: expected False, got True"),
        ({"max_deliver": 3}, "max_deliver: expected no limit, got 3"),
        ({"deliver_subject": "elsewhere"}, "deliver_subject: expected none, got elsewhere"),
        ({"pause_until": "2099-01-01T00:00:00Z"}, "paused: expected False, got True"),
    ],
)
async def test_a_consumer_that_passes_events_over_is_refused(
    start_relay: StartRelay, fresh_nats: NatsProcess, settings: dict[str, Any], said: str
) -> None:
    """G1, G6: with a filter for ann, bob's event was never stored, and the relay was ready. Once it is deleted, as the
    sentence says, pg-writer goes on by itself.
    """
    await make_stream(fresh_nats)
    await make_consumer(fresh_nats, **settings)
    relay = await start_relay(wait=False)
    problem = await problem_of(relay)
    assert said in problem
    assert f"`nats consumer rm {STREAM} {WRITER}`" in problem
    await relay.publish(event("b1", subject="bob"))
    assert await relay.watermark() == 0
    await relay.ask_jetstream(f"CONSUMER.DELETE.{STREAM}.{WRITER}")
    await relay.ready()
    await relay.settled()
    assert [row["id"] for row in await relay.rows("SELECT id FROM agent_events")] == ["b1"]


@pytest.mark.stack
async def test_a_relay_that_is_not_ready_stays_so_between_two_tries(
    start_relay: StartRelay, fresh_nats: NatsProcess
) -> None:
    """pg-writer looks again every half second, and meanwhile nothing says that all is well."""
    await make_stream(fresh_nats)
    await make_consumer(fresh_nats, filter_subject="mesh.events.ann.>")
    relay = await start_relay(wait=False)
    await problem_of(relay)
    before = await relay.metric("relay_writer_restarts_total")
    while await relay.metric("relay_writer_restarts_total") < before + 3:
        assert relay.relay._writer.problem is not None


@pytest.mark.stack
async def test_a_consumer_follows_its_settings(start_relay: StartRelay) -> None:
    """Another size of batches reaches the consumer that is there, which keeps its place and whatever else it has."""
    one = await start_relay(writer_batch=1)
    await one.publish(event("e1"))
    await one.settled()
    what = f"CONSUMER.INFO.{STREAM}.{WRITER}"
    before = await settings_of(one, what)
    assert "error" not in await one.ask_jetstream(
        f"CONSUMER.CREATE.{STREAM}.{WRITER}",
        {"stream_name": STREAM, "config": before | {"description": "an operator's", "ack_wait": 5 * 10**9}},
    )
    await one.relay.drain()
    two = await start_relay(writer_batch=1_000)
    await two.publish(event("e2"))
    await two.settled()
    after = await settings_of(two, what)
    changed = {key for key in after if after[key] != before.get(key)} - {"metadata"}
    assert changed == {"max_ack_pending", "description"}
    assert (before["max_ack_pending"], after["max_ack_pending"], after["ack_wait"]) == (8, 8_000, 30 * 10**9)
    assert [row["id"] for row in await two.rows("SELECT id FROM agent_events ORDER BY pos")] == ["e1", "e2"]


SOUND = {
    "subjects": ["mesh.events.>"], "storage": "file", "retention": "limits", "discard": "new", "max_msgs": -1,
    "max_bytes": -1, "max_age": 8 * DAY_S * 10**9, "max_msgs_per_subject": -1, "duplicate_window": 120 * 10**9,
    "num_replicas": 1,
}  # fmt: skip
PULLED = {"durable_name": WRITER, "ack_policy": "all", "max_deliver": -1, "max_ack_pending": 8_000}


def test_what_the_relay_makes_is_sound() -> None:
    """Nothing is said of a stream and a consumer as the relay makes them, nor of names that a later server adds."""
    assert losing(SOUND | {"new": "setting"}, OWN.subjects) == []
    assert differing(SOUND, OWN) == {}
    assert raised_age_ns(SOUND, OWN) is None
    assert stalling({"config": PULLED | {"new": 1}}) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"storage": "memory"}, "storage: expected file, got memory"),
        ({"retention": "workqueue"}, "retention: expected limits, got workqueue"),
        ({"subjects": ["mesh.events.ann.>"]}, "subjects: expected ['mesh.events.>'], got ['mesh.events.ann.>']"),
        ({"persist_mode": "async"}, "persist_mode: expected default, got async"),
        ({"no_ack": True}, "no_ack: expected False, got True"),
        (
            {"subject_transform": {"src": "a", "dest": "b"}},
            "subject_transform: expected none, got {'src': 'a', 'dest': 'b'}",
        ),
    ],
)
def test_each_setting_that_loses_is_said(settings: dict[str, Any], said: str) -> None:
    """A line says the setting, what was expected, and what it is."""
    assert losing(SOUND | settings, OWN.subjects) == [said]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"discard": "old"}, {"discard"}),
        ({"max_bytes": 1_000}, {"max_bytes"}),
        ({"max_msg_size": 1_000}, {"max_msg_size"}),
        ({"max_age": 0}, {"max_age_ns"}),
        ({"duplicate_window": 10**9}, {"duplicate_window_ns"}),
        ({"duplicate_window": 10**12}, set()),
        ({"num_replicas": 3}, set()),
    ],
)
def test_what_is_merely_different_is_for_the_log(settings: dict[str, Any], names: set[str]) -> None:
    """It loses nothing, and is not refused; no limit of age is an age that suffices."""
    assert losing(SOUND | settings, OWN.subjects) == []
    assert set(differing(SOUND | settings, OWN)) == names
    assert raised_age_ns(SOUND | settings, OWN) is None


@pytest.mark.parametrize(
    "settings",
    [{"max_batch": 10}, {"max_bytes": 10}, {"max_expires": 10}],
    ids=lambda settings: next(iter(settings)),
)
def test_limits_of_what_may_be_pulled_are_said(settings: dict[str, Any]) -> None:
    """The server would refuse every request of pg-writer's, for ever; a filter that leaves nothing out is none."""
    ((name, value),) = settings.items()
    assert stalling({"config": PULLED | settings}) == [f"{name}: expected no limit, got {value}"]
    assert stalling({"config": PULLED | {"filter_subject": "mesh.events.>"}}) == []
