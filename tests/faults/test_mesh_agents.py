"""An agent of the mesh: its lives, and what the history gets to know of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from faults.mesh import MeshAgent
from faults.plan import Agent, RelayTimes
from faults.recorder import Recorder
from faults.schedule import What
from reports import history
from reports.history import Record, read_history

SECRET = "a secret of at least thirty-two bytes"
EVENT = '{{"specversion":"1.0","id":"e{0}","source":"/t","type":"task.assigned","subject":"alice"}}'


@dataclass
class FakeRelay:
    """Serves a stream of numbered events after the cursor that is presented, up to `head`; holds the connection."""

    head: int = 3
    presented: list[str | None] = field(default_factory=list)
    acked: list[bytes] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """An ack, or the stream."""
        if request.method == "POST":
            self.acked.append(await request.read())
            return web.Response(body=self.acked[-1].replace(b'"cursor"', b'"acked"'))
        place = request.headers.get("Last-Event-ID")
        self.presented.append(place)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"retry: 10\n\n")
        for number in range(1 + (int(place.split("-")[1]) if place else 0), self.head + 1):
            await response.write(
                f"id: abc234-{number}\nevent: task.assigned\ndata: {EVENT.format(number)}\n\n".encode()
            )
        for _ in range(1_000):
            await response.write(b":\n")
            await asyncio.sleep(0.05)
        return response


@dataclass
class Bench:
    """One agent at a fake relay, and its history."""

    agent: MeshAgent
    path: Path

    def records(self, *kinds: type[Record]) -> list[Record]:
        """Its records of these kinds so far."""
        return [one for one in read_history(self.path).records if isinstance(one, kinds)]

    def count(self, kind: type[Record]) -> int:
        """How many there are of a kind."""
        return len(self.records(kind))

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Wait for something to become true."""
        async with asyncio.timeout(10):
            while not is_true():  # noqa: ASYNC110 - the condition is a file's content
                await asyncio.sleep(0.01)


@asynccontextmanager
async def benched(plan: Agent, folder: Path, relay: FakeRelay | None) -> AsyncIterator[Bench]:
    """An agent that takes orders, at a relay or at a port where nobody is."""
    runner = web.ServerRunner(web.Server(relay.answer if relay else FakeRelay().answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    if relay is None:
        await runner.cleanup()
    with Recorder(folder / "history.jsonl") as recorder:
        agent = MeshAgent(
            plan,
            base_url=f"http://127.0.0.1:{port}",
            secret=SECRET,
            folder=folder,
            times=RelayTimes(),
            recorder=recorder,
        )
        orders = asyncio.create_task(agent.run())
        yield Bench(agent, folder / "history.jsonl")
        orders.cancel()
        await asyncio.wait([orders])
        await runner.cleanup()


def kinds(records: Iterable[Record]) -> list[str]:
    """The names of the records."""
    return [type(one).__name__ for one in records]


async def test_a_nap_keeps_the_place(tmp_path: Path) -> None:
    """An agent that slept goes on at its stored cursor, over a new connection; what it had is not delivered again."""
    relay = FakeRelay()
    async with benched(Agent(name="alice"), tmp_path, relay) as bench:
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.agent.saved_seq == 3)
        bench.agent.order(What.SLEEP)
        await bench.until(lambda: bench.count(history.Disconnect) == 1)
        relay.head = 5
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.agent.saved_seq == 5)
        delivers = [one for one in bench.records(history.Deliver) if isinstance(one, history.Deliver)]
    assert relay.presented == [None, "abc234-3"]
    assert [(one.id, one.conn) for one in delivers] == [
        ("e1", "1.1"),
        ("e2", "1.1"),
        ("e3", "1.1"),
        ("e4", "2.1"),
        ("e5", "2.1"),
    ]
    assert (tmp_path / "alice.cursor").read_text() == "abc234-5\n"
    assert relay.acked[-1] == b'{"cursor":"abc234-3"}'


async def test_a_crash_in_the_middle_of_an_event_repeats_it(tmp_path: Path) -> None:
    """A crash while an event is handled saves nothing and flushes no ack; the next life gets the event again."""
    relay = FakeRelay(head=2)
    async with benched(Agent(name="alice", handler_ms=300), tmp_path, relay) as bench:
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.count(history.Deliver) == 2)
        bench.agent.order(What.CRASH)
        await bench.until(lambda: bench.agent.saved_seq == 2)
        records = bench.records(history.Deliver, history.Saved, history.Disconnect)
    assert kinds(records) == ["Deliver", "Saved", "Deliver", "Disconnect", "Deliver", "Saved"]
    assert relay.presented == [None, "abc234-1"]


async def test_silent_agents_never_acknowledge(tmp_path: Path) -> None:
    """An agent without an ack interval posts no ack, not even when it goes to sleep."""
    relay = FakeRelay()
    async with benched(Agent(name="alice", ack_interval_s=None), tmp_path, relay) as bench:
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.agent.saved_seq == 3)
        bench.agent.order(What.SLEEP)
        await bench.until(lambda: bench.count(history.Disconnect) == 1)
    assert relay.acked == []


async def test_no_answer_is_written_down_as_such(tmp_path: Path) -> None:
    """A connection that got no answer has its three records all the same, with no status."""
    async with benched(Agent(name="alice"), tmp_path, None) as bench:
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.count(history.Disconnect) >= 2)
        bench.agent.order(What.SLEEP)
        records = bench.records(history.Connect, history.Connected, history.Disconnect)[:6]
    assert kinds(records) == ["Connect", "Connected", "Disconnect"] * 2
    connected = records[1]
    assert isinstance(connected, history.Connected)
    assert connected.status is None
    assert "connect" in (connected.reason or "").lower()


async def test_what_ends_a_client_is_a_finding(tmp_path: Path) -> None:
    """A life that nobody wanted to end is noted with its reason, and another one begins."""
    async with benched(Agent(name="alice"), tmp_path, FakeRelay()) as bench:
        (tmp_path / "alice.cursor").write_text("not a cursor\n")
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bool(bench.agent.failures))
        (tmp_path / "alice.cursor").write_text("abc234-1\n")
        await bench.until(lambda: bench.agent.saved_seq == 3)
    assert bench.agent.failures[0].startswith("StoreCorrupt: expected one cursor")


@pytest.mark.parametrize("what", [What.SLEEP, What.CRASH])
async def test_orders_to_a_sleeper_do_nothing(tmp_path: Path, what: What) -> None:
    """An agent that sleeps can neither be put to sleep nor crash; it wakes as ever afterwards."""
    async with benched(Agent(name="alice"), tmp_path, FakeRelay()) as bench:
        bench.agent.order(what)
        bench.agent.order(What.WAKE)
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.agent.saved_seq == 3)
        assert bench.count(history.Connect) == 1
