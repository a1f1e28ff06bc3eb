"""Following one agent through its connections: what it was owed, led past, given wrongly, and told.

**Owed.** Only an acknowledged event is owed, to the agent it is addressed to (or all), at the position of its ack. A
connection presented with cursor *c* is owed everything behind *c*, whatever the agent received before: it may have
crashed between reading an event and saving its cursor, so redelivery is legitimate and its absence is not.

**Led past.** Not having an event is no fault of the relay while it may still come. It becomes one when the agent is
led past it: by a delivery further on, by a bookmark, by presenting a later cursor, by a notice that it is gone, or by
the end of a run that says it has converged. The first such moment since the event was last received is kept; a
delivery later takes it back (and is out of order if it was a delivery or bookmark that had led past it). What an
agent never reconnected for, and what was published after its last connection, was never led past.

**Where a connection begins**, if not at a cursor: `earliest` owes what had not expired when it was answered, untold;
`acked` (and none) begins at an ack that may be later than the last *confirmed* one, so only what lies behind all that
can have been acknowledged is owed for certain: what the agent's clients have saved, or, where the history does not tell
that, everything the agent has seen; `now` owes what was published after the answer. As soon as the first delivery shows
where the connection really began, everything behind that is owed.

Everything is done in one pass over the agent's log; the checkers share its result.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable

from reports.checkers.chain import Chain, How, Misplaced, NoticeSeen, Passed, Standing
from reports.checkers.findings import Kind
from reports.checkers.owed import Owed, OwedOf, asked_for, is_young
from reports.checkers.told import explain, read_notice, spoken_of
from reports.history import Connect
from reports.index import NONE, Index, Log
from system.cursor import ordinal_of


def chains_of(index: Index) -> list[Chain]:
    """Every agent's chain, by name."""
    owed_of = OwedOf(index)
    return [Follower(index, index.logs[agent], owed_of(index.logs[agent])).follow() for agent in sorted(index.logs)]


