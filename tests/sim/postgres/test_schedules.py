"""Random schedules of three sessions with locks, failures and cancellation, on the real server and on the model.

200 of them by default; with MESHRELAY_NIGHTLY=1 in the environment 2,000 (see `tests/nightly.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from faults.stack import EmbeddedStack
from system.database import Database
from system.migrate import migrate, migrations
from tests.nightly import count
from tests.sim.postgres.arms import ENDS, WAITS, Kind
from tests.sim.postgres.harness import WAIT_S
from tests.sim.postgres.programs import SESSIONS
from tests.sim.postgres.real import RealServer
from tests.sim.postgres.replicas import Replicas
from tests.sim.postgres.schedules import Troubled
from tests.sim.postgres.transcript import Transcript, held, record

pytestmark = [pytest.mark.stack, pytest.mark.conformance]
PIECES = 4
SCHEDULES = count(200, 2_000) // PIECES
"""For each of the pieces, which may run side by side."""
ENDINGS = count(6, 80)
MIGRATIONS = count(8, 80)


@pytest.mark.parametrize("piece", range(PIECES))
async def test_schedules_have_equal_outcomes(fresh_database: str, piece: int) -> None:
    """Every answer, error, wait, victim and final row of a random schedule is the real server's.

    Three sessions hold row and advisory locks in transaction blocks and savepoints, run into each other's, into unique
    violations, deadlocks and (every fifth schedule) lock_timeout; statements are cancelled, backends terminated, and
    connections dropped, in mid-statement too. 200 schedules, 2,000 with MESHRELAY_NIGHTLY=1.
    """
    await _migrate(fresh_database)
    server = RealServer(fresh_database)
    transcripts = []
    for seed in range(piece * SCHEDULES, (piece + 1) * SCHEDULES):
        lock_timeout = "15ms" if seed % 5 == 4 else ""
        author = Troubled(seed)
        transcripts.append(
            await record(f"schedule {seed}", server, author, sessions=SESSIONS, lock_timeout=lock_timeout)
        )
        await held(transcripts[-1])
    await server.close()
    seen = _counted(transcripts)
    for what in (WAITS, Kind.CANCEL, Kind.TERMINATE, Kind.DROP, "57014", "25P02", "23505", "55P03", "lost"):
        assert seen[what] >= 3, f"expected that schedules meet {what}, got {seen}"


async def test_the_server_s_end_is_the_same_in_both_arms() -> None:
    """What is committed is there, and nothing else, after a backend's SIGKILL (which ends all others), the whole
    server's, and a fast shutdown, in the midst of random schedules. 6 schedules, 80 with MESHRELAY_NIGHTLY=1.
    """
    async with EmbeddedStack.start() as own:
        await _migrate(own.postgres_dsn)
        server = RealServer(own.postgres_dsn, own.postgres)
        transcripts = []
        for seed in range(ENDINGS):
            author = Troubled(seed, ends_server=True)
            transcripts.append(await record(f"ending {seed}", server, author, sessions=SESSIONS))
            await held(transcripts[-1])
        await server.close()
    seen = _counted(transcripts)
    assert all(seen[kind] for kind in ENDS), seen


async def test_replicas_migrate_at_once(fresh_database: str) -> None:
    """Three replicas that start on an empty database wait for each other's migration, are disturbed, and end with one
    schema, at every step as on the real server. 8 schedules, 80 with MESHRELAY_NIGHTLY=1.
    """
    server = RealServer(fresh_database)
    transcripts = []
    for seed in range(MIGRATIONS):
        transcripts.append(await record(f"replicas {seed}", server, Replicas(seed), sessions=SESSIONS, migrated=False))
        await held(transcripts[-1])
    await server.close()
    seen = _counted(transcripts)
    assert all(seen[what] for what in (WAITS, "42P01", "57014", "lost", Kind.DROP)), seen
    assert all(len(one.rows["schema_migration"]) == len(migrations()) for one in transcripts)


def _counted(transcripts: Iterable[Transcript]) -> Counter[object]:
    """How often each kind of action, each error and each wait was met."""
    seen: Counter[object] = Counter()
    for transcript in transcripts:
        seen[WAITS] += transcript.waits
        for entry in transcript.entries:
            seen[entry.action.kind] += 1
            for answer in entry.answers.values():
                if isinstance(answer, tuple):
                    seen[answer[2] if answer[0] == "error" else answer[0]] += 1
    return seen


async def _migrate(dsn: str) -> None:
    database = Database(dsn, size_max=1, timeout_s=WAIT_S)
    await migrate(database)
    await database.close()
