"""The scale question in the simulated world: exact counts, the same for the same seed, kept, and shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from html import unescape
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from faults.bench.load import Load, make_events
from faults.transports import TransportName
from meshrelay import command
from reports.api import ALL_PROMISES
from reports.options import OptionsReport, Sample
from reports.render.options import html, markdown
from sim.jetstream import server as nats_server
from sim.options.gathered import gather
from sim.options.parts import Parts, SimulatedReplay, SimulatedScale
from sim.options.scale import ReplayScene, ScaleScene, costs_of, counted_sizes
from sim.options.stage import Traffic, kind_of, played
from sim.outcome import WorldFailed
from system.frames import chunk, event_frame

IDLE_S = 120.0
GAP = 5


class Heard(ScaleScene):
    """A scene that keeps what agents were sent."""

    cursors: dict[str, str]

    def __init__(self, transport: TransportName, agents: int, seed: int) -> None:
        super().__init__(transport, agents, seed, events=agents, idle_s=IDLE_S)
        self.cursors = {}
        take = self.seen.record

        def record(kind: Callable[..., object], **fields: object) -> None:
            if "id" in fields and "cursor" in fields:
                self.cursors[str(fields["id"])] = str(fields["cursor"])
            take(kind, **fields)  # type: ignore[arg-type]

        self.seen.record = record  # type: ignore[method-assign]


@cache
def scene(transport: TransportName, agents: int, seed: int = 1) -> Heard:
    """A small scene, played: an event for each agent."""
    found = Heard(transport, agents, seed)
    played(found)
    return found


def idle(transport: TransportName, agents: int, server: str) -> int:
    """What a server was asked by a relay whose agents did nothing."""
    return round(scene(transport, agents).values[f"idle_requests.{server}"] * agents * IDLE_S / 3_600)


@pytest.mark.parametrize("transport", list(TransportName))
def test_a_seed_counts_the_same_twice(transport: TransportName) -> None:
    """Every cost, to the last digit; another seed has another order of simultaneous work, and other times."""
    again = Heard(transport, 3, 1)
    played(again)
    assert again.values == scene(transport, 3).values
    assert scene(transport, 3, 2).values["latency_ms.p50"] != again.values["latency_ms.p50"]


def test_bytes_to_agents_are_those_of_their_frames() -> None:
    """By hand: one event for each agent is one chunk with one frame, and nothing else goes over that link."""
    found = scene(TransportName.CURSOR, 3, 2)  # a seed whose network splits none of them
    events = list(make_events(Load(events=3, agents=3, seed=1)))
    sent = [chunk([event_frame(found.cursors[one.id], one.type, one.text)]) for one in events]
    assert found.values["network_kb.agent"] == pytest.approx(sum(map(len, sent)) / 1_000 / 0.003)
    assert found.values["segments.agent"] * 0.003 == pytest.approx(3, abs=0.5)


def test_the_relays_links_are_told_apart() -> None:
    """By hand: both directions, by who is at the other end; an end of a stream and other hosts' talk count nothing."""
    traffic = Traffic()
    for source, target, data in (
        ("relay-1", "nats", b"12345"),
        ("nats", "relay-1", b"123"),
        ("agent.agent-0001", "relay-1", b"1234567"),
        ("relay-1", "postgres", b""),
        ("publisher", "nats", b"1"),
    ):
        traffic.segment(0, 1, source, target, data)
    assert dict(traffic.pieces) == {"nats": 2, "agent": 1}
    assert dict(traffic.bytes) == {"nats": 8, "agent": 7}
    assert [kind_of(one) for one in ("agent.agent-0001", "relay-1", "redis")] == ["agent", "relay", "redis"]


def test_costs_are_shares_of_what_was_counted() -> None:
    """By hand: 3,000 bytes and 6 requests for 2,000 deliveries."""
    names = [f"{what}.{end}" for what in ("segments", "bytes") for end in ("agent", "nats", "postgres", "redis")]
    names += [f"requests.{server}" for server in ("nats", "postgres", "redis")] + ["acks"]
    before = dict.fromkeys(names, 7)
    after = before | {"bytes.nats": 1_007, "bytes.agent": 2_007, "requests.nats": 9, "requests.redis": 11, "acks": 8}
    found = costs_of(before, after, 2.0)
    assert (found["network_kb"], found["network_kb.nats"]) == (1.5, 0.5)
    assert (found["requests"], found["requests.nats"], found["requests.redis"], found["acks"]) == (3.0, 1.0, 2.0, 0.5)


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        ("$JS.ACK.MESH_EVENTS.pg-writer.1.2.3.4.5", "ack"),
        ("$JS.FC.MESH_EVENTS.one.1", "flow"),
        ("$JS.API.CONSUMER.MSG.NEXT.MESH_EVENTS.pg-writer", "pull"),
        ("$JS.API.STREAM.INFO.MESH_EVENTS", "api"),
        ("mesh.events.agent-0001.task.assigned", "message"),
    ],
)
def test_what_is_published_is_counted_by_what_it_is_for(subject: str, kind: str) -> None:
    """A pull is one of the API's subjects, and counted apart from it."""
    assert nats_server.kind_of(subject) == kind


