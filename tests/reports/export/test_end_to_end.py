"""From a real relay on real servers to a verdict: publish, consume, disconnect, sweep, export, judge."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from jsonschema_rs import Draft202012Validator

from faults.stack import EmbeddedStack, NatsProcess
from reports.history import Deliver, Record, Sent, encode, read_history
from reports.schema import history_schema
from tests.reports.export.stage import Production, day, judged, livers, production
from tests.system.harness import event, eventually

pytestmark = pytest.mark.stack

COUNTED, LOGGED = {"G1", "G2", "G4"}, {"G1", "G2", "G3", "G4", "G5"}


@pytest.fixture
async def exported(
    stack: EmbeddedStack, fresh_database: str, fresh_nats: NatsProcess, tmp_path: Path, request: pytest.FixtureRequest
) -> Path:
    """The export of a day; with the parameter True its relay logged every delivery."""
    settings = {"DELIVERY_LOG": "true"} if request.param else {}
    async with production(stack, f"relay-{tmp_path.name}", fresh_database, fresh_nats, **settings) as here:
        await day(here)
        return written(here, tmp_path / "history.jsonl")


def written(here: Production, out: Path) -> Path:
    """The export of what its relay did until now."""
    done = here.export(out)
    assert done.returncode == 0, done.stderr
    return out


def changed(history: Path, new: list[Record]) -> Path:
    """Another history beside this one."""
    path = history.with_name("changed.jsonl")
    path.write_bytes(b"".join(map(encode, new)))
    return path


@pytest.mark.parametrize("exported", [False], indirect=True)
async def test_an_export_of_counts(exported: Path, tmp_path: Path) -> None:
    """It is held by what counts can show, says what they can't, and one event less on one connection is a violation."""
    found = judged(exported, tmp_path / "report")
    assert (found.exit_code, found.report.verdict, found.tried) == (0, "held", COUNTED)
    assert found.report.reason.endswith("not put to the test: G3, G5, G6, G8.")
    assert found.report.counts["events sent, by count"] == 20
    assert (found.report.counts["gaps told"], found.report.counts["410s told"]) == (1, 2)
    records = list(read_history(exported).records)
    place = next(at for at, one in enumerate(records) if isinstance(one, Sent) and one.agent.startswith("ann#"))
    whole = records[place]
    assert isinstance(whole, Sent)
    assert whole.first is not None
    lost = int(whole.first.partition("-")[2]) + 3
    records[place] = msgspec.structs.replace(whole, count=whole.count - 1, sum=whole.sum - lost)
    less = judged(changed(exported, records), tmp_path / "less")
    assert (less.exit_code, [(one.kind, one.event) for one in less.report.findings]) == (1, [("lost-middle", "a3")])


@pytest.mark.parametrize("exported", [True], indirect=True)
async def test_an_export_with_deliveries(exported: Path, tmp_path: Path) -> None:
    """With every delivery in the log, order and addressees are judged too; one delivery less is a violation."""
    found = judged(exported, tmp_path / "report")
    assert (found.exit_code, found.report.verdict, found.tried) == (0, "held", LOGGED), found.report.findings
    records = list(read_history(exported).records)
    lost = next(one for one in records if isinstance(one, Deliver) and one.id == "a3")
    less = judged(changed(exported, [one for one in records if one is not lost]), tmp_path / "less")
    assert (less.exit_code, [(one.kind, one.event) for one in less.report.findings]) == (1, [("lost-middle", "a3")])


@pytest.mark.parametrize("exported", [False, True], indirect=True)
async def test_an_export_has_the_published_schema(exported: Path) -> None:
    """Every line of it is valid under the JSON Schema."""
    validator = Draft202012Validator(history_schema())
    lines = [msgspec.to_builtins(record) for record in read_history(exported).records]
    assert len(lines) > 30
    assert [line for line in lines if not validator.is_valid(line)] == []


@pytest.mark.parametrize(("deliveries", "kind"), [("false", "surplus"), ("true", "foreign")])
async def test_a_relay_that_leaks_is_found(
    stack: EmbeddedStack, fresh_database: str, fresh_nats: NatsProcess, tmp_path: Path, deliveries: str, kind: str
) -> None:
    """Where agents get what is addressed to those whose names begin like theirs, counts show more than there is."""
    name = f"relay-{tmp_path.name}"
    async with production(
        stack, name, fresh_database, fresh_nats, plant="leak-by-prefix", DELIVERY_LOG=deliveries
    ) as here:
        async with here.at.stream("ann", cursor="now") as stream:
            await eventually(lambda: here.at.metric("sse_sessions_live"), "a session that is live")
            await here.at.publish(event("x1", subject="anna"))
            await here.at.publish(event("x2", subject="ann"))
            while "x2" not in stream.delivered:
                await stream.event()
        await here.relay.stop()
        found = judged(written(here, tmp_path / "history.jsonl"), tmp_path / "report")
    assert found.exit_code == 1
    assert kind in {one.kind for one in found.report.findings}


async def test_a_replica_that_was_killed_leaves_connections_without_an_end(
    stack: EmbeddedStack, fresh_database: str, fresh_nats: NatsProcess, tmp_path: Path
) -> None:
    """What a SIGKILL kept from the log is said to be unknown, and the next life of the relay is judged."""
    async with production(stack, f"relay-{tmp_path.name}", fresh_database, fresh_nats, LEASE_S="1") as here:
        async with here.at.stream("dora", cursor="earliest") as stream:
            await here.at.publish(event("d1", subject="dora"))
            assert await stream.events(1) == ["d1"]
            await here.relay.kill()
        await here.relay.start()
        await livers(here.at)
        await here.relay.stop()
        found = judged(written(here, tmp_path / "history.jsonl"), tmp_path / "report")
    assert found.exit_code == 0, found.report.reason
    assert any("their replica was killed: 1 of 4." in note for note in found.report.notes)


async def test_nothing_is_written_where_nothing_can_be(
    stack: EmbeddedStack, fresh_database: str, fresh_nats: NatsProcess, tmp_path: Path
) -> None:
    """Logs without sessions, a file that is there, a time without a zone, and no tables: each is said, nothing done."""
    async with production(stack, f"relay-{tmp_path.name}", fresh_database, fresh_nats) as here:
        out, empty = tmp_path / "history.jsonl", tmp_path / "empty.log"
        empty.write_text('{"event": "relay.listening"}\n')
        async with here.at.stream("ann", cursor="earliest"):
            await asyncio.sleep(0)
        nothing = here.export(out, logs=empty)
        assert (nothing.returncode, out.exists()) == (4, False)
        assert "expected lines such as 'session.closed'" in nothing.stderr
        zoneless = here.export(out, "--until", "2026-01-31T08:00:00")
        assert (zoneless.returncode, out.exists()) == (2, False)
        out.write_text("precious")
        taken = here.export(out)
        assert (taken.returncode, out.read_text()) == (2, "precious")
        await here.relay.stop()
