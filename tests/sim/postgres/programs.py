"""Random programs over every statement of the relay, on three sessions with transaction blocks and savepoints."""

from __future__ import annotations

import base64
import math
import random
from collections.abc import Sequence
from typing import Any

from faults.planted import texts
from sim.postgres import statements_migrate
from sim.postgres.statements import REGISTRY
from system import sql
from tests.sim.postgres.arms import LAST, Action, Answers, Kind

BASE = 1 << 48
STREAM = "MESH_EVENTS"
SESSIONS = 3
STEPS = 30
AGENTS = ("ann", "bob", "_all")
FAR_S = 1_000.0
"""Longer than any test: what lies so far ahead never comes, what is so old was long ago."""

SWEEPS = sql.SWEEP, texts.SWEEP_WITHOUT_FLOORS, texts.SWEEP_NAMING_FLOORS
PAGES = sql.READ_PAGE, texts.PAGE_FROM_CURSOR, texts.PAGE_WITH_OWN_FLOORS
PLACES = sql.READ_PLACE, texts.PLACE_WITH_OWN_FLOORS
WRITES = sql.WRITE_BATCH, texts.WRITE_UNFENCED
EXTREMES: dict[str, tuple[Any, ...]] = {
    "int2": (-(1 << 15), (1 << 15) - 1, 0),
    "int4": (-(1 << 31), (1 << 31) - 1, -1),
    "int8": (-(1 << 63), (1 << 63) - 1, -1),
    "float8": (math.nan, math.inf, -math.inf, 1e300, -1e12, 1e10, 1e-9),
    "text": ("", "Ünïcödé \u2603", "'; --", "x" * 9_000),
    "text[]": ([], [None], ["1"], ["x", "2", None]),
}
"""By type what no relay sends, and a server answers all the same."""


