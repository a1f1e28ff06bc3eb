"""Programs written by hand: each statement that the model knows, with effect, and what random programs rarely meet."""

from __future__ import annotations

import math
from typing import Any

from faults.planted import texts
from sim.postgres import statements_migrate as migrate
from system import sql
from system.migrate import LOCK_KEY, migrations
from tests.sim.postgres.arms import LAST, Action, Kind

BASE = 1 << 48
S = "MESH_EVENTS"
FAR_S = 1_000.0
NO_EVENTS: list[list[Any]] = [[]] * 6


def run(session: int, text: str, *args: Any) -> Action:
    """A statement."""
    return Action(session=session, text=text, args=args)


def write(
    session: int,
    before: int,
    *events: tuple[Any, ...],
    fence: int = 1,
    dead: tuple[tuple[Any, ...], ...] = (),
    text: str = sql.WRITE_BATCH,
    limit_s: float = FAR_S,
    stream: str = S,
) -> Action:
    """A batch of (sequence, agent, class, id, type), and of dead letters (sequence, payload)."""
    rows = [(str(BASE + seq), agent, kind, one, type_, f"{{{one}}}") for seq, agent, kind, one, type_ in events]
    letters = [(str(BASE + seq), str(BASE + seq), "invalid", "why", None, payload) for seq, payload in dead]
    after = max([before, *(one[0] for one in (*events, *dead))])
    columns = [[list(one) for one in zip(*some, strict=True)] if some else NO_EVENTS for some in (rows, letters)]
    values = (stream, fence, BASE + before, BASE + after, *columns[0], *columns[1], 7, FAR_S, limit_s)
    return Action(session=session, text=text, args=values)


OPENING = [run(0, sql.INIT_STATE, S, "tag", "created", 0), run(0, sql.TAKE_LEASE, S, "me", FAR_S)]
FOUR_EVENTS = [
    write(0, 0, (1, "ann", "1", "a", "task.assigned"), (2, "_all", "2", "b", "note"), limit_s=-FAR_S),
    write(0, 2, (3, "bob", "2", "c", "note"), (4, "ann", "2", "d", "note"), dead=((5, "AAE="), (6, None))),
]

MIGRATION = [
    run(0, migrate.READ_APPLIED),
    run(1, sql.READ_EPOCHS),
    run(1, migrations()[1][2]),
    run(1, migrations()[2][2]),
    run(0, "BEGIN"),
    run(0, migrate.LOCK, LOCK_KEY),
    run(0, migrate.CREATE_OWN),
    run(0, migrate.READ_APPLIED),
    run(1, "BEGIN"),
    run(1, migrate.LOCK, LOCK_KEY),
    *(
        action
        for number, name, text in migrations()
        for action in (run(0, text), run(0, migrate.NOTE_APPLIED, number, name))
    ),
    run(0, "COMMIT"),
    run(1, migrate.CREATE_OWN),
    run(1, migrate.READ_APPLIED),
    run(1, migrate.LOCK, LOCK_KEY),
    run(1, "COMMIT"),
    run(1, migrate.NOTE_APPLIED, 1, "again"),
    run(1, migrations()[0][2]),
    run(1, migrate.RESET),
]
"""Of an empty database: one replica migrates it while another waits, and finds it done."""

