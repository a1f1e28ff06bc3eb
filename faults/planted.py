"""Known ways to lose, repeat or hush up events, planted into a relay from outside, to prove the judge.

`python -m faults.planted NAME serve` is `meshrelay serve` with one line of the relay broken. `system/` knows nothing
of it. Each bug names what a run with it must be found guilty of; a judge that acquits one is blind.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from system import database, places, sql, stream, tail, writer
from system.cursor import Position, ordinal_of, pack
from system.hub import Hub, Released
from system.session import Floors, Page
from system.stream_session import StreamSession


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedBug:
    """One way to break the relay."""

    name: str
    what: str
    guarantees: frozenset[str]
    """Guarantees of which at least one must be found violated."""
    apply: Callable[[], None]


def _replace(owner: Any, name: str, value: Any) -> None:
    """Put `value` in the place of a part of the relay, which must be there: a plant that misses proves nothing."""
    assert hasattr(owner, name), f"expected {owner!r} to have {name}; the relay has changed, plant the bug anew"
    _undo.append((owner, name, getattr(owner, name)))
    setattr(owner, name, value)


_undo: list[tuple[Any, str, Any]] = []


@contextmanager
def planted(name: str) -> Iterator[PlantedBug]:
    """Break the relay of this process for the length of a `with`. Raises KeyError for a bug that is not known."""
    bug = PLANTED[name]
    begun = len(_undo)
    try:
        bug.apply()
        yield bug
    finally:
        while len(_undo) > begun:
            owner, attribute, value = _undo.pop()
            setattr(owner, attribute, value)


def _ack_before_commit() -> None:
    """Acknowledge on arrival, and trust the consumer to bring again what was not acknowledged."""
    write = writer.Writer._write

    async def ack_first(self: Any, connection: Any, place: Any, arrived: Any) -> Any:
        if arrived:
            # the ack that should follow the commit, and the time in which a crash loses the batch
            await connection.nc.publish(_last_reply[0], b"")
            await asyncio.sleep(0.3)
        return await write(self, connection, place, arrived)

    _last_reply = [""]
    read = writer.Writer._read

    def keep_reply(self: Any, message: Any) -> Any:
        _last_reply[0] = message.reply
        return read(self, message)

    def trusting(watermark_seq: int, incoming: Any) -> Any:
        return [message for message in incoming if message.seq > watermark_seq], None

    async def nothing_to_fill(js: Any, name: str, **options: Any) -> int:
        await ensure(js, name, **options)
        return 0

    ensure = stream.ensure_consumer
    _replace(writer.Writer, "_write", ack_first)
    _replace(writer.Writer, "_read", keep_reply)
    _replace(writer, "contiguous", trusting)
    _replace(writer, "ensure_consumer", nothing_to_fill)


def _live_before_replay_ended() -> None:
    """Join the hub at once, wherever the replay stands."""

    def covers(self: Hub, position: Position) -> bool:
        return self.start is not None

    def since(self: Hub, agent: str, position: Position) -> list[Released]:
        return []

    join = StreamSession._join

    def joins_at_once(self: StreamSession) -> bool:
        self._whole = True
        return join(self)

    _replace(Hub, "covers", covers)
    _replace(Hub, "since", since)
    _replace(StreamSession, "_join", joins_at_once)


def _max_seq_for_watermark() -> None:
    """Release up to the stream's last sequence, whether it is stored yet or not."""
    fetch = database.Database.fetch

    async def ahead(self: Any, statement: str, *args: Any) -> Any:
        rows = await fetch(self, statement, *args)
        if statement is not sql.READ_TAIL or not rows or _link[0] is None:
            return rows
        state = await stream.read_state(_link[0].current().js, args[0])
        highest = pack(ordinal_of(rows[0]["watermark"]), state.last_seq)
        return [_Row(dict(row) | {"watermark": highest}) for row in rows]

    init = tail.Tail.__init__
    _link: list[Any] = [None]

    def keep_link(self: Any, settings: Any, database: Any, link: Any, *rest: Any, **options: Any) -> None:
        _link[0] = link
        init(self, settings, database, link, *rest, **options)

    _replace(tail.Tail, "__init__", keep_link)
    _replace(database.Database, "fetch", ahead)


class _Row(dict[str, Any]):
    """A row that unpacks to its values, as asyncpg's records do."""

    def __iter__(self) -> Any:
        return iter(self.values())


def _floors_not_read_with_page() -> None:
    """Read an agent's floors once and remember them, instead of with every page and opening."""
    seen: dict[str, Floors] = {}
    resolve, read_page = places.Places.resolve, places.Places.read_page

    async def resolve_cached(self: Any, agent: str, wish: str | None) -> Any:
        place = await resolve(self, agent, wish)
        floors = seen.setdefault(agent, place.floors)
        told = floors if place.position == 0 else place.told
        return places.Place(position=place.position, told=told, floors=floors, head=place.head)

    async def page_cached(self: Any, agent: str, after: Position, rows_max: int) -> Page:
        page = await read_page(self, agent, after, rows_max)
        return Page(page.rows, seen.setdefault(agent, page.floors), page.watermark, page.full)

    _replace(places.Places, "resolve", resolve_cached)
    _replace(places.Places, "read_page", page_cached)


def _sweeper_without_floors() -> None:
    """Delete what is past retention and raise no floor."""
    begin, end = sql.SWEEP.index("floors AS ("), sql.SWEEP.index("closed AS (")
    _replace(sql, "SWEEP", sql.SWEEP[:begin] + sql.SWEEP[end:])


def _cursor_inclusive() -> None:
    """Send again what lies at the cursor."""
    assert "(agent, pos) > (" in sql.READ_PAGE
    _replace(sql, "READ_PAGE", sql.READ_PAGE.replace("(agent, pos) > (", "(agent, pos) >= ("))


PLANTED: dict[str, PlantedBug] = {
    bug.name: bug
    for bug in (
        PlantedBug(
            name="ack-before-commit",
            what="pg-writer acknowledges before it commits, and trusts the consumer instead of the watermark",
            guarantees=frozenset({"G1", "G2"}),
            apply=_ack_before_commit,
        ),
        PlantedBug(
            name="live-before-replay-ended",
            what="a session goes live before its replay has reached the window",
            guarantees=frozenset({"G1", "G2"}),
            apply=_live_before_replay_ended,
        ),
        PlantedBug(
            name="max-seq-for-watermark",
            what="the tail releases up to the stream's last sequence instead of the watermark",
            guarantees=frozenset({"G1", "G2"}),
            apply=_max_seq_for_watermark,
        ),
        PlantedBug(
            name="floors-not-read-with-page",
            what="floors are remembered instead of read with the page",
            guarantees=frozenset({"G2"}),
            apply=_floors_not_read_with_page,
        ),
        PlantedBug(
            name="sweeper-without-floors",
            what="the sweeper deletes without raising the floors",
            guarantees=frozenset({"G2"}),
            apply=_sweeper_without_floors,
        ),
        PlantedBug(
            name="cursor-inclusive",
            what="replay begins at the cursor instead of after it",
            guarantees=frozenset({"G3", "G4"}),
            apply=_cursor_inclusive,
        ),
    )
}


def main() -> None:
    """Break the relay as named, then run the command line."""
    name, *rest = sys.argv[1:] or [""]
    if name not in PLANTED:
        sys.exit(f"expected one of {', '.join(sorted(PLANTED))}, got {name!r}")
    PLANTED[name].apply()
    sys.argv[1:] = rest
    import meshrelay

    meshrelay.main()


if __name__ == "__main__":
    main()
