"""Whatever correct behaviour is generated has no findings; broken in one known way, it has exactly that one."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reports.checkers.findings import Kind
from reports.history import Bookmark, Connect, Deliver, Gap, Gone, Publish, Record
from reports.index import Index
from tests.reports.model import AGENTS, CRITICAL_S, STANDARD_S, Model, Step
from tests.reports.story import CRITICAL, kinds_of

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "publish", "publish", "connect", "read", "read", "save", "leave", "wait", "away"]),
        st.integers(0, len(AGENTS) - 1),
        st.floats(0, 10, allow_nan=False),
    ),
    min_size=5,
    max_size=60,
)
LOST = {Kind.LOST_PREFIX, Kind.LOST_MIDDLE, Kind.LOST_TAIL}

relaxed = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much]
)
Pick = Callable[[list[int]], int]


def played(steps: list[Step]) -> list[Record]:
    """The history of a correct relay under these steps."""
    return Model().play(steps).records


def chosen(data: st.DataObject, places: list[int]) -> int:
    """One of these places, if there is one."""
    assume(places)
    return data.draw(st.sampled_from(places))


def followed_on_its_connection(records: list[Record], place: int) -> bool:
    """Whether the agent was led past a delivery at once: by the next thing that its connection brought."""
    this = records[place]
    assert isinstance(this, Deliver)
    for record in records[place + 1 :]:
        if isinstance(record, (Deliver, Bookmark)) and record.agent == this.agent:
            return record.conn == this.conn and record.cursor != this.cursor
        if getattr(record, "agent", None) == this.agent and getattr(record, "conn", None) == this.conn:
            return False  # a notice or the end came first
    return False


def young_at(records: list[Record], place: int, margin_s: float = 1.5) -> bool:
    """Whether the delivered event was well within its retention when it came."""
    this = records[place]
    assert isinstance(this, Deliver)
    sent_ns = next(r.t_ns for r in records if isinstance(r, Publish) and r.id == this.id)
    kept_s = CRITICAL_S if this.type == CRITICAL else STANDARD_S
    return this.t_ns - sent_ns < (kept_s - margin_s) * 1e9


def with_cursor(records: list[Record]) -> set[str]:
    """The connections that began at a cursor: to others, what may have expired before they began needs no telling."""
    return {r.conn for r in records if isinstance(r, Connect) and r.cursor not in (None, "earliest")}


def as_gap(record: Record) -> Record:
    """A loss notice as a gap notice with the same floors."""
    if not isinstance(record, Gone):
        return record
    return Gap(t_ns=record.t_ns, agent=record.agent, conn=record.conn, cursor=record.cursor, floors=record.floors)


def deliveries(records: list[Record]) -> list[int]:
    """Where the deliveries stand."""
    return [place for place, record in enumerate(records) if isinstance(record, Deliver)]


@given(STEPS)
@settings(relaxed, max_examples=200)
def test_a_correct_relay_has_no_findings(steps: list[Step]) -> None:
    """However agents crash, stay away and come back, a relay that keeps its promises is not accused."""
    assert kinds_of(played(steps)) == []


@given(STEPS, st.data())
@relaxed
def test_a_delivery_removed_is_one_loss(steps: list[Step], data: st.DataObject) -> None:
    """An event that comes no more, while young, is exactly one lost event, whatever else happened."""
    records = played(steps)
    place = chosen(
        data, [p for p in deliveries(records) if followed_on_its_connection(records, p) and young_at(records, p)]
    )
    gone = records[place]
    assert isinstance(gone, Deliver)
    later = [r for r in records[place + 1 :] if isinstance(r, Deliver) and (r.agent, r.id) == (gone.agent, gone.id)]
    kinds = kinds_of([record for record in records if record is not gone and record not in later])
    assert len(kinds) == 1
    assert kinds[0] in LOST


@given(STEPS, st.data())
@relaxed
def test_a_delivery_repeated_is_one_duplicate(steps: list[Step], data: st.DataObject) -> None:
    """The same delivery twice on one connection is exactly one duplicate."""
    records = played(steps)
    place = chosen(data, deliveries(records))
    assert kinds_of([*records[: place + 1], *records[place:]]) == [Kind.DUPLICATE]


@given(STEPS, st.data())
@relaxed
def test_two_neighbours_swapped_are_out_of_order(steps: list[Step], data: st.DataObject) -> None:
    """Two deliveries that follow each other on a connection, swapped, are exactly one out of order."""
    records = played(steps)
    pairs = []
    for place in deliveries(records)[:-1]:
        one, two = records[place], records[place + 1]
        if isinstance(one, Deliver) and isinstance(two, Deliver) and one.conn == two.conn:
            pairs.append(place)
    place = chosen(data, pairs)
    swapped = [*records[:place], records[place + 1], records[place], *records[place + 2 :]]
    assert kinds_of(swapped) == [Kind.OUT_OF_ORDER]


@given(STEPS, st.data())
@relaxed
def test_another_agents_event_is_one_foreign(steps: list[Step], data: st.DataObject) -> None:
    """An event that one agent got, shown to the other, is exactly one foreign delivery."""
    records = played(steps)
    own = [p for p in deliveries(records) if getattr(records[p], "addressee", "") in AGENTS]
    others = [
        p
        for p in own
        if any(isinstance(r, Deliver) and r.agent != getattr(records[p], "agent", "") for r in records[:p])
    ]
    place = chosen(data, others)
    this = records[place]
    assert isinstance(this, Deliver)
    carrier = next(r for r in reversed(records[:place]) if isinstance(r, Deliver) and r.agent != this.agent)
    intruder = msgspec.structs.replace(this, agent=carrier.agent, conn=carrier.conn)
    assert kinds_of([*records[: place + 1], intruder, *records[place + 1 :]]) == [Kind.FOREIGN]


@given(STEPS, st.data())
@relaxed
def test_an_invented_event_is_one_phantom(steps: list[Step], data: st.DataObject) -> None:
    """A delivery of something that nobody published is exactly one phantom."""
    records = played(steps)
    place = chosen(data, deliveries(records))
    this = records[place]
    assert isinstance(this, Deliver)
    ghost = msgspec.structs.replace(this, id="ghost", cursor="aaaaaa-99999")
    assert kinds_of([*records[: place + 1], ghost, *records[place + 1 :]]) == [Kind.PHANTOM]


@given(STEPS, st.data())
@relaxed
def test_all_notices_removed_is_silence(steps: list[Step], data: st.DataObject) -> None:
    """Without its notices every agent that came back with a cursor has a silent gap, and there is nothing else."""
    records = played(steps)
    from_cursor = with_cursor(records)
    assume(any(isinstance(r, (Gap, Gone)) and r.conn in from_cursor for r in records))
    kinds = kinds_of([record for record in records if not isinstance(record, (Gap, Gone))])
    assert kinds
    assert set(kinds) == {Kind.SILENT_GAP}


@given(STEPS, st.data())
@relaxed
def test_a_loss_told_as_a_gap_is_the_wrong_class(steps: list[Step], data: st.DataObject) -> None:
    """Every loss notice turned into a gap is the wrong class for what critical events it spoke of, and nothing else."""
    records = played(steps)
    losses = {record.conn for record in records if isinstance(record, Gone)}
    assume(losses and losses <= with_cursor(records))
    kinds = kinds_of([as_gap(record) for record in records])
    assert kinds
    assert set(kinds) == {Kind.WRONG_NOTICE_CLASS}


@given(STEPS, st.data())
@relaxed
def test_a_gap_told_as_a_loss_is_a_false_410(steps: list[Step], data: st.DataObject) -> None:
    """One gap notice turned into a loss notice is exactly one false 410, unless a real loss was told as well."""
    records = played(steps)
    bereaved = {r.agent for r in records if isinstance(r, Gone)}
    place = chosen(data, [p for p, r in enumerate(records) if isinstance(r, Gap) and r.agent not in bereaved])
    gap = records[place]
    assert isinstance(gap, Gap)
    gone = Gone(
        t_ns=gap.t_ns,
        agent=gap.agent,
        conn=gap.conn,
        cursor=gap.cursor,
        reason="expired",
        via="event",
        floors=gap.floors,
    )
    assert kinds_of([*records[:place], gone, *records[place + 1 :]]) == [Kind.FALSE_410]


@given(STEPS, st.data())
@relaxed
def test_a_cursor_that_brings_itself_back_is_replayed(steps: list[Step], data: st.DataObject) -> None:
    """An event brought back first thing by the connection that presented its cursor is exactly one replay."""
    records = played(steps)
    delivered = {(r.agent, r.cursor): r for r in records if isinstance(r, Deliver)}
    opened = [
        p
        for p, r in enumerate(records)
        if isinstance(r, Connect) and (r.agent, r.cursor) in delivered and getattr(records[p + 1], "status", 0) == 200
    ]
    place = chosen(data, opened)
    connect = records[place]
    assert isinstance(connect, Connect)
    this = delivered[connect.agent, str(connect.cursor)]
    again = msgspec.structs.replace(this, t_ns=records[place + 1].t_ns, conn=connect.conn)
    assert kinds_of([*records[: place + 2], again, *records[place + 2 :]]) == [Kind.REPLAYED]


@given(STEPS)
@relaxed
def test_the_order_of_agents_does_not_matter(steps: list[Step]) -> None:
    """Records of different agents may interleave in any way: only each agent's own order counts."""
    records = played(steps)
    doings = [r for r in records if hasattr(r, "agent") and not isinstance(r, Publish)]
    others = [r for r in records if r not in doings]
    by_agent = sorted(doings, key=lambda record: str(getattr(record, "agent", "")))
    assert kinds_of([*others, *by_agent]) == []
    assert Index.of(records).counts.deliveries == len(deliveries(records))
