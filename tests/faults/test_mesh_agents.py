"""An agent of the mesh: its lives, and what the history gets to know of them."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from aiohttp import web

from faults.mesh import Births, MeshAgent
from faults.mesh.life import Life
from faults.plan import Agent, RelayTimes
from faults.recorder import Recorder
from faults.schedule import What
from faults.stack import EmbeddedStack, ManagedProcess
from reports import history
from reports.history import Record, read_history

pytestmark = pytest.mark.stack

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
        if "json" in request.headers.get("Accept", ""):
            return self._page(request)
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

    def _page(self, request: web.BaseRequest) -> web.Response:
        """A page of two; what was made up is no cursor, or of another life."""
        place = request.query.get("cursor")
        self.presented.append(place)
        if place is not None and not place.rpartition("-")[2].isdigit():
            return web.json_response({"title": "Bad Request"}, status=400)
        is_ours = place is None or (place.startswith("abc234-") and int(place.split("-")[1]) <= self.head)
        begin = int(place.split("-")[1]) if place is not None and is_ours else 0
        end = min(begin + 2, self.head)
        rows = [
            {"cursor": f"abc234-{number}", "event": json.loads(EVENT.format(number))}
            for number in range(begin + 1, end + 1)
        ]
        gone = {"reason": "wrong_epoch", "resync": "/v1/agents/alice/events?cursor=earliest"}
        page = {
            "events": rows, "next": f"abc234-{end}", "head": f"abc234-{self.head}", "more": end < self.head,
            "gap": None, "gone": None if is_ours else gone,
        }  # fmt: skip
        return web.json_response(page)


@dataclass
class Bench:
    """One agent at a fake relay, its part of the history, and what is written of it here."""

    agent: MeshAgent
    part: Path
    here: Path

    def records(self, *kinds: type[Record]) -> list[Record]:
        """Its records of these kinds so far, in the order of time."""
        found = [*read_history(self.here).records, *(read_history(self.part).records if self.part.exists() else ())]
        return sorted((one for one in found if isinstance(one, kinds)), key=lambda one: one.t_ns)

    def count(self, kind: type[Record]) -> int:
        """How many there are of a kind."""
        return len(self.records(kind))

    @property
    def saved_seq(self) -> int:
        """Up to where it has handled everything."""
        self.agent.seen.read()
        return self.agent.seen.saved_seq

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Wait for something to become true."""
        async with asyncio.timeout(20):
            while not is_true():  # noqa: ASYNC110 - the condition is a file's content
                await asyncio.sleep(0.01)


@asynccontextmanager
async def born_in(stack: EmbeddedStack) -> AsyncIterator[tuple[Births, ManagedProcess]]:
    """A nursery of one test; it ends by itself once its owner is gone."""
    socket = stack.run_dir / f"{secrets.token_hex(4)}.sock"
    argv = (sys.executable, "-m", "faults.mesh.nursery", str(socket))
    nursery = stack.add_program(socket.stem, argv, socket.exists)
    await nursery.start()
    births = await Births.connect(socket)
    yield births, nursery
    await births.close()
    assert await nursery.wait(10.0) == 0


@pytest.fixture
async def births(toxic_stack: EmbeddedStack) -> AsyncIterator[Births]:
    """Where the agents of a test are born."""
    async with born_in(toxic_stack) as (found, _):
        yield found


@asynccontextmanager
async def benched(plan: Agent, folder: Path, births: Births, relay: FakeRelay | None) -> AsyncIterator[Bench]:
    """An agent that takes orders, at a relay or at a port where nobody is."""
    runner = web.ServerRunner(web.Server(relay.answer if relay else FakeRelay().answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    if relay is None:
        await runner.cleanup()
    part = folder / "alice.jsonl"

    def life_of(agent: Agent, number: int) -> Life:
        return Life(
            agent=agent,
            number=number,
            replicas=(("127.0.0.1", port),),
            secret=SECRET,
            times=RelayTimes(),
            began_ns=recorder.began_ns,
            cursor=str(folder / "alice.cursor"),
            part=str(part),
            failure=str(folder / "alice.failure"),
        )

    with Recorder(folder / "run.jsonl") as recorder:
        agent = MeshAgent(plan, part=part, births=births, life_of=life_of, recorder=recorder)
        orders = asyncio.create_task(agent.run())
        yield Bench(agent, part, folder / "run.jsonl")
        orders.cancel()
        await asyncio.wait([orders])
        await runner.cleanup()


def kinds(records: Iterable[Record]) -> list[str]:
    """The names of the records."""
    return [type(one).__name__ for one in records]


async def test_a_nap_keeps_the_place(tmp_path: Path, births: Births) -> None:
    """An agent that slept goes on at its stored cursor, over a new connection; what it had is not delivered again."""
    relay = FakeRelay()
    async with benched(Agent(name="alice"), tmp_path, births, relay) as bench:
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.saved_seq == 3)
        bench.agent.order(What.SLEEP)
        await bench.until(lambda: bench.count(history.Disconnect) == 1)
        relay.head = 5
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.saved_seq == 5)
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
    assert b'{"cursor":"abc234-3"}' in relay.acked
    assert relay.acked[-1] in (b'{"cursor":"abc234-3"}', b'{"cursor":"abc234-5"}')


