"""What a history amounts to in numbers: the tables and series of a report. Pure, and judges nothing."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from typing import Literal

from reports.history import Connect, Fault, Gone
from reports.index import NONE, Index, Log, Op
from reports.report import LATENCY_OPEN_MS, FaultShown, GapShown, Latency, Second

LATENCY_BOUNDS_MS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, float("inf"))
SECOND_NS = 1_000_000_000
SLICES_MAX = 600
"""A page is about as many pixels wide; three weeks second by second would be 1.8 million."""
NS_PER_MS = 1_000_000


class Reconnect:
    """One answered connection of an agent, and what came over it."""

    __slots__ = (
        "agent",
        "away_ns",
        "connected_ns",
        "critical_gone",
        "events",
        "gap",
        "presented",
        "replayed",
        "status",
    )

    def __init__(self, agent: str, *, presented: str | None, connected_ns: int, away_ns: int, status: int) -> None:
        self.agent = agent
        self.presented = presented
        self.connected_ns = connected_ns
        self.away_ns = away_ns
        self.status = status
        self.events = 0
        self.replayed = 0
        """Of these, published before the agent connected."""
        self.gap = False
        self.critical_gone = False

    def shown(self) -> GapShown:
        """As the report shows it."""
        outcome: Literal["replay", "gap", "410", "nothing missed", "refused"]
        if self.critical_gone:
            outcome = "410"
        elif self.status != 200:
            outcome = "refused"
        elif self.gap:
            outcome = "gap"
        else:
            outcome = "replay" if self.replayed else "nothing missed"
        return GapShown(
            agent=self.agent, away_s=round(self.away_ns / SECOND_NS, 3), outcome=outcome, events=self.events
        )


def reconnects(index: Index) -> list[Reconnect]:
    """Every answered connection with a presented cursor, agents in the order of the history."""
    ends = _ends(index)
    return [one for log in index.logs.values() for one in _reconnects_of(index, log, ends.get(log.name, []))]


def _ends(index: Index) -> dict[int, list[int]]:
    """When each agent's streams ended, in ns, whichever of its clients they were of."""
    found: dict[int, list[int]] = {}
    for log in index.logs.values():
        found.setdefault(log.name, []).extend(
            t_ns for op, t_ns in zip(log.op, log.t_ns, strict=True) if op == Op.DISCONNECT
        )
    return {name: sorted(times) for name, times in found.items()}


def counts(index: Index, found: list[Reconnect]) -> dict[str, int]:
    """The numbers of the first screen."""
    events = index.events
    acked = sum(at != NONE for at in events.acked_ns)
    notices = [note for log in index.logs.values() for note in log.notes if not isinstance(note, Connect)]
    gone = sum(isinstance(note, Gone) for note in notices)
    played = index.run.world != "production"
    effective = {fault.fault for _, fault in index.faults if fault.phase == "effective"}
    of_a_run = {
        "faults with proof": len(effective),
        "relay kills": len(kills_s(index)),
        "publishes unknown": sum(events.is_unknown(row) for row in range(len(events.ids))),
    }
    return {
        "events acknowledged": acked,
        "deliveries": index.counts.deliveries,
        **({"events sent, by count": index.counts.sent} if index.sent else {}),
        "agents": index.agent_count,
        "connections": sum(log.op.count(Op.CONNECT) for log in index.logs.values()),
        "replays": sum(one.replayed > 0 for one in found),
        "gaps told": len(notices) - gone,
        "410s told": gone,
        **(of_a_run if played else {}),
    }


