"""Plays faults on the running stack, proves that each took effect, lifts it, and proves that too.

Every step goes into the history: `asked` before anything is done; `effective` with the proof's numbers as soon as a
proof holds; `lifted` when the link or process serves again; `ineffective` if no proof held for as long as it was on,
which fails the run. A fault that can't be begun or lifted at all raises: such a run is no evidence.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from faults.dialects import Dialect, dialect_of
from faults.playable import toxic_of
from faults.probe import Experiment, Seen, look
from faults.proof import Proof, experiment_for, judge, passes
from faults.recorder import Recorder
from faults.stack.errors import ProcessFailed
from faults.stack.relay import RelayProcess
from faults.targets import Board, Line, Steered
from faults.toxiproxy import Counted, Route, Toxiproxy, ToxiproxyFailed
from faults.vocabulary import (
    Direction,
    DiskFull,
    Fault,
    Kill,
    LinkFault,
    LinkFaultBase,
    Pause,
    ProcessFault,
    ProcessName,
    Restart,
)
from reports import history

LIFT_S = 10.0
"""How long a link may take to serve again once its fault is lifted; it takes milliseconds."""
LIFTED_CHECK = Experiment(size_bytes=1, wait_s=2.0)
PATIENCE_S = 10.0
"""How much longer than planned a fault stays on while it is not proved: a busy machine, a server that still starts."""
REFILL_S = 0.1
"""Between two looks at a disk that is to stay full."""
EXITS_MAX = 10
"""A relay that ends by itself is started again, as a supervisor would; one that does it more often never serves."""
RETRY_S = 0.1
"""Between two attempts to prove the same."""


class Player:
    """Plays the faults of one run; `begin` and `end` return at once, `settle` waits until all are through."""

    def __init__(self, board: Board, recorder: Recorder, victim: Callable[[ProcessFault], str]) -> None:
        """`victim` names the process that a fault hits."""
        self._board = board
        self._recorder = recorder
        self._victim = victim
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """One fault at a time on a target, also if one takes longer than planned."""
        self.away: set[str] = set()
        """Names of processes that are down or frozen because a fault wants it so."""
        self.exits: list[str] = []
        """Replicas of the relay that ended by themselves, or otherwise than they were asked to."""
        self.effective: set[str] = set()
        self.ineffective: set[str] = set()

    def begin(self, fault: Fault) -> None:
        """Ask for a fault and go on proving it until it is ended."""
        ended = self._ended[fault.id] = asyncio.Event()
        if isinstance(fault, Restart):
            ended.set()
        self._tasks[fault.id] = asyncio.create_task(self._play(fault, ended), name=f"fault {fault.id}")

    def end(self, fault: Fault) -> None:
        """Lift a fault that was begun."""
        self._ended[fault.id].set()

    def failed(self) -> BaseException | None:
        """What stopped the first fault that could not be played, if any."""
        for task in self._tasks.values():
            if task.done() and not task.cancelled() and task.exception() is not None:
                return task.exception()
        return None

    async def settle(self) -> None:
        """End every fault and wait until it is lifted. Raises what stopped any of them."""
        for ended in self._ended.values():
            ended.set()
        for task in self._tasks.values():
            await task

    async def cancel(self) -> None:
        """Stop playing, without lifting anything: the stack is about to go."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _note(self, fault: Fault, phase: str, proof: Mapping[str, Any] | None = None) -> None:
        if phase in ("effective", "ineffective"):
            getattr(self, phase).add(fault.id)
        direction = fault.direction.value if isinstance(fault, LinkFaultBase) else None
        self._recorder.record(
            history.Fault,
            fault=fault.id,
            phase=phase,
            what=fault.kind,
            target=fault.target,
            direction=direction,
            proof=dict(proof or {}),
        )

    async def _play(self, fault: Fault, ended: asyncio.Event) -> None:
        async with self._turns[fault.target]:
            if isinstance(fault, LinkFaultBase):
                await self._play_on_link(fault, ended)
            else:
                await self._play_on_process(fault, ended)

    # Links

    async def _play_on_link(self, fault: LinkFault, ended: asyncio.Event) -> None:
        toxic, lines = toxic_of(fault), self._board.hit_by(fault)
        assert toxic is not None, f"{fault.id}: {fault.kind} is not playable here"
        assert lines, f"{fault.id}: no proxy for {fault.only}"
        self._note(fault, "asked")
        watched = [await Traffic.begin(line, self._board.toxiproxy) for line in lines]
        for line in lines:
            await self._board.toxiproxy.begin(line.route, fault.id, toxic, fault.directions)
        proofs = await asyncio.gather(*(self._prove(fault, line.route, ended) for line in lines))
        numbers = {line.name: proof.numbers() for line, proof in zip(lines, proofs, strict=True)}
        self._note(
            fault,
            "effective" if all(proof.effective for proof in proofs) else "ineffective",
            {"toxic": {"type": toxic.type, **toxic.attributes}, **numbers},
        )
        await ended.wait()
        cut = [await one.cut_so_far() for one in watched]
        for line in lines:
            await self._board.toxiproxy.end(line.route, fault.id, toxic, fault.directions)
        lifted = await asyncio.gather(*(_until_it_serves(fault, line.route) for line in lines))
        traffic = [await one.numbers(ended_count) for one, ended_count in zip(watched, cut, strict=True)]
        self._note(
            fault,
            "lifted",
            {
                line.name: {"probe": probe, "traffic": moved}
                for line, probe, moved in zip(lines, lifted, traffic, strict=True)
            },
        )

    async def _prove(self, fault: LinkFault, route: Route, ended: asyncio.Event) -> Proof:
        """Probe until a proof holds, or until the fault should have ended some time ago."""
        dialect, experiment = dialect_of(fault.link), experiment_for(fault)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + fault.for_s + PATIENCE_S
        while True:
            probe, control = await _look_both_ways(route, dialect, experiment)
            proof = judge(fault, probe, control)
            if proof.effective or (ended.is_set() and loop.time() > deadline):
                return proof
            await asyncio.sleep(RETRY_S)

    # Processes

    async def _play_on_process(self, fault: ProcessFault, ended: asyncio.Event) -> None:
        process = self._board.processes[fault.process][self._victim(fault)]
        self._note(fault, "asked")
        if fault.process is ProcessName.AGENT:
            await process.wait_ready()  # it may be between two lives
        self.away.add(process.name)
        if fault.process is ProcessName.RELAY and await process.status() == "gone":
            self.note_exit(process)
            await self._start(fault, process)
        if isinstance(fault, Pause):
            await self._pause(fault, process, ended)
        elif isinstance(fault, DiskFull):
            await self._fill_disk(fault, process, ended)
        else:
            await self._end_and_start(fault, process, ended)
        self.away.discard(process.name)

    async def _end_and_start(self, fault: ProcessFault, process: Steered, ended: asyncio.Event) -> None:
        assert isinstance(fault, Kill | Restart), f"{fault.id}: {fault.kind} is not playable here"
        pid, before = process.pid, await process.status()
        is_kill = isinstance(fault, Kill)
        returncode = await (process.kill() if is_kill else process.stop())
        status = await process.status()
        if status == "gone":
            self._recorder.record(history.Process, name=process.name, what="killed" if is_kill else "stopped", pid=pid)
        is_effective = before == "running" and status == "gone" and (returncode in (-9, None) or not is_kill)
        proof = {"process": process.name, "pid": pid, "returncode": returncode, "before": before, "status": status}
        self._note(fault, "effective" if is_effective else "ineffective", _told(proof))
        if fault.process is ProcessName.RELAY and not is_kill and returncode not in (0, None):
            self.note_exit(process)  # asked politely, and ended otherwise
        await ended.wait()
        if isinstance(fault, Restart) and fault.transport is not None:
            assert isinstance(process, RelayProcess), f"{fault.id}: {process.name} is not ours to change"
            process.set(TRANSPORT=fault.transport)
        ready_ms = await self._start(fault, process)
        self._note(fault, "lifted", _told({"pid": process.pid, "ready_ms": ready_ms}))

    def note_exit(self, process: Steered) -> None:
        """A replica ended by itself, or otherwise than it was asked to. Raises ProcessFailed if that is too often."""
        self.exits.append(process.name)
        self._recorder.record(history.Process, name=process.name, what="exited")
        if len(self.exits) > EXITS_MAX:
            raise ProcessFailed(
                f"relays ended by themselves {len(self.exits)} times, the last was {process.name}; see logs/"
            )

    async def _start(self, fault: ProcessFault, process: Steered) -> int:
        """Start it and wait until it serves, for so many ms; a relay that ends by itself meanwhile is counted.

        Raises ProcessFailed.
        """
        began_s = asyncio.get_running_loop().time()
        while True:
            process.start_nowait()
            self._recorder.record(history.Process, name=process.name, what="started", pid=process.pid)
            try:
                await process.wait_ready()
            except ProcessFailed:
                if fault.process is not ProcessName.RELAY or await process.status() != "gone":
                    raise
                self.note_exit(process)
            else:
                return round((asyncio.get_running_loop().time() - began_s) * 1000)

    async def _pause(self, fault: Pause, process: Steered, ended: asyncio.Event) -> None:
        before = await process.status()
        process.pause()
        status = await process.status()
        while status != "stopped" and not ended.is_set():
            await asyncio.sleep(RETRY_S)
            status = await process.status()
        is_effective = before == "running" and status == "stopped"
        proof = {"process": process.name, "pid": process.pid, "before": before, "status": status}
        self._note(fault, "effective" if is_effective else "ineffective", _told(proof))
        await ended.wait()
        process.resume()
        await process.wait_ready()
        self._note(fault, "lifted", _told({"pid": process.pid, "status": await process.status()}))

    async def _fill_disk(self, fault: DiskFull, process: Steered, ended: asyncio.Event) -> None:
        """Keep the disk full: what the server gives back meanwhile is taken again."""
        disk, is_proved = self._board.disks[process.name], False
        while not (is_proved and ended.is_set()):
            seen = await asyncio.to_thread(disk.fill)
            is_full = bool(seen["is_refused"]) and seen["free_bytes"] == 0  # unless the server gave some back just now
            if (is_full or ended.is_set()) and not is_proved:
                is_proved = True
                self._note(fault, "effective" if is_full else "ineffective", {"process": process.name, **seen})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), REFILL_S)
        free_bytes = await asyncio.to_thread(disk.free)
        if free_bytes <= 0:
            raise ProcessFailed(f"expected room on the disk of {process.name} once {fault.id} was lifted, got none")
        has_ended = await process.status() == "gone"
        if process.name == ProcessName.NATS and not has_ended:
            await process.stop()
        if process.name == ProcessName.NATS or has_ended:
            ready_ms = await self._start(fault, process)
        else:
            await process.wait_ready()
            ready_ms = 0
        proof = {"taken_bytes": seen["taken_bytes"], "free_bytes": free_bytes, "had_ended": has_ended}
        self._note(fault, "lifted", proof | {"pid": process.pid, "ready_ms": ready_ms})


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What went over a line while a fault was on: its connections, and the bytes of those that ended."""

    line: Line
    toxiproxy: Toxiproxy
    before: set[int] | None
    """Local ports of the connections that were there; None if they are out of sight."""
    counted: Mapping[Direction, Counted]

    @classmethod
    async def begin(cls, line: Line, toxiproxy: Toxiproxy) -> Traffic:
        """Look at a line before its fault."""
        return cls(
            line=line, toxiproxy=toxiproxy, before=await _connections(line), counted=await toxiproxy.counted(line.route)
        )

    async def cut_so_far(self) -> int:
        """How many of the connections have ended by now."""
        return len((self.before or set()) - (await _connections(self.line) or set()))

    async def numbers(self, ended: int) -> dict[str, Any]:
        """For the history."""
        after = await self.toxiproxy.counted(self.line.route)
        moved = {
            way.value: {
                "received": after[way].received - self.counted[way].received,
                "sent": after[way].sent - self.counted[way].sent,
            }
            for way in self.counted
        }
        seen = {} if self.before is None else {"connections": len(self.before), "of_them_ended": ended}
        return {**seen, "bytes_of_ended_connections": moved}


async def _connections(line: Line) -> set[int] | None:
    if line.client_pids is None:
        return None
    return await asyncio.to_thread(_connected_to, line.client_pids(), line.route.listen)


async def _until_it_serves(fault: LinkFault, route: Route) -> dict[str, Any]:
    """Probe a link until it passes; numbers for the history. Raises ToxiproxyFailed if only the proxy does not."""
    deadline = asyncio.get_running_loop().time() + LIFT_S
    dialect = dialect_of(fault.link)
    while True:
        probe, control = await _look_both_ways(route, dialect, LIFTED_CHECK)
        if passes(probe):
            return _happened(probe)
        if asyncio.get_running_loop().time() > deadline:
            if not passes(control):
                return {"server": "does not answer either", **_happened(probe)}
            raise ToxiproxyFailed(
                f"expected {fault.link.value} to serve again {LIFT_S:g} s after {fault.id} was lifted, got {probe}"
            )
        await asyncio.sleep(RETRY_S)


async def _look_both_ways(route: Route, dialect: Dialect, experiment: Experiment) -> tuple[Seen, Seen]:
    """Through the proxy, and straight to the server; in a thread, whose times are not those of a busy event loop."""

    async def both() -> tuple[Seen, Seen]:
        return await asyncio.gather(look(route.listen, dialect, experiment), look(route.upstream, dialect, experiment))

    return await asyncio.to_thread(lambda: asyncio.run(both()))


def _happened(seen: Seen) -> dict[str, Any]:
    return _told(asdict(seen))


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of them."""
    return {name: value for name, value in values.items() if value is not None}


def _connected_to(pids: Sequence[int], address: tuple[str, int]) -> set[int]:
    """The local ports of processes' established connections to this address; those that are gone have none."""
    found = set()
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            for one in psutil.Process(pid).net_connections(kind="tcp"):
                if one.raddr == address and one.status == psutil.CONN_ESTABLISHED:
                    found.add(one.laddr.port)
    return found
