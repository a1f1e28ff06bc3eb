"""One simulated world: a plan's relay, servers, agents and publishers on hosts of their own, from start to verdict.

    start  ──▶ safety: the plan's arrivals, sleeps, crashes and faults ──▶ heal ──▶ converge by the deadline ──▶ end

The world's own work (steps of the plan, looks, healing) are SimPy processes in the environment that runs everything.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping
from typing import Any

import simpy

from faults.plan import Plan
from faults.recorder import Recorder
from faults.run_record import note_run
from faults.schedule import What, timeline
from faults.streamwatch import StreamSeen, agents_asked_for
from faults.vocabulary import REPLICAS
from reports import history
from sim.clock import EPOCH_NS, HostClock
from sim.environment import MS, US, Environment, S
from sim.errors import StandsStill
from sim.faults import Machine
from sim.fence import burial, end_of, fenced
from sim.host import Host, Process
from sim.injector import Cast, Injector
from sim.loop import SimFuture, SimTask
from sim.marks import FROM_METRICS, LogEar
from sim.mesh import Mesh
from sim.network import BUFFER_BYTES, SMALL_BUFFERS_BYTES, Network
from sim.outcome import OnLog, OnSegment, Outcome, Trace, WorldFailed
from sim.programs import (
    RELAY_PORT,
    Program,
    RelayProgram,
    observer,
    quiet_logs,
    relay_settings,
)
from sim.servers import NatsMachine, PostgresMachine, RedisMachine

READY_WITHIN_S = 60
SUPERVISOR_NS = 1 * S
"""How soon a relay that ended by itself is started again, as any service manager would."""
LOOK_NS = 500 * MS
NATS_TASKS = ("Client._read_loop", "Client._flusher")
"""nats-py's own, which may end with an error that nobody asks for."""
LOOKS_AFTER_LAST = 2
"""The first look at the stream after the last publish may have begun before it."""
TICK_NS = 100 * MS
STOP_WITHIN_NS = 10 * S
DRIFT_PPM_MAX = 50
"""A cheap quartz."""
LONG_S = 86_400.0
LONG_DRIFT_PPM_MAX = 2
"""What is left of it over days, for time servers correct it: else a week would be half a minute shorter to some."""
DISTANCES_NS = (300 * US, 300 * US, 2 * MS, 20 * MS, 80 * MS)
"""One way: a rack, a zone, a region, an ocean."""
SLOWEST_BYTES_PER_S = 250_000
"""Of a connection when nothing is wrong."""