def test_an_idle_agent_costs_requests_only_where_it_has_a_consumer() -> None:
    """Options B and C poll for all agents together, in sum the same for 3 and 6; A renews a pull for each."""
    for transport in (TransportName.CURSOR, TransportName.REDIS):
        for server in ("nats", "redis"):
            assert idle(transport, 3, server) == idle(transport, 6, server)
    assert idle(TransportName.CURSOR, 6, "redis") == 0 < idle(TransportName.REDIS, 6, "redis")
    shared = idle(TransportName.CURSOR, 3, "nats")
    three, six = (idle(TransportName.JETSTREAM, agents, "nats") for agents in (3, 6))
    assert six - three == three - shared > 0


@pytest.mark.parametrize(("transport", "each"), [("cursor", 0), ("jetstream", 1), ("redis", 0)])
def test_consumers_are_those_of_sessions(transport: str, each: int) -> None:
    """Option A has one for each agent; what the relay has anyway is not counted."""
    for agents in (3, 6):
        assert scene(TransportName(transport), agents).values["consumers"] == each * agents


def test_a_small_gap_is_two_statements_from_the_table() -> None:
    """By hand: option C asks for the page and for its floors; its time is a few round trips, whatever the seed."""
    stage = ReplayScene(TransportName.CURSOR, 1, (GAP,))
    played(stage)
    (found,) = stage.replays
    assert (found.gap, found.run, found.requests) == (GAP, 1, 2)
    assert 3 < found.round_trips < 20
    assert found.replay_ms == pytest.approx(found.round_trips * 0.6)


def test_a_scene_that_does_not_end_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cost is made up of deliveries that never came."""
    monkeypatch.setattr("sim.options.stage.LIMIT_S", 1.0)
    monkeypatch.setattr("sim.options.scale.BACKLOG_EACH", 0)
    with pytest.raises(WorldFailed, match="0 deliveries after everything was killed within 1 simulated s"):
        played(ScaleScene(TransportName.CURSOR, 1, 1, events=1, idle_s=1.0))


def counted(transport: str, kb: float) -> SimulatedScale:
    """Runs of an option at two sizes, and a replay."""
    return SimulatedScale(
        samples=tuple(
            Sample(transport=transport, agents=agents, run=run, values={"network_kb": kb + run / 100, "consumers": 0.0})
            for agents in (3, 6)
            for run in (1, 2)
        ),
        replays=tuple(
            SimulatedReplay(transport=transport, gap=100, run=run, replay_ms=6.0, round_trips=10.0, requests=2)
            for run in (1, 2)
        ),
    )


def kept(folder: Path) -> Parts:
    """The part, whole, for two runs."""
    found = SimulatedScale()
    for transport, kb in (("redis", 30.0), ("cursor", 10.0), ("jetstream", 20.0)):
        one = counted(transport, kb)
        found = found.plus(one.samples, one.replays)
    parts = Parts(folder)
    parts.keep("scale-simulated.json", found)
    real = [
        msgspec.structs.replace(one, values={"network_kb": 50.0 - one.values["network_kb"]}) for one in found.samples
    ]
    parts.keep("scale.json", real)
    return parts


def test_the_part_is_the_same_whatever_ended_first() -> None:
    """Worlds are played at the same time; what they leave is in the order of options, sizes and seeds."""
    one, other = counted("cursor", 1.0), counted("redis", 2.0)
    forth = SimulatedScale().plus(one.samples, one.replays).plus(other.samples, other.replays)
    back = SimulatedScale().plus(other.samples[::-1], other.replays[::-1]).plus(one.samples[::-1], one.replays[::-1])
    assert msgspec.json.encode(forth) == msgspec.json.encode(back)


def test_the_report_shows_what_was_counted(tmp_path: Path) -> None:
    """A section with numbers, curves, crossings and where both worlds agree, in page and text."""
    report = gather(kept(tmp_path), started_at="then", machine={}, runs=2)
    page, text = html(report, ALL_PROMISES), markdown(report)
    assert msgspec.json.decode(msgspec.json.encode(report), type=OptionsReport) == report
    assert 'id="simulated"' in page
    assert len(report.agreement) == 3
    assert all(one in unescape(page) and one in text for one in report.agreement)
    assert "they disagree: the real stack finds A: JetStream consumers cheaper" in report.agreement[0]
    assert any(one.metric == "network_kb" and one.cheaper_large == "cursor" for one in report.simulated_crossings)
    assert "C: cursor costs nothing" in text  # no ratio of nothing
    bare = gather(Parts(tmp_path / "none"), started_at="then", machine={}, runs=2)
    assert "counted costs of jetstream" in bare.missing
    assert 'id="simulated"' not in html(bare, ALL_PROMISES)


def test_a_part_that_is_whole_is_not_measured_anew(tmp_path: Path) -> None:
    """The same command goes on where it was; with nothing left, it only writes the report."""
    parts = kept(tmp_path)
    before = (tmp_path / "scale-simulated.json").read_bytes()
    words = [
        "compare",
        "--only",
        "scale-simulated",
        "--sizes",
        "3,6",
        "--runs",
        "2",
        "--jobs",
        "1",
        "--out",
        str(tmp_path),
    ]
    found = CliRunner().invoke(command(["compare"]), words)
    assert found.exit_code == 0, found.output
    assert (tmp_path / "scale-simulated.json").read_bytes() == before
    assert parts.simulated_scale().samples[0].transport == "cursor"


def test_what_would_take_hours_is_not_simulated() -> None:
    """The size that the real stack alone is measured at is left out, and no other."""
    assert counted_sizes([10, 1_000, 5_000]) == [10, 1_000]
