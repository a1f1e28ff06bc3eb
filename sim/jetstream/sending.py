"""What consumers of either kind send."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

Heard: TypeAlias = Callable[[str], bool]
"""Whether anybody listens to an inbox; what nobody waits for is not sent."""


class Sending(NamedTuple):
    """What goes to an inbox: a message under its own subject, or a status."""

    inbox: str
    reply: str
    headers: bytes
    data: bytes
    subject: str = ""
    """The stored message's own; empty: the inbox."""

    @property
    def size(self) -> int:
        """As a request's limit counts."""
        return len(self.subject) + len(self.reply) + len(self.headers) + len(self.data)
