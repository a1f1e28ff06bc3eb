"""The scale question in the simulated world: the scene of `faults/bench/options.py`, where everything is counted.

One run is one option, one number of agents and one seed: everybody connects, is idle for a while, receives events at a
steady rate; then everything is killed with a backlog in the stream, started again, and all come back at once. What the
real scene leaves out is left out here: heartbeats, bookmarks of time alone, agents' acknowledgements. Unlike there, the
clients are production's own, and those that come back have their cursors.

Servers in the simulation take no processor time: times count round trips and syncs, not work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from faults.bench.figures import percentile
from faults.bench.load import agent_name
from faults.bench.options import BACKLOG_EACH, EVENTS, GAPS, LARGE, PERCENTILES, RATE_PER_S, WARM_UP
from faults.plan import Agent, Plan, Retention, TypeWeight, Workload
from faults.schedule import What
from faults.transports import TransportName
from reports.history import CLIENT_MARK
from reports.options import Sample
from sim.environment import MS, S
from sim.options.parts import SimulatedReplay, SimulatedScale
from sim.options.stage import DISTANCE_NS, ENDS, Stage, Steps, played
from sim.window import DAY_S, PRODUCTION

QUIET_S = 3_600.0
LEASE_S = 2.0
"""As on the real stack: else whoever comes back waits thirty seconds for the dead leader, and little else is seen."""
SETTLE_S = 30.0
"""After everybody has connected: pools close what was opened for the rush, and look for dead connections."""
FORGOTTEN_S = 120.0
"""After some have left: longer than NATS keeps the consumer of a session that is over."""
IDLE_S = 300.0
TAIL_S = 1.0
"""After the last publish, for what a delivery leaves to be done."""


def counted_sizes(sizes: Sequence[int]) -> list[int]:
    """The sizes that are simulated: the simulated NATS looks at every consumer for every event, in time quadratic.

    A thousand agents over option A take some 200 s of processor time; `LARGE` would take more than an hour.
    """
    return [size for size in sizes if size < LARGE]


def plan_of(transport: TransportName, agents: Sequence[Agent], seed: int) -> Plan:
    """A plan without events or faults of its own."""
    return Plan(
        name=f"scale-{transport.value}-{len(agents)}",
        seed=seed,
        duration_s=DAY_S,
        converge_within_s=DAY_S,
        retention=Retention(critical_s=7 * DAY_S, standard_s=DAY_S),
        slack_s=1.0,
        relay=msgspec.structs.replace(PRODUCTION, heartbeat_s=QUIET_S, bookmark_s=QUIET_S, lease_s=LEASE_S),
        transport=transport.value,
        workload=Workload(events=0, shape=(1,), publishers=(), types=(TypeWeight(type="note.added", weight=1),)),
        agents=tuple(agents),
        faults=(),
    )


def agent_of(name: str, *, connections: int = 1) -> Agent:
    """An agent that begins at the beginning and keeps its own cursor."""
    return Agent(name=name, start_from="earliest", ack_interval_s=None, token_ttl_s=10 * DAY_S, connections=connections)


class ScaleScene(Stage):
    """One run at one size."""

    def __init__(
        self, transport: TransportName, agents: int, seed: int, *, events: int = EVENTS, idle_s: float = IDLE_S
    ) -> None:
        self.names = [agent_name(number) for number in range(agents)]
        self._warm = [f"warm-{number}" for number in range(WARM_UP)]
        super().__init__(plan_of(transport, [agent_of(name) for name in (*self._warm, *self.names)], seed))
        self._each = max(1, events // agents)
        self._idle_s = idle_s
        self.values: dict[str, float] = {}
        """The costs by name."""

    def play(self) -> Steps:
        """Connect, be idle, be sent events, be killed, and come back."""
        yield from self._warm_up()
        there = self.nats.consumers
        yield from self._connect()
        yield from self.pass_s(SETTLE_S)
        self.values["consumers"] = float(self.nats.consumers - there)
        before = self.counts()
        yield from self.pass_s(self._idle_s)
        hours = len(self.names) * self._idle_s / 3_600
        self.values |= {f"idle_{name}": value for name, value in costs_of(before, self.counts(), hours).items()}
        yield from self._steady()
        yield from self._herd()

    def _warm_up(self) -> Steps:
        """Some connect and leave again: what a relay does once is nobody's."""
        self._order(What.WAKE, self._warm)
        yield from self.wait(lambda: len(self.seen.live_ns) == WARM_UP, f"{WARM_UP} agents to go live")
        self._order(What.SLEEP, self._warm)
        yield from self.pass_s(FORGOTTEN_S)
        self.seen.live_ns.clear()

    def _connect(self) -> Steps:
        began_ns, live_ns = self.environment.now_ns, self.seen.live_ns
        self._order(What.WAKE, self.names)
        yield from self.wait(lambda: len(live_ns) == len(self.names), f"{len(self.names)} agents to go live")
        self.values["connect_s"] = (max(live_ns.values()) - began_ns) / S

    def _steady(self) -> Steps:
        total = self._each * len(self.names)
        before, is_delivered = self.counts(), self.delivered(self.seen.deliveries + total)
        self.published_ns.clear()
        yield from self.publish(self.names, total, per_s=RATE_PER_S)
        yield from self.pass_s(TAIL_S)
        yield from self.wait(is_delivered, f"{total} deliveries")
        self.values |= costs_of(before, self.counts(), total / 1_000)
        came_ns = self.seen.delivered_ns
        delays_ms = [(came_ns[one] - sent_ns) / MS for one, sent_ns in self.published_ns.items()]
        assert len(delays_ms) == total, (len(delays_ms), total)
        self.values |= {f"latency_ms.p{percent:g}": percentile(delays_ms, percent) for percent in PERCENTILES}

    def _herd(self) -> Steps:
        self._order(What.SLEEP, self.names)
        asleep = self._mesh.agent_machines.values()
        yield from self.wait(lambda: not any(one.is_running for one in asleep), "all agents to sleep")
        *servers, relay = self.machines
        self.kill(relay)
        backlog = BACKLOG_EACH * len(self.names)
        is_caught_up = self.delivered(self.seen.deliveries + backlog)
        yield from self.publish(self.names, backlog)
        self.kill(*servers)
        began_ns = self.environment.now_ns
        for machine in self.machines:
            machine.start()
        yield from self._ready()
        self._order(What.WAKE, self.names)
        yield from self.wait(is_caught_up, f"{backlog} deliveries after everything was killed")
        self.values["herd_s"] = ((is_caught_up() or {})["now_ns"] - began_ns) / S

    def _order(self, what: What, names: Sequence[str]) -> None:
        for name in names:
            self._mesh.order(name, what)


