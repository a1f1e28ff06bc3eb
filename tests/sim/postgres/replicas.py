"""Schedules of three replicas that migrate an empty database at once, and of what befalls them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from sim.postgres import statements_migrate
from system import sql
from system.migrate import LOCK_KEY, migrations
from tests.sim.postgres.arms import NOTICES, WAITS, Action, Answers, Kind
from tests.sim.postgres.programs import SESSIONS
from tests.sim.postgres.schedules import FAULTS

BEGINNING = [
    ("BEGIN", ()),
    (statements_migrate.LOCK, (LOCK_KEY,)),
    (statements_migrate.CREATE_OWN, ()),
    (statements_migrate.READ_APPLIED, ()),
]
STEPS = 45


class Replicas:
    """Each does as `system.migrate` does, and begins anew when its run fails; in the end one is left alone."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"{seed}/replicas")
        self._left = STEPS
        self._plans: list[list[tuple[str, tuple[Any, ...]]]] = [[*BEGINNING] for _ in range(SESSIONS)]
        self._running = [""] * SESSIONS
        self._ends: list[int] = []
        self._is_last = False

    def next_action(self, free: Sequence[int], waiting: Sequence[int]) -> Action | None:
        """The next action."""
        self._left -= 1
        if self._left >= 0:
            return self._disturbed(free, waiting)
        if self._left == -1:
            self._ends = list(range(SESSIONS))
        for number in self._ends:
            if number in free:
                self._ends.remove(number)
                return self._run(number, "ROLLBACK")
        if not self._is_last:
            self._is_last, self._plans[0] = True, [*BEGINNING]
        return self._run(0, *self._plans[0].pop(0)) if self._plans[0] else None

    def note(self, action: Action, answers: Answers) -> None:
        """Plan what is missing, or a new run after a failure."""
        for number, answer in answers.items():
            if number == NOTICES:
                continue
            if answer[:1] in (("error",), ("lost",)):
                self._plans[number] = [*([("ROLLBACK", ())] if answer[0] == "error" else []), *BEGINNING]
            elif (
                self._running[number] == statements_migrate.READ_APPLIED and answer != WAITS and not self._plans[number]
            ):
                done = [row[0] for row in answer]
                for name_number, name, text in migrations():
                    if name_number not in done:
                        noted = statements_migrate.NOTE_APPLIED, (name_number, name)
                        self._plans[number] += [(text, ()), noted]
                self._plans[number].append(("COMMIT", ()))

    def _disturbed(self, free: Sequence[int], waiting: Sequence[int]) -> Action:
        if not free or self._rng.random() < 0.06:
            number, kind = self._rng.choice([*free, *waiting]), self._rng.choice(FAULTS)
            if kind is not Kind.CANCEL:
                self._plans[number] = [*BEGINNING]
            return Action(session=number, kind=kind)
        number = self._rng.choice(list(free))
        if not self._plans[number]:
            self._plans[number] = [*BEGINNING]
        if self._rng.random() < 0.06:
            return self._run(number, sql.READ_EPOCHS)
        return self._run(number, *self._plans[number].pop(0))

    def _run(self, number: int, text: str, args: tuple[Any, ...] = ()) -> Action:
        self._running[number] = text
        return Action(session=number, text=text, args=args)
