"""The simulated server against the real one: the same random programs, step by step, and the tables they leave."""

from __future__ import annotations

import os
from typing import Any

import pytest

from faults.planted import texts
from system.database import Database
from system.migrate import migrate
from tests.sim.postgres.harness import TABLES, TIMES, WAIT_S, Arm, Simulated, connect, simulated
from tests.sim.postgres.programs import SESSIONS, Author, Step

pytestmark = [pytest.mark.stack, pytest.mark.conformance]

PROGRAMS = int(os.environ.get("POSTGRES_PROGRAMS", "30"))
"""Programs a test; raise it to look longer."""
STEPS = 30


@pytest.fixture
async def real(fresh_database: str) -> str:
    """A real database with the relay's tables."""
    database = Database(fresh_database, size_max=1, timeout_s=WAIT_S)
    await migrate(database)
    await database.close()
    return fresh_database


@pytest.mark.parametrize("first_seed", [0, 1_000, 2_000, 3_000])
async def test_programs_have_equal_outcomes(real: str, first_seed: int) -> None:
    """Every answer, error, wait and final row of random programs is the real server's."""
    watcher = await connect(real)
    steps = waits = 0
    for seed in range(first_seed, first_seed + PROGRAMS):
        async with simulated(seed=seed, fifo=True) as simulation:
            taken, waited = await _compare(real, simulation, watcher, seed)
            steps += taken
            waits += waited
        await watcher.execute(f"TRUNCATE {', '.join(TABLES)}")
    await watcher.close()
    assert steps > PROGRAMS * STEPS / 4, "programs must not end early"
    assert waits > PROGRAMS / 10, "programs must wait for each other"


async def _compare(real: str, simulation: Simulated, watcher: Any, seed: int) -> tuple[int, int]:
    """Run one program on both; answers the steps taken and how many of them waited."""
    author = Author(seed)
    arms = [
        Arm([await connect(simulation.dsn) for _ in range(SESSIONS)], None, simulation.server),
        Arm([await connect(real) for _ in range(SESSIONS)], watcher, None),
    ]
    trace: list[Any] = []
    opening = author.opening()
    running: dict[int, str] = {}
    waits = 0
    try:
        for number in range(STEPS):
            waiting = list(arms[1].pending)
            if len(waiting) > 1:
                break  # who goes first when two wait is not promised
            free = [session for session in range(SESSIONS) if session not in waiting]
            step: Step = opening.pop(0) if opening else author.next_step(free)
            trace.append(step)
            running[step[0]] = step[1]
            found, expected = [await arm.step(*step) for arm in arms]
            trace.append(expected)
            assert found == expected, f"seed {seed}, step {number}: {step[1]} {step[2]}\n{_shown(trace)}"
            waits += expected[step[0]] == "waits"
            for session, answered in expected.items():
                author.note(running[session], answered)
        await _finish(arms, seed, trace)
        for table, key in TABLES.items():
            rows = await _real_rows(watcher, table, key)
            assert _simulated_rows(simulation, table) == rows, f"seed {seed}: {table}\n{_shown(trace)}"
    finally:
        for arm in arms:
            for task in arm.pending.values():
                task.cancel()
            for connection in arm.sessions:
                connection.terminate()
    return len(trace) // 2, waits


async def _finish(arms: list[Arm], seed: int, trace: list[Any]) -> None:
    """Commit or roll back what is open, one session after the other, those that wait last."""
    waiting = list(arms[1].pending)
    if len(waiting) > 1:
        for arm in arms:
            for session in waiting:
                await arm.cancel(session)
        waiting = []
    free = [session for session in range(SESSIONS) if session not in waiting]
    for session in free + waiting:
        for arm in arms:
            assert session not in arm.pending, f"seed {seed}: {session} waits for nobody\n{_shown(trace)}"
        found, expected = [await arm.step(session, "ROLLBACK" if session else "COMMIT", ()) for arm in arms]
        trace += [(session, "end", ()), expected]
        assert found == expected, f"seed {seed}: the end of {session}\n{_shown(trace)}"


async def _real_rows(watcher: Any, table: str, key: str) -> list[tuple[Any, ...]]:
    rows = await watcher.fetch(f"SELECT * FROM {table} ORDER BY {key}")
    return [tuple("a time" if name in TIMES else value for name, value in row.items()) for row in rows]


def _simulated_rows(simulation: Simulated, table: str) -> list[tuple[Any, ...]]:
    found = [row for name, row in simulation.server.dump() if name == table]
    return [
        tuple("a time" if name in TIMES else value for name, value in zip(row._fields, row, strict=True))
        for row in found
    ]


def _shown(trace: list[Any]) -> str:
    lines = []
    for step, answered in zip(trace[::2], trace[1::2], strict=False):
        lines.append(f"{step[0]}: {' '.join(step[1].split())[:60]} {step[2]} -> {answered}")
    return "\n".join(lines)


async def test_planted_statements_are_statements(real: str) -> None:
    """PostgreSQL takes the text of every planted bug: one that is a syntax error proves nothing on the real stack."""
    planted = [text for name, text in vars(texts).items() if name.isupper() and isinstance(text, str)]
    assert len(planted) > 5
    connection = await connect(real)
    for text in planted:
        await connection.prepare(text)
    await connection.close()