class Author:
    """Writes the next step in the light of what was answered so far."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.fence = 1
        self.head = 0
        """The watermark's sequence."""
        self.ordinal = 1
        self.control_share = 0.22, 0.22
        """Of BEGIN, COMMIT and the like among the statements, outside of blocks and within."""
        self.spoilt_share = 0.08
        """Of statements with a parameter that is NULL or far out."""
        self.blocks = [False] * SESSIONS
        self._tags = 0
        self.left = STEPS
        self._opening = self._open()
        self._running: dict[int, str] = {}

    def next_action(self, free: Sequence[int], waiting: Sequence[int]) -> Action | None:
        """The next action; None ends the program."""
        self.left -= 1
        if self.left < 0 or len(waiting) > 1:
            return None  # who goes first when two wait is not promised
        return self.step(free)

    def step(self, free: Sequence[int]) -> Action:
        """A statement of one of the sessions that don't wait."""
        if self._opening and 0 in free:
            return self._opening.pop(0)
        session = self.rng.choice(list(free))
        if self.rng.random() < self.control_share[self.blocks[session]]:
            return Action(session=session, text=self.control(session))
        make = self.rng.choices(*zip(*self.weights(), strict=True))[0]
        text, args = make()
        return Action(session=session, text=text, args=self._spoilt(text, args))

    def end_block(self, session: int) -> None:
        """The session is in no block, whatever it was in."""
        self.blocks[session] = False

    def note(self, action: Action, answers: Answers) -> None:
        """Learn from the answers where the fence and watermark stand."""
        if action.kind is Kind.RUN:
            self._running[action.session] = action.text
        for session, answered in answers.items():
            self._learn(self._running.get(session, ""), answered)

    def _open(self) -> list[Action]:
        """A stream and a leader, mostly."""
        steps = [(sql.INIT_STATE, (STREAM, "tag0", "created0", 0)), (sql.TAKE_LEASE, (STREAM, "holder0", FAR_S))]
        return [Action(session=0, text=text, args=args) for text, args in steps[: self.rng.choice((0, 2, 2, 2, 2))]]

    def _spoilt(self, text: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The parameters, now and then with one that is NULL or far out."""
        if not args or self.rng.random() > self.spoilt_share:
            return args
        at = self.rng.randrange(len(args))
        kind = REGISTRY[text].parameters[at].name
        value = None if kind == "timestamptz" or self.rng.random() < 0.5 else self.rng.choice(EXTREMES[kind])
        return (*args[:at], value, *args[at + 1 :])

    def _learn(self, text: str, answered: Any) -> None:
        if not isinstance(answered, list) or not answered:
            return
        if text == sql.TAKE_LEASE:
            self.ordinal, self.fence = answered[0][0], answered[0][4]
            self.head = answered[0][2] & (BASE - 1)
        elif text == sql.READ_STATE:
            self.ordinal, self.fence = answered[0][0], answered[0][6]
            self.head = answered[0][3] & (BASE - 1)

    def weights(self) -> list[tuple[Any, int]]:
        """Makers of statements, and how often each is taken."""
        return [
            (self._write, 9),
            (self._state, 5),
            (self._sweep, 5),
            (self._ack, 4),
            (self._take, 3),
            (self._epoch, 1),
            (lambda: (sql.INIT_STATE, (self._stream(), self._tag(), "created0", self.rng.randrange(3))), 1),
            (lambda: (sql.READ_LEASE, (self._stream(),)), 2),
            (lambda: (sql.RENEW_LEASE, (self._stream(), self._fence(), self._lease())), 2),
            (lambda: (sql.RELEASE_LEASE, (self._stream(), "holder0", self._fence())), 1),
            (lambda: (sql.READ_EPOCHS, ()), 1),
            (lambda: (sql.READ_STORED_MANY, ([self._id() for _ in range(self.rng.randrange(4))],)), 1),
            (lambda: (sql.READ_STORED, (self._id(),)), 1),
            (lambda: (sql.READ_TAIL, (self._stream(), self._pos(), self.rng.choice((1, 3, 50)), self._bytes())), 3),
            (self._place, 2),
            (self._swept, 1),
            (lambda: (sql.READ_RETAINED, (self._stream(), self._pos(), self.rng.choice((1, 3, 50)))), 2),
            (self._page, 4),
            (lambda: (sql.READ_OVERDUE, (self.rng.randrange(4), self.rng.choice((1, 50)))), 2),
            (self._mark, 3),
            (lambda: (sql.PRUNE_DEAD_LETTERS, (self.rng.choice((-FAR_S, FAR_S)),)), 1),
            (lambda: (sql.READ_SAFETY, ()), 1),
            (self._raise, 1),
            (self._migrate, 3),
        ]

    def _raise(self) -> tuple[str, tuple[Any, ...]]:
        return texts.RAISE_FLOOR, (self._agent(), self.rng.choice((1, 2)), self._pos())

    def _migrate(self) -> tuple[str, tuple[Any, ...]]:
        """What a migration run does beside its files."""
        number = self.rng.randrange(1, 6)
        return self.rng.choice(
            [
                (statements_migrate.LOCK, (self.rng.choice((1, 2)),)),
                (statements_migrate.LOCK, (1,)),
                (statements_migrate.READ_APPLIED, ()),
                (statements_migrate.NOTE_APPLIED, (number, f"{number}.sql")),
                (statements_migrate.CREATE_OWN, ()),
                (statements_migrate.RESET, ()),
            ]
        )

    def control(self, session: int) -> str:
        """BEGIN, or something of a block."""
        inside = self.blocks[session]
        texts = ("COMMIT", "COMMIT", "ROLLBACK", "SAVEPOINT a", "ROLLBACK TO a", "RELEASE SAVEPOINT a")
        text = self.rng.choice(texts) if inside else "BEGIN"
        if self.rng.random() < 0.04:
            text = self.rng.choice((*texts, "BEGIN"))
        if text in ("BEGIN", "COMMIT", "ROLLBACK"):
            self.blocks[session] = text == "BEGIN"
        return text

    def _write(self) -> tuple[str, tuple[Any, ...]]:
        before = max(0, self.head + self.rng.choice((0, 0, 0, 0, 0, 0, 1, -1)))
        count = self.rng.randrange(4)
        events = [
            (
                str(self._at(before + 1 + number)),
                self._agent(),
                self.rng.choice("12"),
                self._id(),
                self.rng.choice(("task.assigned", "task.assigned", "note")),
                f"payload {number}",
            )
            for number in range(count)
        ]
        dead = [
            (
                str(self._at(before + 1 + count)),
                str(self._at(before + 2 + count)),
                "invalid",
                "why",
                self.rng.choice((None, "subject")),
                self.rng.choice((None, base64.b64encode(b"\0raw").decode())),
            )
            for _ in range(self.rng.choice((0, 0, 0, 1, 2)))
        ]
        columns = [
            list(column) for rows in (events, dead) for column in (zip(*rows, strict=True) if rows else [[]] * 6)
        ]
        after = self._at(before + count + len(dead))
        fence = self._fence()
        if fence == self.fence and before == self.head:
            self.head = before + count + len(dead)  # likely; a READ_STATE puts it right
        times = self.rng.choice((None, 5)), self._lease(), self.rng.choice((-FAR_S, FAR_S))
        text = self._one_of(*WRITES) if self.rng.random() < 0.3 else sql.WRITE_BATCH
        return text, (self._stream(), fence, self._at(before), after, *columns, *times)

    def _state(self) -> tuple[str, tuple[Any, ...]]:
        return sql.READ_STATE, (STREAM,)

    def _sweep(self) -> tuple[str, tuple[Any, ...]]:
        retention_s = self.rng.choice((-FAR_S, -FAR_S, 0.0, FAR_S))
        since = self.rng.choice((None, None, LAST))
        rows_max = self.rng.choice((1, 2, 50))
        return self._one_of(*SWEEPS), (self._stream(), self.rng.choice((1, 2)), retention_s, rows_max, since)

    def _swept(self) -> tuple[str, tuple[Any, ...]]:
        noted = self._stream(), self.rng.choice((None, LAST))
        ground = self._stream(), self._agent()
        return self.rng.choice([(sql.READ_CLOCK, ()), (sql.NOTE_SWEPT, noted), (sql.READ_GROUND, ground)])

    def _page(self) -> tuple[str, tuple[Any, ...]]:
        return self._one_of(*PAGES), (self._stream(), self._agent(), self._pos(), self.rng.choice((0, 1, 3, 50)))

    def _place(self) -> tuple[str, tuple[Any, ...]]:
        return self._one_of(*PLACES), (self._stream(), self._agent())

    def _one_of(self, usual: str, *planted: str) -> str:
        """Mostly the relay's own text, and now and then one that was broken on purpose."""
        return usual if self.rng.random() < 0.7 else self.rng.choice(planted)

    def _ack(self) -> tuple[str, tuple[Any, ...]]:
        return sql.STORE_ACK, (self._stream(), self._agent(), self._pos())

    def _take(self) -> tuple[str, tuple[Any, ...]]:
        return sql.TAKE_LEASE, (self._stream(), self.rng.choice(("holder0", "holder1")), FAR_S)

    def _epoch(self) -> tuple[str, tuple[Any, ...]]:
        created = self.rng.choice(("created0", "created1"))
        seqs = self.rng.randrange(3), self.rng.randrange(9)
        if seqs[1] > 5:
            return sql.LOST_EPOCH, (self._stream(), self._fence(), self._at(self.head), self._tag(), "why", *seqs)
        return sql.NEW_EPOCH, (self._stream(), self._fence(), self._tag(), "why", created, *seqs)

    def _mark(self) -> tuple[str, tuple[Any, ...]]:
        return sql.MARK_REDISPATCHED, (self._pos(), self.rng.randrange(4), self.rng.choice((-FAR_S, FAR_S)))

    def _at(self, seq: int) -> int:
        return (self.ordinal << 48) + seq

    def _pos(self) -> int:
        return self._at(self.rng.randrange(max(1, self.head) + 2))

    def _stream(self) -> str:
        return STREAM if self.rng.random() < 0.97 else "OTHER"

    def _fence(self) -> int:
        return self.fence + self.rng.choice((0, 0, 0, 0, 0, 0, 1, -1))

    def _bytes(self) -> int:
        return self.rng.choice((1, 20, 1_000_000))

    def _lease(self) -> float:
        return self.rng.choice((FAR_S, FAR_S, -FAR_S))

    def _agent(self) -> str:
        return self.rng.choice(AGENTS)

    def _id(self) -> str:
        return f"e{self.rng.randrange(12)}" + self.rng.choice(("", "", "", "~r1"))

    def _tag(self) -> str:
        self._tags += 1
        return f"tag{self.rng.choice((self._tags, self._tags, 0))}"
