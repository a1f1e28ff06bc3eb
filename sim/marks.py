"""The *sometimes* register: states that a campaign must have reached, or it has proved less than it seems to.

A run that never saw a lease taken over says nothing about taking one over. Marks come from four places: what the
relays log and count, what the agents and publishers saw (the history), and how the agents' connections ended. None of
them needs a line in `system/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from reports.history import (
    Acked,
    Connect,
    Connected,
    Deliver,
    Disconnect,
    Fault,
    Gap,
    Gone,
    HistoryReader,
    Process,
    Published,
    Record,
    Saved,
    Writer,
    owner_of,
)
from system.transport.names import TransportName

FROM_LOG: dict[str, str] = {
    "hints.not_heard": "a replica had to live without hints",
    "leader.began": "a replica began to lead",
    "leader.lost": "a leader lost its lease",
    "leader.database_unavailable": "a replica could not ask for the lease",
    "nats.connection_over": "a relay lost its NATS connection",
    "nats.dial_failed": "a relay could not reach NATS",
    "nats.probe_missed": "a relay found its NATS connection dead by probing",
    "publish.ids_unchecked": "events were taken while Postgres could not check their ids",
    "redispatcher.redispatched": "a stale assignment was dispatched again",
    "redispatcher.unavailable": "a redispatch had to wait",
    "relay.draining": "a replica was stopped politely",
    "relay.waiting_for_postgres": "a replica started while Postgres was away",
    "session.page_unavailable": "a replay met a Postgres that did not answer",
    "sessions.draining": "a replica was stopped with sessions open",
    "sweeper.swept": "events were swept",
    "sweeper.database_unavailable": "a sweep was cut short",
    "tail.database_unavailable": "the tail met a Postgres that did not answer",
    "tail.overtaken_by_sweep": "a sweep overtook the tail",
    "writer.restarted": "pg-writer began again after a failure",
}
FROM_HISTORY: dict[str, str] = {
    "ack.duplicate": "a repeat was recognised at its publishing",
    "ack.unknown": "a publish ended with its outcome unknown",
    "agent.crashed": "an agent crashed",
    "agent.crashed_before_save": "an agent crashed between an event and its saved cursor",
    "agent.got_again": "an event came again after a crash, on a later connection",
    "agent.refused": "an agent was refused with a status other than 410",
    "agent.two_connections": "an agent had two streams at once",
    "agent.unanswered": "an agent got no answer to its connecting",
    "closed.drain": "a stream was closed by a drain",
    "closed.page": "an agent read a page of JSON, and no stream",
    "closed.reset": "a stream was reset",
    "closed.silent": "a client gave up a stream that had gone silent",
    "closed.token_expired": "a stream ended with its token",
    "delivered.at_start": "an agent without a cursor was given what is retained",
    "delivered.live": "an event was delivered within a second of its publishing",
    "delivered.replayed": "an event was replayed",
    "fault.at_start": "a fault met agents that were connecting",
    "fault.on_agent": "an agent's machine was paused, killed or without power",
    "fault.on_publisher": "a publisher's machine was paused, killed or without power",
    "gap.told": "an agent was told of lost standard events",
    "gone.told": "an agent was told of lost critical events",
    "gone.then_events": "an agent went on after a 410 and received events",
    "kill.relay": "a relay was killed",
    "kill.publisher_in_flight": "a publisher died before it knew what became of its events",
    "reconnect.with_cursor": "an agent came back with its cursor",
    "reconnect.after_a_day": "an agent came back after a day or more",
    "reconnect.by_ack": "an agent that had lost its cursor came back by what it had acknowledged",
    "writer.behind_at_heal": "pg-writer was behind when the faults healed",
}
FROM_METRICS: dict[str, str] = {"session.fell_behind": "sse_sessions_behind_total"}
"""The counter in /metrics that is no longer 0, in the relays' last lives."""
OVER: dict[TransportName, dict[str, str]] = {
    TransportName.CURSOR: {
        # over the others a live session is sent no event: it goes back to replay for each
        "session.fell_behind": "a client that read too slowly went from live back to replay",
    },
    TransportName.JETSTREAM: {
        "session.consumer_over": "a session's consumer ended, and another was made from the session's place",
        "session.consumer_left": "a consumer could not be deleted, and was left to the server",
        "session.consumers_left": "a replica ended with consumers that it could not delete",
        "stream.not_fitted": "NATS did not tell whether the stream is fit to be read",
        "stream.not_there_yet": "sessions had to wait for a stream that nobody had made yet",
        "writer.late": "pg-writer stored an event later than half of the margin",
    },
    TransportName.REDIS: {
        "feeder.began": "a replica began to feed Redis",
        "feeder.restarted": "the feeder began again after a failure",
        "feeder.restored": "Redis was filled from Postgres",
        "redis.not_heard": "a replica lost its subscription to news",
        "redis.not_polled": "a replica could not read the watermark in Redis",
        "trimmer.trimmed": "events were trimmed in Redis",
        "trimmer.redis_unavailable": "a trim was cut short",
    },
}
"""What only sessions over a transport come to; from the relays' logs and counters."""
HEARD = frozenset(FROM_LOG) | {name for marks in OVER.values() for name in marks if name not in FROM_METRICS}
COMMON: dict[str, str] = {**FROM_LOG, **FROM_HISTORY}
LIVE_NS = 1_000_000_000
DAY_NS = 86_400 * 1_000_000_000


