"""A chaos run: plays a plan on the real stack and writes its history. It judges nothing but whether all caught up.

    start the stack → safety phase: workload and faults → heal → liveness phase: wait until all caught up → stop

Each agent is a process of its own that writes its own part of the history; at the end the parts are made into one.
Whatever happens, also Ctrl-C or SIGKILL of this process, nothing is left behind but the output folder, and what its
parts say so far can be judged (`meshrelay report --history FOLDER`).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from faults.board import Scene, epoch_of, first_epoch, set_up, versions
from faults.mesh import Addresses, Births, Mesh
from faults.outside.file import StackFile
from faults.outside.scene import set_up_outside
from faults.plan import Plan
from faults.playable import OURS, Ground, NotPlayable, not_playable, playable, servers_refused
from faults.player import Player
from faults.recorder import Recorder
from faults.run_record import note_end, note_run
from faults.schedule import Step, What, timeline
from faults.stack import StackError, disks
from faults.streamwatch import Lag, StreamSeen, StreamWatch, agents_asked_for
from faults.targets import Relay
from faults.toxiproxy import ToxiproxyFailed
from faults.victims import victim_of
from faults.vocabulary import DiskFull, ProcessName
from reports import history
from reports.parts import LEADING, PARTS_FOLDER, WHOLE, merge

TICK_S = 0.2
"""How often the run looks whether everything it started still runs."""
OBSERVE_S = 0.5
"""How often pg-writer is looked at."""
LATE_S_MAX = 3.0
"""A step of the plan that is taken later than this was kept waiting by the machine, not by the plan."""
SLEEP_S = 3.0
"""How long agents get at the end to close politely: their ack flush takes up to 1 s."""


class CouldNotRun(RuntimeError):
    """The run came to nothing: a part is missing, a server did not start, a fault could not be played or lifted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run is."""

    phase: str
    at_s: float
    of_s: float
    events: int
    acked: int
    delivered: int
    effective: int
    faults: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run came to, beside its history."""

    history: Path
    plan: Plan
    converged: bool
    waiting_for: tuple[str, ...]
    """What had not caught up by the deadline."""
    not_played: tuple[NotPlayable, ...]
    lag_s: float
    """The longest that events waited in the stream for pg-writer."""
    relay_exits: int
    """How often the relay ended by itself."""
    events: int
    acked: int
    refused: int
    delivered: int


Watcher = Callable[[Progress], None]


async def run_plan(
    plan: Plan,
    out: Path,
    *,
    watch: Watcher | None = None,
    command: Sequence[str] = (),
    relay_command: Sequence[str] | None = None,
    outside: StackFile | None = None,
) -> RunResult:
    """Play a plan; the history, the plan and the servers' logs go into `out`, which must not hold a run already.

    `relay_command` replaces `meshrelay serve`, for relays that are broken on purpose; `outside` is a stack that others
    started, None one of our own. Raises CouldNotRun.
    """
    out = await asyncio.to_thread(out.resolve)  # agents live in another folder
    parts = _prepare(plan, out)
    try:
        ground = await _ground_of(plan) if outside is None else outside.ground
        with Recorder(parts / LEADING) as recorder:
            ours = set_up(plan, playable(plan, ground=ground), relay_command=relay_command)
            async with ours if outside is None else set_up_outside(plan, outside) as scene:
                run = ChaosRun(plan, scene, recorder, out=out, watch=watch, ground=ground)
                try:
                    await run.play(tuple(command))
                finally:
                    await scene.keep_logs(out / "logs")
        merge(parts, out / WHOLE)
        shutil.rmtree(parts)
        return run.result(out / WHOLE)
    except (StackError, ToxiproxyFailed, OSError) as error:
        raise CouldNotRun(f"{type(error).__name__}: {error}") from error