async def test_a_crash_in_the_middle_of_an_event_repeats_it(tmp_path: Path, births: Births) -> None:
    """A crash while an event is handled saves nothing and flushes no ack; the next life gets the event again."""
    relay = FakeRelay(head=2)
    async with benched(Agent(name="alice", handler_ms=1_500), tmp_path, births, relay) as bench:
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.count(history.Deliver) == 2)
        bench.agent.order(What.CRASH)
        await bench.until(lambda: bench.saved_seq == 2)
        records = bench.records(history.Deliver, history.Saved, history.Disconnect)
    assert kinds(records) == ["Deliver", "Saved", "Deliver", "Disconnect", "Deliver", "Saved"]
    assert relay.presented == [None, "abc234-1"]


async def test_a_crash_may_take_the_cursor_with_it(tmp_path: Path, births: Births) -> None:
    """An agent that forgets begins anew after a crash, but not after a nap; what it had saved counts for nothing."""
    relay = FakeRelay(head=2)
    async with benched(Agent(name="alice", forgets=True), tmp_path, births, relay) as bench:
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.saved_seq == 2)
        bench.agent.order(What.SLEEP)
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.count(history.Connected) == 2)
        bench.agent.order(What.CRASH)
        await bench.until(lambda: bench.count(history.Connected) == 3)
        await bench.until(lambda: bench.saved_seq == 2)
    assert relay.presented == [None, "abc234-2", None]


async def test_an_agent_may_live_by_pages(tmp_path: Path, births: Births) -> None:
    """It asks for more at once while there is more, else now and then, from its saved cursor; each page is a connection
    of its own. A cursor that it makes up now and then moves nothing.
    """
    relay = FakeRelay(head=5)
    alice = Agent(name="alice", pages_every_s=0.05, ack_interval_s=None)
    async with benched(alice, tmp_path, births, relay) as bench:
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.count(history.Invented) == 2)
        bench.agent.order(What.SLEEP)
        await bench.until(lambda: not bench.agent.is_awake and bench.agent.pid is None)
        relay.head = 6
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.saved_seq == 6)
        delivers = [one for one in bench.records(history.Deliver) if isinstance(one, history.Deliver)]
        made_up = [one for one in bench.records(history.Invented) if isinstance(one, history.Invented)]
        bookmark = bench.records(history.Bookmark)[0]
    pages = [one for one in relay.presented if one in (None, *(f"abc234-{seq}" for seq in range(7)))]
    assert list(dict.fromkeys(pages)) == [None, "abc234-2", "abc234-4", "abc234-5"]
    assert [one.id for one in delivers] == ["e1", "e2", "e3", "e4", "e5", "e6"]
    assert [one.conn for one in delivers[:5]] == ["1.1", "1.1", "1.2", "1.2", "1.3"]
    assert isinstance(bookmark, history.Bookmark)
    assert bookmark.cursor == "abc234-5"
    assert [(one.cursor, one.status, one.reason) for one in made_up[:2]] == [
        ("o0l1o0-5", 200, "wrong_epoch"),
        ("abc234-1000000005", 200, "wrong_epoch"),
    ]
    assert relay.acked == []