READING = [
    run(0, sql.READ_STATE, S),
    run(0, sql.READ_EPOCHS),
    run(0, sql.READ_LEASE, S),
    run(0, sql.READ_STORED_MANY, ["d", "nobody's", "a", None, "a"]),
    run(0, sql.READ_STORED, "c"),
    run(0, sql.READ_TAIL, S, BASE + 1, 2, 9_999),
    run(0, sql.READ_TAIL, S, BASE, 9, 9_999),
    run(0, sql.READ_TAIL, S, BASE, 9, 1),
    run(0, sql.READ_TAIL, S, BASE, 9, len("{a}") + 1),
    run(0, sql.READ_TAIL, S, BASE, 9, 0),
    run(0, sql.READ_TAIL, S, BASE, 0, 9_999),
    run(0, sql.READ_RETAINED, S, BASE, 2),
    run(0, sql.READ_RETAINED, S, 0, 50),
    run(0, sql.READ_RETAINED, "OTHER", 0, 50),
    run(0, sql.READ_PLACE, S, "ann"),
    run(0, sql.READ_PAGE, S, "ann", BASE, 9),
    run(0, sql.READ_PAGE, S, "ann", BASE, 2),
    run(0, sql.READ_PAGE, S, "_all", BASE, 9),
    run(0, sql.READ_OVERDUE, 3, 9),
    run(0, sql.READ_SAFETY),
    run(0, texts.PAGE_FROM_CURSOR, S, "ann", BASE + 1, 9),
    run(0, texts.PAGE_WITH_OWN_FLOORS, S, "ann", BASE, 9),
    run(0, texts.PLACE_WITH_OWN_FLOORS, S, "ann"),
    run(0, sql.READ_STATE, "OTHER"),
    run(0, sql.READ_LEASE, "OTHER"),
    run(0, sql.READ_GROUND, "OTHER", "ann"),
    run(0, sql.READ_GROUND, S, "ann"),
    run(0, sql.READ_CLOCK),
    run(0, sql.READ_KEPT, [str(BASE + 4), str(BASE + 1), None, str(BASE + 5), str(BASE + 1)]),
    run(0, sql.READ_TAIL, "OTHER", BASE, 9, 9_999),
    run(0, sql.READ_PLACE, "OTHER", "ann"),
    run(0, sql.READ_PAGE, "OTHER", "ann", BASE, 9),
    run(0, sql.READ_STORED, "nobody's"),
]

NULLS = [
    run(1, "BEGIN"),
    run(1, migrate.LOCK, None),
    run(0, migrate.LOCK, None),
    run(0, sql.NOTE_SWEPT, None, None),
    run(0, sql.INIT_STATE, None, "t", "created", 0),
    run(0, sql.INIT_STATE, "OTHER", "t", "created", None),
    run(0, sql.TAKE_LEASE, S, None, FAR_S / 2),
    run(0, sql.TAKE_LEASE, S, "me", None),
    run(0, sql.TAKE_LEASE, S, None, FAR_S),
    run(0, sql.RENEW_LEASE, S, None, FAR_S),
    run(0, sql.RENEW_LEASE, S, 1, None),
    run(0, sql.READ_TAIL, S, None, None, None),
    run(0, sql.READ_TAIL, S, None, 0, None),
    run(0, sql.READ_TAIL, S, None, 9, 9_999),
    run(0, sql.READ_TAIL, S, BASE, None, 9_999),
    run(0, sql.READ_TAIL, S, BASE, 9, None),
    run(0, sql.READ_RETAINED, S, None, 9),
    run(0, sql.READ_RETAINED, S, BASE, None),
    run(0, sql.READ_PAGE, S, None, BASE, 9),
    run(0, sql.READ_PAGE, S, "ann", None, 9),
    run(0, sql.READ_PAGE, S, "ann", BASE, None),
    run(0, sql.READ_PAGE, S, "ann", BASE, -1),
    run(0, sql.READ_OVERDUE, None, 9),
    run(0, sql.READ_OVERDUE, 9, None),
    run(0, sql.SWEEP, S, None, -FAR_S, 9, None),
    run(0, sql.SWEEP, S, 1, None, 9, None),
    run(0, sql.SWEEP, None, 1, -FAR_S, None, None),
    run(0, sql.STORE_ACK, S, None, BASE + 1),
    run(0, sql.STORE_ACK, S, "ann", None),
    run(0, sql.MARK_REDISPATCHED, BASE + 1, None, 1.0),
    run(0, sql.MARK_REDISPATCHED, BASE + 1, 1, None),
    run(0, sql.PRUNE_DEAD_LETTERS, None),
    run(0, sql.READ_STORED_MANY, None),
    run(0, sql.READ_KEPT, None),
    run(0, sql.TELL_BY_TABLE, S, 1, None),
    run(0, texts.RAISE_FLOOR, "ann", 1, None),
    write(0, 6, (7, None, "1", "e", "note")),
    write(0, 6, (7, "ann", None, "e", "note")),
    write(0, 6, (7, "ann", "x", "e", "note")),
    write(0, 6, (7, "ann", "99999", "e", "note")),
    write(0, 6, (7, "ann", " +1\n", "e", None), dead=((8, "not base64"),)),
    write(0, 6, dead=((7, "AAE"),)),
    write(0, 6, dead=((7, "A A\nE="),)),
]

