"""Random schedules of three sessions that get in each other's way, and of what befalls them and their server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sim.postgres import statements_migrate
from system import sql
from tests.sim.postgres.arms import ENDS, Action, Answers, Kind
from tests.sim.postgres.programs import FAR_S, SESSIONS, STREAM, Author

FAULTS = Kind.CANCEL, Kind.CANCEL, Kind.TERMINATE, Kind.DROP


class Troubled(Author):
    """Writes programs of long blocks, advisory locks and faults."""

    def __init__(self, seed: int, *, faults: bool = True, ends_server: bool = False) -> None:
        """`ends_server`: the server itself is killed now and then, which takes it half a second."""
        super().__init__(seed)
        self.control_share = 0.75, 0.15
        self.spoilt_share = 0.02
        self._saved = [False] * SESSIONS
        self._has_abandoned = False
        """Whether there may be a statement that waits though its client is gone."""
        self._faults_share = 0.12 if faults else 0.0
        self._ends_share = 0.07 if ends_server else 0.0

    def next_action(self, free: Sequence[int], waiting: Sequence[int]) -> Action | None:
        """The next action; None ends the schedule."""
        self.left -= 1
        if self.left < 0:
            return None
        fault = self._fault(waiting)
        if fault is None and len(waiting) < 2 and free:
            return self.step(free)
        # who goes first when two wait is not promised: one of them is to give up
        number = self.rng.choice(list(waiting or free))
        kind = fault or self.rng.choice(FAULTS)
        if kind not in (Kind.CANCEL, Kind.RUN):
            self.end_block(number)
        self._has_abandoned = (self._has_abandoned or (kind is Kind.DROP and number in waiting)) and kind not in ENDS
        if kind in ENDS:
            for session in range(SESSIONS):
                self.end_block(session)
        return Action(session=number, kind=kind)

    def _fault(self, waiting: Sequence[int]) -> Kind | None:
        if self.rng.random() < self._ends_share:
            # where backends end one after another, who waits may be freed by the first before its own end comes
            return Kind.CRASH if waiting or self._has_abandoned else self.rng.choice(ENDS)
        if self.rng.random() < self._faults_share * (3 if waiting else 1):
            return self.rng.choice(FAULTS)
        return None

    def control(self, session: int) -> str:
        """As an `Author` does, but seldom what fails."""
        if self.rng.random() < 0.1:
            return super().control(session)
        if not self.blocks[session]:
            self.blocks[session], self._saved[session] = True, False
            return "BEGIN"
        texts = ["COMMIT", "ROLLBACK", "SAVEPOINT a"]
        text = self.rng.choice([*texts, "ROLLBACK TO a", "RELEASE SAVEPOINT a"] if self._saved[session] else texts)
        self._saved[session] = text in ("SAVEPOINT a", "ROLLBACK TO a")
        self.blocks[session] = text not in ("COMMIT", "ROLLBACK")
        return text

    def weights(self) -> list[tuple[Any, int]]:
        """The usual statements, locks that a transaction keeps, and keys that others have or are about to have."""
        return [*super().weights(), (self._lock, 30), (self._renew, 10), (self._key, 5)]

    def _lock(self) -> tuple[str, tuple[Any, ...]]:
        return statements_migrate.LOCK, (self.rng.choice((1, 2)),)

    def _key(self) -> tuple[str, tuple[Any, ...]]:
        number = self.rng.randrange(1, 8)
        return statements_migrate.NOTE_APPLIED, (number, f"{number}.sql")

    def _renew(self) -> tuple[str, tuple[Any, ...]]:
        return sql.RENEW_LEASE, (STREAM, self.fence, FAR_S)

    def note(self, action: Action, answers: Answers) -> None:
        """Learn from the answers; a session whose connection was lost has no block any more."""
        super().note(action, answers)
        for session, answered in answers.items():
            if answered[:1] == ("lost",):
                self.end_block(session)
