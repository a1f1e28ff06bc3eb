"""The simulated server against the real one: the same random programs, step by step, and the tables they leave."""

from __future__ import annotations

import pytest

from faults.planted import texts
from system.database import Database
from system.migrate import migrate
from tests.nightly import count
from tests.sim.postgres.harness import WAIT_S, connect
from tests.sim.postgres.programs import SESSIONS, STEPS, Author
from tests.sim.postgres.real import RealServer
from tests.sim.postgres.transcript import held, record

pytestmark = [pytest.mark.stack, pytest.mark.conformance]

PROGRAMS = count(30, 500)
"""Programs a test."""


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
    server = RealServer(real)
    steps = waits = 0
    for seed in range(first_seed, first_seed + PROGRAMS):
        transcript = await record(f"program {seed}", server, Author(seed), sessions=SESSIONS, until_race=True)
        await held(transcript)
        steps += len(transcript.entries)
        waits += transcript.waits
    await server.close()
    assert steps > PROGRAMS * STEPS / 4, "programs must not end early"
    assert waits > PROGRAMS / 10, "programs must wait for each other"


async def test_planted_statements_are_statements(real: str) -> None:
    """PostgreSQL takes the text of every planted bug: one that is a syntax error proves nothing on the real stack."""
    planted = [text for name, text in vars(texts).items() if name.isupper() and isinstance(text, str)]
    assert len(planted) > 5
    connection = await connect(real)
    for text in planted:
        await connection.prepare(text)
    await connection.close()