KEEPING = [
    run(0, sql.STORE_ACK, S, "ann", BASE + 1),
    run(0, sql.STORE_ACK, S, "ann", BASE),
    run(0, sql.STORE_ACK, S, "ann", BASE + 99),
    run(0, sql.STORE_ACK, S, "ann", (2 << 48) + 1),
    run(0, sql.STORE_ACK, "OTHER", "ann", BASE + 1),
    run(0, sql.SWEEP, S, 2, -FAR_S, 1, None),
    run(0, sql.SWEEP, S, 2, -FAR_S, 9, LAST),
    write(0, 6, (7, "ann", "2", "e", "note"), (8, "ann", "1", "f", "task.assigned"), limit_s=-FAR_S),
    write(0, 8, (9, "ann", "1", "g", "task.assigned"), limit_s=-FAR_S),
    run(0, sql.READ_OVERDUE, 9, 1),
    run(0, sql.SWEEP, S, 2, -FAR_S, 9, LAST),
    run(0, sql.SWEEP, S, 1, FAR_S, 9, None),
    run(0, sql.READ_PLACE, S, "ann"),
    run(0, sql.READ_PLACE, S, "bob"),
    run(0, sql.READ_PAGE, S, "bob", BASE, 9),
    run(0, texts.PAGE_WITH_OWN_FLOORS, S, "bob", BASE, 9),
    run(0, texts.PLACE_WITH_OWN_FLOORS, S, "ann"),
    run(0, texts.RAISE_FLOOR, "ann", 1, 7),
    run(0, texts.RAISE_FLOOR, "ann", 1, 3),
    run(0, sql.NOTE_SWEPT, S, LAST),
    run(0, sql.READ_GROUND, S, "ann"),
    run(0, sql.NOTE_SWEPT, "OTHER", LAST),
    run(0, sql.TELL_BY_TABLE, S, 1, 7),
    run(0, sql.TELL_BY_TABLE, S, 1, 3),
    run(0, sql.TELL_BY_TABLE, S, 9, 8),
    run(0, sql.NOTE_SWEPT, S, None),
    run(0, sql.READ_GROUND, S, "bob"),
    run(0, sql.PRUNE_DEAD_LETTERS, FAR_S),
    run(0, sql.PRUNE_DEAD_LETTERS, -FAR_S),
]

PLANTED_SWEEPS = [
    run(0, texts.SWEEP_NAMING_FLOORS, S, 2, -FAR_S, 2, None),
    run(0, texts.SWEEP_NAMING_FLOORS, S, 2, FAR_S, 9, None),
    run(0, texts.SWEEP_WITHOUT_FLOORS, S, 1, -FAR_S, 9, None),
    run(0, sql.READ_PLACE, S, "ann"),
    write(0, 3, (7, "ann", "2", "e", "note"), fence=9, text=texts.WRITE_UNFENCED),
]

LEADING = [
    run(1, sql.TAKE_LEASE, S, "you", FAR_S),
    run(0, sql.RENEW_LEASE, S, 1, FAR_S),
    run(0, sql.RENEW_LEASE, S, 9, FAR_S),
    run(0, sql.RELEASE_LEASE, S, "nobody", None),
    run(0, sql.RELEASE_LEASE, S, "me", 9),
    run(0, sql.RELEASE_LEASE, S, "me", 1),
    run(0, sql.RENEW_LEASE, S, 1, FAR_S),
    run(1, sql.READ_LEASE, S),
    run(1, sql.TAKE_LEASE, S, "you", FAR_S),
    run(0, sql.MARK_REDISPATCHED, BASE + 1, 1, -1.0),
    run(0, sql.MARK_REDISPATCHED, BASE + 1, 1, -1.0),
    run(0, sql.READ_OVERDUE, 2, 9),
    run(1, sql.NEW_EPOCH, S, 1, "t2", "why", "created", 0, 4),
    run(1, sql.NEW_EPOCH, S, 3, "tag", "why", "created", 0, 4),
    run(1, sql.NEW_EPOCH, S, 3, "t2", "why", "created", 0, 4),
    run(1, sql.READ_STATE, S),
    run(1, sql.NEW_EPOCH, S, 3, "t3", "why", "other", 0, 4),
    run(1, sql.READ_STATE, S),
    run(1, sql.LOST_EPOCH, S, 3, 4 << 48, "t4", "lost", 0, 9),
    run(1, sql.LOST_EPOCH, S, 3, (3 << 48) + 1, "t4", "lost", 1, 9),
    run(1, sql.LOST_EPOCH, S, 2, 3 << 48, "t4", "lost", 0, 9),
    run(1, sql.LOST_EPOCH, S, 3, 3 << 48, "t4", "lost", 0, 9),
    run(1, sql.READ_STATE, S),
    run(1, sql.READ_EPOCHS),
    run(1, sql.INIT_STATE, "OTHER", "t2", "created", 0),
    write(0, 0, (9, "ann", "1", "z", "note")),
]

