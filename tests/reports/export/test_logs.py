"""Reading sessions' lines back: both of the relay's formats, whatever a collector adds, and nothing guessed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import pytest
import structlog

from reports.export.connections import NanosecondsOf, gathered, records_of
from reports.export.logs import Closed, Line, LogInvalid, Opened, SentCursors, Told, read_lines
from reports.history import Bookmark, Connect, Deliver, Disconnect, Gone, Record, Sent
from system.account import Account, burst_of
from system.cursor import Cursor, pack
from system.serve import configure_logs
from system.session_log import SessionLog, log_told
from system.settings import Settings

FLOORS = {"critical": "abc234-4", "standard": None}
GONE = {"reason": "expired", "cursor": "abc234-2", "floors": FLOORS}


class Places:
    """The one thing that a session's log asks of the places."""

    def __init__(self) -> None:
        self.tags = {1: "abc234"}

    def cursor_of(self, position: int) -> str:
        """As the relay shows it."""
        return f"abc234-{position & 0xFFFF}"


@pytest.fixture
def restored() -> Iterator[None]:
    """The configuration of logs as it was."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def logged(monkeypatch: pytest.MonkeyPatch, log_format: Literal["json", "console"]) -> bytes:
    """What a relay writes of one connection and one refusal, in a format."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logs(Settings(jwt_hs256_secret="s" * 32, log_format=log_format))
    monkeypatch.setattr("system.session_log.log", structlog.get_logger())
    log: Any = SessionLog("ann", ["task.assigned", "note.posted"], Places())  # type: ignore[arg-type]
    account = Account(pack(1, 2))
    log.opened("r.1", "abc234-2", Cursor("abc234", 7), account)
    log.told("gone", GONE)
    burst = burst_of([pack(1, 5), pack(1, 7)])
    account.sent(burst)
    log.sent(burst)
    account.moved(pack(1, 9))
    log.closed(account, 'it\'s over: "eof" = [1]')
    log_told("bob", None, "gone", {**GONE, "reason": "wrong_epoch"}, via="status")
    return stream.getvalue().encode()


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_what_the_relay_writes_is_read(monkeypatch: pytest.MonkeyPatch, log_format: Literal["json", "console"]) -> None:
    """Every field of every line comes back, from the very code that writes it, colours and quotes or not."""
    opened, told, sent, closed, refused = read_lines(logged(monkeypatch, log_format).splitlines(), "log")
    assert isinstance(opened, Opened)
    assert (opened.agent, opened.conn, opened.presented, opened.start) == ("ann", "r.1", "abc234-2", "abc234-2")
    assert (opened.told, opened.types) == ("abc234-7", ("note.posted", "task.assigned"))
    assert isinstance(told, Told)
    assert (told.conn, told.notice, told.via, told.critical, told.standard) == (
        "r.1",
        "gone",
        "event",
        "abc234-4",
        None,
    )
    assert isinstance(sent, SentCursors)
    assert sent.cursors == ("abc234-5", "abc234-7")
    assert isinstance(closed, Closed)
    assert (closed.count, closed.sum, closed.first, closed.last) == (2, 12, "abc234-5", "abc234-7")
    assert (closed.reached, closed.why) == ("abc234-9", 'it\'s over: "eof" = [1]')
    assert isinstance(refused, Told)
    assert (refused.agent, refused.conn, refused.reason, refused.via) == ("bob", None, "wrong_epoch", "status")
    assert opened.timestamp.tzinfo is not None
    assert [line.line for line in (opened, told, sent, closed, refused)] == [1, 2, 3, 4, None]


LINE = (
    b'{"agent":"ann","conn":"r.1","count":0,"sum":0,"why":"eof","event":"session.closed","level":"info",'
    b'"timestamp":"2026-01-31T08:00:00.5Z"}'
)