class ReplayScene(Stage):
    """One agent after the other that missed so many events."""

    def __init__(self, transport: TransportName, seed: int, gaps: Sequence[int] = GAPS) -> None:
        # the first client sees that all is where replays read from, the second one replays
        super().__init__(plan_of(transport, [agent_of(f"gap-{gap}", connections=3) for gap in gaps], seed))
        self._gaps = tuple(gaps)
        self._transport = transport
        self.replays: list[SimulatedReplay] = []

    def play(self) -> Steps:
        """Each gap in turn."""
        for gap in self._gaps:
            name = f"gap-{gap}"
            is_stored = self.delivered(self.seen.deliveries + gap)
            self._mesh.order(f"{name}{CLIENT_MARK}2", What.WAKE)
            yield from self.publish([name], gap)
            yield from self.wait(is_stored, f"{gap} events to be stored and read")
            self._mesh.order(f"{name}{CLIENT_MARK}2", What.SLEEP)
            yield from self.pass_s(SETTLE_S)
            began_ns, before = self.environment.now_ns, self.counts()
            is_replayed = self.delivered(self.seen.deliveries + gap)
            self._mesh.order(f"{name}{CLIENT_MARK}3", What.WAKE)
            yield from self.wait(is_replayed, f"a replay of {gap} events")
            after = is_replayed() or {}
            self._mesh.order(f"{name}{CLIENT_MARK}3", What.SLEEP)
            yield from self.pass_s(SETTLE_S)
            took_ns = after["now_ns"] - began_ns
            self.replays.append(
                SimulatedReplay(
                    transport=self._transport.value,
                    gap=gap,
                    run=self._plan.seed,
                    replay_ms=took_ns / MS,
                    round_trips=took_ns / (2 * DISTANCE_NS),
                    requests=sum(after[one] - before[one] for one in before if one.startswith("requests.")),
                )
            )


def costs_of(before: Mapping[str, int], after: Mapping[str, int], units: float) -> dict[str, float]:
    """What was counted between two moments, for each unit: in all, and by who is at the other end."""
    spent = {name: after[name] - count for name, count in before.items()}
    found = {f"network_kb.{end}": spent[f"bytes.{end}"] / 1_000 / units for end in ENDS}
    found |= {f"segments.{end}": spent[f"segments.{end}"] / units for end in ENDS}
    found |= {name: count / units for name, count in spent.items() if name.startswith("requests.")}
    for cost in ("network_kb", "segments", "requests"):
        found[cost] = sum(value for name, value in found.items() if name.startswith(f"{cost}."))
    return found | {"acks": spent["acks"] / units}


def measure(transport: TransportName, agents: int | None, seed: int) -> SimulatedScale:
    """One run at one size; of replays, if that is None. Raises WorldFailed."""
    if agents is None:
        return SimulatedScale(replays=tuple(measure_replay(transport, seed)))
    return SimulatedScale(samples=(measure_scale(transport, agents, seed),))


def measure_scale(transport: TransportName, agents: int, seed: int) -> Sample:
    """One run at one size. Raises WorldFailed."""
    scene = ScaleScene(transport, agents, seed)
    played(scene)
    return Sample(transport=transport.value, agents=agents, run=seed, values=dict(sorted(scene.values.items())))


def measure_replay(transport: TransportName, seed: int, gaps: Sequence[int] = GAPS) -> list[SimulatedReplay]:
    """One replay of each gap. Raises WorldFailed."""
    scene = ReplayScene(transport, seed, gaps)
    played(scene)
    return scene.replays
