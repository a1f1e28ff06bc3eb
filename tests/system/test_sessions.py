"""The registry of sessions: its limits are exact, tokens end streams in time, and a drain closes all, evenly."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.host import Host
from system.metrics import Metrics
from system.sessions import BEAT_SLACK, AtCapacity, Sessions
from system.settings import Settings
from tests.sim.worlds import SmallWorld
from tests.system.harness import SECRET, eventually

FAR = 4e9


class Fake:
    """What the registry asks of a session."""

    def __init__(self, agent: str = "ann") -> None:
        self.agent = agent
        self.reason = ""
        self.closed_at: float | None = None
        self.wrote_at = asyncio.get_running_loop().time()
        self.beats: list[float] = []
        self.marks = 0
        self.name = ""
        self.is_over = False

    def close(self, reason: str) -> None:
        """Note the first reason."""
        self.reason = self.reason or reason
        self.closed_at = self.closed_at or asyncio.get_running_loop().time()

    def beat(self) -> None:
        """Note the silence that it ends."""
        now = asyncio.get_running_loop().time()
        self.beats.append(now - self.wrote_at)
        self.wrote_at = now

    def began(self, name: str) -> None:
        """Keep the name."""
        self.name = name

    def ended(self) -> None:
        """Note that it is over."""
        self.is_over = True

    def mark(self) -> None:
        """Count."""
        self.marks += 1


class Wall:
    """A wall clock that the test moves."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def registry(wall: Wall | None = None, **settings: Any) -> Any:
    """A registry; typed loosely, so that it takes fakes."""
    host = Host(wall=wall or Wall(), rng=random.Random(1), new_id=lambda: "0" * 32)
    return Sessions(Settings(jwt_hs256_secret=SECRET, **settings), host, Metrics())


def value(sessions: Any, name: str, **labels: str) -> float:
    """One sample of the registry's metrics."""
    found = sessions._metrics.registry.get_sample_value(name, labels)
    return float(found or 0)


async def test_limits_are_exact_and_named() -> None:
    """The last allowed session opens and the next one does not: 429 for the agent's limit, 503 for the replica's; a
    refused session leaves no trace, and an ended one makes room.
    """
    sessions = registry(sessions_max=3, sessions_per_agent_max=2)
    with contextlib.ExitStack() as open_sessions:
        first = contextlib.ExitStack()
        first.enter_context(sessions.opened(Fake("ann"), FAR))
        open_sessions.enter_context(sessions.opened(Fake("ann"), FAR))
        with pytest.raises(AtCapacity, match="ann has 2 streams open") as per_agent, sessions.opened(Fake("ann"), FAR):
            pass
        open_sessions.enter_context(sessions.opened(Fake("bob"), FAR))
        with pytest.raises(AtCapacity, match="has 3 streams open") as whole, sessions.opened(Fake("cyd"), FAR):
            pass
        assert (per_agent.value.status, whole.value.status) == (429, 503)
        assert min(per_agent.value.retry_after_s, whole.value.retry_after_s) >= 1
        assert value(sessions, "sse_sessions") == 3
        first.close()
        open_sessions.enter_context(sessions.opened(Fake("ann"), FAR))
    assert value(sessions, "sse_sessions") == 0
    assert value(sessions, "sse_sessions_refused_total", limit="agent") == 1
    assert value(sessions, "sse_sessions_refused_total", limit="replica") == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=40))
def test_counts_hold_over_any_coming_and_going(steps: list[tuple[str, bool]]) -> None:
    """However sessions come, are refused and go, what is counted is what is open, and no name is kept for ever."""

    async def play() -> None:
        sessions = registry(sessions_max=4, sessions_per_agent_max=2)
        held: dict[str, list[contextlib.ExitStack]] = {"a": [], "b": [], "c": []}
        for agent, opens in steps:
            if opens:
                room = len(held[agent]) < 2 and sum(map(len, held.values())) < 4
                one = contextlib.ExitStack()
                try:
                    one.enter_context(sessions.opened(Fake(agent), FAR))
                except AtCapacity:
                    assert not room
                else:
                    assert room
                    held[agent].append(one)
            elif held[agent]:
                held[agent].pop(0).close()
            assert value(sessions, "sse_sessions") == sum(map(len, held.values()))
        for one in itertools.chain.from_iterable(held.values()):
            one.close()
        assert not sessions._per_agent

    asyncio.run(play())


async def test_a_failing_session_is_taken_out() -> None:
    """Whatever ends a session, its place is free afterwards and its end is counted by reason."""
    sessions = registry(sessions_max=1)
    with pytest.raises(ConnectionResetError), sessions.opened(Fake(), FAR):
        raise ConnectionResetError
    with sessions.opened(Fake(), FAR):
        assert value(sessions, "sse_sessions_closed_total", reason="client_left") == 1


async def test_a_token_ends_its_session_when_it_expires() -> None:
    """A session is closed when its token expires by the host's clock, at once if it has; others go on."""
    wall = Wall()
    sessions = registry(wall)
    past, soon, later = Fake(), Fake(), Fake()
    with (
        sessions.opened(past, wall.now - 1),
        sessions.opened(soon, wall.now + 0.05),
        sessions.opened(later, wall.now + 3_600),
    ):
        assert (past.reason, soon.reason) == ("token_expired", "")
        wall.now += 0.06
        await eventually(lambda: soon.reason, "the end of a token")
        assert (soon.reason, later.reason) == ("token_expired", "")


