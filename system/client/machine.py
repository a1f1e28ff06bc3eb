"""The agent client's decisions, without I/O: a state, an event, an action.

Theory of operation. The driver performs one action at a time and answers it with one event, so the state is simply
which answer is outstanding. The machine holds the agent's *place*: the cursor of the last event that was handled and
saved. Whatever goes wrong, the next connection starts from that place, so trouble can repeat an event but never skip
one. Only a resync address from the relay itself (after a 410 or `relay.gone`, once the application has been told)
takes precedence over the place, until the first cursor saved behind it.

Failures are counted twice: `attempt` grows with every connection that brings nothing, and widens the back-off;
`failures` counts what went wrong *in one place* (the handler raised, a frame was unreadable), and ends the run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from system.client.backoff import backoff_s
from system.client.errors import (
    ClientError,
    CursorRefused,
    HandlerFailed,
    RelayRefused,
    TokenRefused,
)
from system.client.notices import EXPIRED, GoneNotice
from system.client.settings import ClientSettings
from system.client.steps import (
    Action,
    Answered,
    BookmarkSeen,
    CloseSeen,
    Connect,
    Done,
    Elapsed,
    Event,
    EventSeen,
    Finish,
    GapSeen,
    Garbage,
    GoneSeen,
    Handle,
    Lost,
    Opened,
    Raised,
    Read,
    RetrySeen,
    Save,
    Started,
    State,
    StopAsked,
    Tell,
    Wait,
)
from system.cursor import Cursor


class Verdict(Enum):
    """What an answer other than an event stream means."""

    RETRY = "retry"
    TOKEN = "token"
    GONE = "gone"
    STOP = "stop"


RETRIED_4XX = (408, 421, 425, 429)
"""Client errors that time heals, by RFC 9110, RFC 8470 and RFC 6585."""


def verdict_of(status: int, *, has_gone: bool) -> Verdict:
    """What a status other than a stream's 200 means.

    A redirect stops: following it would carry the token elsewhere. A 410 without the relay's document stops as well:
    something is gone, and nobody says what. Success without a stream (a proxy's page) may pass.
    """
    if status == 401:
        return Verdict.TOKEN
    if status == 410 and has_gone:
        return Verdict.GONE
    if status in RETRIED_4XX or status >= 500 or status < 300:
        return Verdict.RETRY
    return Verdict.STOP


class Machine:
    """One agent's decisions, from the first connection to the last."""

    def __init__(self, settings: ClientSettings, rng: random.Random, types: Sequence[str] = ()) -> None:
        self.state = State.IDLE
        self.place: Cursor | None = None
        """The cursor that was saved last."""
        self.attempt = 0
        self.failures = 0
        self._settings = settings
        self._types = tuple(types)
        self._rng = rng
        self._base_s = settings.backoff_base_s
        self._filter_from: Cursor | None = None
        self._in_hand: Cursor | None = None
        self._failing: str | None = None
        self._resync: GoneNotice | None = None
        self._life: str | None = None
        """The head that came with the last word on the stream's life: with it a place in a former one is taken."""
        self._streaming = False
        self._fresh_token = False
        self._unauthorized = 0

    def step(self, event: Event) -> Action:
        """Take an event, give the next action.

        Raises AssertionError for an event that cannot come in this state: a bug in the driver.
        """
        decide = TABLE[self.state].get(type(event))
        assert decide is not None, f"{type(event).__name__} cannot come while {self.state.value}"
        return decide(self, event)

    # Connecting

    def _started(self, event: Started) -> Action:
        self.place = self._filter_from = event.saved
        return self._connect()

    def _connect(self, _: Event | None = None) -> Action:
        self.state = State.CONNECTING
        self._streaming = False
        fresh, self._fresh_token = self._fresh_token, False
        if self._resync is not None:
            return Connect(address=self._resync.resync, place=None, keyword=None, fresh_token=fresh)
        keyword = self._settings.start_from if self.place is None else None
        is_of_another = self.place is not None and not (self._life or "").startswith(f"{self.place.epoch}-")
        told = self._life if is_of_another else None
        return Connect(address=None, place=self.place, keyword=keyword, fresh_token=fresh, told=told)

    def _opened(self, _: Opened) -> Action:
        self._streaming = True
        self._unauthorized = 0
        return self._read()

    def _answered(self, event: Answered) -> Action:
        verdict = verdict_of(event.status, has_gone=event.gone is not None)
        if verdict is Verdict.TOKEN:
            return self._refused_token(event)
        if verdict is Verdict.GONE:
            assert event.gone is not None
            return self._gone(event.gone)
        if verdict is Verdict.RETRY:
            return self._wait(f"status {event.status}", told_s=event.told_s)
        kind = {400: CursorRefused, 403: TokenRefused}.get(event.status, RelayRefused)
        hint = _HINTS.get(event.status, "check the base URL, and what stands between agent and relay")
        return self._finish(
            f"status {event.status}",
            kind(f"expected an event stream, got {event.status}: {event.detail}; {hint}", event.status),
        )

    def _refused_token(self, event: Answered) -> Action:
        self._fresh_token = True
        self._unauthorized += 1
        limit = self._settings.unauthorized_attempts_max
        if limit is not None and self._unauthorized >= limit:
            message = f"expected the token to be accepted, got 401 {self._unauthorized} times: {event.detail}"
            return self._finish("status 401", TokenRefused(f"{message}; get a token of scope 'stream'", 401))
        if self._unauthorized == 1:
            return self._connect()  # once at once: the cached token may simply have expired
        return self._wait("status 401", told_s=event.told_s)

    # Reading

    def _read(self, _: Event | None = None) -> Action:
        self.state = State.READING
        return Read()

    def _event(self, event: EventSeen) -> Action:
        if self._is_behind(event.delivery.place):
            return self._read()
        self.state = State.HANDLING
        self._in_hand = event.delivery.place
        if self._types and event.delivery.type not in self._types:
            # The filter is the relay's work, but a resync address is opaque and may have lost it.
            return Save(place=event.delivery.place)
        self._failing = event.delivery.id
        return Handle(delivery=event.delivery)

    def _bookmark(self, event: BookmarkSeen) -> Action:
        self.attempt = 0
        if self._is_behind(event.place):
            return self._read()
        self.state = State.HANDLING
        self._in_hand = event.place
        return Save(place=event.place)

    def _is_behind(self, place: Cursor) -> bool:
        last = self._filter_from
        return last is not None and last.epoch == place.epoch and place.seq <= last.seq

    def _saved(self, _: Done) -> Action:
        assert self._in_hand is not None
        self.place = self._filter_from = self._in_hand
        self._in_hand = None
        self._failing = None
        self._resync = None
        self.attempt = self.failures = 0
        return self._read()

    def _retry(self, event: RetrySeen) -> Action:
        wish_s = event.retry_ms / 1000
        self._base_s = min(max(wish_s, self._settings.backoff_base_min_s), self._settings.backoff_max_s)
        return self._read()

    def _close(self, event: CloseSeen) -> Action:
        self._fresh_token = event.notice.reason == "token_expired"
        return self._wait(event.notice.reason, told_s=event.notice.retry_ms / 1000)

    # Gaps and losses

    def _gap(self, event: GapSeen) -> Action:
        self.state = State.TELLING
        return Tell(notice=event.notice)

    def _gone_seen(self, event: GoneSeen) -> Action:
        return self._gone(event.notice)

    def _gone(self, notice: GoneNotice) -> Action:
        told = self._resync
        self._resync = notice
        if notice.reason != EXPIRED:
            # What comes now may lie 'before' the old place: another stream, or one that was cut back.
            self._filter_from = None
        if told is not None and _is_the_same(told, notice):
            return self._told()  # the resync stream repeats the notice that led to it
        self.state = State.TELLING
        return Tell(notice=notice)

    def _told(self, _: Done | None = None) -> Action:
        if self._resync is not None and self._resync.reason != EXPIRED:
            self._life = self._resync.head
        if self._streaming:
            return self._read()
        self.attempt += 1
        return self._connect() if self.attempt == 1 else self._wait("gone again", told_s=0.0)

    # Failing, waiting, finishing

    def _lost(self, event: Lost) -> Action:
        return self._wait(event.why, told_s=0.0)

    def _garbage(self, event: Garbage) -> Action:
        return self._fail("garbage", event.error)

    def _raised(self, event: Raised) -> Action:
        where = f"event {self._failing}" if self._failing is not None else "a gap or loss notice"
        error = HandlerFailed(
            f"expected the handler to take {where} behind cursor {self.place}, it raised {event.error!r} "
            f"{self.failures + 1} times; the event is not passed over, a new run begins with it",
            self._failing,
            None if self._in_hand is None else str(self._in_hand),
        )
        error.__cause__ = event.error
        self._in_hand = self._failing = None
        if self._resync is not None and self.state is State.TELLING:
            self._resync = None  # not told, so it must be learned again from the relay
        return self._fail("handler", error)

    def _fail(self, why: str, error: ClientError) -> Action:
        self.failures += 1
        if self.failures >= self._settings.handler_attempts_max:
            return self._finish(why, error)
        return self._wait(f"{why}: {error}", told_s=0.0)

    def _wait(self, why: str, *, told_s: float) -> Action:
        self.state = State.WAITING
        delay_s = backoff_s(
            self._rng,
            attempt=self.attempt,
            base_s=self._base_s,
            max_s=self._settings.backoff_max_s,
            told_s=min(told_s, self._settings.told_max_s),
        )
        self.attempt += 1
        return Wait(delay_s=delay_s, why=why)

    def _stop(self, _: StopAsked) -> Action:
        return self._finish("stopped", None)

    def _finish(self, why: str, error: ClientError | None) -> Action:
        self.state = State.FINISHED
        return Finish(why=why, error=error)


def _is_the_same(told: GoneNotice, notice: GoneNotice) -> bool:
    """Whether a notice says nothing new; of the stream's next life floors and reason may well be those of the last."""
    is_of_one_life = notice.reason == EXPIRED or _tag_of(told) == _tag_of(notice)
    return is_of_one_life and (told.reason, told.floors) == (notice.reason, notice.floors)


def _tag_of(notice: GoneNotice) -> str:
    return (notice.head or "").partition("-")[0]


_HINTS: Mapping[int, str] = {
    400: "the stored cursor or the type filter is not the relay's; put a cursor received from it into the store",
    403: "use a token whose subject is this agent, with scope 'stream'",
    404: "check the base URL and the agent's name",
    410: "this is not the relay's document of a loss; ask what stands between agent and relay",
}

_Decide = Callable[[Machine, Any], Action]

TABLE: Mapping[State, Mapping[type, _Decide]] = {
    State.IDLE: {Started: Machine._started},
    State.CONNECTING: {
        Opened: Machine._opened,
        Answered: Machine._answered,
        Lost: Machine._lost,
        StopAsked: Machine._stop,
    },
    State.READING: {
        EventSeen: Machine._event,
        BookmarkSeen: Machine._bookmark,
        GapSeen: Machine._gap,
        GoneSeen: Machine._gone_seen,
        CloseSeen: Machine._close,
        RetrySeen: Machine._retry,
        Lost: Machine._lost,
        Garbage: Machine._garbage,
        StopAsked: Machine._stop,
    },
    State.HANDLING: {Done: Machine._saved, Raised: Machine._raised},
    State.TELLING: {Done: Machine._told, Raised: Machine._raised},
    State.WAITING: {Elapsed: Machine._connect, StopAsked: Machine._stop},
    State.FINISHED: {},
}
"""Every pair that can come; `REJECTED` lists all others."""

_ANSWERS = (Opened, Answered)
_FRAMES = (EventSeen, BookmarkSeen, GapSeen, GoneSeen, CloseSeen, RetrySeen)
_FAILURES = (Lost, Garbage)
_ENDS = (Done, Raised)

REJECTED: Mapping[State, tuple[type, ...]] = {
    State.IDLE: (*_ANSWERS, *_FRAMES, *_FAILURES, *_ENDS, Elapsed, StopAsked),
    State.CONNECTING: (Started, Garbage, *_FRAMES, *_ENDS, Elapsed),
    State.READING: (Started, *_ANSWERS, *_ENDS, Elapsed),
    # The application's handler is awaited to its end before a stop is looked at: half an event is no event.
    State.HANDLING: (Started, *_ANSWERS, *_FRAMES, *_FAILURES, Elapsed, StopAsked),
    State.TELLING: (Started, *_ANSWERS, *_FRAMES, *_FAILURES, Elapsed, StopAsked),
    State.WAITING: (Started, *_ANSWERS, *_FRAMES, *_FAILURES, *_ENDS),
    State.FINISHED: (Started, *_ANSWERS, *_FRAMES, *_FAILURES, *_ENDS, Elapsed, StopAsked),
}
"""What only a bug in the driver can bring about."""
