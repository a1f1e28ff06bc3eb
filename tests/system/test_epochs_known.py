"""What is known of the stream's lives: by a replica, whose readings overtake one another, and by who was told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from system import sql
from system.client import PageReader
from system.host import Host
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, all_transports, event, eventually, problem
from tests.system.test_epoch import begun, epochs, publish_until_taken, recreate

pytestmark = pytest.mark.stack


async def test_an_older_reading_of_the_epochs_does_not_undo_a_newer(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign cursor has the epochs read, and the answer is late: a new epoch begins meanwhile and is live. When the
    old answer came, it took the new epoch's tag away: the bookmarks' task failed of it, and with it the replica.
    """
    relay = await start_relay(bookmark_s=0.2, retry_min_ms=1, retry_max_ms=5)
    await relay.publish(event("a1"))
    await relay.settled()
    database = relay.relay._database
    fetch, late, asked = database.fetch, asyncio.Event(), asyncio.Event()

    async def slow(text: str, *args: Any) -> Any:
        rows = await fetch(text, *args)
        if text == sql.READ_EPOCHS and not asked.is_set():
            asked.set()
            await late.wait()
        return rows

    monkeypatch.setattr(database, "fetch", slow)
    asking = asyncio.create_task(relay.page(cursor="zzzzzz-1"))
    await asked.wait()
    await recreate(relay)
    await eventually(lambda: _count_is(relay, 2), "the second epoch")
    late.set()
    problem(await asking, 410)
    await begun(relay, 2)
    async with relay.stream(cursor="now") as live:
        marked = (await live.named("relay.cursor")).id
        [cursor] = await publish_until_taken(relay, "b1")
        assert await live.events(1) == ["b1"]
        while marked != cursor:
            marked = (await live.named("relay.cursor")).id
    assert not relay.relay.failed.done()


async def _count_is(relay: InProcess, count: int) -> bool:
    return len(await epochs(relay)) == count


@all_transports
async def test_earliest_tells_what_has_gone_since_one_was_told(relay: InProcess) -> None:
    """Whoever begins anew knows what was gone when it was told so, and no more: neither the stream's next life nor what
    expires while it fetches its state may pass in silence.
    """
    old = await relay.publish(event("a1"), event("a2"))
    await relay.settled()
    await recreate(relay)
    await begun(relay, 2)
    document = problem(await relay.page(cursor=old[1]), 410)
    again = f"{document['resync']}&limit=50"
    assert (await relay.get(again)).status_code == 200
    await recreate(relay)
    await begun(relay, 3)
    assert problem(await relay.get(again), 410)["reason"] == "wrong_epoch"
    token = relay.token("ann")
    async with PageReader(relay.url, "ann", token, Host.real()) as reader:
        [page] = [page async for page in reader.read(address=document["resync"])]
        assert page.gone is not None
        assert page.gone.reason == "wrong_epoch"  # told beside what is left: losses are no errors to who reads pages
