"""While sessions are switched, the lease goes to a replica whose transport needs a leader of its own kind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, event, eventually

pytestmark = pytest.mark.stack
LEASE_S, IDLE_CHECK_S = 5.0, 0.5
BRISK: dict[str, Any] = {"lease_s": LEASE_S, "idle_check_s": IDLE_CHECK_S}


def leads(relay: InProcess) -> bool:
    """Whether it is the leader."""
    return bool(relay.relay.readiness()[1]["leading"])


async def test_a_leader_of_option_c_hands_over(start_relay: StartRelay) -> None:
    """Else a replica that reads the stream would refuse replays for as long as the other leads, for want of sweeps; an
    orchestrator that waits for the first replica before it restarts the second would wait for ever.
    """
    old = await start_relay(**BRISK)
    await eventually(lambda: leads(old), "a leader")
    new = await start_relay(transport="jetstream", **BRISK)
    await eventually(lambda: leads(new) and not leads(old), "the lease to be handed over")
    await new.publish(event("e1"))
    async with new.stream(cursor="earliest") as stream:
        await stream.events(1)
        assert stream.delivered == ["e1"]


async def test_replicas_of_one_kind_leave_the_lease_where_it_is(start_relay: StartRelay) -> None:
    """Neither option C's among themselves nor others' ask for it in vain: leadership would never rest."""
    first = await start_relay(transport="jetstream", **BRISK)
    await eventually(lambda: leads(first), "a leader")
    second = await start_relay(transport="jetstream", **BRISK)
    third = await start_relay(**BRISK)
    fence = first.relay._leader.fence
    await asyncio.sleep(5 * IDLE_CHECK_S)
    assert leads(first)
    assert not leads(second)
    assert not leads(third)
    assert first.relay._leader.fence == fence


async def test_a_new_connection_costs_no_lease(start_relay: StartRelay) -> None:
    """It is no request, though one may have been missed: whoever needs the lease asks again."""
    relay = await start_relay(**BRISK)
    await eventually(lambda: leads(relay), "a leader")
    link, fence = relay.relay._link, relay.relay._leader.fence
    before = link.current()
    await before.nc.close()
    await eventually(lambda: link._current not in (None, before), "a new connection")
    await asyncio.sleep(5 * IDLE_CHECK_S)
    assert leads(relay)
    assert relay.relay._leader.fence == fence
