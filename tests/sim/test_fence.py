"""Behind the fence: clocks and entropy are the process's own, and the real machine is refused by name."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults.vocabulary import Kill, ProcessName
from sim.clock import EPOCH_NS
from sim.determinism import small_plan
from sim.errors import Fenced
from sim.fence import WORLDS_KEPT, burial, end_of
from sim.host import Process
from sim.loop import HostLoop
from sim.programs import relay_settings
from sim.trial import try_plan
from tests.sim.test_world import plan_with
from tests.sim.worlds import SmallWorld

pytestmark = pytest.mark.sim

REACHES: dict[str, Callable[[], Any]] = {
    "thread": lambda: threading.Thread(target=print).start(),
    "executor": lambda: asyncio.get_running_loop().run_in_executor(None, print),
    "socket": lambda: socket.socket(),
    "subprocess": lambda: subprocess.Popen(["true"]),
    "signal": lambda: asyncio.get_running_loop().add_signal_handler(15, print),
}


@pytest.mark.parametrize("name", REACHES)
def test_the_real_machine_is_refused(name: str) -> None:
    """A thread, a socket, a subprocess or a signal asked for in the world is an error that says so."""
    world = SmallWorld()

    async def reach(process: Process) -> None:
        REACHES[name]()

    world.start(world.a, reach)
    world.run(1.0)
    assert isinstance(world.results["a"], Fenced)


def test_clocks_are_the_hosts_own() -> None:
    """Wall and monotonic time follow simulated time and the host's drift; a step moves the wall clock alone."""
    world = SmallWorld()
    fast = world.host("fast", drift_ppm=100)

    async def tell(process: Process) -> list[float]:
        await asyncio.sleep(10_000)
        process.host.clock.step(-60 * 1_000_000_000)
        return [time.time() - EPOCH_NS / 1e9, time.monotonic(), world.environment.now_ns / 1e9]

    world.start(fast, tell)
    world.run(20_000)
    wall_s, monotonic_s, true_s = world.results["fast"]
    assert monotonic_s == pytest.approx(10_000, abs=1e-6)
    assert true_s == pytest.approx(10_000 / 1.0001, abs=1e-3)
    assert wall_s == pytest.approx(9_940, abs=1e-3)


def test_entropy_follows_from_the_seed() -> None:
    """Whatever is drawn, by whichever module, is drawn from the process: equal in equal worlds."""

    async def draw(process: Process) -> list[Any]:
        return [uuid.uuid4().hex, os.urandom(4), secrets.token_hex(4), random.random(), secrets.randbelow(10**9)]

    drawn = []
    for _ in range(2):
        world = SmallWorld()
        world.start(world.a, draw)
        world.run(1.0)
        drawn.append(world.results["a"])
    assert drawn[0] == drawn[1]
    assert uuid.uuid4() != uuid.uuid4(), "outside the world it is the machine's"


def test_the_real_machine_s_environment_is_not_the_world_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that had MESHRELAY_… or PG… variables set once gave other traces, or relays that never became ready."""
    plan = small_plan(7)
    before, settings = try_plan(plan), relay_settings(plan)
    monkeypatch.setenv("MESHRELAY_SESSIONS_PER_AGENT_MAX", "1")
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "read-only")
    after = try_plan(plan)
    assert relay_settings(plan) == settings
    assert before.verdict == after.verdict == "held"
    assert before.trace_sha256 == after.trace_sha256
    assert os.environ["PGTARGETSESSIONATTRS"] == "read-only", "outside the world it is the machine's"


def test_the_dead_run_nothing_after_their_burial_though_somebody_holds_them() -> None:
    """However many `finally` it has: each that waits is left, too."""
    last_words: list[str] = []

    async def main(_: Process) -> None:
        try:
            await asyncio.sleep(3_600)
        finally:
            last_words.append("first")
            await asyncio.sleep(1)
            last_words.append("second")

    world = SmallWorld()
    process = world.start(world.a, main)
    world.run(1.0)
    process.kill()
    (task,) = process.buried
    held = task.get_coro()
    with burial():
        end_of(task)
        assert last_words == ["first"]
    assert inspect.getcoroutinestate(held) == inspect.CORO_CLOSED


def test_a_world_leaves_nothing_that_could_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coroutine that something still held when its world ended ran its `finally` when that let go: in another world,
    or at the interpreter's exit, which a campaign of five thousand plans printed.
    """
    held: list[Any] = []
    hold = HostLoop.hold

    def remember(self: HostLoop, task: asyncio.Task[Any]) -> None:
        held.append(task.get_coro())
        hold(self, task)

    monkeypatch.setattr(HostLoop, "hold", remember)
    assert try_plan(plan_with(Kill(id="k", process=ProcessName.RELAY, at_s=6.0, down_s=2.0))).verdict == "held"
    assert len(held) > 100
    assert {inspect.getcoroutinestate(one) for one in held} == {inspect.CORO_CLOSED}


FORMER_WORLDS = """
import gc, sys
from sim.determinism import small_plan
from sim.trial import try_plan
from sim.world import World

for seed in range(int(sys.argv[1])):
    try_plan(small_plan(seed))
print(sum(isinstance(one, World) for one in gc.get_objects()))
"""


def test_former_worlds_are_given_back() -> None:
    """A campaign's process keeps a few worlds at most: garbage that is frozen for the next one would stay for ever.

    In a process of its own, as a campaign's: while another thread collects, `gc.collect` does nothing at all, and what
    former tests have left in this one is not the campaign's.
    """
    command = [sys.executable, "-c", FORMER_WORLDS, str(2 * WORLDS_KEPT + 2)]
    counted = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert 0 < int(counted.stdout) <= WORLDS_KEPT
