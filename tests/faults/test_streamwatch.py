"""How long events wait for pg-writer is measured from looks at the stream, and the looks are right."""

from __future__ import annotations

import asyncio

import nats
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from faults.stack import NatsProcess
from faults.streamwatch import Lag, StreamSeen, StreamWatch


def _seen(head: int, confirmed: int) -> StreamSeen:
    return StreamSeen(head_seq=head, pending=head - confirmed, confirmed_seq=confirmed)


def test_an_outage_is_measured_to_its_end() -> None:
    """The wait counts from the first look that showed an event until it is confirmed."""
    lag = Lag()
    for now_s, head, confirmed in ((0.0, 5, 5), (1.0, 9, 5), (2.0, 12, 5), (4.0, 14, 5), (5.0, 16, 16)):
        lag.see(now_s, _seen(head, confirmed))
    assert lag.worst_s == 3.0


def test_a_busy_stream_that_keeps_up_has_no_lag() -> None:
    """Something always pending is no lag, as long as what was pending is confirmed by the next look."""
    lag = Lag()
    for second in range(100):
        lag.see(float(second), _seen(head=10 * second + 10, confirmed=10 * second))
    assert lag.worst_s <= 1.0


def test_nothing_pending_confirms_all() -> None:
    """With nothing pending the head is confirmed, whatever the consumer's floor says."""
    lag = Lag()
    lag.see(0.0, StreamSeen(head_seq=10, pending=0, confirmed_seq=0))
    lag.see(9.0, StreamSeen(head_seq=10, pending=0, confirmed_seq=0))
    assert lag.worst_s == 0.0


@pytest.mark.stack
async def test_looks(fresh_nats: NatsProcess) -> None:
    """A look tells the head and what pg-writer has not confirmed; without stream or server there is nothing to tell."""
    watch = StreamWatch(fresh_nats.url)
    assert await watch.look() is None
    client = await nats.connect(fresh_nats.url)
    stream = client.jetstream()
    await stream.add_stream(name="MESH_EVENTS", subjects=["mesh.events.>"])
    await stream.add_consumer("MESH_EVENTS", ConsumerConfig(durable_name="pg-writer", ack_policy=AckPolicy.ALL))
    for _ in range(3):
        await stream.publish("mesh.events.a.b", b"{}")
    async with asyncio.timeout(10):
        # the server tells its consumers after the PubAck
        while await watch.look() != StreamSeen(head_seq=3, pending=3, confirmed_seq=0):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    puller = await stream.pull_subscribe_bind("pg-writer", "MESH_EVENTS")
    fetched = await puller.fetch(2, timeout=2)
    assert await watch.look() == StreamSeen(head_seq=3, pending=3, confirmed_seq=0)
    await fetched[-1].ack_sync()
    assert await watch.look() == StreamSeen(head_seq=3, pending=1, confirmed_seq=2)
    await client.close()
    await fresh_nats.kill()
    assert await watch.look() is None
    await fresh_nats.start()
    again = await watch.look()
    assert again is not None
    assert again.head_seq == 3  # what was acknowledged last may have been forgotten: NATS flushes that lazily
    await watch.close()


async def test_a_look_for_agents_tells_what_is_their_own(fresh_nats: NatsProcess) -> None:
    """The last of their own and of what is to all, nobody else's; one that nothing is for has nothing to reach."""
    watch = StreamWatch(fresh_nats.url)
    client = await nats.connect(fresh_nats.url)
    stream = client.jetstream()
    await stream.add_stream(name="MESH_EVENTS", subjects=["mesh.events.>"])
    await stream.add_consumer("MESH_EVENTS", ConsumerConfig(durable_name="pg-writer", ack_policy=AckPolicy.ALL))
    for receiver in ("a", "b", "ab", "c"):
        await stream.publish(f"mesh.events.{receiver}.task.assigned", b"{}")
    seen = await watch.look(["a", "b", "d"])
    assert seen is not None
    assert seen.addressed == {"a": 1, "b": 2, "d": 0}
    await stream.publish("mesh.events._all.note.added", b"{}")
    await stream.publish("mesh.events.b.note.added", b"{}")
    seen = await watch.look(["a", "b", "d"])
    assert seen is not None
    assert [seen.last_for(name) for name in ("a", "b", "d")] == [5, 6, 5]
    plain = await watch.look()
    assert plain is not None
    assert plain.last_for("a") == 6, "with option C everybody reaches the stream's end"
    await watch.close()
    await client.close()
