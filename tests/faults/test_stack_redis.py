"""The embedded stack's Redis starts on demand, keeps what it answered for, and can be steered like other servers."""

from __future__ import annotations

import asyncio
import time

import pytest

from faults.stack import EmbeddedStack, ProcessFailed, RedisProcess

pytestmark = pytest.mark.stack


async def said(server: RedisProcess, *commands: str) -> list[str]:
    """The answers to these commands, each of one line or the last line of an array."""
    reader, writer = await asyncio.open_connection(*server.address)
    try:
        answers = []
        for command in commands:
            writer.write(f"{command}\r\n".encode())
            line = (await reader.readline()).decode().strip()
            if line[0] in "*$":
                assert line != "$-1", f"expected {command} to find something"
            for _ in range(2 * int(line[1:]) if line[0] == "*" else int(line[0] == "$")):
                line = (await reader.readline()).decode().strip()
            answers.append(line)
        return answers
    finally:
        writer.close()


async def test_redis_runs_with_the_settings_that_durability_needs(fresh_redis: RedisProcess) -> None:
    """Every write is logged and flushed before its answer, nothing is evicted, and only loopback is listened on."""
    names = "appendonly", "appendfsync", "maxmemory-policy", "bind"
    got = await said(fresh_redis, *(f"CONFIG GET {name}" for name in names))
    assert got == ["yes", "always", "noeviction", "127.0.0.1"]


async def test_redis_keeps_what_it_answered_over_sigkill(fresh_redis: RedisProcess) -> None:
    """What was answered before a SIGKILL is there after the restart, on the same port."""
    port = fresh_redis.port
    assert await said(fresh_redis, "SET a kept") == ["+OK"]
    assert await fresh_redis.kill() == -9
    with pytest.raises(ConnectionRefusedError):
        await said(fresh_redis, "PING")
    await fresh_redis.restart()
    assert (await said(fresh_redis, "GET a"), fresh_redis.port) == (["kept"], port)


async def test_a_paused_redis_is_silent_and_resumes(fresh_redis: RedisProcess) -> None:
    """SIGSTOP makes it answer nothing without refusing anything; SIGCONT brings it back."""
    fresh_redis.pause()
    with pytest.raises(ProcessFailed, match="to serve within"):
        await fresh_redis.wait_ready(timeout_s=0.2)
    fresh_redis.resume()
    await fresh_redis.wait_ready(timeout_s=10)
    assert await fresh_redis.stop() == 0


async def test_a_stack_can_be_asked_for_a_careless_redis() -> None:
    """Its settings are what was asked for, and it ends with the stack that started it."""
    async with EmbeddedStack.start() as stack:
        careless = stack.add_redis(sync="everysec", maxmemory_policy="allkeys-lru")
        await careless.start()
        got = await said(careless, "CONFIG GET appendfsync", "CONFIG GET maxmemory-policy")
    assert got == ["everysec", "allkeys-lru"]
    deadline = time.monotonic() + 5
    while True:
        try:
            await said(careless, "PING")
        except OSError:
            break
        assert time.monotonic() < deadline
    assert careless.url.endswith(f":{careless.port}/0")
