"""What pg-writer counts of what it is given, with its reads and writes held in the hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from system.batch import Incoming
from system.cursor import pack
from system.metrics import Metrics
from system.settings import Settings
from system.writer import Writer, _Place

BEGUN = _Place(fence=1, ordinal=1, watermark=pack(1, 10), former=None, clock_ns=0)


def messages(*seqs: int) -> list[Incoming]:
    """Messages of these sequences."""
    return [Incoming(seq, 0, None, "") for seq in seqs]


async def counted(arrived: Sequence[Incoming]) -> int:
    """How many of what arrived are counted as redelivered, where all up to sequence 10 is decided."""
    metrics = Metrics()
    writer: Any = Writer(Settings(jwt_hs256_secret="s" * 32), None, None, None, metrics)  # type: ignore[arg-type]

    async def commit(place: _Place, taken: Sequence[Incoming]) -> _Place:
        return dataclasses.replace(place, watermark=pack(1, taken[-1].seq))

    async def fill(connection: Any, first: int, last: int) -> list[Incoming]:
        return messages(*range(first, last + 1))

    async def hint(connection: Any, place: _Place) -> None:
        return

    writer._commit, writer._fill, writer._hint = commit, fill, hint
    assert (await writer._write(None, BEGUN, arrived)).watermark == pack(1, arrived[-1].seq)
    return int(metrics.writer_redelivered._value.get())


async def test_only_what_comes_again_is_redelivered() -> None:
    """What was committed up to a hole in the batch was counted once more with each hole."""
    assert await counted(messages(11, 12, 14, 17)) == 0
    assert await counted(messages(9, 10, 11, 13)) == 2
