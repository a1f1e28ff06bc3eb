"""The embedded stack's servers start, speak their protocols, and keep their data over SIGKILL and restart."""

from __future__ import annotations

from collections import Counter

import aiohttp
import asyncpg
import nats
import pytest

from faults.stack import EmbeddedStack, NatsProcess, ProcessFailed
from faults.stack.process import Status

pytestmark = pytest.mark.stack


async def test_servers_speak_their_protocols() -> None:
    """A stack's NATS acknowledges a JetStream publish, its Postgres answers SQL, its Toxiproxy tells its version."""
    async with EmbeddedStack.start(toxiproxy=True) as stack:
        client = await nats.connect(stack.nats_url)
        await client.jetstream().add_stream(name="T", subjects=["t.>"])
        acknowledged = await client.jetstream().publish("t.1", b"x")
        await client.close()
        connection = await asyncpg.connect(stack.postgres_dsn)
        answer = await connection.fetchval("select 1 + 1")
        await connection.close()
        assert stack.toxiproxy is not None
        async with aiohttp.ClientSession() as http:
            response = await http.get(f"http://127.0.0.1:{stack.toxiproxy.port}/version")
            toxiproxy = await response.json()
        versions = await stack.versions()
    assert acknowledged.seq == 1
    assert answer == 2
    assert toxiproxy["version"]
    assert versions["postgres"].startswith("18.")
    assert versions["nats-server"].startswith("2.")


async def test_postgres_runs_with_the_settings_that_durability_needs(fresh_database: str) -> None:
    """Commits are flushed to disk, and nothing but loopback TCP is listened on."""
    connection = await asyncpg.connect(fresh_database)
    names = ["fsync", "synchronous_commit", "full_page_writes", "listen_addresses", "unix_socket_directories"]
    values = [await connection.fetchval("select current_setting($1)", name) for name in names]
    await connection.close()
    assert values == ["on", "on", "on", "127.0.0.1", ""]


async def test_postgres_keeps_committed_rows_over_sigkill() -> None:
    """What was committed before a SIGKILL of the whole server is there after its restart, on the same port."""
    async with EmbeddedStack.start() as stack:
        connection = await asyncpg.connect(stack.postgres_dsn)
        await connection.execute("create table t (n int)")
        await connection.execute("insert into t values (7)")
        port = stack.postgres.port
        assert await stack.postgres.kill() == -9
        with pytest.raises(ConnectionRefusedError):
            await asyncpg.connect(stack.postgres_dsn)
        await stack.postgres.restart()
        again = await asyncpg.connect(stack.postgres_dsn)
        rows = await again.fetchval("select n from t")
        await again.close()
        connection.terminate()
        assert (rows, stack.postgres.port) == (7, port)


