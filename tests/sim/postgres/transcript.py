"""What the real server answered to a schedule, and whether a model answers the same.

The real server goes first and alone decides what is left open to it, as which of two deadlocked sessions is the victim.
The author of a schedule sees nothing but its answers, so a transcript holds whatever the model does, and can be held
against any number of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.sim.postgres.arms import WAITS, Action, Answers, Arm, SimulatedArm
from tests.sim.postgres.harness import TABLES, TIMES, Simulated, simulated
from tests.sim.postgres.real import RealArm, RealServer

DEADLOCK = "40P01"
NEVER_S = 1e6
"""The model looks for a deadlock when the transcript tells of one."""
Rows = list[tuple[Any, ...]]


class Writes(Protocol):
    """Who writes a schedule in the light of what was answered so far."""

    def next_action(self, free: Sequence[int], waiting: Sequence[int]) -> Action | None:
        """The next action; None ends the schedule."""

    def note(self, action: Action, answers: Answers) -> None:
        """Learn what was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """An author whose every action is known beforehand."""

    actions: list[Action]

    def next_action(self, free: Sequence[int], waiting: Sequence[int]) -> Action | None:
        """The next action."""
        return self.actions.pop(0) if self.actions else None

    def note(self, action: Action, answers: Answers) -> None:
        """Nothing depends on it."""


class Difference(AssertionError):
    """The model does not do what the real server did; the message begins with the schedule's name."""

    def __init__(self, name: str, what: str, expected: object, found: object, entries: Sequence[Entry]) -> None:
        lines = [f"{name}: {what}", f"real:      {expected}", f"simulated: {found}", "the schedule so far:"]
        super().__init__("\n".join([*lines, *(f"  {entry.action} -> {entry.answers}" for entry in entries)]))
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One action, and what was answered by whom."""

    action: Action
    answers: Answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A schedule as the real server played it, and the rows that it left."""

    name: str
    sessions: int
    lock_timeout: str = ""
    migrated: bool = True
    """Whether the database has the relay's tables at the beginning."""
    entries: list[Entry] = field(default_factory=list)
    rows: dict[str, Rows] = field(default_factory=dict)
    """Empty if it ends in a race: what it leaves is open then."""

    @property
    def waits(self) -> int:
        """How often a session came to wait for another one."""
        return sum(entry.answers.get(entry.action.session) == WAITS for entry in self.entries)


async def record(
    name: str,
    server: RealServer,
    author: Writes,
    *,
    sessions: int,
    lock_timeout: str = "",
    migrated: bool = True,
    until_race: bool = False,
) -> Transcript:
    """Play a schedule on the real server, on empty tables or, before the migrations, on none.

    Afterwards they must be there; they are emptied. The sessions stay, in no block, for the next schedule.
    With `until_race` the transcript ends where two sessions wait: PostgreSQL promises neither that it is first, and
    lets them race for the new version of a row.
    """
    arm = server.arm(lock_timeout)
    if not migrated:
        await server.empty_database()
        arm = server.arm(lock_timeout)
    await arm.open(sessions)
    transcript = Transcript(name=name, sessions=sessions, lock_timeout=lock_timeout, migrated=migrated)
    try:
        while action := author.next_action([n for n in range(sessions) if n not in arm.waiting], arm.waiting):
            await _note(transcript, arm, author, action)
        is_race = until_race and len(arm.waiting) > 1
        for action in endings(sessions, arm):
            if is_race:
                await arm.perform(action)
            else:
                await _note(transcript, arm, author, action)
        if not is_race:
            transcript.rows.update(await real_rows(server))
    except BaseException:
        await arm.close()
        raise
    await server.empty_tables()
    return transcript


def endings(sessions: int, arm: Arm) -> Iterator[Action]:
    """The end of every block that may be open, whoever waits last."""
    ended: list[int] = []
    while len(ended) < sessions:
        number = next(number for number in range(sessions) if number not in ended and number not in arm.waiting)
        yield Action(session=number, text="ROLLBACK" if number else "COMMIT")
        if number not in arm.waiting:
            ended.append(number)


async def _note(transcript: Transcript, arm: RealArm, author: Writes, action: Action) -> None:
    answers = await arm.perform(action)
    transcript.entries.append(Entry(action=action, answers=answers))
    author.note(action, answers)


async def replay(transcript: Transcript, simulation: Simulated) -> None:
    """Play a schedule on the model. Raises Difference."""
    arm = SimulatedArm(simulation, lock_timeout=transcript.lock_timeout)
    await arm.open(transcript.sessions)
    try:
        for number, entry in enumerate(transcript.entries):
            found = await answered_by_model(arm, entry)
            if found != entry.answers:
                what = f"step {number}, {entry.action}"
                raise Difference(transcript.name, what, entry.answers, found, transcript.entries[: number + 1])
        compare_rows(transcript.name, simulation, transcript.rows, transcript.entries)
    finally:
        await arm.close()


async def answered_by_model(arm: SimulatedArm, entry: Entry) -> Answers:
    """What the model answers to an action of which the real server's answers are known.

    Where the real server found a deadlock, its victim looks for it in the model; one without a client tells nobody.
    """
    found, expected = await arm.perform(entry.action), entry.answers
    freed = [session for session, answer in expected.items() if found.get(session) == WAITS and answer != WAITS]
    told = [session for session in freed if expected[session][2:3] == (DEADLOCK,)]
    victims: list[int | None] = [*told] if told else [None] * bool(freed)
    for victim in victims:
        found |= await arm.choose_victim(victim)
    return found


async def real_rows(server: RealServer) -> dict[str, Rows]:
    """Every committed row by its table, without times."""
    watcher = await server.watcher()
    found = {}
    for table, key in TABLES.items():
        rows = await watcher.fetch(f"SELECT * FROM {table} ORDER BY {key}")
        found[table] = [tuple("a time" if name in TIMES else value for name, value in row.items()) for row in rows]
    return found


def compare_rows(name: str, simulation: Simulated, expected: dict[str, Rows], entries: Sequence[Entry]) -> None:
    """Compare the rows that are left. Raises Difference."""
    for table, rows in expected.items():
        left = _rows_left(simulation, table)
        if left != rows:
            raise Difference(name, f"the rows of {table}", rows, left, entries)


def _rows_left(simulation: Simulated, table: str) -> Rows:
    return [
        tuple("a time" if name in TIMES else value for name, value in zip(row._fields, row, strict=True))
        for name, row in simulation.server.dump()
        if name == table
    ]


async def held(transcript: Transcript) -> None:
    """Play a schedule on a model of its own. Raises Difference."""
    seed = sum(transcript.name.encode())
    settings = {"fifo": True, "deadlock_timeout_s": NEVER_S}
    async with simulated(seed=seed, migrated=transcript.migrated, **settings) as simulation:
        await replay(transcript, simulation)
        simulation.server.check()