def slice_s(index: Index) -> int:
    """How many seconds a slice of the timeline has: as few as keep it within SLICES_MAX."""
    return -(-(index.counts.last_ns // SECOND_NS + 1) // SLICES_MAX)


def timeline(index: Index) -> list[Second]:
    """Publishes, deliveries and connected agents for every slice of the run."""
    width_s = slice_s(index)
    slice_ns = width_s * SECOND_NS
    published: Counter[int] = Counter(at // slice_ns for at in index.events.acked_ns if at != NONE)
    delivered: Counter[int] = Counter()
    changes: Counter[int] = Counter()
    for log in index.logs.values():
        open_conns: set[int] = set()
        for op, t_ns, conn, a in zip(log.op, log.t_ns, log.conn, log.a, strict=True):
            if op == Op.DELIVER:
                delivered[t_ns // slice_ns] += 1
            elif op == Op.CONNECTED and a == 200:
                open_conns.add(conn)
                changes[t_ns // slice_ns] += 1
            elif op == Op.DISCONNECT and conn in open_conns:
                open_conns.discard(conn)
                changes[t_ns // slice_ns] -= 1
    connected = 0
    seconds = []
    for at in range(index.counts.last_ns // slice_ns + 1):
        connected += changes[at]
        seconds.append(Second(at_s=at * width_s, published=published[at], delivered=delivered[at], connected=connected))
    return seconds


def latency(index: Index) -> Latency | None:
    """Publish to delivery, of events that were published while their agent was connected; None without any."""
    took_ns = array("q")
    events = index.events
    for log in index.logs.values():
        connected_ns: dict[int, int] = {}
        for op, t_ns, conn, row in zip(log.op, log.t_ns, log.conn, log.b, strict=True):
            if op == Op.CONNECTED:
                connected_ns[conn] = t_ns
            elif op == Op.DELIVER:
                sent_ns = events.first_publish_ns[row]
                if sent_ns != NONE and sent_ns >= connected_ns.get(conn, t_ns):
                    took_ns.append(t_ns - sent_ns)
    if not took_ns:
        return None
    ordered = sorted(took_ns)
    bins = [0] * len(LATENCY_BOUNDS_MS)
    for value in ordered:
        bins[bisect_left(LATENCY_BOUNDS_MS, value / NS_PER_MS)] += 1
    last = max(place for place, count in enumerate(bins) if count)
    return Latency(
        count=len(ordered),
        p50_ms=round(_percentile(ordered, 0.50) / NS_PER_MS, 3),
        p99_ms=round(_percentile(ordered, 0.99) / NS_PER_MS, 3),
        max_ms=round(ordered[-1] / NS_PER_MS, 3),
        bounds_ms=[min(bound, LATENCY_OPEN_MS) for bound in LATENCY_BOUNDS_MS[: last + 1]],
        counts=bins[: last + 1],
    )


def faults(index: Index) -> list[FaultShown]:
    """Every fault that was asked for, with the proof of its effect if there is one."""
    steps: dict[str, dict[str, Fault]] = defaultdict(dict)
    for _, fault in index.faults:
        steps[fault.fault].setdefault(fault.phase, fault)
    shown = []
    for fault_id, phases in steps.items():
        first = phases.get("asked") or next(iter(phases.values()))
        proved, lifted = phases.get("effective"), phases.get("lifted")
        told = proved or phases.get("ineffective") or lifted or first
        shown.append(
            FaultShown(
                id=fault_id,
                what=first.what,
                target=first.target,
                direction=first.direction,
                asked_s=round(first.t_ns / SECOND_NS, 3),
                lifted_s=None if lifted is None else round(lifted.t_ns / SECOND_NS, 3),
                effective=proved is not None,
                proof=json.dumps(told.proof, ensure_ascii=False),
            )
        )
    return sorted(shown, key=lambda fault: (fault.asked_s, fault.id))


def kills_s(index: Index) -> list[float]:
    """When relays were killed (SIGKILL), in seconds."""
    return [
        round(process.t_ns / SECOND_NS, 3)
        for _, process in index.processes
        if process.what == "killed" and process.name.startswith("relay")
    ]


def _reconnects_of(index: Index, log: Log, ends_ns: list[int]) -> list[Reconnect]:
    """Its reconnects; for a client that was never seen before, `ends_ns` say when its agent was."""
    found: dict[int, Reconnect] = {}
    presented: dict[int, str | None] = {}
    streams: set[int] = set()
    left_ns: int | None = None
    events = index.events
    for op, t_ns, conn, a, row in zip(log.op, log.t_ns, log.conn, log.a, log.b, strict=True):
        if op == Op.CONNECT:
            note = log.notes[a]
            presented[conn] = note.cursor if isinstance(note, Connect) else None
        elif op == Op.CONNECTED and a != NONE:
            if a == 200:
                streams.add(conn)
            if index.position_of(presented.get(conn)) is not None:
                if left_ns is None and (before := bisect_right(ends_ns, t_ns)):
                    left_ns = ends_ns[before - 1]
                away_ns = 0 if left_ns is None else max(0, t_ns - left_ns)
                found[conn] = Reconnect(
                    log.agent, presented=presented[conn], connected_ns=t_ns, away_ns=away_ns, status=a
                )
        elif op == Op.DISCONNECT:
            # only a stream that was open ends a presence; a refused try lengthens the absence
            if conn in streams:
                left_ns = t_ns
        elif conn in found and op == Op.DELIVER:
            one = found[conn]
            one.events += 1
            one.replayed += NONE != events.first_publish_ns[row] < one.connected_ns
        elif conn in found and op == Op.NOTICE:
            if isinstance(log.notes[a], Gone):
                found[conn].critical_gone = True
            else:
                found[conn].gap = True
    return list(found.values())


def _percentile(ordered: list[int], share: float) -> int:
    """The nearest-rank percentile of sorted values."""
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1))]
