"""Under the transport redis a run's stack has a Redis, behind proxies of its own, and every fault on it is proved."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from faults.board import proxy_names, set_up, versions
from faults.dialects import dialect_of
from faults.plan import Plan
from faults.player import Player
from faults.probe import Experiment, look
from faults.proof import passes
from faults.recorder import Recorder
from faults.stack import disks
from faults.vocabulary import (
    REPLICAS,
    Bandwidth,
    Cut,
    Direction,
    DiskFull,
    Fault,
    Kill,
    Latency,
    LimitData,
    Link,
    Pause,
    ProcessName,
    ResetPeer,
    Restart,
)
from reports import history
from reports.history import read_history
from sim.redis.settings import VERSION
from tests.faults.test_plan import small_plan
from tests.sim.redis.wire import Wire

pytestmark = pytest.mark.stack

ON_LINK: tuple[Fault, ...] = (
    Cut(id="cut", link=Link.RELAY_REDIS, at_s=0.0, for_s=2.0, only="relay-2"),
    Latency(id="slow", link=Link.RELAY_REDIS, at_s=2.0, for_s=2.0, latency_ms=100),
    Bandwidth(id="narrow", link=Link.RELAY_REDIS, at_s=4.0, for_s=2.0, rate_kb_s=10, direction=Direction.DOWNSTREAM),
    LimitData(id="short", link=Link.RELAY_REDIS, at_s=6.0, for_s=2.0, limit_bytes=300),
    ResetPeer(id="reset", link=Link.RELAY_REDIS, at_s=8.0, for_s=2.0),
)
ON_PROCESS: tuple[Fault, ...] = (
    Kill(id="kill", process=ProcessName.REDIS, at_s=0.0, down_s=0.2),
    Pause(id="pause", process=ProcessName.REDIS, at_s=2.0, for_s=0.2),
    Restart(id="restart", process=ProcessName.REDIS, at_s=4.0),
    DiskFull(id="full", process=ProcessName.REDIS, at_s=6.0, for_s=0.2),
)
FAULTS = (*ON_LINK, *ON_PROCESS)
EFFECTIVE_WITHIN_S = 20.0


def redis_plan() -> Plan:
    """A small plan with every fault of these tests."""
    return msgspec.structs.replace(small_plan(faults=FAULTS), transport="redis")


async def test_redis_is_behind_proxies_and_is_steered(tmp_path: Path) -> None:
    """Each replica has a way of its own to it; faults on links and the process leave their proof, and data stays."""
    assert disks.refused() is None
    plan = redis_plan()
    async with set_up(plan, plan.faults) as scene:
        lines = scene.board.lines[Link.RELAY_REDIS]
        assert [line.replica for line in lines] == list(REPLICAS)
        for line in lines:
            seen = await look(line.route.listen, dialect_of(Link.RELAY_REDIS), Experiment(size_bytes=500, wait_s=2.0))
            assert passes(seen)
        assert (await versions(scene))["redis-server"] == VERSION
        for relay, line in zip(scene.relays, lines, strict=True):
            host, port = line.route.listen
            assert relay.spec.env["MESHRELAY_REDIS_URL"] == f"redis://{host}:{port}/0"  # type: ignore[attr-defined]
        wire = await Wire.lay(lines[0].route.listen)
        assert await wire.ask("SET", "a", "1") == ("status", "OK")
        await wire.close()
        with Recorder(tmp_path / "history.jsonl") as recorder:
            player = Player(scene.board, recorder, lambda fault: fault.target)
            for fault in FAULTS:
                await _played(player, fault)
        wire = await Wire.lay(lines[1].route.listen)
        assert await wire.ask("GET", "a") == b"1"
        await wire.close()
    told = [one for one in read_history(tmp_path / "history.jsonl").records if isinstance(one, history.Fault)]
    assert [one.phase for one in told] == ["asked", "effective", "lifted"] * len(FAULTS)


async def _played(player: Player, fault: Fault) -> None:
    player.begin(fault)
    async with asyncio.timeout(EFFECTIVE_WITHIN_S):
        while fault.id not in player.effective:
            assert player.failed() is None
            await asyncio.sleep(0.02)
    player.end(fault)
    await player.settle()


def test_other_transports_have_no_redis() -> None:
    """No proxy leads to one, and so nothing of what is played on other stacks changes."""
    assert [name for name in proxy_names() if "redis" in name] == []
    assert [name for name in proxy_names("redis") if name not in proxy_names()] == [
        "relay-1.relay-redis",
        "relay-2.relay-redis",
    ]