async def test_a_token_is_not_ended_by_a_clock_that_was_put_back() -> None:
    """The timer asks the wall clock again: a token that is still valid by then is not closed early."""
    wall = Wall()
    sessions = registry(wall)
    session = Fake()
    with sessions.opened(session, wall.now + 0.05):
        wall.now -= 0.1
        await asyncio.sleep(0.08)
        assert session.reason == ""
        wall.now += 0.2
        await eventually(lambda: session.reason, "the end of a token")


async def test_no_timer_outlives_its_session() -> None:
    """A token that expires after the session's end closes nothing."""
    wall = Wall()
    sessions = registry(wall)
    session = Fake()
    with sessions.opened(session, wall.now + 0.01):
        pass
    wall.now += 1
    await asyncio.sleep(0.03)
    assert session.closed_at is None


async def test_a_drain_closes_everyone_evenly() -> None:
    """Sessions are closed one after the other over the given time, in the order of their coming, none left out."""
    sessions = registry()
    fakes = [Fake(f"a{number}") for number in range(10)]
    with contextlib.ExitStack() as held:
        for fake in fakes:
            held.enter_context(sessions.opened(fake, FAR))
        await sessions.drain(0.5)
        assert {fake.reason for fake in fakes} == {"drain"}
        closed = [fake.closed_at or 0.0 for fake in fakes]
        assert closed == sorted(closed)
        assert closed[-1] - closed[0] >= 0.4, "spread over the time"
        assert len(set(closed)) == len(closed), "one at a time"


async def test_a_drain_refuses_newcomers() -> None:
    """Who comes while the replica drains is sent to another one, at once."""
    sessions = registry()
    await sessions.drain(1.0)
    with pytest.raises(AtCapacity, match="draining") as refused, sessions.opened(Fake(), FAR):
        pass
    assert (refused.value.status, refused.value.retry_after_s) == (503, 1)


@pytest.mark.parametrize("count", [0, 1])
async def test_a_drain_of_nobody_or_one_takes_no_time(count: int) -> None:
    """The pace is between sessions: a single one is closed and waited for no longer than it takes.

    The drain slept a whole piece after its last session, so that one idle client made each restart half the deadline
    longer.
    """
    sessions = registry()
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as held:
        for _ in range(count):
            held.enter_context(sessions.opened(Fake(), FAR))
        began = loop.time()
        await sessions.drain(60.0)
        assert loop.time() - began < 10


async def test_waiting_for_the_last_one() -> None:
    """The wait ends with the last session, or when its time is over, and says which."""
    sessions = registry()
    assert await sessions.wait_empty(0.01)
    held = contextlib.ExitStack()
    held.enter_context(sessions.opened(Fake(), FAR))
    assert not await sessions.wait_empty(0.01)
    waiting = asyncio.create_task(sessions.wait_empty(60.0))
    await asyncio.sleep(0)
    held.close()
    assert await waiting


def test_a_heartbeat_ends_each_silence() -> None:
    """No session is silent for longer than the interval, whatever was written to others meanwhile; and none is
    disturbed much earlier. In simulated time, where that can be told to the second.
    """
    world = SmallWorld()

    async def main(_: Any) -> tuple[list[float], list[float], list[float]]:
        sessions = registry(heartbeat_s=15.0)
        loop = asyncio.get_running_loop()
        silent, late, busy = Fake("a"), Fake("b"), Fake("c")
        beating = asyncio.create_task(sessions.beat())
        with sessions.opened(silent, FAR), sessions.opened(busy, FAR):
            await asyncio.sleep(7.0)
            late.wrote_at = loop.time()
            with sessions.opened(late, FAR):
                for _ in range(600):
                    await asyncio.sleep(1.0)
                    busy.wrote_at = loop.time()
        beating.cancel()
        return silent.beats, late.beats, busy.beats

    silent, late, busy = world.result_of(main, 1_000.0)
    assert busy == []
    for beats in (silent, late):
        assert len(beats) >= 600 / 15.0 - 1
        assert min(beats) >= 15.0 * (1 - BEAT_SLACK)
        assert max(beats) <= 15.0 + 1e-6


async def test_a_replica_without_sessions_sleeps_until_there_is_one() -> None:
    """Heartbeats begin with the first session, also after the last one has gone."""
    sessions = registry(heartbeat_s=0.02)
    beating = asyncio.create_task(sessions.beat())
    for agent in "ab":
        fake = Fake(agent)
        with sessions.opened(fake, FAR):
            await eventually(functools.partial(len, fake.beats), "a heartbeat")
        await asyncio.sleep(0.03)
    beating.cancel()


async def test_bookmarks_follow_the_head_and_come_once_an_interval() -> None:
    """A head that moves is told of within the interval; ten moves are told once, and no move is told never."""
    sessions = registry(bookmark_s=0.05)
    fake = Fake()
    with sessions.opened(fake, FAR):
        marking = asyncio.create_task(sessions.mark())
        await asyncio.sleep(0.12)
        assert fake.marks == 0
        for _ in range(10):
            sessions.head_moved()
        await eventually(lambda: fake.marks, "a bookmark")
        await asyncio.sleep(0.12)
        assert fake.marks == 1
        sessions.head_moved()
        await eventually(lambda: fake.marks == 2, "the next")
        marking.cancel()


async def test_closing_all_closes_each() -> None:
    """A new epoch ends every stream at once, with its reason."""
    sessions = registry()
    fakes = [Fake("a"), Fake("b")]
    with sessions.opened(fakes[0], FAR), sessions.opened(fakes[1], FAR):
        sessions.close_all("epoch")
        assert [fake.reason for fake in fakes] == ["epoch", "epoch"]