async def test_silent_agents_never_acknowledge(tmp_path: Path, births: Births) -> None:
    """An agent without an ack interval posts no ack, not even when it goes to sleep."""
    relay = FakeRelay()
    async with benched(Agent(name="alice", ack_interval_s=None), tmp_path, births, relay) as bench:
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.saved_seq == 3)
        bench.agent.order(What.SLEEP)
        await bench.until(lambda: bench.count(history.Disconnect) == 1)
    assert relay.acked == []


async def test_no_answer_is_written_down_as_such(tmp_path: Path, births: Births) -> None:
    """A connection that got no answer has its three records all the same, with no status."""
    async with benched(Agent(name="alice"), tmp_path, births, None) as bench:
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.count(history.Disconnect) >= 2)
        bench.agent.order(What.SLEEP)
        records = bench.records(history.Connect, history.Connected, history.Disconnect)[:6]
    assert kinds(records) == ["Connect", "Connected", "Disconnect"] * 2
    connected = records[1]
    assert isinstance(connected, history.Connected)
    assert connected.status is None
    assert "connect" in (connected.reason or "").lower()


async def test_what_ends_a_client_is_a_finding(tmp_path: Path, births: Births) -> None:
    """A life that nobody wanted to end is noted with its reason, and another one begins."""
    async with benched(Agent(name="alice"), tmp_path, births, FakeRelay()) as bench:
        (tmp_path / "alice.cursor").write_text("not a cursor\n")
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bool(bench.agent.failures))
        (tmp_path / "alice.cursor").write_text("abc234-1\n")
        await bench.until(lambda: bench.saved_seq == 3)
    assert bench.agent.failures[0].startswith("StoreCorrupt: expected one cursor")


@pytest.mark.parametrize("what", [What.SLEEP, What.CRASH])
async def test_orders_to_a_sleeper_do_nothing(tmp_path: Path, births: Births, what: What) -> None:
    """An agent that sleeps can neither be put to sleep nor crash; it wakes as ever afterwards."""
    async with benched(Agent(name="alice"), tmp_path, births, FakeRelay()) as bench:
        bench.agent.order(what)
        bench.agent.order(What.WAKE)
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.saved_seq == 3)
        assert bench.count(history.Connect) == 1


async def test_a_killed_life_leaves_half_a_line_to_nobody(tmp_path: Path, births: Births) -> None:
    """What a life wrote last, if SIGKILL cut it in two, is gone when the next one writes: the part stays readable."""
    async with benched(Agent(name="alice"), tmp_path, births, FakeRelay()) as bench:
        bench.part.write_bytes(b'{"kind":"saved","t_ns":1,"agent":"alice","cursor":"abc234-1"}\n{"kind":"saved","t_')
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.saved_seq == 3)
        saved = [one for one in bench.records(history.Saved) if isinstance(one, history.Saved)]
    assert [one.cursor for one in saved] == ["abc234-1", "abc234-1", "abc234-2", "abc234-3"]


async def test_a_frozen_agent_is_seen_and_goes_on(tmp_path: Path, births: Births) -> None:
    """Steered as a process it can be paused and killed; while a fault keeps it down it does not live again."""
    relay = FakeRelay()
    async with benched(Agent(name="alice"), tmp_path, births, relay) as bench:
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.saved_seq == 3)
        bench.agent.pause()
        relay.head = 4
        await bench.until(lambda: psutil.Process(bench.agent.pid).status() == psutil.STATUS_STOPPED)
        assert await bench.agent.kill() == -9, "SIGKILL reaches a frozen one, too"
        await asyncio.sleep(0.5)
        assert bench.agent.pid is None
        bench.agent.start_nowait()
        await bench.until(lambda: bench.agent.pid is not None)
        whys = [one.why for one in bench.records(history.Disconnect) if isinstance(one, history.Disconnect)]
    assert whys == ["crashed"]


async def test_the_end_of_a_nursery_ends_its_children(toxic_stack: EmbeddedStack, tmp_path: Path) -> None:
    """A nursery whose owner is gone, here by closing the connection, leaves no process behind, a frozen one neither."""
    async with (
        born_in(toxic_stack) as (births, nursery),
        benched(Agent(name="alice"), tmp_path, births, FakeRelay()) as bench,
    ):
        bench.agent.order(What.WAKE)
        await bench.until(lambda: bench.agent.pid is not None)
        pid = bench.agent.pid
        bench.agent.pause()
        await births.close()
        assert await nursery.wait(10.0) == 0
        assert not psutil.pid_exists(pid)
