"""What an export leaves out and says so, because to judge it would accuse relays of what logs or tables do not show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reports.api import judge
from reports.export.connections import gathered
from reports.export.logs import Closed, Line, Opened, SentCursors, Told
from reports.export.tables import DeadLetters, EpochKnown, StoredEvent, Tables
from reports.export.write import Deployment, Window, export
from reports.history import Witness, read_history
from system.cursor import pack

DAY_S = 86_400.0
NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
DEPLOYMENT = Deployment(
    dsn="",
    stream="MESH_EVENTS",
    retention_critical_s=7 * DAY_S,
    retention_standard_s=DAY_S,
    critical_types=frozenset({"task.assigned"}),
    sweep_interval_s=120.0,
)


class Written(Tables):
    """Tables written by hand: Ann's assignments at some sequences, one a minute until noon."""

    def __init__(self, *seqs: int) -> None:
        epoch = EpochKnown(ordinal=1, tag="abc234", began_at=NOON - timedelta(hours=1))
        super().__init__(now=NOON, version="by hand", watermark=pack(1, max(seqs)), epochs=[epoch], floors={})
        self._events = [
            StoredEvent(pack(1, seq), "ann", True, f"a{seq}", "task.assigned", NOON - timedelta(minutes=30 - seq))
            for seq in seqs
        ]

    async def bounds(self, since: datetime, until: datetime) -> tuple[int | None, int | None]:
        """All of them (Tables)."""
        return self._events[0].pos, self._events[-1].pos

    async def earliest(self, low: int, high: int) -> tuple[datetime | None, int]:
        """The first of them (Tables)."""
        return self._events[0].persisted_at, len(self._events)

    async def events(self, low: int, high: int) -> AsyncIterator[StoredEvent]:
        """All of them (Tables)."""
        for event in self._events:
            yield event

    async def facts(self, positions: Iterable[int]) -> AsyncIterator[tuple[int, str, str, str]]:
        """Those that are asked for (Tables)."""
        wanted = set(positions)
        for event in self._events:
            if event.pos in wanted:
                yield event.pos, event.agent, event.id, event.type

    async def acks(self, since: datetime, until: datetime) -> list[tuple[str, int, datetime]]:
        """None (Tables)."""
        return []

    async def dead_letters(self, since: datetime, until: datetime) -> list[DeadLetters]:
        """None (Tables)."""
        return []


def at(minute: int) -> datetime:
    """So many minutes past half past eleven: an event of that sequence is stored then."""
    return NOON - timedelta(minutes=30 - minute)


def connection(name: str, *, reached: int, count: int, lines: int = 2, of: int = 2) -> list[Line]:
    """One of Ann's that was sent everything from the first event on; of its lines a log has the last ones."""
    told = [
        Told(
            timestamp=at(1), agent="ann", conn=name, line=number, notice="gap", via="event", reason="expired"
        )
        for number in range(2, of)
    ]  # fmt: skip
    cursor = f"abc234-{reached}"
    written: list[Line] = [
        Opened(timestamp=at(0), agent="ann", conn=name, line=1, start="abc234-0"),
        *told,
        Closed(
            timestamp=at(29), agent="ann", conn=name, line=of, start="abc234-0", reached=cursor, count=count,
            sum=sum(range(1, count + 1)), first="abc234-1", last=cursor, why="drain",
        ),
    ]  # fmt: skip
    return written[-lines:]


def exported(tables: Tables, lines: Sequence[Line], out: Path) -> tuple[str, list[str]]:
    """The verdict on an export, and the notes in it."""
    window = Window(since=NOON - timedelta(hours=2), until=NOON, clock_slack_s=5.0)
    asyncio.run(export(tables, gathered(lines), DEPLOYMENT, window, out))
    [witness] = [one for one in read_history(out).records if isinstance(one, Witness)]
    return judge(out).verdict, [note for note in witness.notes if "left out" in note]


def test_all_is_there(tmp_path: Path) -> None:
    """The measure of the others: whole, and nothing ahead of the table."""
    lines = [*connection("r.1", reached=3, count=3), *connection("r.2", reached=3, count=3)]
    assert exported(Written(1, 2, 3), lines, tmp_path / "history.jsonl") == ("held", [])


def test_lines_are_missing(tmp_path: Path) -> None:
    """A notice that a collector lost would be a silence, or its end the whole story."""
    lines = [
        *connection("r.1", reached=3, count=3),
        *connection("r.2", reached=3, count=2, lines=1),
        *connection("r.3", reached=3, count=2, lines=2, of=3),
    ]
    verdict, notes = exported(Written(1, 2, 3), lines, tmp_path / "history.jsonl")
    assert (verdict, notes) == ("held", ["Connections left out, because the logs lack lines of them: 2."])


@pytest.mark.parametrize("sent", ["counted", "logged", "told"])
def test_what_is_not_stored_yet(sent: str, tmp_path: Path) -> None:
    """Where sessions read the stream or Redis, pg-writer may be behind them: nothing of that is a stranger's event."""
    lines = connection("r.1", reached=3, count=3)
    more: dict[str, list[Line]] = {
        "counted": connection("r.2", reached=4, count=4),
        "logged": [
            Opened(timestamp=at(0), agent="ann", conn="r.2", line=1, start="abc234-3"),
            SentCursors(timestamp=at(5), agent="ann", conn="r.2", line=2, cursors=("abc234-4",)),
            Closed(
                timestamp=at(6), agent="ann", conn="r.2", line=3, start="abc234-3", reached=None, count=1, sum=4,
                first="abc234-4", last="abc234-4", why="drain",
            ),
        ],
        "told": [
            Told(
                timestamp=at(5), agent="ann", conn=None, notice="gone", via="status", reason="expired",
                cursor="abc234-3", critical="abc234-4",
            )
        ],
    }  # fmt: skip
    verdict, [note] = exported(Written(1, 2, 3), [*lines, *more[sent]], tmp_path / "history.jsonl")
    assert verdict == "held"
    assert note.startswith("Connections left out, because they were sent what pg-writer had not stored yet: 1.")


def test_what_was_told_before_it_was_stored(tmp_path: Path) -> None:
    """Redis let an event go before pg-writer, away for longer than retention, had stored it: nobody knows its age."""
    told = Told(
        timestamp=at(1), agent="ann", conn=None, notice="gone", via="status", reason="expired", cursor="abc234-1",
        critical="abc234-3",
    )  # fmt: skip
    lines = [*connection("r.1", reached=3, count=3), told]
    assert exported(Written(1, 2, 3), lines, tmp_path / "history.jsonl") == ("held", [])