async def test_a_killed_postgres_is_gone_with_its_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that takes its time to end is waited for, and named if it never does."""
    looks: Counter[int | None] = Counter()

    def slow(pid: int | None) -> Status:
        looks[pid] += 1
        return "gone" if looks[pid] > 3 else "running"

    monkeypatch.setattr("faults.stack.servers.status_of", slow)
    async with EmbeddedStack.start() as stack:
        assert await stack.postgres.kill() == -9
        assert len(looks) >= 3, "its checkpointer and others"
        assert min(looks.values()) > 3
        await stack.postgres.start()
        monkeypatch.setattr("faults.stack.servers.status_of", lambda _: "running")
        monkeypatch.setattr("faults.stack.servers.STOP_S", 0.1)
        with pytest.raises(ProcessFailed, match="expected the backends"):
            await stack.postgres.kill()


async def test_nats_keeps_acknowledged_messages_over_sigkill(fresh_nats: NatsProcess) -> None:
    """What JetStream acknowledged before a SIGKILL is there after the restart, on the same port."""
    client = await nats.connect(fresh_nats.url)
    await client.jetstream().add_stream(name="T", subjects=["t.>"])
    await client.jetstream().publish("t.1", b"kept")
    port = fresh_nats.port
    assert await fresh_nats.kill() == -9
    await fresh_nats.restart()
    await client.close()
    client = await nats.connect(fresh_nats.url)
    message = await client.jetstream().get_msg("T", seq=1)
    await client.close()
    assert (message.data, fresh_nats.port) == (b"kept", port)


async def test_polite_stop_and_restart(fresh_nats: NatsProcess) -> None:
    """A polite stop ends the server with code 1 or 0 (not by a signal), and a restart serves again under a new pid."""
    before = fresh_nats.pid
    assert await fresh_nats.stop() >= 0
    assert fresh_nats.pid is None
    await fresh_nats.restart()
    assert fresh_nats.is_running()
    assert fresh_nats.pid != before


async def test_a_paused_server_is_silent_and_resumes(fresh_nats: NatsProcess) -> None:
    """SIGSTOP makes a server accept nothing without refusing anything; SIGCONT brings it back."""
    fresh_nats.pause()
    with pytest.raises(ProcessFailed, match="to serve within"):
        await fresh_nats.wait_ready(timeout_s=0.2)
    fresh_nats.resume()
    await fresh_nats.wait_ready(timeout_s=10)
    assert fresh_nats.is_running()


async def test_a_paused_postgres_stops_its_backends_too(stack: EmbeddedStack) -> None:
    """Pausing Postgres pauses every connection's process, not the postmaster alone."""
    async with EmbeddedStack.start() as own:
        connection = await asyncpg.connect(own.postgres_dsn)
        own.postgres.pause()
        with pytest.raises(TimeoutError):
            await connection.fetchval("select 1", timeout=0.3)
        own.postgres.resume()
        connection.terminate()
        await own.postgres.wait_ready(timeout_s=10)


async def test_a_kept_run_folder_carries_data_to_the_next_stack() -> None:
    """A given run folder stays after the end, and a later stack on it has the same data."""
    async with EmbeddedStack.start() as outer:
        run_dir = outer.run_dir / "kept"
        async with EmbeddedStack.start(run_dir=run_dir) as first:
            connection = await asyncpg.connect(first.postgres_dsn)
            await connection.execute("create table kept as select 5 as n")
            await connection.close()
        async with EmbeddedStack.start(run_dir=run_dir) as second:
            connection = await asyncpg.connect(second.postgres_dsn)
            value = await connection.fetchval("select n from kept")
            await connection.close()
    assert value == 5


async def test_stacks_run_side_by_side(stack: EmbeddedStack) -> None:
    """A second stack shares neither ports nor folder nor data with the first."""
    async with EmbeddedStack.start() as other:
        ports = {stack.nats.port, stack.postgres.port, other.nats.port, other.postgres.port}
        assert len(ports) == 4
        assert other.run_dir != stack.run_dir


async def test_databases_of_tests_are_apart(stack: EmbeddedStack, fresh_database: str) -> None:
    """A test's own database does not show in the shared one."""
    connection = await asyncpg.connect(fresh_database)
    await connection.execute("create table mine (n int)")
    await connection.close()
    connection = await asyncpg.connect(stack.postgres_dsn)
    found = await connection.fetchval("select to_regclass('mine')")
    await connection.close()
    assert found is None


@pytest.mark.parametrize("nats_sync", ["always", "interval"])
async def test_nats_syncs_as_it_is_told(nats_sync: str) -> None:
    """What a plan asks of NATS's fsync is what its monitoring address shows, where the relay's start-up check looks."""
    async with EmbeddedStack.start(nats_sync=nats_sync) as own, aiohttp.ClientSession() as http:
        async with http.get(f"{own.nats.monitor_url}/jsz") as answer:
            config = (await answer.json())["config"]
        assert config.get("sync_always", False) is (nats_sync == "always")
        assert config["sync_interval"] == 120_000_000_000 or nats_sync == "always"
