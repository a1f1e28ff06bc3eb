"""A running deployment of real processes switches its transport, replica by replica, and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.chaos import run_plan
from faults.transports import TransportName, over
from faults.vocabulary import ProcessName, Restart
from reports import api, history
from reports.history import read_history
from tests.faults.test_chaos import small_run

pytestmark = [pytest.mark.stack, pytest.mark.chaos]


@pytest.mark.parametrize("way", ["jetstream", "redis"])
async def test_there_and_back_loses_nothing(way: str, tmp_path: Path) -> None:
    """While one replica reads over the one and the other over the other, agents keep their cursors and their order."""
    restarts = tuple(
        Restart(
            id=f"{number}-{replica}",
            process=ProcessName.RELAY,
            only=replica,
            at_s=1.5 + number * 7.0 + place * 3.5,
            transport=transport,  # type: ignore[arg-type]
        )
        for number, transport in enumerate((way, "cursor"))
        for place, replica in enumerate(("relay-1", "relay-2"))
    )
    plan = small_run(
        name="switch", duration_s=16.0, faults=restarts, relay=over(small_run(), TransportName.JETSTREAM).relay
    )
    result = await run_plan(plan, tmp_path / "run")
    report = api.judge(result.history)
    assert report.verdict == "held", report.reason
    effective = {
        one.fault
        for one in read_history(result.history).records
        if isinstance(one, history.Fault) and one.phase == "effective"
    }
    assert effective == {one.id for one in restarts}
    logs = "".join((tmp_path / "run" / "logs" / f"{replica}.log").read_text() for replica in ("relay-1", "relay-2"))
    assert logs.count(f'"transport.{way}"') == 2, "expected both replicas to have read over it"
