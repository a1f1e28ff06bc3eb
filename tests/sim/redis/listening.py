"""Scenes of channels: who hears what, in which order, and what a listener may still say."""

from __future__ import annotations

import asyncio

from tests.sim.redis.stage import Stage


async def published(at: Stage) -> None:
    """Listeners hear what is published to their channels, in order; the publisher is told how many they are."""
    speaker = await at.join()
    listeners = [await at.join(protocol) for protocol in (2, 3, 2)]
    for listener in listeners[:2]:
        listener.send("SUBSCRIBE", "a", "b")
        at.see([await listener.hear() for _ in range(2)])
    await at.do(listeners[2], "SUBSCRIBE b")
    await at.do(speaker, "PUBLISH a 1", "PUBLISH b 2", "PUBLISH c 3", ("PUBLISH", "a", ""), "PUBLISH a 5")
    for listener, count in zip(listeners, (4, 4, 1), strict=True):
        at.see([await listener.hear() for _ in range(count)])


async def subscribed_again(at: Stage) -> None:
    """A channel that is subscribed twice is heard once; counts are of channels."""
    speaker, listener = await at.join(), await at.join()
    listener.send("SUBSCRIBE", "a", "a", "b")
    at.see([await listener.hear() for _ in range(3)])
    await at.do(speaker, "PUBLISH a 1", "PUBLISH b 2")
    at.see([await listener.hear() for _ in range(2)])


async def unsubscribed(at: Stage) -> None:
    """A channel is left by name, or all are; also by who had none."""
    speaker = await at.join()
    for protocol in (2, 3):
        listener = await at.join(protocol)
        await at.do(listener, "UNSUBSCRIBE", "UNSUBSCRIBE x")
        listener.send("SUBSCRIBE", "a", "b", "c")
        at.see([await listener.hear() for _ in range(3)])
        await at.do(listener, "UNSUBSCRIBE b")
        await at.do(speaker, "PUBLISH a 1", "PUBLISH b 2")
        at.see(await listener.hear())
        listener.send("UNSUBSCRIBE")
        heard = [await listener.hear() for _ in range(2)]
        parts = [one[1] if protocol == 3 else one for one in heard]
        at.see(type(heard[0]), sorted(channel for _, channel, _ in parts), [left for *_, left in parts])
        await at.do(speaker, "PUBLISH a 3")
        await at.do(listener, "GET a")


async def while_listening(at: Stage) -> None:
    """In version 2 a listener may only subscribe, ping and leave; in version 3 anything."""
    for protocol in (2, 3):
        listener = await at.join(protocol)
        await at.do(listener, "SUBSCRIBE a", "GET a", "SET a 1", "PING", "PING hello", "MULTI", "EXEC", "PUBLISH x 1")
        await at.do(listener, "HELLO 3", "UNSUBSCRIBE a", "PING", "SET a 1")
        await at.do(listener, "DEL a")


async def heard_by_oneself(at: Stage) -> None:
    """In version 3 a client hears what it publishes itself, before it is told how many heard it."""
    wire = await at.join(3)
    await at.do(wire, "SUBSCRIBE a")
    wire.send("PUBLISH", "a", "1")
    at.see([await wire.hear() for _ in range(2)])


async def published_in_a_transaction(at: Stage) -> None:
    """What a transaction publishes is heard once it is done."""
    speaker, listener = await at.join(), await at.join()
    await at.do(listener, "SUBSCRIBE a")
    await at.do(speaker, "MULTI", "PUBLISH a 1", "SET k 1", "PUBLISH a 2", "EXEC")
    at.see([await listener.hear() for _ in range(2)])


async def listeners_that_are_gone(at: Stage) -> None:
    """Who has hung up, or said goodbye, hears nothing and is not counted."""
    speaker, one, other = await at.join(), await at.join(), await at.join()
    await at.do(one, "SUBSCRIBE a")
    await at.do(other, "SUBSCRIBE a")
    await at.do(speaker, "PUBLISH a 1")
    await one.close()
    await asyncio.sleep(0.1)
    await at.do(speaker, "PUBLISH a 2")
    at.see(await other.hear(), await other.hear())
    await at.do(other, "QUIT")
    at.see(await other.hear())
    await asyncio.sleep(0.1)
    await at.do(speaker, "PUBLISH a 3")
