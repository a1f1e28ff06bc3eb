"""Which faults were played on what, while agents were doing what; and which never were. Pure.

A fault counts once it was shown to be effective. What agents were doing is looked up just before it was asked for: by
the time its effect is proved, whoever it hit has noticed.

| phase | |
|---|---|
| `nobody` | no client had a stream |
| `replay` | of the clients that had one, one had not got what was acknowledged before it came, or a second ago |
| `live` | they all had |
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from reports.checkers.owed import by_addressee
from reports.history import Connect, Fault
from reports.index import NONE, Index, Log, Op

LIVE_NS = 1_000_000_000
"""An event that is no older than this may still be on its way to a client that is live."""
KEY_MARK = "|"
Met = tuple[str, str, str]
"""Kind of fault, link or process, phase."""


def covered(index: Index) -> Counter[Met]:
    """How often each kind of fault took effect on each target in each phase."""
    faults = _effective(index)
    if not faults:
        return Counter()
    times_ns = [t_ns for t_ns, _ in faults]
    acked = {name: _Acked(index, rows) for name, rows in by_addressee(index).items()}
    streaming, behind = [False] * len(faults), [False] * len(faults)
    for log in index.logs.values():
        owed = [acked[name] for name in (log.name, index.all_agents) if name in acked]
        for place, is_behind in _seen_at(index, log, times_ns, owed):
            streaming[place] = True
            behind[place] |= is_behind
    return Counter(
        (fault.what, fault.target, "replay" if behind[place] else "live" if streaming[place] else "nobody")
        for place, (_, fault) in enumerate(faults)
    )


def keyed(met: Mapping[Met, int]) -> dict[str, int]:
    """As a flat object with keys `kind|target|phase`, sorted: what travels, and can be added up."""
    return {KEY_MARK.join(key): count for key, count in sorted(met.items())}


def unkeyed(flat: Mapping[str, int]) -> Counter[Met]:
    """What `keyed` made flat. Raises ValueError for a key that it never makes."""
    found: Counter[Met] = Counter()
    for key, count in flat.items():
        kind, target, phase = key.split(KEY_MARK)
        found[kind, target, phase] += count
    return found


def never_met(met: Iterable[Met], pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The (kind, target) pairs that can be played and never took effect, in their order."""
    there = {(kind, target) for kind, target, _ in met}
    return [pair for pair in pairs if pair not in there]


class _Acked:
    """How far what was acknowledged to one addressee had got, by time."""

    def __init__(self, index: Index, owed: Iterable[tuple[int, int]]) -> None:
        both = sorted((index.events.acked_ns[row], position) for position, row in owed)
        self._times_ns = [t_ns for t_ns, _ in both]
        self._reached: list[int] = []
        for _, position in both:
            self._reached.append(max(position, self._reached[-1] if self._reached else NONE))

    def before(self, t_ns: int) -> int:
        """The highest position acknowledged before a time; NONE without any."""
        count = bisect_left(self._times_ns, t_ns)
        return self._reached[count - 1] if count else NONE


def _effective(index: Index) -> list[tuple[int, Fault]]:
    """The faults that took effect, each with the time at which it was asked for, by that time."""
    asked_ns: dict[str, int] = {}
    found: dict[str, tuple[int, Fault]] = {}
    for _, fault in index.faults:
        if fault.phase == "asked":
            asked_ns[fault.fault] = fault.t_ns
        elif fault.phase == "effective":
            found[fault.fault] = asked_ns.get(fault.fault, fault.t_ns), fault
    return sorted(found.values(), key=lambda one: one[0])


def _seen_at(index: Index, log: Log, times_ns: Sequence[int], owed: Sequence[_Acked]) -> Iterable[tuple[int, bool]]:
    """The places of those times at which a client had a stream, with whether it was behind then."""
    row, rows = 0, len(log.op)
    reach, opened_ns, conn = NONE, NONE, NONE
    presented: dict[int, int] = {}
    for place, t_ns in enumerate(times_ns):
        while row < rows and log.t_ns[row] < t_ns:
            op, at = log.op[row], log.a[row]
            if op == Op.CONNECT:
                presented[log.conn[row]] = _beginning(index, log, at, owed)
            elif op == Op.CONNECTED and at == 200:
                conn, opened_ns = log.conn[row], log.t_ns[row]
                reach = presented.get(conn, NONE)
            elif op == Op.DISCONNECT and log.conn[row] == conn:
                conn = NONE
            elif op in (Op.DELIVER, Op.BOOKMARK):
                reach = max(reach, at)
            row += 1
        if conn != NONE:
            due_ns = max(opened_ns, t_ns - LIVE_NS)
            yield place, any(one.before(due_ns) > reach for one in owed)


def _beginning(index: Index, log: Log, note: int, owed: Sequence[_Acked]) -> int:
    """Where a connection begins: at its cursor, or at the end of what there was for one that wants no past."""
    connect = log.notes[note]
    assert isinstance(connect, Connect)
    if connect.cursor == "now":
        return max((one.before(connect.t_ns) for one in owed), default=NONE)
    position = index.position_of(connect.cursor)
    return NONE if position is None else position
