"""The player proves what it plays: asked, effective with numbers, lifted; and ineffective when nothing can show it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nats
import pytest

from faults import player as player_module
from faults.playable import Toxic
from faults.player import EXITS_MAX, REFILL_S, Player
from faults.recorder import Recorder
from faults.stack import EmbeddedStack, NatsProcess, ProcessFailed, ReservedPort
from faults.targets import Board, Line
from faults.toxiproxy import Route, Toxiproxy, ToxiproxyFailed
from faults.vocabulary import (
    Cut,
    Direction,
    DiskFull,
    Fault,
    Kill,
    Latency,
    Link,
    Pause,
    ProcessName,
    ResetPeer,
    Restart,
    Timeout,
)
from reports import history
from reports.history import read_history
from tests.faults.conftest import route_to

pytestmark = pytest.mark.stack

PLACE: dict[str, Any] = {"link": Link.PUBLISHER_NATS, "at_s": 0.0, "for_s": 1.0}


@dataclass
class Stage:
    """A player on a NATS server behind a proxy, and what it has recorded."""

    player: Player
    toxiproxy: Toxiproxy
    route: Route
    server: NatsProcess
    path: Path
    board: Board
    recorder: Recorder

    def phases(self, fault: Fault) -> list[history.Fault]:
        """The fault's records so far."""
        records = read_history(self.path).records
        return [one for one in records if isinstance(one, history.Fault) and one.fault == fault.id]

    def processes(self) -> list[str]:
        """What happened to processes."""
        return [one.what for one in read_history(self.path).records if isinstance(one, history.Process)]

    async def until(self, is_true: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait for something to become true."""
        async with asyncio.timeout(timeout_s):
            while not is_true():  # noqa: ASYNC110 - the condition is a file's content
                await asyncio.sleep(0.02)


class Rude:
    """A process that dies of being asked to end."""

    def __init__(self, process: NatsProcess) -> None:
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process, name)

    async def stop(self) -> int:
        """End by a signal."""
        return await self._process.kill()


@asynccontextmanager
async def _staged(stack: EmbeddedStack, server: NatsProcess, folder: Path) -> AsyncIterator[Stage]:
    assert stack.toxiproxy is not None
    toxiproxy = Toxiproxy(stack.toxiproxy.address)
    async with route_to(toxiproxy, "publisher-nats", server.address) as route:
        board = Board(
            toxiproxy=toxiproxy,
            lines={Link.PUBLISHER_NATS: [Line(replica=None, route=route, client_pids=lambda: [os.getpid()])]},
            processes={ProcessName.NATS: {"nats": server}},
        )
        with Recorder(folder / "history.jsonl") as recorder:
            player = Player(board, recorder, lambda _: "nats")
            yield Stage(player, toxiproxy, route, server, folder / "history.jsonl", board, recorder)
            await player.cancel()


@pytest.fixture
async def stage(toxic_stack: EmbeddedStack, fresh_nats: NatsProcess, tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage for one test."""
    async with _staged(toxic_stack, fresh_nats, tmp_path) as staged:
        yield staged


async def test_a_link_fault_is_asked_proved_and_lifted(stage: Stage) -> None:
    """The history tells a fault's whole life, with the numbers of its proof, the control and the link's own traffic."""
    client = await nats.connect(f"nats://127.0.0.1:{stage.route.listen[1]}")
    fault = Latency(id="slow", latency_ms=100, direction=Direction.UPSTREAM, **PLACE)
    stage.player.begin(fault)
    await stage.until(lambda: "slow" in stage.player.effective)
    stage.player.end(fault)
    await stage.player.settle()
    asked, effective, lifted = stage.phases(fault)
    assert [one.phase for one in (asked, effective, lifted)] == ["asked", "effective", "lifted"]
    assert (asked.what, asked.target, asked.direction) == ("latency", "publisher-nats", "upstream")
    assert effective.proof["all"]["probe"]["answered_ms"] >= 98
    assert effective.proof["all"]["control"]["answered_ms"] < 50
    assert effective.proof["toxic"] == {"type": "latency", "latency": 100, "jitter": 0}
    assert lifted.proof["all"]["traffic"]["connections"] == 1
    assert lifted.proof["all"]["traffic"]["of_them_ended"] == 0
    assert await stage.toxiproxy.toxics(stage.route) == {}
    await client.close()


async def test_connections_that_a_fault_ended_are_counted(stage: Stage) -> None:
    """A timeout that is lifted closes the connections that were there; the history says how many."""
    client = await nats.connect(f"nats://127.0.0.1:{stage.route.listen[1]}", allow_reconnect=False)
    fault = Timeout(id="t", timeout_ms=300, **PLACE)
    stage.player.begin(fault)
    await stage.until(lambda: "t" in stage.player.effective)
    await stage.until(lambda: client.is_closed)
    stage.player.end(fault)
    await stage.player.settle()
    assert stage.phases(fault)[-1].proof["all"]["traffic"]["of_them_ended"] == 1


async def test_a_fault_without_effect_is_ineffective(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A toxic that does not do what was asked is not believed: asked, ineffective, never effective."""
    monkeypatch.setattr(player_module, "PATIENCE_S", 0.0)
    begin = stage.toxiproxy.begin

    async def begin_something_harmless(route: Route, fault: str, toxic: Toxic, ways: Sequence[Direction]) -> None:
        await begin(route, fault, Toxic(type="slow_close", attributes={"delay": 1}), ways)

    monkeypatch.setattr(stage.toxiproxy, "begin", begin_something_harmless)
    fault = ResetPeer(id="r", direction=Direction.DOWNSTREAM, **PLACE)
    stage.player.begin(fault)
    await asyncio.sleep(1.0)
    stage.player.end(fault)
    await stage.until(lambda: "r" in stage.player.ineffective)
    await stage.player.settle()
    assert [one.phase for one in stage.phases(fault)] == ["asked", "ineffective", "lifted"]
    assert stage.player.effective == set()


async def test_a_fault_that_is_not_lifted_fails_the_run(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that does not serve again, although its fault was lifted, stops the run: it could not heal."""
    monkeypatch.setattr(player_module, "LIFT_S", 0.2)

    async def do_nothing(*_: object) -> None:
        """Say that it is lifted."""

    monkeypatch.setattr(stage.toxiproxy, "end", do_nothing)
    fault = Timeout(id="t", timeout_ms=0, **PLACE)
    stage.player.begin(fault)
    await stage.until(lambda: "t" in stage.player.effective)
    with pytest.raises(ToxiproxyFailed, match=r"expected publisher-nats to serve again 0.2 s after t was lifted"):
        await stage.player.settle()
    assert [one.phase for one in stage.phases(fault)] == ["asked", "effective"]


async def test_faults_on_one_link_take_turns(stage: Stage) -> None:
    """A fault that comes while another is still on waits until that one is lifted, so that each is proved alone."""
    first = Cut(id="first", **PLACE)
    second = Latency(id="second", latency_ms=50, **PLACE)
    stage.player.begin(first)
    stage.player.begin(second)
    await stage.until(lambda: "first" in stage.player.effective)
    await asyncio.sleep(0.2)
    assert stage.phases(second) == []
    stage.player.end(first)
    await stage.until(lambda: "second" in stage.player.effective)
    stage.player.end(second)
    await stage.player.settle()
    order = [(one.fault, one.phase) for one in read_history(stage.path).records if isinstance(one, history.Fault)]
    assert order.index(("first", "lifted")) < order.index(("second", "asked"))


async def test_a_kill_is_a_kill(stage: Stage) -> None:
    """SIGKILL is proved by the process's own end, and lifted when a new one serves on the same port."""
    pid = stage.server.pid
    fault = Kill(id="k", process=ProcessName.NATS, at_s=0.0, down_s=0.3)
    stage.player.begin(fault)
    await stage.until(lambda: "k" in stage.player.effective)
    assert stage.player.away == {stage.server.name}
    assert not stage.server.is_running()
    stage.player.end(fault)
    await stage.player.settle()
    _, effective, lifted = stage.phases(fault)
    told = {"process": stage.server.name, "pid": pid, "returncode": -9, "before": "running", "status": "gone"}
    assert effective.proof == told
    assert lifted.proof["pid"] == stage.server.pid != pid
    assert stage.processes() == ["killed", "started"]
    assert stage.player.away == set()


async def test_a_restart_is_polite(stage: Stage) -> None:
    """A restart ends the process by its polite signal and starts it again without being told when."""
    fault = Restart(id="r", process=ProcessName.NATS, at_s=0.0)
    stage.player.begin(fault)
    await stage.player.settle()
    _, effective, lifted = stage.phases(fault)
    assert effective.proof["returncode"] >= 0
    assert lifted.phase == "lifted"
    assert stage.processes() == ["stopped", "started"]


async def test_a_relay_that_is_gone_before_its_fault_is_counted(stage: Stage) -> None:
    """A replica that ended by itself just before a fault on it is an exit of its own, and started first."""
    board = replace(stage.board, processes={ProcessName.RELAY: {"relay-1": stage.server}})
    player = Player(board, stage.recorder, lambda _: "relay-1")
    await stage.server.kill()
    fault = Restart(id="r", process=ProcessName.RELAY, at_s=0.0)
    player.begin(fault)
    await player.settle()
    assert player.exits == [stage.server.name]
    assert [one.phase for one in stage.phases(fault)] == ["asked", "effective", "lifted"]
    assert stage.processes() == ["exited", "started", "stopped", "started"]


async def test_a_relay_that_does_not_end_politely_is_counted(stage: Stage) -> None:
    """A replica that answers SIGTERM by a crash was restarted, and ended otherwise than it was asked to."""
    board = replace(stage.board, processes={ProcessName.RELAY: {"relay-1": Rude(stage.server)}})
    player = Player(board, stage.recorder, lambda _: "relay-1")
    fault = Restart(id="r", process=ProcessName.RELAY, at_s=0.0)
    player.begin(fault)
    await player.settle()
    assert player.exits == [stage.server.name]


async def test_a_relay_that_always_ends_by_itself_never_serves(stage: Stage) -> None:
    """So many ends are forgiven, each in the history; the next one is no run."""
    for _ in range(EXITS_MAX):
        stage.player.note_exit(stage.server)
    with pytest.raises(ProcessFailed, match=f"ended by themselves {EXITS_MAX + 1} times"):
        stage.player.note_exit(stage.server)
    assert stage.processes() == ["exited"] * (EXITS_MAX + 1)


async def test_a_pause_freezes(stage: Stage) -> None:
    """A paused process is seen stopped, and serves again once it is resumed, under the same pid."""
    pid = stage.server.pid
    fault = Pause(id="p", process=ProcessName.NATS, at_s=0.0, for_s=1.0)
    stage.player.begin(fault)
    await stage.until(lambda: "p" in stage.player.effective)
    stage.player.end(fault)
    await stage.player.settle()
    _, effective, lifted = stage.phases(fault)
    assert effective.proof["status"] == "stopped"
    assert lifted.proof["pid"] == pid


async def test_what_was_frozen_before_proves_nothing(stage: Stage) -> None:
    """A pause of a process that did not run before is ineffective: somebody else's work is no proof."""
    stage.server.pause()
    while await stage.server.status() != "stopped":  # noqa: ASYNC110  nobody tells
        await asyncio.sleep(0.01)
    fault = Pause(id="p", process=ProcessName.NATS, at_s=0.0, for_s=1.0)
    stage.player.begin(fault)
    await stage.until(lambda: "p" in stage.player.ineffective)
    stage.player.end(fault)
    await stage.player.settle()
    assert stage.phases(fault)[1].proof["before"] == "stopped"
    assert await stage.server.status() == "running"


@asynccontextmanager
async def _small(tmp_path: Path) -> AsyncIterator[tuple[EmbeddedStack, Board, Player, Recorder]]:
    """A player on NATS and Postgres, each over a disk of its own."""
    async with EmbeddedStack.start(toxiproxy=True, small=True) as stack:
        assert stack.toxiproxy is not None
        board = Board(
            toxiproxy=Toxiproxy(stack.toxiproxy.address),
            lines={},
            processes={ProcessName.NATS: {"nats": stack.nats}, ProcessName.POSTGRES: {"postgres": stack.postgres}},
            disks=stack.disks,
        )
        with Recorder(tmp_path / "history.jsonl") as recorder:
            player = Player(board, recorder, lambda fault: fault.process.value)
            yield stack, board, player, recorder
            await player.cancel()


async def test_a_full_disk_is_full_until_it_is_lifted(tmp_path: Path) -> None:
    """No byte is free meanwhile, also of what the server gives back; then there is room, and NATS is new."""
    async with _small(tmp_path) as (stack, _, player, _):
        pids = {"nats": stack.nats.pid, "postgres": stack.postgres.pid}
        for process in (ProcessName.NATS, ProcessName.POSTGRES):
            fault = DiskFull(id=process.value, process=process, at_s=0.0, for_s=1.0)
            player.begin(fault)
            async with asyncio.timeout(10):
                while fault.id not in player.effective:  # noqa: ASYNC110 - it is a set
                    await asyncio.sleep(0.02)
            stack.disks[process.value].free()
            await asyncio.sleep(5 * REFILL_S)
            assert stack.disks[process.value].fill()["free_bytes"] == 0
            player.end(fault)
        await player.settle()
        assert (stack.nats.pid != pids["nats"], stack.postgres.pid) == (True, pids["postgres"])
        await stack.versions()
    found = [one for one in read_history(tmp_path / "history.jsonl").records if isinstance(one, history.Fault)]
    assert sorted((one.fault, one.phase) for one in found) == sorted(
        (name, phase) for name in pids for phase in ("asked", "effective", "lifted")
    )
    for one in found:
        if one.phase == "effective":
            assert (one.proof["free_bytes"], one.proof["is_refused"]) == (0, True)
        if one.phase == "lifted":
            assert one.proof["free_bytes"] > 1_000_000


async def test_a_disk_that_takes_one_more_byte_is_not_full(tmp_path: Path) -> None:
    """A fault that left room is ineffective, which fails the run."""

    class Roomy:
        def fill(self) -> dict[str, Any]:
            """Nothing is refused."""
            return {"taken_bytes": 0, "free_bytes": 1, "is_refused": False}

        def free(self) -> int:
            """There was room all the time."""
            return 1

    async with _small(tmp_path) as (_, board, _, recorder):
        player = Player(replace(board, disks={"postgres": Roomy()}), recorder, lambda fault: fault.process.value)
        player.begin(DiskFull(id="f", process=ProcessName.POSTGRES, at_s=0.0, for_s=1.0))
        await player.settle()
        assert player.ineffective == {"f"}


async def test_a_server_that_ended_on_its_full_disk_is_started_again(tmp_path: Path) -> None:
    """Postgres may end for want of room; once there is some, it is started, as whoever runs it would."""
    async with _small(tmp_path) as (stack, _, player, _):
        fault = DiskFull(id="f", process=ProcessName.POSTGRES, at_s=0.0, for_s=1.0)
        player.begin(fault)
        await asyncio.sleep(0.3)
        await stack.postgres.kill()
        player.end(fault)
        await player.settle()
        assert stack.postgres.is_running()
        await stack.versions()
    lifted = read_history(tmp_path / "history.jsonl").records[-1]
    assert isinstance(lifted, history.Fault)
    assert lifted.proof["had_ended"] is True


async def test_a_fault_that_can_not_be_begun_fails_the_run(stage: Stage) -> None:
    """If Toxiproxy refuses, the player has failed: it neither goes on nor calls the fault effective."""
    port = ReservedPort()
    await stage.toxiproxy.remove(stage.route)
    fault = Cut(id="c", **PLACE)
    stage.player.begin(fault)
    await stage.until(lambda: stage.player.failed() is not None)
    with pytest.raises(ToxiproxyFailed, match="expected a proxy publisher-nats"):
        await stage.player.settle()
    assert [one.phase for one in stage.phases(fault)] == ["asked"]
    await stage.toxiproxy.create(
        stage.route.name, listen=("127.0.0.1", port.number), upstream=stage.route.upstream
    )  # for the fixture to remove
    port.release()
