"""Redis as a machine of the simulated world: its deaths, its disk, its clock, and where plans may name it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from faults.check import problems_of
from faults.plan import Servers
from faults.playable import playable
from faults.transports import TransportName
from faults.vocabulary import KINDS, ClockSkew, DiskFull, Kill, Link, Pause, PowerLoss, ProcessName, Restart
from sim.errors import NotModelled
from sim.faults import Machine
from sim.host import Host, Process
from sim.injector import Cast
from sim.programs import REDIS_PORT, relay_settings
from sim.servers import RedisMachine
from sim.swarm import WEEKS_EVERY, redis_plan, short_plan, swarm_plan, swarm_plan_over
from sim.swarm_faults import CLUSTER_KINDS, PROCESS_KINDS
from sim.world import World
from tests.sim.redis.wire import Wire
from tests.sim.worlds import SmallWorld

pytestmark = pytest.mark.options

PLACE: dict[str, Any] = {"id": "f", "process": ProcessName.REDIS, "at_s": 0.0}
SEEDS = range(60)


class Played:
    """A Redis machine on a host of a small world, and a client's program on another."""

    def __init__(self, sync: str = "always") -> None:
        self.world = SmallWorld()
        self.lives = 0
        servers = Servers(redis_sync=sync)  # type: ignore[arg-type]
        self.machine = RedisMachine(self.world.b, random.Random(1), self._start, servers)
        self.machine.start()

    def run(self, main: Callable[[Played], Awaitable[Any]]) -> Any:
        """What a program sees within a simulated minute."""
        return self.world.result_of(lambda _: main(self), 60.0)  # type: ignore[arg-type,return-value]

    async def client(self) -> Wire:
        """One that has waited until the server serves."""
        while True:
            try:
                wire = await Wire.lay(("b", REDIS_PORT))
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
                continue
            while (answer := await wire.ask("PING")) != ("status", "PONG"):
                assert answer[1].startswith(("LOADING", "MISCONF")), answer
                await asyncio.sleep(0.01)
            return wire

    def _start(self, host: Host, main: Any) -> Process:
        self.lives += 1
        return self.world.start(host, main, f"redis/{self.lives}")


async def filled(played: Played, count: int = 3) -> Wire:
    """A client that has written so many entries."""
    wire = await played.client()
    for number in range(1, count + 1):
        assert await wire.ask("XADD", "x", f"{number}-1", "n", number) == f"{number}-1".encode()
    return wire


@pytest.mark.parametrize("fault", [Kill(**PLACE, down_s=1.0), PowerLoss(**PLACE, down_s=1.0), Restart(**PLACE)])
@pytest.mark.parametrize("sync", ["always", "everysec", "no"])
def test_what_a_death_leaves(sync: str, fault: Any) -> None:
    """A kill and a polite end leave what was answered; a power loss leaves what was synced, all of it with `always`."""

    async def main(played: Played) -> Any:
        await filled(played, 2)
        await asyncio.sleep(40.0)  # so that even the system has written it back
        wire = await played.client()
        await wire.ask("XADD", "x", "9-1", "n", "9")
        proof = played.machine.begin(fault)
        await asyncio.sleep(1.0)
        played.machine.end(fault)
        wire = await played.client()
        return proof, await wire.ask("XLEN", "x")

    proof, length = Played(sync).run(main)
    is_lost = isinstance(fault, PowerLoss) and sync != "always"
    assert length == (2 if is_lost else 3)
    assert proof["processes"] == 1
    if isinstance(fault, PowerLoss):
        assert proof == {"processes": 1, "redis_sync": sync, "records_lost": int(is_lost)}


def test_a_pause_answers_nobody() -> None:
    """A frozen server keeps its connections, and answers once it goes on."""

    async def main(played: Played) -> Any:
        wire = await filled(played)
        fault = Pause(**PLACE, for_s=1.0)
        played.machine.begin(fault)
        answer = asyncio.ensure_future(wire.ask("XLEN", "x"))
        await asyncio.sleep(1.0)
        was_silent = not answer.done()
        played.machine.end(fault)
        return was_silent, await answer

    assert Played().run(main) == (True, 3)