WAITING = [
    run(0, "BEGIN"),
    write(0, 6, (7, "ann", "1", "e", "task.assigned")),
    write(1, 6, (7, "bob", "1", "f", "note")),
    run(2, sql.READ_STATE, S),
    run(2, sql.READ_PAGE, S, "ann", BASE, 9),
    run(0, "COMMIT"),
    run(0, "BEGIN"),
    run(0, sql.MARK_REDISPATCHED, BASE + 7, 1, 1.0),
    run(1, sql.STORE_ACK, S, "ann", BASE + 7),
    run(0, "COMMIT"),
    run(0, "BEGIN"),
    run(0, sql.SWEEP, S, 1, -FAR_S, 9, None),
    run(1, sql.SWEEP, S, 1, -FAR_S, 9, None),
    run(0, "ROLLBACK"),
    run(0, "BEGIN"),
    run(0, sql.STORE_ACK, S, "ann", BASE + 2),
    run(1, sql.STORE_ACK, S, "ann", BASE + 3),
    run(0, "COMMIT"),
    run(0, "BEGIN"),
    run(0, sql.RENEW_LEASE, S, 1, FAR_S),
    run(1, sql.RENEW_LEASE, S, 1, None),
    run(1, sql.RENEW_LEASE, S, 1, -1e12),
    run(1, sql.RELEASE_LEASE, S, "me", None),
    Action(session=1, kind=Kind.CANCEL),
    run(1, sql.READ_STATE, S),
    run(1, sql.RELEASE_LEASE, S, "me", None),
    run(0, "COMMIT"),
    run(0, "BEGIN"),
    run(0, sql.TAKE_LEASE, S, "me", FAR_S),
    run(1, sql.NEW_EPOCH, S, 2, "t2", "why", "created", 0, 4),
    run(0, "COMMIT"),
    run(1, sql.READ_EPOCHS),
    run(0, "BEGIN"),
    run(0, sql.RENEW_LEASE, S, 3, FAR_S),
    run(1, sql.NEW_EPOCH, S, 3, "t2", "why", "created", 0, 4),
    run(0, "COMMIT"),
    run(1, sql.READ_EPOCHS),
    run(1, sql.READ_STATE, S),
    run(0, "BEGIN"),
    run(0, migrate.LOCK, LOCK_KEY),
    run(1, migrate.LOCK, LOCK_KEY),
    run(0, "COMMIT"),
]
"""A second writer, sweeper, ack and leader wait for the first, and look again; one gives up."""

CHECKED = [
    run(0, sql.PRUNE_DEAD_LETTERS, math.nan),
    run(0, sql.NEW_EPOCH, S, 1, "t2", "why", "created", (1 << 63) - 1, 4),
    run(0, sql.INIT_STATE, "OTHER", "t", "created", (1 << 63) - 1),
    run(0, "BEGIN"),
    run(0, sql.NEW_EPOCH, S, 1, "t2", "why", "created", 0, 4),
    run(1, sql.NEW_EPOCH, S, 1, "t3", "why", "created", 0, 4),
    run(0, "ROLLBACK"),
]

ABANDONED = [
    run(0, "BEGIN"),
    run(0, sql.RENEW_LEASE, S, 1, FAR_S),
    write(1, 6, (7, "ann", "1", "e", "note")),
    Action(session=1, kind=Kind.DROP),
    run(0, "COMMIT"),
    run(0, sql.READ_STORED, "e"),
    run(0, "BEGIN"),
    run(0, sql.RENEW_LEASE, S, 1, FAR_S),
    write(1, 7, (8, "ann", "1", "f", "note")),
    Action(session=1, kind=Kind.TERMINATE),
    run(0, "COMMIT"),
    run(0, sql.READ_STORED, "f"),
]
"""Who waits and whose client is gone writes all the same; who is terminated does not."""

