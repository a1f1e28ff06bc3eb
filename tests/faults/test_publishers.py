"""A publisher of the mesh publishes everything, whatever its channel loses, and writes down each attempt."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from faults.arrivals import Arrival
from faults.mesh import publishers
from faults.mesh.channels import UNANSWERED, Result
from faults.mesh.outbox import Outbox, Settled
from faults.mesh.publishers import MeshPublisher
from faults.recorder import Recorder
from reports import history
from reports.history import Record, read_history
from tests.faults.test_outbox import arrival


class ForgetfulChannel:
    """Stores what it is sent, and loses two of three answers; refuses one event."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.closed = False
        self._sends = 0

    async def send(self, batch: Sequence[Arrival]) -> list[Result]:
        """Store, and perhaps answer."""
        self._sends += 1
        results = []
        for one in batch:
            if one.id == "e3":
                results.append(Result(outcome=Settled.REFUSED if len(batch) == 1 else Settled.UNKNOWN, status=422))
                continue
            duplicate = one.id in self.stored
            self.stored += [] if duplicate else [one.id]
            cursor = f"abc234-{self.stored.index(one.id) + 1}"
            results.append(Result(outcome=Settled.ACKED, cursor=cursor, duplicate=duplicate, status=202))
        return results if self._sends % 3 == 0 or len(batch) == 1 else [UNANSWERED] * len(batch)

    async def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between attempts."""
    monkeypatch.setattr(publishers, "BACKOFF_BASE_S", 0.0001)


async def _published(
    channel: ForgetfulChannel, given: list[Arrival], folder: Path
) -> tuple[MeshPublisher, list[Record]]:
    path = folder / "history.jsonl"
    with Recorder(path) as recorder:
        publisher = MeshPublisher(
            "p",
            outbox=Outbox(given),
            channel=channel,
            batch_max=4,
            recorder=recorder,
            rng=random.Random(1),
            retry_max_s=0.0001,
        )
        await publisher.run(lambda: 100.0)
    return publisher, list(read_history(path).records)


async def test_everything_is_published_once(quick: None, tmp_path: Path) -> None:
    """With answers lost all the time, each event is stored once and acked in the end; the refused one is refused."""
    channel = ForgetfulChannel()
    given = [arrival(number) for number in range(10)]
    publisher, records = await _published(channel, given, tmp_path)
    assert sorted(channel.stored) == sorted(one.id for one in given if one.id != "e3")
    assert (publisher.outbox.acked, publisher.outbox.refused, publisher.outbox.is_empty) == (9, 1, True)
    assert channel.closed
    final = {one.id: one.outcome for one in records if isinstance(one, history.Published) and one.outcome != "unknown"}
    assert final == {one.id: "refused" if one.id == "e3" else "acked" for one in given}


async def test_each_attempt_is_written_down(quick: None, tmp_path: Path) -> None:
    """Each attempt has its invocation before its completion, also a retry; lost answers stand there as unknown."""
    _, records = await _published(ForgetfulChannel(), [arrival(number) for number in range(10)], tmp_path)
    flying: set[str] = set()
    outcomes = []
    for record in records:
        if isinstance(record, history.Publish):
            assert record.id not in flying
            flying.add(record.id)
        elif isinstance(record, history.Published):
            flying.remove(record.id)
            outcomes.append(record.outcome)
    assert not flying
    assert "unknown" in outcomes


async def test_a_careless_publisher_repeats(quick: None, tmp_path: Path) -> None:
    """An event marked for it is published once more after its ack, which is answered as a duplicate."""
    _, records = await _published(ForgetfulChannel(), [arrival(1), arrival(2, repeated=True)], tmp_path)
    acks = [one for one in records if isinstance(one, history.Published) and one.outcome == "acked"]
    assert sorted(one.id for one in acks) == ["e1", "e2", "e2"]
    assert acks[-1].id == "e2"
    assert acks[-1].duplicate