class World:
    """Everything in one simulated world; `run` plays its plan."""

    def __init__(
        self,
        plan: Plan,
        recorder: Callable[[Callable[[], int]], Recorder],
        *,
        relays: int = len(REPLICAS),
        on_segment: OnSegment | None = None,
        on_log: OnLog | None = None,
        delivery_log: bool = False,
    ) -> None:
        """`recorder` makes the history's writer, given the world's clock; `on_log` is told what the replicas log, with
        `delivery_log` each event sent, too.
        """
        self._plan = plan
        self.environment = Environment(self._rng("order"))
        self.network = Network(self.environment, self._rng("network"))
        self.network.buffer_bytes = self._rng("buffers").choice((BUFFER_BYTES, BUFFER_BYTES, *SMALL_BUFFERS_BYTES))
        self._recorder = recorder(lambda: self.environment.now_ns)
        self._trace = Trace(self.environment, on_segment)
        self.network.on_segment = self._trace.segment
        self._problems: list[str] = []
        self._ear = LogEar()
        self._on_log = on_log
        self._pending = 0
        self._lives = 0
        self._graveyard: list[Process] = []
        self._seen: StreamSeen | None = None
        self._watching: Process | None = None
        self.nats = NatsMachine(self._host("nats"), self._rng("nats"), self._start, plan.servers)
        self.postgres = PostgresMachine(self._host("postgres"), self._rng("postgres"), self._start)
        self.redis = self._redis()
        more = {"stream_replicas": plan.servers.nats_replicas, "delivery_log": delivery_log}
        self.relays = [RelayProgram(relay_settings(plan, **more)) for _ in range(relays)]
        self._relay_hosts = [self._host(f"relay-{number}") for number in range(1, relays + 1)]
        self.network.share_name("relay", [host.name for host in self._relay_hosts])
        self._relay_machines = [self._relay_machine(*both) for both in zip(self._relay_hosts, self.relays, strict=True)]
        url = f"http://relay:{RELAY_PORT}"
        self._mesh = Mesh(plan, self._recorder, url, host=self._host, start=self._start)
        self._observer = self._host("observer")
        self._spread()
        self._injector = Injector(
            plan,
            self.network,
            self._recorder,
            Cast(
                nats=self.nats,
                postgres=self.postgres,
                relays=self._relay_machines,
                agents=self._mesh.agent_machines,
                publishers=self._mesh.publisher_machines,
                redis=self.redis,
            ),
        )
        self._safety_ns = 0
        self._waiting_for: tuple[str, ...] = ()

    # Parts

    def _rng(self, purpose: str) -> random.Random:
        return random.Random(f"{self._plan.seed}/{purpose}")

    def _host(self, name: str) -> Host:
        rng = self._rng(f"clock/{name}")
        drift_ppm_max = LONG_DRIFT_PPM_MAX if self._plan.duration_s > LONG_S else DRIFT_PPM_MAX
        clock = HostClock(
            self.environment,
            offset_ns=rng.randint(-50 * MS, 50 * MS),
            drift_ppm=rng.randint(-drift_ppm_max, drift_ppm_max),
        )
        return Host(name, self.environment, self.network, clock)

    def _spread(self) -> None:
        """Place every replica and agent near the servers, or in another zone, or far away."""
        rng = self._rng("distances")
        # a window's worth of bytes a round trip: what is far needs buffers, or nothing would get through in time
        far_ns = self.network.buffer_bytes * S // (2 * SLOWEST_BYTES_PER_S)
        distances_ns = [one for one in DISTANCES_NS if one <= far_ns]
        for relay in self._relay_hosts:
            for server in ("postgres", "nats"):
                self.network.place(relay.name, server, rng.choice(distances_ns))
            for agent in self._mesh.agent_machines.values():
                self.network.place(relay.name, agent.host.name, rng.choice(distances_ns))
        if self.redis is not None:
            rng = self._rng("distances/redis")
            for relay in self._relay_hosts:
                self.network.place(relay.name, "redis", rng.choice(distances_ns))

    def _redis(self) -> RedisMachine | None:
        """Only where relays read from it; all that it draws has a stream of its own."""
        if not self._plan.has_redis:
            return None
        return RedisMachine(self._host("redis"), self._rng("redis"), self._start, self._plan.servers)

    def _start(self, host: Host, main: Program) -> Process:
        self._lives += 1
        rng = self._rng(f"process/{host.name}/{self._lives}")
        process = host.start(host.name, main, rng=rng, report=self._report)
        self._graveyard.append(process)
        return process

    def _report(self, name: str, context: dict[str, Any]) -> None:
        if "exception" in context and isinstance(context.get("future"), SimFuture):
            # a result that nobody waited for any more, such as asyncpg's of a connection that died while it was made:
            # asyncio writes a line to the log, at the whim of the garbage collector, and nothing else comes of it
            return
        task = context.get("task") or context.get("future")
        if isinstance(task, SimTask) and getattr(task.get_coro(), "__qualname__", "") in NATS_TASKS:
            return  # of a connection that is over or given up; where that matters, the relay probes and watches
        self._problems.append(f"{name}: {context.get('message')} {context.get('exception')!r}")

    def _relay_machine(self, host: Host, program: RelayProgram) -> Machine:
        machine = Machine(host, lambda: self._start_relay(host, program))

        def stop(then: Callable[[], None]) -> None:
            program.stop()
            self.environment.process(self._restarted(host, then))

        machine.stop = stop
        machine.switch = program.switch
        program.on_exit = lambda: self.environment.at(SUPERVISOR_NS, lambda: self._start_relay(host, program))
        return machine

    def _start_relay(self, host: Host, program: RelayProgram) -> None:
        if host.is_up and not any(process.is_alive for process in host.processes):
            self._start(host, program)
            self._recorder.record(history.Process, name=host.name, what="started")

    def _restarted(self, host: Host, then: Callable[[], None]) -> Generator[Any, None, None]:
        deadline_ns = self.environment.now_ns + STOP_WITHIN_NS
        while any(process.is_alive for process in host.processes) and self.environment.now_ns < deadline_ns:
            yield self.environment.timeout(TICK_NS)
        for process in host.processes:
            if process.is_alive:
                process.kill()
        then()

    # The run

    def run(self) -> Outcome:
        """Play the plan. Raises WorldFailed."""
        with fenced(), quiet_logs(self._hear):
            try:
                conductor = self.environment.process(self._conduct())
                self._run_to_end_of(conductor)
                if not conductor.ok:
                    raise _raised(conductor.value)
                outcome = self._outcome()
            finally:
                self._recorder.close()
                with burial():
                    self._bury()
        if self._problems:
            raise WorldFailed("; ".join(self._problems[:5]))
        return outcome

    def _run_to_end_of(self, conductor: simpy.Process) -> None:
        try:
            self.environment.run_to_end_of(conductor)
        except StandsStill as error:
            awake = [one for host in self.network.hosts.values() for one in host.processes if not one.is_paused]
            busy = [f"{one.name} ({', '.join(names)})" for one in awake if (names := one.loop.busy_with())]
            raise WorldFailed(f"{error}; busy at that moment: {'; '.join(busy) or 'the world itself'}") from error

    def _bury(self) -> None:
        """Let go of every process: what its coroutines have in their `finally` must run now, or it would run later."""
        for process in self._graveyard:
            process.on_end = None  # the history is closed
            if process.is_alive:
                process.lose_power()
        for process in self._graveyard:
            for task in process.buried:
                end_of(task)
            process.buried.clear()
        self._graveyard.clear()
        self._watching = None
        self.environment.empty()
        for host in self.network.hosts.values():
            host.processes.clear()
        for relay in self.relays:
            relay.forget()
        self._mesh.forget()

    def _outcome(self) -> Outcome:
        return Outcome(
            trace_sha256=self._trace.digest.hexdigest(),
            simulated_s=self.environment.now_ns / S,
            steps=self.environment.steps,
            events=self._mesh.events,
            deliveries=self._mesh.deliveries,
            waiting_for=self._waiting_for,
            heard=frozenset(self._ear.heard | self._counted()),
            counters={
                "redelivered": sum(program.total("relay_writer_redelivered_total") for program in self.relays),
                "redispatched": sum(program.total("relay_stale_redispatches_total") for program in self.relays),
                "pending": self._pending,
            },
            relay_exits=tuple(why for program in self.relays for why in program.exits),
            client_failures=self._mesh.failures(),
        )

    def _counted(self) -> set[str]:
        """The marks that the relays' counters tell of."""
        return {name for name, metric in FROM_METRICS.items() if any(one.counted(metric) for one in self.relays)}

    def _conduct(self) -> Generator[Any, None, None]:
        note_run(
            self._recorder,
            self._plan,
            world="sim",
            started_at=f"simulated, from {EPOCH_NS // S} s of the Unix epoch",
            command=("meshrelay", "sim", "replay", f"{self._plan.name}.json"),
        )
        self.nats.start()
        self.postgres.start()
        if self.redis is not None:
            self.redis.start()
        for machine in self._relay_machines:
            machine.start()
        yield from self._ready()
        self._enter("safety")
        self._safety_ns = self.environment.now_ns
        self._mesh.publish(self._epoch_of(self.relays[0]), lambda: (self.environment.now_ns - self._safety_ns) / S)
        yield from self._safety()
        yield from self._heal()
        yield from self._converge()
        yield from self._end()

    def _ready(self) -> Generator[Any, None, None]:
        for _ in range(READY_WITHIN_S * 10):
            if all(program.is_ready for program in self.relays):
                return
            yield self.environment.timeout(TICK_NS)
        states = [program.readiness()[1] for program in self.relays]
        raise WorldFailed(f"expected ready relays within {READY_WITHIN_S} s, got {states}; {self._problems[:5]}")

    def _safety(self) -> Generator[Any, None, None]:
        plan = self._plan
        faults = {fault.id: fault for fault in plan.faults}
        for step in timeline(plan, plan.faults):
            yield from self._until(step.at_s)
            match step.what:
                case What.BEGIN:
                    self._injector.begin(faults[step.subject])
                case What.END:
                    self._injector.lift(faults[step.subject])
                case _:
                    self._mesh.order(step.subject, step.what)
        yield from self._until(plan.duration_s)

    def _until(self, at_s: float) -> Generator[Any, None, None]:
        left_ns = self._safety_ns + round(at_s * S) - self.environment.now_ns
        if left_ns > 0:
            yield self.environment.timeout(left_ns)

    def _heal(self) -> Generator[Any, None, None]:
        self._injector.heal()
        self._watching = self._start(self._observer, observer(self._look_on, agents_asked_for(self._plan)))
        self._enter("healed")
        yield self.environment.timeout(TICK_NS)

    def _converge(self) -> Generator[Any, None, None]:
        deadline_ns = self.environment.now_ns + round(self._plan.converge_within_s * S)
        target: StreamSeen | None = None
        looks = 0
        while True:
            left = self._mesh.unpublished
            looked, self._seen = self._seen, None
            if not left and looked is not None:
                looks += 1
                if looks == LOOKS_AFTER_LAST:
                    target = looked
            missing = [f"{left} events to be published"] if target is None else self._behind(target)
            if looked is None or looked.pending:
                missing.append(f"pg-writer, pending {looked.pending if looked else 'unknown'}")
            if not missing:
                self._enter("converged")
                return
            if self.environment.now_ns > deadline_ns:
                self._waiting_for = tuple(missing)
                return
            yield self.environment.timeout(LOOK_NS)

    def _behind(self, target: StreamSeen) -> list[str]:
        """What has to happen until everybody is at the stream's end; a lost tail may have begun a new epoch."""
        epochs = {self._epoch_of(relay) for relay in self.relays}
        if len(epochs) > 1 or "" in epochs:
            return ["the replicas to agree on an epoch"]
        return self._mesh.behind(target, *epochs)

    def _end(self) -> Generator[Any, None, None]:
        if self._watching is not None:
            self._watching.kill()  # what is redispatched from here on is not to be waited for
        self._mesh.put_to_sleep()
        yield self.environment.timeout(3 * S)
        self._enter("end")

    @staticmethod
    def _epoch_of(relay: RelayProgram) -> str:
        """What the cursors of a replica begin with now; empty while it does not know it."""
        return str(relay.readiness()[1].get("head", "")).partition("-")[0]

    # Records

    def _look_on(self, seen: StreamSeen) -> None:
        self._seen = seen
        self._pending = seen.pending
        self._recorder.record(history.Writer, pending=seen.pending, head=seen.head_seq)

    def _hear(self, line: Mapping[str, Any]) -> None:
        self._ear.hear(line)
        if self._on_log is not None:
            self._on_log(line)

    def _enter(self, phase: str) -> None:
        self._recorder.record(history.Phase, name=phase)


def _raised(value: Any) -> BaseException:
    assert isinstance(value, BaseException), value
    return value