class ChaosRun:
    """One run on a stack that is set up."""

    def __init__(
        self,
        plan: Plan,
        scene: Scene,
        recorder: Recorder,
        *,
        out: Path,
        watch: Watcher | None,
        ground: Ground,
    ) -> None:
        self._not_played = not_playable(plan, ground=ground)
        self._plan = plan
        self._scene = scene
        self._recorder = recorder
        self._out = out
        self._watch = watch
        self._faults = {fault.id: fault for fault in playable(plan, ground=ground)}
        self._player = Player(scene.board, recorder, lambda fault: victim_of(plan, fault))
        self._stream = StreamWatch(scene.nats_url)
        self._births: Births | None = None
        self._mesh: Mesh | None = None
        self._waiting_for: tuple[str, ...] = ()
        self._lag = Lag()
        self._late_s = 0.0
        self._phase = "start"
        self._t0 = 0.0

    async def play(self, command: tuple[str, ...]) -> None:
        """All phases; `result` then tells what came of them. Raises StackError, ToxiproxyFailed."""
        observing: asyncio.Task[None] | None = None
        try:
            await self._start(command)
            observing = asyncio.create_task(self._observe(), name="observations")
            self.mesh.start(self._now_s)
            self._enter("safety")
            for step in timeline(self._plan, list(self._faults.values())):
                await self._until(step.at_s)
                self._late_s = max(self._late_s, self._now_s() - step.at_s)
                self._take(step)
            await self._until(self._plan.duration_s)
            await self._heal()
            observing.cancel()
            self._waiting_for = tuple(await self._converge())
            if not self._waiting_for:
                self._enter("converged")
            await self.mesh.put_to_sleep(SLEEP_S)
        finally:
            await self._end(observing)
        self._enter("end")

    async def _end(self, observing: asyncio.Task[None] | None) -> None:
        """Let go of everything that was begun here; the stack itself is about to go."""
        if observing is not None:
            observing.cancel()
            await asyncio.wait([observing])
        await self._player.cancel()
        if self._mesh is not None:
            await self._mesh.stop()
            self._mesh.follow()
        if self._births is not None:
            await self._births.close()
        await self._stream.close()
        note_end(
            self._recorder,
            relay_exits=len(self._player.exits),
            client_failures=self.mesh.failures() if self._mesh is not None else (),
            untimely=self._untimely(),
            left_out=self._not_played,
            played=len(self._faults),
        )

    @property
    def mesh(self) -> Mesh:
        """The workload, once it is made."""
        assert self._mesh is not None
        return self._mesh

    # Phases

    async def _start(self, command: tuple[str, ...]) -> None:
        plan, scene = self._plan, self._scene
        note_run(
            self._recorder,
            plan,
            world="real",
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=await versions(scene),
            command=command,
        )
        scene.nursery.start_nowait()
        for relay in scene.relays:
            if await relay.status() == "gone":  # what others started may run already
                self._start_relay(relay)
        for relay in scene.relays:
            await relay.wait_ready()
        await scene.nursery.wait_ready()
        self._births = await Births.connect(scene.nursery_socket)
        addresses = Addresses(
            replicas=scene.replicas,
            nats_url=scene.publishers_nats_url,
            secret=scene.jwt_secret,
            epoch=await first_epoch(scene),
        )
        mesh = self._mesh = Mesh(plan, addresses, folder=self._out, births=self._births, recorder=self._recorder)
        scene.board.processes[ProcessName.AGENT] = mesh.agents
        scene.agent_pids.append(lambda: [agent.pid for agent in mesh.agents.values() if agent.pid is not None])

    def _start_relay(self, relay: Relay) -> None:
        relay.start_nowait()
        self._recorder.record(history.Process, name=relay.name, what="started", pid=relay.pid)

    async def _heal(self) -> None:
        """End what is still on, and make sure that no proxy holds anything back."""
        await self._player.settle()
        await self._scene.board.toxiproxy.heal(self._scene.board.routes)
        self._enter("healed")

    async def _converge(self) -> list[str]:
        """Wait until all is published, written and handled by every awake agent; what is missing at the deadline."""
        deadline = asyncio.get_running_loop().time() + self._plan.converge_within_s
        target: StreamSeen | None = None
        while True:
            is_published = self.mesh.unpublished == 0  # before the look, which must see it all
            seen = await self._look()
            if target is None and seen is not None and is_published:
                target = seen
            missing = []
            if target is None:
                missing.append(f"{self.mesh.unpublished} events to be published")
            if seen is None or seen.pending:
                missing.append(f"pg-writer, pending {seen.pending if seen else 'unknown'}")
            if target is not None:
                missing += await self._behind(target)
            if not missing or asyncio.get_running_loop().time() > deadline:
                return missing
            await self._until(self._now_s() + TICK_S)

    async def _behind(self, target: StreamSeen) -> list[str]:
        """What has to happen until everybody is at the stream's end; a lost tail may have begun a new epoch."""
        self.mesh.follow()
        told = {await epoch_of(relay, self._scene.jwt_secret) for relay in self._scene.relays}
        if len(told) > 1 or "" in told:
            return ["the replicas to agree on an epoch"]
        return self.mesh.behind(target, told.pop())

    # Time

    def _enter(self, phase: str) -> None:
        self._phase = phase
        if phase == "safety":
            self._t0 = asyncio.get_running_loop().time()
        self._recorder.record(history.Phase, name=phase)

    def _now_s(self) -> float:
        """The time within the plan; nothing is due before the safety phase."""
        return asyncio.get_running_loop().time() - self._t0 if self._phase != "start" else -1.0

    async def _until(self, at_s: float) -> None:
        """Sleep until then, looking after everything meanwhile. Raises what broke."""
        while True:
            await self._look_after()
            left_s = at_s - self._now_s()
            if left_s <= 0:
                return
            await asyncio.sleep(min(left_s, TICK_S))

    def _take(self, step: Step) -> None:
        if step.what is What.BEGIN:
            self._player.begin(self._faults[step.subject])
        elif step.what is What.END:
            self._player.end(self._faults[step.subject])
        else:
            self.mesh.order(step.subject, step.what)

    async def _look_after(self) -> None:
        broken = self._player.failed() or self.mesh.failed()
        if broken is not None:
            raise broken
        for relay in self._scene.relays:
            if await self._has_ended(relay):
                self._player.note_exit(relay)
                self._start_relay(relay)
        self.mesh.follow()
        if self._watch is not None:
            self._watch(self._progress())

    async def _has_ended(self, relay: Relay) -> bool:
        """Whether a replica has ended by itself; a fault may have begun to end it while it was looked at."""
        is_left_alone = relay.name not in self._player.away
        return is_left_alone and await relay.status() == "gone" and relay.name not in self._player.away

    async def _observe(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(OBSERVE_S)

    async def _look(self) -> StreamSeen | None:
        seen = await self._stream.look(agents_asked_for(self._plan))
        if seen is not None:
            self._lag.see(asyncio.get_running_loop().time(), seen)
            self._recorder.record(history.Writer, pending=seen.pending, head=seen.head_seq)
        return seen

    def _progress(self) -> Progress:
        return Progress(
            phase=self._phase,
            at_s=self._now_s(),
            of_s=self._plan.duration_s,
            events=self.mesh.events,
            acked=self.mesh.acked,
            delivered=self.mesh.delivered,
            effective=len(self._player.effective),
            faults=len(self._faults),
        )

    def result(self, path: Path) -> RunResult:
        """What the run came to."""
        return RunResult(
            history=path,
            plan=self._plan,
            converged=not self._waiting_for,
            waiting_for=self._waiting_for,
            not_played=self._not_played,
            lag_s=round(self._lag.worst_s, 1),
            relay_exits=len(self._player.exits),
            events=self.mesh.events,
            acked=self.mesh.acked,
            refused=self.mesh.refused,
            delivered=self.mesh.delivered,
        )

    def _untimely(self) -> list[str]:
        if self._late_s <= LATE_S_MAX:
            return []
        return [f"a step of the plan was taken {self._late_s:.1f} s late; the machine is too busy"]


async def _ground_of(plan: Plan) -> Ground:
    has_disks = any(isinstance(one, DiskFull) for one in plan.faults)
    return Ground(no_disks=await asyncio.to_thread(disks.refused)) if has_disks else OURS


def _prepare(plan: Plan, out: Path) -> Path:
    refused = servers_refused(plan)
    if refused is not None:
        raise CouldNotRun(refused)
    parts = out / PARTS_FOLDER
    if (out / WHOLE).exists() or parts.exists():
        raise CouldNotRun(f"expected a folder without a run, got {out} with one; give another, or remove it")
    parts.mkdir(parents=True)
    plan.dump(out / "plan.json")
    return parts