CLOCK = [
    run(0, "BEGIN"),
    run(0, sql.TAKE_LEASE, S, "me", 0.0),
    run(0, sql.READ_LEASE, S),
    run(0, sql.TAKE_LEASE, S, "you", FAR_S),
    run(0, sql.RENEW_LEASE, S, 1, FAR_S),
    run(0, sql.TAKE_LEASE, S, "you", FAR_S / 2),
    run(0, sql.TAKE_LEASE, S, "you", FAR_S / 2.1),
    run(0, sql.TAKE_LEASE, S, "me", FAR_S),
    run(0, sql.MARK_REDISPATCHED, BASE + 1, 1, 0.0),
    run(0, sql.READ_OVERDUE, 9, 9),
    run(0, "COMMIT"),
]
"""A lease and a limit of no length do not pass within their transaction."""

REPEATS = [
    write(0, 6, (7, "ann", "1", "a", "note")),
    write(0, 6, (7, "ann", "1", "e", "note"), (8, "bob", "1", "e", "note")),
    write(0, 6, (1, "ann", "1", "e", "note")),
    run(1, sql.INIT_STATE, "OTHER", "t", "created", 0),
    run(1, sql.TAKE_LEASE, "OTHER", "you", FAR_S),
    run(0, "BEGIN"),
    write(0, 6, (7, "ann", "1", "e", "note")),
    write(1, 0, (70, "bob", "1", "e", "note"), stream="OTHER"),
    run(0, "ROLLBACK"),
    run(0, "BEGIN"),
    write(0, 6, (7, "ann", "1", "f", "note")),
    write(1, 70, (71, "bob", "1", "f", "note"), stream="OTHER"),
    run(0, "COMMIT"),
    run(0, sql.READ_STORED_MANY, ["a", "e", "f"]),
]
"""An id that is stored, twice in a batch, a position that is stored, and an id that another writer is storing."""

DEADLOCK = [
    run(0, "BEGIN"),
    run(1, "BEGIN"),
    run(0, sql.RENEW_LEASE, S, 1, FAR_S),
    run(1, sql.SWEEP, S, 1, -FAR_S, 9, None),
    run(0, sql.SWEEP, S, 1, -FAR_S, 9, None),
    run(1, sql.RENEW_LEASE, S, 1, FAR_S),
    run(2, "BEGIN"),
    run(2, migrate.LOCK, 1),
    run(2, "SAVEPOINT a"),
    run(2, sql.STORE_ACK, S, "bob", BASE + 3),
    run(2, "ROLLBACK TO a"),
    run(2, sql.READ_PLACE, S, "bob"),
    run(2, sql.STORE_ACK, S, "bob", BASE + 3),
    Action(session=2, kind=Kind.DROP),
    run(2, migrate.LOCK, 1),
    run(2, sql.READ_PLACE, S, "bob"),
]
"""The leader's statement and a sweep, each in a block with the other; then who is dropped leaves nothing."""

STORIES: dict[str, list[Action]] = {
    "reading": [*OPENING, *FOUR_EVENTS, *READING],
    "nulls": [*OPENING, *FOUR_EVENTS, *NULLS],
    "keeping": [*OPENING, *FOUR_EVENTS, *KEEPING],
    "planted sweeps": [*OPENING, *FOUR_EVENTS, *PLANTED_SWEEPS],
    "leading": [*OPENING, *FOUR_EVENTS, *LEADING],
    "waiting": [*OPENING, *FOUR_EVENTS, *WAITING],
    "abandoned": [*OPENING, *FOUR_EVENTS, *ABANDONED],
    "clock": [*OPENING, *FOUR_EVENTS, *CLOCK],
    "repeats": [*OPENING, *FOUR_EVENTS, *REPEATS],
    "deadlock": [*OPENING, *FOUR_EVENTS, *DEADLOCK],
    "checked": [*OPENING, *CHECKED],
}
"""By name, for a database that is migrated and empty."""
SESSIONS = 3