@pytest.mark.parametrize("before", [b"", b"relay-1  | ", b"2026-01-31T08:00:00Z stdout F "])
def test_a_collectors_words_before_the_line_do_not_matter(before: bytes) -> None:
    """Compose and Kubernetes write their own in front."""
    [closed] = read_lines([before + LINE], "log")
    assert closed.timestamp == datetime(2026, 1, 31, 8, 0, 0, 500_000, tzinfo=UTC)


def test_other_lines_are_passed_over() -> None:
    """Whatever else a log holds, also of sessions, is none of an export's business."""
    others = [
        b"",
        b"Traceback",
        b'{"event":"session.page_unavailable","agent":"a"}',
        b'{"event":"relay.listening"}',
        LINE,
    ]
    assert len(list(read_lines(others, "log"))) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (LINE.replace(b'"count":0', b'"count":"many"'), "Expected `int`"),
        (LINE.replace(b'"conn":"r.1",', b""), "missing required field `conn`"),
        (LINE.replace(b"2026-01-31", b"yesterday"), "Invalid RFC3339"),
        (LINE[:60] + b" session.closed", "neither a JSON object nor a line of key=value"),
    ],
)
def test_a_line_that_cannot_be_read_is_refused(line: bytes, said: str) -> None:
    """With its file and number, what was expected and what came: what it hides might be a loss."""
    with pytest.raises(LogInvalid, match=said) as refused:
        list(read_lines([LINE, line], "relay.log"))
    assert str(refused.value).startswith("relay.log:2: expected a session's line")
    assert line[:40].decode() in str(refused.value)


def at(second: int) -> datetime:
    """A time of that day."""
    return datetime(2026, 1, 31, 8, 0, second, tzinfo=UTC)


def records(*lines: Line) -> list[Record]:
    """The records of the one connection that these lines are of."""
    [one] = gathered(lines)
    return list(records_of(one, {}, NanosecondsOf(at(0))))


