"""Whatever ends the owner of a stack, no process, port, shared memory or folder of it remains."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from faults.stack import EmbeddedStack
from faults.stack.ports import ReservedPort
from tests.faults.listening import Lived, still_listening

pytestmark = pytest.mark.stack

GONE_S = 15.0
ROOT = Path(__file__).parents[2]

OWNER = """
import asyncio, json, signal, sys
from faults.stack import EmbeddedStack

def tell(**facts):
    print(json.dumps(facts), flush=True)

async def main(how):
    if how.startswith("early"):  # tell where it will be, then go on starting
        stack = EmbeddedStack()
        tell(run_dir=str(stack.run_dir), watchdog=stack.watchdog_pid, ports=[])
        await stack._bring_up(toxiproxy=False, nats_sync="always", small=how == "early and small")
        await asyncio.sleep(60)
    async with EmbeddedStack.start() as stack:
        if how == "paused":
            stack.postgres.pause()
        if how == "crashed":
            await stack.postgres.kill()
        ports = [stack.nats.port, stack.postgres.port]
        tell(run_dir=str(stack.run_dir), watchdog=stack.watchdog_pid, ports=ports)
        if how == "exception":
            sys.stdin.readline()
            raise RuntimeError("planted")
        await asyncio.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, as these tests may be, ignores it
asyncio.run(main(sys.argv[1]))
"""


@dataclass(slots=True, kw_only=True)
class Owned:
    """What a stack's owner told, and the processes that were found below its watchdog."""

    run_dir: Path
    ports: list[int]
    processes: list[psutil.Process]
    segments: set[str]
    began_s: float
    """When the owner began, in s since the epoch."""


@contextmanager
def owner(how: str) -> Iterator[tuple[subprocess.Popen[str], Owned]]:
    """A Python process that owns a stack, and what belongs to that stack."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER, how],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            errors.seek(0)
            pytest.fail(f"the owner started no stack: {errors.read()}")
        told = json.loads(line)
        watchdog = psutil.Process(told["watchdog"])
        run_dir = Path(told["run_dir"])
        yield (
            process,
            Owned(
                run_dir=run_dir,
                ports=told["ports"],
                processes=[watchdog, *watchdog.children(recursive=True)],
                segments=shared_memory_of(run_dir),
                began_s=psutil.Process(process.pid).create_time(),
            ),
        )
        process.kill()
        process.communicate()


def shared_memory_of(run_dir: Path) -> set[str]:
    """The System V segments that the stack's Postgres named in its pid file."""
    try:
        lines = (run_dir / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return set()
    return {lines[6].split()[1]} if len(lines) > 6 else set()


def shared_memory_now() -> set[str]:
    """The System V segments that exist on this machine; empty where the kernel lists none."""
    table = Path("/proc/sysvipc/shm")
    return {line.split()[1] for line in table.read_text().splitlines()[1:]} if table.exists() else set()


def left_of(owned: Owned, ended_s: float) -> list[str]:
    """What remains of a stack whose owner ended then; a zombie has ended, only its new parent has not looked yet."""
    left = [f"process {process}" for process in owned.processes if lives(process)]
    left += [f"port {port}" for port in still_listening(owned.ports, Lived(owned.began_s, ended_s))]
    left += [f"shared memory {segment}" for segment in owned.segments & shared_memory_now()]
    return left + ([f"folder {owned.run_dir}"] if owned.run_dir.exists() else [])


def lives(process: psutil.Process) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def assert_gone(owned: Owned) -> None:
    """Wait until nothing of the stack is left; name what is."""
    deadline, ended_s = time.monotonic() + GONE_S, time.time()
    while left := left_of(owned, ended_s):
        assert time.monotonic() < deadline, f"still there after {GONE_S:g} s: {left}"
        time.sleep(0.05)


def test_a_port_that_is_still_held_is_found() -> None:
    """By a process that nobody told us of, if it began while the stack lived; not by one that began before."""
    held = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    with subprocess.Popen([sys.executable, "-c", f"{held}; time.sleep(60)"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        port, began_s = int(holder.stdout.readline()), psutil.Process(holder.pid).create_time()
        assert still_listening([port], Lived(began_s, time.time())) == [port]
        assert still_listening([port], Lived(began_s + 1, time.time() + 1)) == []
        holder.kill()
    assert still_listening([port], Lived(began_s, time.time())) == []


@pytest.mark.parametrize(
    ("how", "number", "after_s"),
    [
        ("plain", signal.SIGINT, 0.0),
        ("plain", signal.SIGTERM, 0.0),
        ("plain", signal.SIGKILL, 0.0),
        ("early", signal.SIGKILL, 0.0),
        ("early", signal.SIGKILL, 0.1),
        ("early", signal.SIGKILL, 0.2),
        ("early", signal.SIGKILL, 0.3),
        ("early and small", signal.SIGKILL, 0.1),
        ("early and small", signal.SIGKILL, 0.6),
        ("paused", signal.SIGKILL, 0.0),
        ("crashed", signal.SIGKILL, 0.0),
    ],
)
def test_nothing_remains_after_a_signal_to_the_owner(how: str, number: signal.Signals, after_s: float) -> None:
    """A signal that ends the owner ends its stack, also during start-up, with Postgres paused, or dead already."""
    with owner(how) as (process, owned):
        assert len(owned.processes) >= (1 if how.startswith("early") else 2)
        time.sleep(after_s)
        owned.segments |= shared_memory_of(owned.run_dir)
        process.send_signal(number)
        process.wait(GONE_S)
        assert_gone(owned)


def test_nothing_remains_after_an_exception() -> None:
    """An exception within the stack's block comes out as it is, and the stack is gone."""
    with owner("exception") as (process, owned):
        assert len(owned.processes) > 5
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.wait(GONE_S) == 1
        assert_gone(owned)


async def test_a_killed_postmaster_leaves_no_zombies() -> None:
    """The children of a killed server are reaped while the stack lives on, even where init reaps nothing."""
    async with EmbeddedStack.start() as stack:
        assert stack.postgres.pid is not None
        children = psutil.Process(stack.postgres.pid).children(recursive=True)
        await stack.postgres.kill()
        await stack.postgres.start()
        assert children
        assert [child for child in children if child.is_running()] == []


def test_a_reserved_port_is_not_given_twice() -> None:
    """Reservations never collide, and a released port can be bound again."""
    reserved = [ReservedPort() for _ in range(200)]
    assert len({port.number for port in reserved}) == 200
    for port in reserved:
        port.release()
