"""The hub: every session gets exactly its own events, once, in order, whether from the window or live."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, precondition, rule

from system.account import Burst
from system.cursor import Position
from system.hub import Hub, Released


def released(pos: int, agent: str = "ann", kind: str = "t") -> Released:
    """An event whose frame shows its position in ten bytes."""
    return Released(Position(pos), agent, kind, b"%9d," % pos)


class Fake:
    """A session that keeps what it is sent, and its place as a real one does."""

    def __init__(self, hub: Hub, agent: str = "ann", types: frozenset[str] = frozenset()) -> None:
        self.hub = hub
        self.agent = agent
        self.types = types
        self.got: list[int] = []
        self.counted = 0
        self.pushes = 0
        self.live = False
        self.position = Position(0)
        self.full_after: int | None = None
        """So many events are taken live; at the push after it is slow."""

    def push(self, payload: bytes, burst: Burst) -> None:
        """Take the numbers out of one HTTP chunk; or, told to be slow, nothing, and fall back to replay."""
        if self.full_after is not None and len(self.got) >= self.full_after:
            self.hub.leave(self.agent, self)
            self.lose_live()
            return
        size, _, rest = payload.partition(b"\r\n")
        body = rest[: int(size, 16)]
        assert rest[len(body) :] == b"\r\n"
        self.got += [int(part) for part in body.split(b",") if part.strip()]
        self.counted += len(burst)
        self.pushes += 1

    def lose_live(self) -> None:
        """Go back to where the hub had got with what was sent."""
        self.live = False
        self.position = self.hub.head

    def join(self, position: int) -> None:
        """Take the rest of the window and join, as a session does."""
        rest = self.hub.since(self.agent, Position(position))
        self.got += [one.pos for one in rest if not self.types or one.type in self.types]
        self.counted = len(self.got)
        self.hub.join(self.agent, self)
        self.live = True


def hub(events_max: int = 100, bytes_max: int = 10_000, at: int = 0, piece_bytes_max: int = 10_000) -> Hub:
    """A hub that has read its tail."""
    made = Hub(events_max=events_max, bytes_max=bytes_max, piece_bytes_max=piece_bytes_max)
    made.reset(Position(at))
    return made


def test_before_its_first_reading_it_covers_nothing() -> None:
    """No session may join before the tail is known; to release before that is a bug."""
    fresh = Hub(events_max=5, bytes_max=100)
    assert not fresh.covers(Position(0))
    with pytest.raises(AssertionError):
        fresh.release([], Position(1))
    with pytest.raises(AssertionError):
        fresh.since("ann", Position(0))


def test_it_covers_from_the_windows_start_to_the_head() -> None:
    """A position before the window has missed something, one past the head comes from a replica further on."""
    window = hub(events_max=2, at=10)
    window.release([released(11), released(14), released(15)], Position(20))
    assert [pos for pos in range(9, 23) if window.covers(Position(pos))] == list(range(11, 21))


def test_the_window_is_bounded_in_events_and_bytes() -> None:
    """What exceeds either limit goes from its old end, and the start moves to the last one that went."""
    by_count, by_bytes = hub(events_max=3), hub(bytes_max=35)
    for window in (by_count, by_bytes):
        for pos in range(1, 8):
            window.release([released(pos)], Position(pos))
        assert [one.pos for one in window.since("ann", Position(4))] == [5, 6, 7]
        assert window.start == 4


def test_an_event_larger_than_the_window_is_still_sent() -> None:
    """The limit bounds what is kept, not what is delivered; who was not live must replay."""
    window = hub(bytes_max=5)
    session = Fake(window)
    session.join(0)
    window.release([released(1)], Position(1))
    assert session.got == [1]
    assert not window.covers(Position(0))
    assert window.covers(Position(1))


def test_order_is_kept_between_own_events_and_broadcasts() -> None:
    """G3: one release with broadcasts and own events mixed arrives by position, in one push."""
    window = hub()
    ann, bob, filtered = Fake(window), Fake(window, "bob"), Fake(window, types=frozenset({"x"}))
    for session in (ann, bob, filtered):
        session.join(0)
    window.release(
        [
            released(1, "bob"),
            released(2, "_all"),
            released(3, "ann", "x"),
            released(5, "_all", "x"),
            released(6, "ann"),
            released(7, "cyd"),
        ],
        Position(9),
    )
    assert (ann.got, bob.got, filtered.got) == ([2, 3, 5, 6], [1, 2, 5], [3, 5])
    assert (ann.pushes, bob.pushes, filtered.pushes) == (1, 1, 1)


def test_a_filter_that_wants_nothing_is_sent_nothing() -> None:
    """No empty chunk: it would end the HTTP answer."""
    window = hub()
    session = Fake(window, types=frozenset({"other"}))
    session.join(0)
    window.release([released(1), released(2, "_all")], Position(2))
    assert (session.got, session.pushes) == ([], 0)


def test_a_session_may_leave_while_it_is_sent_to() -> None:
    """A slow one leaves at its push, at the place before it; its neighbours of the same release still get theirs."""
    window = hub()
    sessions = [Fake(window) for _ in range(3)]
    for session in sessions:
        session.join(0)
    sessions[1].full_after = 0
    for pos, agent in ((1, "ann"), (2, "_all")):
        window.release([released(pos, agent)], Position(pos))
    assert [session.got for session in sessions] == [[1, 2], [], [1, 2]]
    assert sessions[1].position == 0


def test_a_session_that_falls_behind_within_a_release_keeps_what_it_was_sent() -> None:
    """A release goes out in bounded pieces: who reads too slowly for the second is back where the first one ended."""
    window = hub(piece_bytes_max=20)
    sessions = [Fake(window), Fake(window)]
    for session in sessions:
        session.join(0)
    sessions[0].full_after = 2
    window.release([released(pos) for pos in (1, 3, 5, 7, 9)], Position(10))
    assert [(session.got, session.pushes) for session in sessions] == [([1, 3], 1), ([1, 3, 5, 7, 9], 3)]
    assert (sessions[0].position, window.head) == (3, 10)


def test_a_reset_sends_everyone_back_to_where_they_had_got() -> None:
    """A live session that is sent back to replay goes on from the last head, not from the new one.

    The reset moved the head first and told the sessions then, so that each took the new head for its place: everything
    between the two, which nobody had sent, was passed over, and the next bookmark made the loss final.
    """
    window = hub()
    session = Fake(window)
    session.join(0)
    window.release([released(5)], Position(5))
    window.reset(Position(50))
    assert not session.live
    assert session.position == 5
    assert (window.start, window.head) == (50, 50)
    window.release([released(51)], Position(51))
    assert session.got == [5], "nobody is live after a reset"


def test_leaving_twice_or_without_joining_is_harmless() -> None:
    """A session that ends for two reasons at once leaves twice."""
    window = hub()
    session, other = Fake(window), Fake(window)
    window.leave("ann", session)
    other.join(0)
    window.leave("ann", session)
    window.leave("bob", other)
    window.release([released(1)], Position(1))
    assert other.got == [1]


AGENTS = ("ann", "bob", "_all")
KINDS = ("x", "y", "z")


class HubModel(RuleBasedStateMachine):
    """The hub against a list of everything that was ever released."""

    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.hub = hub(events_max=6, bytes_max=75, piece_bytes_max=25)
        self.released: list[Released] = []
        self.forgotten = 0
        """Head of the last reset: nothing at or below can be had from the window."""
        self.all: list[tuple[Fake, list[int]]] = []
        """Every session that ever joined, with what it is to have got."""

    def expected(self, session: Fake, after: int, until: int) -> list[int]:
        """What a session is to get of what was released, by definition."""
        return [
            one.pos
            for one in self.released
            if after < one.pos <= until
            and one.agent in (session.agent, "_all")
            and (not session.types or one.type in session.types)
        ]

    @rule(
        batch=st.lists(st.tuples(st.sampled_from(AGENTS), st.sampled_from(KINDS), st.integers(1, 3)), max_size=5),
        beyond=st.integers(0, 3),
    )
    def release(self, batch: list[tuple[str, str, int]], beyond: int) -> None:
        """The tail brings events, with holes between their positions, and a head at or past the last one."""
        pos = int(self.hub.head)
        events = []
        for agent, kind, step in batch:
            pos += step
            events.append(released(pos, agent, kind))
        before = int(self.hub.head)
        live = [(session, wanted) for session, wanted in self.all if session.live]
        self.released += events
        self.hub.release(events, Position(pos + beyond))
        for session, wanted in live:
            wanted += self.expected(session, before, pos if session.live else int(session.position))

    @rule(ahead=st.integers(0, 9))
    def reset(self, ahead: int) -> None:
        """The tail lost continuity."""
        live = [session for session, _ in self.all if session.live]
        head = self.hub.head
        self.hub.reset(Position(head + ahead))
        self.forgotten = head + ahead
        assert all(session.position == head and not session.live for session in live)

    @rule(
        target=sessions,
        agent=st.sampled_from(["ann", "bob"]),
        kinds=st.frozensets(st.sampled_from(KINDS), max_size=2),
        back=st.integers(0, 12),
    )
    def arrive(self, agent: str, kinds: frozenset[str], back: int) -> object:
        """A session whose replay has got to some position joins if the window covers it."""
        position = max(0, int(self.hub.head) - back)
        session = Fake(self.hub, agent, kinds)
        if not self.hub.covers(Position(position)):
            return multiple()
        session.join(position)
        wanted = self.expected(session, position, int(self.hub.head))
        assert session.got == wanted
        self.all.append((session, wanted))
        return session

    @rule(session=sessions)
    def leave(self, session: Fake) -> None:
        """A session ends."""
        self.hub.leave(session.agent, session)
        session.live = False

    @precondition(lambda self: self.all)
    @rule(session=sessions, more=st.integers(0, 4))
    def grow_slow(self, session: Fake, more: int) -> None:
        """A session turns slow: it will leave while it is sent to, now or some events later."""
        session.full_after = len(session.got) + more

    @invariant()
    def everyone_got_what_is_theirs(self) -> None:
        """Each session has got its own events since its position, once and in order."""
        for session, wanted in self.all:
            assert session.got == wanted
            assert session.counted == len(session.got)

    @invariant()
    def the_window_is_bounded_and_honest(self) -> None:
        """It covers no more than it holds, and holds no more than its limits."""
        start = self.hub.start
        assert start is not None
        assert self.forgotten <= start <= self.hub.head
        held = [one for one in self.released if one.pos > start]
        assert len(held) <= 6
        assert sum(len(one.frame) for one in held) <= 75
        for agent in ("ann", "bob"):
            expected = [one for one in held if one.agent in (agent, "_all")]
            assert self.hub.since(agent, start) == expected


HubModel.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestHubAgainstItsModel = HubModel.TestCase