class TestConnections:
    """Lines as the records of a history."""

    opened = Opened(timestamp=at(1), agent="ann", conn="r.1", presented="acked", start="abc234-2")
    closed = Closed(
        timestamp=at(3), agent="ann", conn="r.1", start="abc234-2", reached="abc234-9", count=1, sum=5,
        first="abc234-5", last="abc234-5", why="drain",
    )  # fmt: skip

    def test_a_connection_is_a_client_of_its_own(self) -> None:
        """It begins where its wish led, and ends with the relay's word; its deliveries nobody logged."""
        connect, _, sent, disconnect = records(self.opened, self.closed)
        assert connect == Connect(t_ns=1_000_000_000, agent="ann#r.1", conn="r.1", cursor="abc234-2")
        assert isinstance(sent, Sent)
        assert (sent.agent, sent.start, sent.reached, sent.count) == ("ann#r.1", "abc234-2", "abc234-9", 1)
        assert disconnect == Disconnect(t_ns=3_000_000_000, agent="ann#r.1", conn="r.1", why="drain")

    def test_deliveries_count_only_if_all_are_there(self) -> None:
        """A log that lacks one would make it a loss: then the count alone is told, and no place reached."""
        logged = SentCursors(timestamp=at(2), agent="ann", conn="r.1", cursors=("abc234-5",))
        more = Closed(
            timestamp=at(3), agent="ann", conn="r.1", start="abc234-2", reached="abc234-9", count=2, sum=12,
            first="abc234-5", last="abc234-7", why="drain",
        )  # fmt: skip
        assert any(isinstance(one, Bookmark) for one in records(self.opened, logged, self.closed))
        assert not any(isinstance(one, Bookmark | Deliver) for one in records(self.opened, logged, more))

    def test_what_a_client_knew_is_told(self) -> None:
        """Or a cursor of a former life of the stream, which it may present then, would seem to be taken by mistake."""
        knows = msgspec.structs.replace(self.opened, presented="former-2", start="former-2", told="abc234-7")
        connect = records(knows, self.closed)[0]
        assert isinstance(connect, Connect)
        assert (connect.cursor, connect.told) == ("former-2", "abc234-7")

    def test_one_without_an_end_claims_nothing(self) -> None:
        """A replica that was killed said nothing of what it had sent."""
        assert [type(one) for one in records(self.opened)][:1] == [Connect]
        assert not any(isinstance(one, Sent | Disconnect) for one in records(self.opened))

    def test_a_refusal_is_a_connection_too(self) -> None:
        """A 410 has no session: what was presented is what it is about."""
        told = Told(
            timestamp=at(1), agent="bob", conn=None, notice="gone", via="status", reason="expired",
            cursor="abc234-2", critical="abc234-4",
        )  # fmt: skip
        connect, connected, gone, _ = records(told)
        assert (connect, connected) == (
            Connect(t_ns=10**9, agent="bob#told.1", conn="told.1", cursor="abc234-2"),
            type(connected)(t_ns=10**9, agent="bob#told.1", conn="told.1", status=410),  # type: ignore[call-arg]
        )
        assert isinstance(gone, Gone)
        assert gone.floors.critical == "abc234-4"

    def test_a_clock_that_goes_back_does_not_turn_things_round(self) -> None:
        """What was logged later stays later."""
        early = Closed(timestamp=at(0), agent="ann", conn="r.1", count=0, sum=0, why="drain")
        times = [one.t_ns for one in records(self.opened, early)]
        assert times == sorted(times)

    def test_two_ends_of_one_connection_are_refused(self) -> None:
        """Logs of two deployments have been taken for one."""
        other = Closed(timestamp=at(9), agent="ann", conn="r.1", count=0, sum=0, why="eof")
        with pytest.raises(LogInvalid, match="expected one end, got one at"):
            gathered([self.opened, self.closed, other])
        assert len(gathered([self.opened, self.closed, self.closed])) == 1

    def test_the_relays_order_counts_not_its_clock(self) -> None:
        """A clock that was put back between two writes made of what was sent in order a disorder."""
        closed = msgspec.structs.replace(self.closed, count=2, sum=12, last="abc234-7", line=4)
        first, second = (
            SentCursors(timestamp=at(time), agent="ann", conn="r.1", line=line, cursors=(cursor,))
            for time, line, cursor in ((2, 2, "abc234-5"), (0, 3, "abc234-7"))
        )
        [one] = gathered([msgspec.structs.replace(self.opened, line=1), second, first, closed])
        assert one.within == [first, second]
        unnumbered = [msgspec.structs.replace(line, line=None) for line in (first, second)]
        [former] = gathered([self.opened, *unnumbered, msgspec.structs.replace(closed, line=None)])
        assert former.within == unnumbered[::-1]

    def test_a_connection_of_which_a_line_is_missing_is_known_for_one(self) -> None:
        """Whatever a collector lost; those that were never numbered are taken as they are."""
        opened = msgspec.structs.replace(self.opened, line=1)
        closed = msgspec.structs.replace(self.closed, line=3)
        cases: list[tuple[list[Line], bool]] = [
            ([opened, closed], False),
            ([closed], False),
            ([opened, msgspec.structs.replace(closed, line=2)], True),
            ([self.opened, self.closed], True),
        ]
        for lines, is_whole in cases:
            [one] = gathered(lines)
            assert one.is_whole is is_whole

    def test_a_log_that_is_given_twice_tells_no_more(self) -> None:
        """Two lines with one number exclude each other, unless they are the same."""
        told = Told(timestamp=at(2), agent="ann", conn="r.1", line=2, notice="gap", via="event", reason="expired")
        opened = msgspec.structs.replace(self.opened, line=1)
        lines: list[Line] = [opened, told, msgspec.structs.replace(self.closed, line=3)]
        [one] = gathered([*lines, *lines])
        assert one.told == [told]
        with pytest.raises(LogInvalid, match="expected one line 2, got one at"):
            gathered([*lines, msgspec.structs.replace(told, notice="gone")])