class LogEar:
    """A structlog processor's place: notes the names of events, and drops them."""

    def __init__(self) -> None:
        self.heard: set[str] = set()

    def hear(self, line: Mapping[str, Any]) -> None:
        """A line was logged."""
        if line["event"] in HEARD:
            self.heard.add(line["event"])


def marks_over(transport: TransportName) -> dict[str, str]:
    """The marks that a campaign over a transport must have hit, with what each means."""
    return COMMON | OVER[transport]


def marks_of(history: Path, heard: Iterable[str]) -> tuple[str, ...]:
    """The marks that a run hit, sorted. Raises HistoryInvalid, OSError."""
    watch = _Watch()
    for record in HistoryReader(history):
        take = _TAKE.get(type(record))
        if take is not None:
            take(watch, record)
    return tuple(sorted({*heard, *watch.hit}))


class _Watch:
    """What has to be remembered of a history to see its marks."""

    def __init__(self) -> None:
        self.hit: set[str] = set()
        self.published_ns: dict[str, int] = {}
        self.unsaved: dict[str, int] = {}
        self.seen: set[tuple[str, str]] = set()
        self.presented: dict[tuple[str, str], str | None] = {}
        self.connecting: set[str] = set()
        self.told_gone: set[str] = set()
        self.streaming: dict[str, str] = {}
        """The agent of each client that has a stream."""
        self.left_ns: dict[str, int] = {}
        self.have_acked: set[str] = set()
        self.is_healing = False
        self.killed_ns: dict[str, int] = {}
        """When a process was killed last, by the name of its host."""

    def published(self, record: Published) -> None:
        self.published_ns.setdefault(record.id, record.t_ns)
        if record.duplicate:
            self.hit.add("ack.duplicate")
        if record.outcome == "unknown":
            self.hit.add("ack.unknown")
            if self.killed_ns.get(f"publisher.{record.publisher}") == record.t_ns:
                self.hit.add("kill.publisher_in_flight")

    def connect(self, record: Connect) -> None:
        self.presented[record.agent, record.conn] = record.cursor
        self.connecting.add(record.agent)
        if record.cursor is not None and "-" in record.cursor:
            self.hit.add("reconnect.with_cursor")
            if record.t_ns - self.left_ns.get(record.agent, record.t_ns) >= DAY_NS:
                self.hit.add("reconnect.after_a_day")
        elif record.cursor in (None, "acked") and record.agent in self.have_acked:
            self.hit.add("reconnect.by_ack")

    def acked(self, record: Acked) -> None:
        self.have_acked.add(record.agent)

    def connected(self, record: Connected) -> None:
        self.connecting.discard(record.agent)
        if record.status is None:
            self.hit.add("agent.unanswered")
        elif record.status == 200:
            owner = owner_of(record.agent)
            if any(one != record.agent and agent == owner for one, agent in self.streaming.items()):
                self.hit.add("agent.two_connections")
            self.streaming[record.agent] = owner
        elif record.status != 410:
            self.hit.add("agent.refused")

    def deliver(self, record: Deliver) -> None:
        self.unsaved[record.agent] = self.unsaved.get(record.agent, 0) + 1
        known_ns = self.published_ns.get(record.id)
        if known_ns is not None:
            self.hit.add("delivered.live" if record.t_ns - known_ns < LIVE_NS else "delivered.replayed")
        presented = self.presented.get((record.agent, record.conn))
        if presented is None or "-" not in presented:
            self.hit.add("delivered.at_start")
        if (record.agent, record.id) in self.seen:
            self.hit.add("agent.got_again")
        self.seen.add((record.agent, record.id))
        if record.agent in self.told_gone:
            self.hit.add("gone.then_events")

    def saved(self, record: Saved) -> None:
        self.unsaved[record.agent] = 0

    def gap(self, record: Gap) -> None:
        self.hit.add("gap.told")

    def gone(self, record: Gone) -> None:
        self.hit.add("gone.told")
        self.told_gone.add(record.agent)

    def disconnect(self, record: Disconnect) -> None:
        self.connecting.discard(record.agent)
        self.streaming.pop(record.agent, None)
        self.left_ns[record.agent] = record.t_ns
        kind = f"closed.{record.why.partition(':')[0]}"  # particulars follow
        if kind in COMMON:
            self.hit.add(kind)
        if record.why == "crashed":
            self.hit.add("agent.crashed")
            if self.unsaved.get(record.agent):
                self.hit.add("agent.crashed_before_save")

    def fault(self, record: Fault) -> None:
        if record.phase == "effective" and self.connecting:
            self.hit.add("fault.at_start")
        if record.phase == "effective" and record.target in ("agent", "publisher"):
            self.hit.add(f"fault.on_{record.target}")

    def process(self, record: Process) -> None:
        if record.what == "killed":
            self.killed_ns[record.name] = record.t_ns
            if record.name.startswith("relay"):
                self.hit.add("kill.relay")

    def writer(self, record: Writer) -> None:
        # the first look comes after the healing
        if record.pending and not self.is_healing:
            self.hit.add("writer.behind_at_heal")
        self.is_healing = True


_TAKE: dict[type[Record], Callable[..., None]] = {
    Published: _Watch.published,
    Connect: _Watch.connect,
    Connected: _Watch.connected,
    Deliver: _Watch.deliver,
    Saved: _Watch.saved,
    Acked: _Watch.acked,
    Gap: _Watch.gap,
    Gone: _Watch.gone,
    Disconnect: _Watch.disconnect,
    Fault: _Watch.fault,
    Process: _Watch.process,
    Writer: _Watch.writer,
}
