"""Breaking a long correct history in a known number of places, each of a known class.

A place is chosen only where one thing can be said of it, whatever the checkers think: an event that its agent received
once, young, and was led past on the same connection at once; a notice that alone speaks of what it speaks of.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from reports.bench.source import ALL_AGENTS, CRITICAL, CRITICAL_MS, EPOCH, MS_NS, SLACK_MS, STANDARD, STANDARD_MS
from reports.checkers.findings import Kind
from reports.history import Bookmark, Deliver, Gap, Gone, Publish, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A history with what must be found in it, no more and no less."""

    records: list[Record]
    expected: Counter[Kind]


def seq_of(cursor: str) -> int:
    """The sequence of a cursor."""
    return int(cursor.removeprefix(f"{EPOCH}-"))


class Mutator:
    """Breaks one history; the places of different kinds never touch."""

    def __init__(self, records: Sequence[Record], seed: int) -> None:
        self._records = records
        self._random = random.Random(seed)
        self._sent_ns: dict[str, int] = {}
        self._received: Counter[tuple[str, str]] = Counter()
        self._received_last: dict[tuple[str, str], int] = {}
        self._next_on_conn: dict[int, int] = {}
        self._is_first: set[int] = set()
        self._used: set[int] = set()
        self._replaced: dict[int, list[Record]] = {}
        self.expected: Counter[Kind] = Counter()
        self._look()

    def _look(self) -> None:
        last: dict[tuple[str, str], int] = {}
        seen: set[str] = set()
        for place, record in enumerate(self._records):
            if isinstance(record, Publish):
                self._sent_ns.setdefault(record.id, record.t_ns)
            elif isinstance(record, Deliver | Bookmark):
                conn = record.agent, record.conn
                if conn in last:
                    self._next_on_conn[last[conn]] = place
                last[conn] = place
                if isinstance(record, Deliver):
                    self._received[record.agent, record.id] += 1
                    self._received_last[record.agent, record.id] = place
                    if record.agent not in seen:
                        self._is_first.add(place)
                        seen.add(record.agent)

    def lose(self, count: int) -> None:
        """Deliveries that never were."""
        for place in self._chosen(count, lambda place, record: self._is_once(record) and self._is_young(record)):
            self._replaced[place] = []
            self.expected[Kind.LOST_MIDDLE] += 1

    def repeat(self, count: int) -> None:
        """Deliveries that come twice."""
        for place in self._chosen(count, lambda place, record: True):
            self._replaced[place] = [self._records[place]] * 2
            self.expected[Kind.DUPLICATE] += 1

    def swap(self, count: int) -> None:
        """Deliveries that come after the one behind them, on one connection."""

        def is_followed(place: int, record: Deliver) -> bool:
            following = self._next_on_conn[place]
            other = self._records[following]
            return isinstance(other, Deliver) and self._is_once(record) and following not in self._used

        for place in self._chosen(count, is_followed):
            following = self._next_on_conn[place]
            first, second = self._records[place], self._records[following]
            assert isinstance(first, Deliver)
            assert isinstance(second, Deliver)
            self._used.add(following)
            self._replaced[place] = [msgspec.structs.replace(second, t_ns=first.t_ns)]
            self._replaced[following] = [msgspec.structs.replace(first, t_ns=second.t_ns)]
            self.expected[Kind.OUT_OF_ORDER] += 1

    def misdirect(self, count: int) -> None:
        """Events of other agents, each behind a delivery, at a place of its own."""
        foreign = [record for record in self._records if isinstance(record, Deliver) and record.addressee != ALL_AGENTS]
        for place in self._chosen(count, lambda place, record: True):
            record = self._records[place]
            assert isinstance(record, Deliver)
            others = self._random.choice(foreign)
            while others.agent == record.agent:
                others = self._random.choice(foreign)
            wrong = msgspec.structs.replace(others, agent=record.agent, conn=record.conn, t_ns=record.t_ns)
            self._replaced[place] = [record, wrong]
            self.expected[Kind.FOREIGN] += 1

    def invent(self, count: int) -> None:
        """Events that nobody published, each behind a delivery, at a sequence that is free."""
        free: set[str] = set()

        def is_free(place: int, record: Deliver) -> bool:
            free_before = len(free)
            free.add(record.cursor)
            return len(free) > free_before

        for number, place in enumerate(self._chosen(count, is_free)):
            record = self._records[place]
            assert isinstance(record, Deliver)
            cursor = f"{EPOCH}-{seq_of(record.cursor) + 1}"
            wrong = msgspec.structs.replace(record, id=f"invented-{number}", cursor=cursor)
            self._replaced[place] = [record, wrong]
            self.expected[Kind.PHANTOM] += 1

    def hush(self, count: int) -> None:
        """Gaps that are not told; what each alone speaks of is passed over in silence."""
        spoken = self._spoken_by_gap()
        places = [place for place, alone in spoken.items() if alone]
        for place in self._random.sample(places, min(count, len(places))):
            self._used.add(place)
            self._replaced[place] = []
            self.expected[Kind.SILENT_GAP] += spoken[place]

    def broken(self) -> Broken:
        """The history with all of that."""
        records = [new for place, record in enumerate(self._records) for new in self._replaced.get(place, (record,))]
        return Broken(records=records, expected=self.expected)

    def _chosen(self, count: int, fits: Callable[[int, Deliver], bool]) -> list[int]:
        """Deliveries, not an agent's first, with something behind them at once; far from one another."""
        found: list[int] = []
        places = [place for place in self._next_on_conn if isinstance(self._records[place], Deliver)]
        self._random.shuffle(places)
        for place in places:
            if len(found) == count:
                break
            record = self._records[place]
            assert isinstance(record, Deliver)
            around = {place, self._next_on_conn[place]}
            if place in self._is_first or around & self._used or not fits(place, record):
                continue
            found.append(place)
            self._used |= around
        assert len(found) == count, f"expected {count} places to break, found {len(found)}"
        return found

    def _is_once(self, record: Deliver) -> bool:
        return self._received[record.agent, record.id] == 1

    def _is_young(self, record: Deliver) -> bool:
        kept_ms = CRITICAL_MS if record.type == CRITICAL else STANDARD_MS
        return record.t_ns - self._sent_ns[record.id] < (kept_ms - 2 * SLACK_MS) * MS_NS

    def _spoken_by_gap(self) -> dict[int, int]:
        """How many events each gap speaks of, that no other notice of its agent does; 0 if some are shared."""
        events: dict[str, list[tuple[int, str]]] = {}
        stored: dict[str, Publish] = {record.id: record for record in self._records if isinstance(record, Publish)}
        for publish in stored.values():
            if publish.type == STANDARD:
                # ids are numbered as their sequences are
                events.setdefault(publish.agent, []).append((2 * int(publish.id.removeprefix("event-")), publish.id))
        told: Counter[tuple[str, str]] = Counter()
        by_gap: dict[int, list[tuple[str, str]]] = {}
        for place, record in enumerate(self._records):
            if not isinstance(record, Gap | Gone) or record.floors.standard is None:
                continue
            low, high = 0 if record.cursor is None else seq_of(record.cursor), seq_of(record.floors.standard)
            both = events.get(record.agent, []) + events.get(ALL_AGENTS, [])
            speaks = [(record.agent, event_id) for seq, event_id in both if low < seq <= high]
            # an agent may have read it and crashed before it saved that: it is owed again
            missing = [one for one in speaks if self._received_last.get(one, 0) < place]
            told.update(set(missing))
            if isinstance(record, Gap):
                by_gap[place] = missing
        return {
            place: len(missing) if all(told[one] == 1 for one in missing) else 0 for place, missing in by_gap.items()
        }
