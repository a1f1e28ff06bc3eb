"""An index of one history: what the checkers look up, in columns, built in one pass.

A million deliveries must be judged in a few hundred megabytes, so nothing here holds a record for each: an event is a
row of number columns, an agent's doings are rows of its own log, and a *record index* (the record's place in the
history, from 0) is what leads back to the evidence. The index decides nothing; it refuses only what makes a history
unreadable as one: a missing or second `run`, an acked publish without a cursor, a cursor that is none.

Positions order everything: `epoch ordinal << 48 | sequence`, epochs numbered from 1 in the order in which the relay
first named them in an ack, a delivery or a bookmark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TypeVar, get_args

from reports.decided import Decided
from reports.events import NONE as NONE
from reports.events import Events
from reports.handling import BY_ACK, Handling
from reports.history import (
    Acked,
    Bookmark,
    Connect,
    Connected,
    Deliver,
    Disconnect,
    Epoch,
    Fault,
    Gap,
    Gone,
    Handled,
    HistoryInvalid,
    Invented,
    Phase,
    Process,
    Publish,
    Published,
    Record,
    Run,
    Saved,
    Sent,
    Swept,
    Witness,
    Writer,
    owner_of,
)
from reports.log import Log as Log
from reports.log import Op as Op
from reports.seen import Counts, EpochSeen
from system.cursor import SEQ_BITS, SEQ_MAX, Cursor, CursorMalformed, ordinal_of
from system.event import ALL_AGENTS

T = TypeVar("T", bound=Record)


class Index:
    """The whole history, ready to be judged."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self.names: list[str] = []
        self.types: list[str] = []
        self._name_of: dict[str, int] = {}
        self._type_of: dict[str, int] = {}
        self._is_critical: dict[int, bool] = {}
        self.all_agents = self._name(ALL_AGENTS)
        self.events = Events()
        self.logs: dict[str, Log] = {}
        self.epochs: list[EpochSeen] = []
        """By ordinal, the first being number 1."""
        self._ordinal_of: dict[str, int] = {}
        self.faults: list[tuple[int, Fault]] = []
        self.phases: list[tuple[int, Phase]] = []
        self.writers: list[tuple[int, Writer]] = []
        self.processes: list[tuple[int, Process]] = []
        self.invented: list[tuple[int, Invented]] = []
        self.restored: list[tuple[int, int, int]] = []
        """(event, position, record) of every ack that names another position in the epoch of the event's own."""
        self.sent: list[tuple[int, Sent]] = []
        self.swept_records: list[tuple[int, Swept]] = []
        self.witness = Witness(t_ns=0)
        """What the run saw that no other record says."""
        self.counts = Counts()
        self.handling = Handling(self.events)
        self._saved_max: dict[int, int] = {}
        """By agent, over all its clients."""
        self._take_fault, self._take_phase = _keep_in(self.faults), _keep_in(self.phases)
        self._take_writer, self._take_process = _keep_in(self.writers), _keep_in(self.processes)
        self._take_invented = _keep_in(self.invented)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Index:
        """Index a history.

        Raises HistoryInvalid, naming the record, and whatever reading the records raises.
        """
        index = cls()
        take: dict[type, Callable[[int, Record], None]] = {
            kind: getattr(index, f"_take_{kind.__name__.lower()}") for kind in _KINDS
        }
        counts = index.counts
        for number, record in enumerate(records):
            take[type(record)](number, record)
            if record.t_ns > counts.last_ns:
                counts.last_ns = record.t_ns
            counts.records += 1
        return index

    @property
    def run(self) -> Run:
        """What was asked of the run. Raises HistoryInvalid if the history doesn't say."""
        if self._run is None:
            raise HistoryInvalid("expected a 'run' record, got a history without one; write it first")
        return self._run

    def phase_ns(self, name: str) -> int | None:
        """When the run last entered a phase."""
        return next((phase.t_ns for _, phase in reversed(self.phases) if phase.name == name), None)

    def position_of(self, text: str | None) -> int | None:
        """The position that a client's cursor names; None if it is no cursor or of an epoch that was never seen."""
        try:
            cursor = Cursor.parse(text or "")
        except CursorMalformed:
            return None
        ordinal = self._ordinal_of.get(cursor.epoch)
        return None if ordinal is None else ordinal << SEQ_BITS | cursor.seq

    def cursor_of(self, position: int) -> str:
        """A position as its cursor's text."""
        return f"{self.epochs[(position >> SEQ_BITS) - 1].tag}-{position & SEQ_MAX}"

    def epoch_of(self, position: int) -> EpochSeen:
        """The epoch that a position lies in."""
        return self.epochs[(position >> SEQ_BITS) - 1]

    def is_critical(self, row: int) -> bool:
        """Whether an event's type is of the critical class."""
        kind = self.events.type[row]
        found = self._is_critical.get(kind)
        if found is None:
            found = self._is_critical[kind] = self.types[kind] in self.run.critical_types
        return found

    def retention_ns(self, row: int) -> int:
        """How long an event is to be kept."""
        kept = self.run.retention_ns
        return kept.critical if self.is_critical(row) else kept.standard

    @property
    def agent_count(self) -> int:
        """How many agents took part, whatever the number of their clients."""
        return len({log.name for log in self.logs.values()})

    def is_for(self, row: int, log: Log) -> bool:
        """Whether an event is addressed to an agent, alone or with all."""
        return self.events.addressee[row] in (log.name, self.all_agents)

    def had_left(self, row: int, position: int) -> bool:
        """Whether an event may have been swept, and its id forgotten, before this second place of it was written.

        pg-writer may have been behind for that long, or a publish have waited in a dead connection.
        """
        kept_ns = self.retention_ns(row) - self.run.slack_ns
        return self._decided.by_ns(position) - self.events.first_publish_ns[row] >= kept_ns

    @cached_property
    def _decided(self) -> Decided:
        seen = (Op.DELIVER, Op.BOOKMARK)
        return Decided(
            (log.a[at], log.t_ns[at]) for log in self.logs.values() for at, op in enumerate(log.op) if op in seen
        )

    def swept_to(self, name: int, critical: bool) -> int:
        """Up to where events of a class addressed to an agent, or to all, were deleted before an export, else NONE."""
        own, for_all = self._swept.get((name, critical), NONE), self._swept.get((self.all_agents, critical), NONE)
        return max(own, for_all)

    @cached_property
    def _swept(self) -> dict[tuple[int, bool], int]:
        """By addressee and whether it is critical; a floor of an epoch that nothing else names lies below all."""
        found: dict[tuple[int, bool], int] = {}
        for _, record in self.swept_records:
            for critical, text in ((True, record.floors.critical), (False, record.floors.standard)):
                position = self.position_of(text)
                if position is not None:
                    key = (self._name_of[record.agent], critical)
                    found[key] = max(position, found.get(key, NONE))
        return found

    # One method a kind of record

    def _take_run(self, number: int, record: Run) -> None:
        if self._run is not None:
            raise HistoryInvalid(f"record {number}: expected one 'run' record, got a second; one file holds one run")
        self._run = record

    def _take_publish(self, number: int, record: Publish) -> None:
        events = self.events
        row = events.row(record.id, self._type(record.type), self._name(record.agent))
        if events.attempts[row] == 0:
            events.first_publish_ns[row] = record.t_ns
            events.publish_record[row] = number
            # a delivery may stand before it in the file: what the publisher says is the truth
            events.type[row], events.addressee[row] = self._type(record.type), self._name(record.agent)
        elif self._run is not None:
            self._note_repeat(row, record.t_ns - events.first_publish_ns[row], self._run)
        events.attempts[row] += 1
        self.handling.published(row, record)
        self.counts.publish_attempts += 1

    def _note_repeat(self, row: int, after_ns: int, run: Run) -> None:
        if run.dedupe_window_ns is not None and after_ns >= run.dedupe_window_ns:
            self.events.forgotten[row] = True
        if after_ns >= self.retention_ns(row) - run.slack_ns:
            self.events.forgotten[row] = self.events.renewed[row] = True

    def _take_published(self, number: int, record: Published) -> None:
        counts, events = self.counts, self.events
        counts.published[record.outcome] += 1
        counts.duplicates_answered += record.duplicate
        row = events.row_of.get(record.id)
        if row is None:
            raise HistoryInvalid(f"record {number}: expected a 'publish' of {record.id!r} before its 'published'")
        if record.outcome == "refused":
            events.refused[row] += 1
        if record.outcome != "acked":
            if events.attempts[row] == 1:
                events.failed_first[row] = True
            return
        if record.cursor is None:
            raise HistoryInvalid(f"record {number}: expected a cursor in an acked 'published', got none")
        position = self._learned(number, record.cursor, record.t_ns)
        epoch = self.epoch_of(position)
        epoch.last_publish_ns = max(epoch.last_publish_ns, events.first_publish_ns[row])
        known = events.position[row]
        if known == NONE:
            events.position[row] = position
            if events.attempts[row] > 1:  # an attempt without an answer may have been stored
                self._is_forgotten(row, record)
        elif known != position and ordinal_of(known) == ordinal_of(position) and not self._is_forgotten(row, record):
            self.restored.append((row, position, number))
        if events.acked_ns[row] == NONE:
            events.acked_ns[row] = record.t_ns
            events.acked_record[row] = number

    def _is_forgotten(self, row: int, record: Published) -> bool:
        """Whether the stream may have forgotten the id when it stored what this ack is for, which may be just now."""
        self._note_repeat(row, record.t_ns - self.events.first_publish_ns[row], self.run)
        return bool(self.events.forgotten[row])

    def _take_connect(self, number: int, record: Connect) -> None:
        log = self._log(record.agent)
        self.handling.connecting(self.position_of(record.cursor), record, number)
        if record.cursor not in BY_ACK:
            self._note_saved(log.name, self.position_of(record.cursor))  # its client may have died before it said so
        elif self._run is not None and self._run.tells_handled:
            log.acked_max[len(log.op)] = self._saved_max.get(log.name, NONE)
        log.add(Op.CONNECT, number, record.t_ns, record.conn, log.note(record))

    def _note_saved(self, name: int, position: int | None) -> None:
        if position is not None:
            self._saved_max[name] = max(position, self._saved_max.get(name, NONE))

    def _take_connected(self, number: int, record: Connected) -> None:
        status = NONE if record.status is None else record.status
        log = self._log(record.agent)
        log.add(Op.CONNECTED, number, record.t_ns, record.conn, status)
        if record.token_ends_ns is not None:
            log.token_ends_ns[log.number_of(record.conn)] = record.token_ends_ns

    def _take_deliver(self, number: int, record: Deliver) -> None:
        position = self._learned(number, record.cursor, record.t_ns)
        addressee = self._name(record.addressee)
        events = self.events
        row = events.row(record.id, self._type(record.type), addressee)
        known = events.position[row]
        is_elsewhere = events.forgotten[row] or ordinal_of(known) != ordinal_of(position)
        if known == NONE or (not events.delivered[row] and is_elsewhere):
            events.position[row] = position
        events.delivered[row] = True
        self._log(record.agent).add(Op.DELIVER, number, record.t_ns, record.conn, position, row, addressee)
        self.counts.deliveries += 1
        if self._run is not None and self._run.tells_handled:
            self.handling.delivered(row, position, record, number)

    def _take_bookmark(self, number: int, record: Bookmark) -> None:
        position = self._learned(number, record.cursor, record.t_ns)
        epoch, log = self.epoch_of(position), self._log(record.agent)
        if not log.is_choosy:
            epoch.last_bookmark_ns = max(epoch.last_bookmark_ns, record.t_ns)
        log.add(Op.BOOKMARK, number, record.t_ns, record.conn, position)

    def _take_gap(self, number: int, record: Gap | Gone) -> None:
        log = self._log(record.agent)
        log.add(Op.NOTICE, number, record.t_ns, record.conn, log.note(record))
        self.handling.told(record)

    _take_gone = _take_gap

    def _take_disconnect(self, number: int, record: Disconnect) -> None:
        self._log(record.agent).add(Op.DISCONNECT, number, record.t_ns, record.conn)

    def _take_handled(self, number: int, record: Handled) -> None:
        self.handling.handled(record, number)

    def _take_saved(self, number: int, record: Saved) -> None:
        self.counts.saved += 1
        position = self.position_of(record.cursor)
        self._note_saved(self._name(owner_of(record.agent)), position)
        self.handling.saved(position, record, number)

    def _take_acked(self, number: int, record: Acked) -> None:
        position = self.position_of(record.cursor)
        self._log(record.agent).add(Op.ACKED, number, record.t_ns, "", NONE if position is None else position)

    def _take_sent(self, number: int, record: Sent) -> None:
        for text in (record.start, record.reached, record.first, record.last):
            if text is not None:
                self._learned(number, text, record.t_ns)
        if not (record.count >= 0 and 0 <= record.sum <= SEQ_MAX):
            raise HistoryInvalid(
                f"record {number}: expected a count from 0 and a sum from 0 to 2^48 - 1 in a 'sent', got "
                f"{record.count} and {record.sum}"
            )
        if (record.count == 0) != (record.first is None or record.last is None):
            raise HistoryInvalid(
                f"record {number}: expected 'first' and 'last' in a 'sent' if and only if its count is above 0"
            )
        self._log(record.agent)
        self.sent.append((number, record))
        self.counts.sent += record.count

    def _take_swept(self, number: int, record: Swept) -> None:
        self._name(record.agent)
        self.swept_records.append((number, record))

    def _take_epoch(self, number: int, record: Epoch) -> None:
        self._learned(number, f"{record.tag}-0", record.t_ns)

    def _take_witness(self, number: int, record: Witness) -> None:
        self.witness = record

    def _learned(self, number: int, text: str, t_ns: int) -> int:
        """The position of a cursor that the relay gave out, its epoch noted."""
        tag, _, digits = text.partition("-")
        ordinal = self._ordinal_of.get(tag)
        if ordinal is not None and _PLAIN_SEQ.fullmatch(digits):
            position = ordinal << SEQ_BITS | int(digits)
        else:
            position = self._parsed(number, text, t_ns)
        epoch = self.epochs[(position >> SEQ_BITS) - 1]
        if position > epoch.position_max:
            epoch.position_max = position
        return position

    def _parsed(self, number: int, text: str, t_ns: int) -> int:
        """The position of a cursor that is not of the usual kind: of a new epoch, or none."""
        try:
            cursor = Cursor.parse(text)
        except CursorMalformed as error:
            raise HistoryInvalid(f"record {number}: {error}") from None
        ordinal = self._ordinal_of.get(cursor.epoch)
        if ordinal is None:
            self.epochs.append(EpochSeen(cursor.epoch, t_ns))
            ordinal = self._ordinal_of[cursor.epoch] = len(self.epochs)
        return ordinal << SEQ_BITS | cursor.seq

    def _log(self, agent: str) -> Log:
        log = self.logs.get(agent)
        if log is None:
            log = self.logs[agent] = Log(agent, self._name(owner_of(agent)))
        return log

    def _name(self, name: str) -> int:
        number = self._name_of.get(name)
        if number is None:
            number = self._name_of[name] = len(self.names)
            self.names.append(name)
        return number

    def _type(self, event_type: str) -> int:
        number = self._type_of.get(event_type)
        if number is None:
            number = self._type_of[event_type] = len(self.types)
            self.types.append(event_type)
        return number


def _keep_in(kept: list[tuple[int, T]]) -> Callable[[int, T], None]:
    """Takes records of a kind as they are."""
    return lambda number, record: kept.append((number, record))


_PLAIN_SEQ = re.compile(r"[1-9][0-9]{0,13}", re.ASCII)
"""Sequences that need no further look: a million cursors are read for a million deliveries."""
_KINDS: tuple[type[Record], ...] = get_args(Record)
