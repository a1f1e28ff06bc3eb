"""nats-py's client with a short way for the messages of chosen subscriptions.

nats-py parses the headers of every message, makes an object of it, and hands it through a queue to a task: more work
than all that pg-writer does with an event. A direct subscription gets the parsed line and the bytes at once, in the
read loop. It knows nothing of streams, and has no bound of its own: whoever subscribes asks for no more than it can
hold. It overrides one private method of nats-py, which is why that is held at its minor version.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from nats.aio.client import Client
from nats.aio.subscription import Subscription

VERSION = "NATS/1.0"


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """A message as it came; `status` only if the server sent it for itself."""

    subject: str
    reply: str
    data: bytes
    status: Status | None


class Status(msgspec.Struct, frozen=True):
    """What a server says in place of a message (ADR-4 of NATS: a header block with a code in its first line)."""

    code: str
    description: str
    headers: dict[str, str]


Take = Callable[[Delivered], None]


class DirectClient(Client):
    """A client whose direct subscriptions are served from its read loop."""

    def __init__(self) -> None:
        super().__init__()
        self._takers: dict[int, Take] = {}

    async def subscribe_direct(self, subject: str, take: Take) -> Subscription:
        """Hand every message on a subject to `take`, which must neither wait nor raise: it would end the read loop."""
        subscription = await self.subscribe(subject)
        self._takers[subscription._id] = take
        return subscription

    async def unsubscribe_direct(self, subscription: Subscription) -> None:
        """End a direct subscription; what still comes is dropped. Raises nats.errors.Error when not connected."""
        self._takers.pop(subscription._id, None)
        await subscription.unsubscribe()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        take = self._takers.get(sid)
        if take is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        # what has a place to be acknowledged is a message, whatever its publisher wrote into its headers
        status = None if data or not headers or reply else read_status(headers)
        # a subject need not be text, and an exception here would end the read loop, which would tell nobody
        take(Delivered(subject.decode(errors="backslashreplace"), reply.decode(), data, status))


def read_status(headers: bytes) -> Status | None:
    """The status in a header block, or None if it has none: then it belongs to a message."""
    first, *rest = headers.decode(errors="replace").split("\r\n")
    version, _, line = first.partition(" ")
    code, _, description = line.strip().partition(" ")
    if version != VERSION or not code.isdigit():
        return None
    pairs = (part.partition(":") for part in rest if part)
    return Status(code, description, {name: value.strip() for name, _, value in pairs})