class Follower:
    """Follows one agent's log to its end."""

    def __init__(self, index: Index, log: Log, owed: Owed) -> None:
        self._index = index
        self._events = index.events
        self._log = log
        self._owed = asked_for(index, log, owed)
        self._slack_ns = index.run.slack_ns
        self._standings: list[Standing] = []
        self._by_number: dict[int, Standing] = {}
        self._passed: dict[int, Passed] = {}
        self._misplaced: list[Misplaced] = []
        self._notices: list[NoticeSeen] = []
        self._acked = NONE
        self._seen = NONE
        self._first = self._last = NONE
        self._healed_ns = index.phase_ns("healed")
        self._due = self._due_by(self._healed_ns)
        self._caught_up_ns: int | None = None

    def follow(self) -> Chain:
        """Follow it."""
        log = self._log
        take = self._TAKE
        healed_ns = self._healed_ns
        for row in range(len(log.op)):
            t_ns = log.t_ns[row]
            take[log.op[row]](self, row, t_ns)
            if healed_ns is not None and t_ns >= healed_ns:
                self._note_progress(t_ns)
        self._end()
        return self._chain()

    # One method a kind of row

    def _connect(self, row: int, t_ns: int) -> None:
        note = self._log.notes[self._log.a[row]]
        assert isinstance(note, Connect)
        previous = self._standings[-1] if self._standings else None
        standing = self._begin(note, row, t_ns)
        self._standings.append(standing)
        self._by_number[standing.number] = standing
        if previous is not None and standing.start > self._seen:  # else it has had them, or was led past them before
            previous.next = max(previous.next, bisect_right(self._owed.positions, self._seen))
            self._pass(previous, standing.next, row, t_ns, How.PRESENTED)

    def _begin(self, note: Connect, row: int, t_ns: int) -> Standing:
        """A connection at its start: where it may begin and what it owes."""
        number, record = self._log.conn[row], self._log.record[row]
        positions = self._owed.positions
        standing = Standing(number, note.cursor, t_ns, record, NONE, 0, NONE, False, None)
        if note.cursor == "now":
            standing.next, standing.loose = len(positions), True
        elif note.cursor in (None, "acked") and (self._acked, self._seen) != (NONE, NONE):
            standing.start = standing.reach = self._acked
            acked_max = self._log.acked_max.get(row, self._seen)
            standing.next = bisect_right(positions, max(self._acked, acked_max))
            standing.loose = True
            standing.excused_ns = t_ns if self._acked == NONE else None
        elif note.cursor in (None, "acked", "earliest"):
            standing.excused_ns = t_ns
        else:
            position = self._index.position_of(note.cursor)
            if position is None:
                standing.next, standing.loose, standing.foreign = len(positions), True, True
            else:
                standing.start = standing.reach = position
                standing.next = bisect_right(positions, position)
                standing.knows = ordinal_of(self._index.position_of(note.told) or 0)
        return standing

    def _connected(self, row: int, t_ns: int) -> None:
        standing = self._standing(row, t_ns)
        standing.status = self._log.a[row]
        if standing.status == 200:
            standing.opened_ns = t_ns
            if standing.excused_ns is not None:
                # when in between the relay looked is not known: a request may be on its way for long
                standing.excused_ns = t_ns
            if standing.presented == "now":
                standing.next = bisect_right(self._owed.published_before, t_ns)

    def _deliver(self, row: int, t_ns: int) -> None:
        log = self._log
        position, event = log.a[row], log.b[row]
        standing = self._heard(row, t_ns)
        standing.deliveries += 1
        if -1 < self._events.first_publish_ns[event] < standing.connect_ns:
            standing.replayed += 1
        kind = self._intruder(event, log.c[row])
        if kind is not None:
            self._misplace(kind, row, t_ns, NONE)
            return
        if self._events.position[event] != position and not self._is_anew(event, position):
            self._misplace(Kind.DUPLICATE_STORAGE, row, t_ns, self._events.acked_record[event])
        if position <= standing.reach:
            self._again(standing, row, t_ns)
            return
        standing.delivered.append(position)
        standing.delivered_by.append(log.record[row])
        self._advance(standing, row, t_ns)
        standing.reach = position
        self._seen = max(self._seen, position)
        self._first = position if self._first == NONE else min(self._first, position)
        self._last = max(self._last, position)

    def _arrived(self, event: int, position: int) -> Passed | None:
        """What an agent was led past and receives after all; an event with a second place stays gone from its first."""
        late = self._passed.get(event)
        if late is None or (late.position != position and self._is_anew(event, position)):
            return None
        return self._passed.pop(event)

    def _is_anew(self, event: int, position: int) -> bool:
        """Whether the event had a right to a second place."""
        return bool(self._events.renewed[event]) or self._index.had_left(event, position)

    def _advance(self, standing: Standing, row: int, t_ns: int) -> None:
        """Take a delivery that lies further on than everything before it on its connection."""
        owed, number = self._owed, standing.next
        position, event = self._log.a[row], self._log.b[row]
        if standing.loose:
            standing.loose = False
            number = standing.next = min(number, bisect_left(owed.positions, position))
        if number < len(owed.events) and owed.events[number] == event and owed.positions[number] == position:
            standing.next = number + 1
        else:
            self._pass(standing, bisect_left(owed.positions, position), row, t_ns, How.DELIVERY)
            end = bisect_right(owed.positions, position)
            self._pass(standing, end, row, t_ns, How.DELIVERY, but=event)
        late = self._arrived(event, position) if self._passed else None
        if late is not None and late.position == position and late.how in (How.DELIVERY, How.BOOKMARK):
            self._misplace(Kind.OUT_OF_ORDER, row, t_ns, late.record)

    def _again(self, standing: Standing, row: int, t_ns: int) -> None:
        """Take a delivery at or before something that its connection has got to already."""
        position = self._log.a[row]
        place = bisect_left(standing.delivered, position)
        if position <= standing.start:
            self._misplace(Kind.REPLAYED, row, t_ns, standing.connect_record)
        elif place < len(standing.delivered) and standing.delivered[place] == position:
            self._misplace(Kind.DUPLICATE, row, t_ns, standing.delivered_by[place])
        else:
            standing.delivered.insert(place, position)
            standing.delivered_by.insert(place, self._log.record[row])
            late = self._arrived(self._log.b[row], position)
            self._misplace(Kind.OUT_OF_ORDER, row, t_ns, NONE if late is None else late.record)

    def _bookmark(self, row: int, t_ns: int) -> None:
        position = self._log.a[row]
        standing = self._heard(row, t_ns)
        if position < standing.reach:
            self._misplace(Kind.OUT_OF_ORDER, row, t_ns, standing.connect_record)
            return
        standing.reach = position
        self._seen = max(self._seen, position)
        self._pass(standing, bisect_right(self._owed.positions, position), row, t_ns, How.BOOKMARK)

    def _notice(self, row: int, t_ns: int) -> None:
        note = self._log.notes[self._log.a[row]]
        assert not isinstance(note, Connect)
        standing = self._standing(row, t_ns)
        notice = read_notice(
            self._index, note, record=self._log.record[row], conn=standing.number, reach=standing.reach
        )
        self._notices.append(notice)
        if standing.told is None or standing.told.is_expiry:  # what is said of the cursor itself outweighs the rest
            standing.told = notice
        if notice.is_expiry:
            for place in spoken_of(self._index, self._owed, notice):
                event = self._owed.events[place]
                if event not in self._passed:
                    self._passed[event] = self._passing(place, row, t_ns, How.TOLD)

    def _disconnect(self, row: int, t_ns: int) -> None:
        standing = self._standing(row, t_ns)
        standing.closed_ns = t_ns
        standing.delivered = standing.delivered_by = array("q")

    def _ack(self, row: int, t_ns: int) -> None:
        self._acked = max(self._acked, self._log.a[row])

    _TAKE: tuple[Callable[[Follower, int, int], None], ...] = (
        _connect,
        _connected,
        _deliver,
        _bookmark,
        _notice,
        _disconnect,
        _ack,
    )
    """By Op."""

    # Helpers

    def _standing(self, row: int, t_ns: int) -> Standing:
        number = self._log.conn[row]
        standing = self._by_number.get(number)
        if standing is None:  # the history does not show its beginning: nothing is known of where it began
            standing = Standing(
                number, None, t_ns, self._log.record[row], NONE, len(self._owed.positions), NONE, True, None
            )
            self._standings.append(standing)
            self._by_number[number] = standing
        return standing

    def _heard(self, row: int, t_ns: int) -> Standing:
        """The connection of a delivery or bookmark; at the first, its cursor counts as accepted."""
        standing = self._standing(row, t_ns)
        if not standing.heard:
            standing.heard = True
            if standing.opened_ns is None:
                standing.opened_ns = t_ns
            if self._should_be_refused(standing):
                self._misplace(Kind.CURSOR_ACCEPTED, row, t_ns, standing.connect_record)
            if standing.told is not None and not standing.told.is_expiry:  # what it has had may come again
                standing.start = standing.reach = NONE
                standing.excused_ns = standing.told.t_ns
        return standing

    def _should_be_refused(self, standing: Standing) -> bool:
        """Whether the presented cursor certainly meant nothing in the stream as it was."""
        index = self._index
        if standing.told is not None and not standing.told.is_expiry:
            return False
        if standing.foreign:
            return True
        if standing.presented in (None, "earliest", "acked", "now") or standing.start == NONE:
            return False
        newer = index.epochs[max(ordinal_of(standing.start), standing.knows) :]
        if any(epoch.first_ns < standing.connect_ns - self._slack_ns for epoch in newer):
            return True
        return standing.start > index.epoch_of(standing.start).position_max and not index.counts.published["unknown"]

    def _intruder(self, event: int, addressee: int) -> Kind | None:
        """Why the agent should never have received this event, if it should not."""
        events, index = self._events, self._index
        if addressee not in (self._log.name, index.all_agents):
            return Kind.FOREIGN
        if events.is_published(event):
            if not index.is_for(event, self._log):
                return Kind.FOREIGN
            refused = not events.is_acked(event) and not events.is_unknown(event)
            return Kind.PHANTOM if refused else None
        original, mark, count = events.ids[event].rpartition("~r")
        row = events.row_of.get(original) if mark and count.isdigit() else None
        if row is None or not events.is_published(row):
            return Kind.PHANTOM
        return None if index.is_for(row, self._log) else Kind.FOREIGN  # a reminder is for whom the assignment was

    def _pass(self, standing: Standing, end: int, row: int, t_ns: int, how: How, but: int = NONE) -> None:
        """The agent is led past everything owed up to a place, `but` the event that it is given there."""
        events, excused_ns = self._owed.events, standing.excused_ns
        for place in range(standing.next, end):
            event = events[place]
            if event == but or event in self._passed:
                continue
            if excused_ns is not None and not is_young(self._index, event, excused_ns):
                continue
            self._passed[event] = self._passing(place, row, t_ns, how)
        standing.next = max(standing.next, end)

    def _passing(self, place: int, row: int, t_ns: int, how: How) -> Passed:
        log = self._log
        return Passed(
            event=self._owed.events[place],
            position=self._owed.positions[place],
            t_ns=t_ns,
            record=log.record[row],
            conn=log.conn[row],
            how=how,
        )

    def _misplace(self, kind: Kind, row: int, t_ns: int, other_record: int) -> None:
        log = self._log
        self._misplaced.append(
            Misplaced(
                kind=kind,
                event=log.b[row],
                position=log.a[row],
                t_ns=t_ns,
                record=log.record[row],
                other_record=other_record,
                conn=log.conn[row],
            )
        )

    # The end

    def _due_by(self, t_ns: int | None) -> int:
        """How many of the owed must be behind the agent once everything acknowledged by then is."""
        if t_ns is None:
            return 0
        acked_ns = self._events.acked_ns
        return max((place + 1 for place, e in enumerate(self._owed.events) if acked_ns[e] <= t_ns), default=0)

    def _note_progress(self, t_ns: int) -> None:
        if self._standings and self._standings[-1].next >= self._due:
            self._caught_up_ns = t_ns if self._caught_up_ns is None else self._caught_up_ns
        else:
            self._caught_up_ns = None

    def _end(self) -> None:
        """If the run says that it has converged, an agent connected then was led past all that was due to it."""
        converged_ns, healed_ns = self._index.phase_ns("converged"), self._healed_ns
        if converged_ns is None or not self._standings:
            return
        last = self._standings[-1]
        if not _is_open_at(last, converged_ns):
            return
        until_ns = max(converged_ns - self._slack_ns, NONE if healed_ns is None else healed_ns)
        record = next(number for number, phase in reversed(self._index.phases) if phase.name == "converged")
        for place in range(last.next, len(self._owed.events)):
            event = self._owed.events[place]
            excused = last.excused_ns is not None and not is_young(self._index, event, last.excused_ns)
            if self._events.acked_ns[event] <= until_ns and event not in self._passed and not excused:
                self._passed[event] = Passed(
                    event=event,
                    position=self._owed.positions[place],
                    t_ns=converged_ns,
                    record=record,
                    conn=last.number,
                    how=How.END,
                )

    def _chain(self) -> Chain:
        passed = sorted(self._passed.values(), key=lambda one: one.position)
        for notice in self._notices:
            if notice.is_expiry:
                explain(self._index, self._owed, notice, self._passed, passed)
        healed_ns = self._healed_ns
        last = self._standings[-1] if self._standings else None
        in_progress = healed_ns is not None and last is not None and (last.closed_ns or healed_ns) >= healed_ns
        behind = []
        if healed_ns is not None and last is not None:
            acked_ns = self._events.acked_ns
            rest = self._owed.events[last.next :]
            behind = [event for event in rest if acked_ns[event] <= healed_ns and event not in self._passed]
        return Chain(
            log=self._log,
            owed=len(self._owed.events),
            passed=passed,
            misplaced=self._misplaced,
            notices=self._notices,
            connections=self._standings,
            by_number=self._by_number,
            first_received=self._first,
            last_received=self._last,
            behind=behind,
            in_progress=in_progress,
            caught_up_ns=self._caught_up_ns,
        )


def _is_open_at(standing: Standing, t_ns: int) -> bool:
    opened = standing.opened_ns is not None and standing.opened_ns <= t_ns
    return opened and (standing.closed_ns is None or standing.closed_ns > t_ns)
