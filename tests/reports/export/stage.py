"""A day of a small production in seconds, on real servers and a real relay: what an export is made from.

It publishes, consumes, disconnects, sweeps, misses and is told; everything goes through the relay's own doors.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from faults.stack import EmbeddedStack, NatsProcess, RelayProcess
from reports.report import Report, decode
from tests.system.harness import UnderTest, event, eventually, under_test

STANDARD = "note.posted"
RETENTION_S = {"RETENTION_CRITICAL_S": "6", "RETENTION_STANDARD_S": "2"}
QUICK = {"SWEEP_INTERVAL_S": "0.2", "TAIL_POLL_S": "0.05", "BOOKMARK_S": "0.2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """A relay as a process, its log, and how to export it."""

    relay: RelayProcess
    at: UnderTest
    log: Path
    environment: Mapping[str, str]

    def export(self, out: Path, *more: str, logs: Path | None = None) -> subprocess.CompletedProcess[str]:
        """`meshrelay export`, in the relay's own environment."""
        words = [sys.executable, "-m", "meshrelay", "export", str(logs or self.log), "--out", str(out)]
        return subprocess.run(
            [*words, "--since", "10m", "--clock-slack", "0.5", *more],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )


@asynccontextmanager
async def production(
    stack: EmbeddedStack, name: str, dsn: str, nats: NatsProcess, *, plant: str | None = None, **settings: str
) -> AsyncIterator[Production]:
    """A relay on servers of its own, broken in a known way if asked."""
    given = RETENTION_S | QUICK | {"NATS_URL": nats.url, "NATS_MONITOR_URL": nats.monitor_url, "POSTGRES_DSN": dsn}
    relay = stack.add_relay(name, settings=given | settings)
    if plant is not None:
        relay.spec = dataclasses.replace(relay.spec, argv=(sys.executable, "-m", "faults.planted", plant, "serve"))
    await relay.start()
    at = under_test(relay, dsn, nats, stack.jwt_secret)
    environment = {key: value for key, value in relay.spec.env.items() if key.startswith("MESHRELAY_")}
    try:
        yield Production(relay=relay, at=at, log=relay.spec.log_path, environment=environment)
    finally:
        await at.close()
        await stack.remove(relay)


async def day(here: Production) -> None:
    """One agent sleeps past both retentions and is told; two others live and replay; then the relay drains."""
    await sleeper(here.at)
    await livers(here.at)
    await here.at.settled()
    await here.relay.stop()


async def sleeper(at: UnderTest) -> None:
    """Carol falls asleep at the start: what is standard expires, then what is critical; she is told of either."""
    [start] = await at.publish(event("c0", subject="carol"))
    await at.publish(*[event(f"c{n}", subject="carol", type=STANDARD) for n in range(1, 4)])
    await eventually(lambda: _swept(at, "c3"), "the standard events swept")
    await at.publish(event("c4", subject="carol"))
    async with at.stream("carol", last_event_id=start) as stream:
        await stream.named("relay.gap")
        assert await stream.events(1) == ["c4"]
    await eventually(lambda: _swept(at, "c4"), "the critical events swept")
    async with at.stream("carol", last_event_id=start) as stream:
        assert stream.response.status_code == 410
    async with at.stream("carol", last_event_id=start, on_gone="skip", types="task.assigned,task.created") as stream:
        await stream.named("relay.gone")
        await at.publish(event("c5", subject="carol"), event("c6", subject="carol", type=STANDARD))
        assert await stream.events(1) == ["c5"]


async def livers(at: UnderTest) -> None:
    """Ann and Bob receive as it comes; Ann comes back for what she had not handled."""
    async with at.stream("ann", cursor="earliest") as stream, at.stream("bob", cursor="earliest") as other:
        await at.publish(*[event(f"a{n}", subject="ann") for n in range(8)], event("all-1", subject="_all"))
        await at.publish(*[event(f"b{n}", subject="bob", type=STANDARD) for n in range(4)])
        assert len(await stream.events(9)) == 9
        assert len(await other.events(5)) == 5
        middle = str(stream.cursors[4])
        await at.ack(middle, "ann")
    async with at.stream("ann", last_event_id=middle) as stream:
        assert (await stream.events(4))[-1] == "all-1"


async def _swept(at: UnderTest, event_id: str) -> bool:
    """Whether an event that was stored is gone; one that pg-writer has not come to yet is not there either."""
    await at.settled()
    return not await at.rows("SELECT 1 FROM agent_events WHERE id = $1", event_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the command said of a history."""

    exit_code: int
    report: Report

    @property
    def tried(self) -> set[str]:
        """The guarantees that were put to the test."""
        return {one.guarantee for one in self.report.guarantees if one.verdict != "not tried"}


def judged(history: Path, out: Path) -> Judged:
    """`meshrelay report` over a history."""
    words = [sys.executable, "-m", "meshrelay", "report", "--history", str(history), "--out", str(out), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return Judged(exit_code=done.returncode, report=decode(done.stdout.encode()))
