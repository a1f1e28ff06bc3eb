"""What a NATS server keeps on disk: it outlives processes, and after a power loss holds what was synced."""

from __future__ import annotations

from sim.jetstream.consumer import Consumer
from sim.jetstream.stream import Stream


class NatsDisk:
    """Streams and consumers by name."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.consumers: dict[tuple[str, str], Consumer] = {}
        self.is_full = False
        """No write finds room; what is there is read as before."""

    def sync(self) -> None:
        """What was written is safe from here on."""
        for stream in self.streams.values():
            stream.sync()
        for consumer in self.consumers.values():
            consumer.sync()

    def lose_power(self) -> int:
        """What was written and not synced is gone; answers how many messages."""
        for consumer in self.consumers.values():
            consumer.lose_power()
        return sum(stream.lose_power() for stream in self.streams.values())

    def restart(self, now_ns: int) -> None:
        """A new server process reads everything; what was in memory only is gone."""
        for stream in self.streams.values():
            stream.restart(now_ns)
        for key, consumer in tuple(self.consumers.items()):
            consumer.restart()
            if consumer.config.get("mem_storage"):
                del self.consumers[key]