def test_a_full_disk_ends_who_must_sync_and_silences_who_need_not() -> None:
    """With `always` the first write ends the server, which comes back; else writes are refused, until there is room."""

    async def main(played: Played) -> Any:
        wire = await filled(played)
        fault = DiskFull(**PLACE, for_s=1.0)
        played.machine.begin(fault)
        seen = [await wire.ask("SET", "a", "1")]
        wire = await played.client() if seen[0] == ("over",) else wire
        seen += [await wire.ask("XLEN", "x"), await wire.ask("SET", "a", "2")]
        played.machine.end(fault)
        await asyncio.sleep(2.0)
        wire = await played.client()
        return [*seen, await wire.ask("GET", "a"), await wire.ask("SET", "a", "3")], played.lives

    ok, misconf = ("status", "OK"), ("error", "MISCONF Errors writing to the AOF file: No space left on device")
    assert Played("always").run(main) == ([("over",), 3, ("over",), None, ok], 3)
    assert Played("everysec").run(main) == ([ok, 3, misconf, b"1", ok], 1)


def test_times_are_by_its_own_clock() -> None:
    """A key that expires in an hour is gone when the server's clock is an hour ahead; TIME tells it."""

    async def main(played: Played) -> Any:
        wire = await filled(played)
        await wire.ask("SET", "a", "1", "EX", "3600")
        before = int((await wire.ask("TIME"))[0])
        fault = ClockSkew(**PLACE, for_s=1.0, skew_ms=3_600_500)
        played.machine.begin(fault)
        after, value = int((await wire.ask("TIME"))[0]), await wire.ask("GET", "a")
        played.machine.heal()
        return after - before, value, int((await wire.ask("TIME"))[0]) - before

    assert Played().run(main) == (3_600, None, 0)


def test_a_world_has_a_redis_where_its_plan_asks_for_one() -> None:
    """Its host, its place near each replica and the relay's address of it are there under transport redis alone."""
    with_redis, without = World(redis_plan(3), lambda now_ns: _Deaf()), World(short_plan(3), lambda now_ns: _Deaf())  # type: ignore[arg-type,return-value]
    assert with_redis.redis is not None
    assert without.redis is None
    assert {*with_redis.network.hosts} != {*without.network.hosts}
    assert relay_settings(redis_plan(3)).redis_url.get_secret_value() == "redis://redis:6379/0"


class _Deaf:
    """A history that nobody writes."""

    def record(self, *_: Any, **__: Any) -> None:
        """Nothing."""


def test_a_fault_on_redis_is_refused_where_there_is_none() -> None:
    """A cast without Redis says which plan has one."""
    machine = Machine(SmallWorld().a, lambda: None)
    cast = Cast(nats=machine, postgres=machine, relays=[], agents={}, publishers={})
    with pytest.raises(NotModelled, match="expected the transport redis"):
        cast.playing(ProcessName.REDIS)


def test_plans_of_weeks_over_redis_have_faults_on_redis_too() -> None:
    """They keep the seed's other faults and are sound; a fault there lasts as long as one of weeks."""
    on_redis = []
    for seed in range(WEEKS_EVERY - 1, 12 * WEEKS_EVERY, WEEKS_EVERY):
        plan, before = swarm_plan_over(seed, TransportName.REDIS), swarm_plan(seed)
        assert problems_of(plan) == []
        assert plan.name == f"weeks-{seed}-redis"
        ours = [fault for fault in plan.faults if fault.target in (Link.RELAY_REDIS, ProcessName.REDIS)]
        assert [fault for fault in plan.faults if fault not in ours] == list(before.faults)
        on_redis += ours
    assert max(fault.until_s - fault.at_s for fault in on_redis) > 3_600


def test_redis_plans_have_faults_on_redis_and_change_no_others() -> None:
    """Each plan is sound and keeps its seed's other faults; together they play every kind on Redis or its link."""
    kinds: set[tuple[str, str]] = set()
    for seed in SEEDS:
        plan, before = redis_plan(seed), short_plan(seed)
        assert problems_of(plan) == []
        on_redis = [fault for fault in plan.faults if fault.target in (Link.RELAY_REDIS, ProcessName.REDIS)]
        assert [fault for fault in plan.faults if fault not in on_redis] == list(before.faults)
        assert plan.slack_s >= before.slack_s
        alike = {"faults": (), "transport": "cursor", "name": "", "slack_s": 0.0}
        assert msgspec.structs.replace(plan, **alike) == msgspec.structs.replace(before, **alike)
        kinds |= {(fault.kind, fault.target) for fault in on_redis}
        assert len(playable(plan)) <= len(plan.faults)
    on_links = set(KINDS) - set(PROCESS_KINDS) - set(CLUSTER_KINDS) - {"disk_full"}
    on_processes = {*PROCESS_KINDS, "disk_full"}
    assert kinds == {(kind, "relay-redis") for kind in on_links} | {(kind, "redis") for kind in on_processes}
