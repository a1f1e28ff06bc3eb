"""A stream of JetStream, pure: what is stored, what is a repeat, what has expired, and what a power loss takes.

`written` is what a SIGKILL leaves, `synced_seq` what a power loss leaves. With `sync_interval: always` a message is
synced before its PubAck; by default every two minutes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from sim.jetstream import codec

OVERHEAD_BYTES = 22
"""What a stored message takes beside its subject, headers and data."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One message."""

    seq: int
    ts_ns: int
    subject: str
    headers: bytes
    data: bytes

    @property
    def size(self) -> int:
        """As the limits count."""
        return len(self.subject) + len(self.headers) + len(self.data) + OVERHEAD_BYTES


def error(code: int, err_code: int, description: str) -> dict[str, Any]:
    """An error as JetStream's API answers it."""
    return {"error": {"code": code, "err_code": err_code, "description": description}}


@dataclass(slots=True)
class Stream:
    """Messages in order, and the ids of those within the dedupe window."""

    config: dict[str, Any]
    created_ns: int
    messages: deque[Stored] = field(default_factory=deque)
    first_seq: int = 0
    """As JetStream counts it: one past the last, when it is empty; 0 before the first message ever."""
    last_seq: int = 0
    synced_seq: int = 0
    size: int = 0
    ids: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Sequence and time of each id, oldest first."""

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.config["name"])

    def takes(self, subject: str) -> bool:
        """Whether messages on a subject are stored here."""
        return any(codec.matches(pattern, subject) for pattern in self.config["subjects"])

    def publish(self, subject: str, headers: bytes, data: bytes, now_ns: int) -> tuple[dict[str, Any], Stored | None]:
        """Store a message; the PubAck, and the message if it is new."""
        self.expire(now_ns)
        refused = self._unexpected(headers)
        if refused is not None:
            return refused | {"stream": self.name, "seq": 0}, None
        message_id = codec.header(headers, "Nats-Msg-Id")
        if message_id is not None and message_id in self.ids:
            return {"stream": self.name, "seq": self.ids[message_id][0], "duplicate": True}, None
        stored = Stored(self.last_seq + 1, now_ns, subject, headers, data)
        limit = self.config["max_bytes"]
        if limit >= 0 and self.size + stored.size > limit:
            if self.config["discard"] == "new":
                return error(400, 10077, "maximum bytes exceeded") | {"stream": self.name, "seq": 0}, None
            while self.messages and self.size + stored.size > limit:
                self._drop_first()
        self._append(stored)
        if message_id is not None:
            self.ids[message_id] = (stored.seq, now_ns)
        return {"stream": self.name, "seq": stored.seq}, stored

    def _unexpected(self, headers: bytes) -> dict[str, Any] | None:
        stream = codec.header(headers, "Nats-Expected-Stream")
        if stream is not None and stream != self.name:
            return error(400, 10060, "expected stream does not match")
        seq = codec.header(headers, "Nats-Expected-Last-Sequence")
        if seq is not None and int(seq) != self.last_seq:
            return error(400, 10071, f"wrong last sequence: {self.last_seq}")
        return None

    def get(self, seq: int) -> Stored | None:
        """A message by its sequence."""
        if not self.messages or not self.messages[0].seq <= seq <= self.last_seq:
            return None
        place = seq - self.messages[0].seq
        found = self.messages[place] if place < len(self.messages) else None
        return found if found is not None and found.seq == seq else None

    def expire(self, now_ns: int) -> None:
        """Drop what is older than max_age, and ids past the dedupe window."""
        age_ns = self.config["max_age"]
        while age_ns and self.messages and self.messages[0].ts_ns + age_ns <= now_ns:
            self._drop_first()
        window_ns = self.config["duplicate_window"]
        while self.ids:
            oldest = next(iter(self.ids))
            if self.ids[oldest][1] + window_ns > now_ns:
                break
            del self.ids[oldest]

    def sync(self) -> None:
        """Everything written is on the platter."""
        self.synced_seq = self.last_seq

    def lose_power(self) -> None:
        """What was not synced is gone, and its sequences will be given out again."""
        while self.messages and self.messages[-1].seq > self.synced_seq:
            self.size -= self.messages.pop().size
        self.last_seq = min(self.last_seq, self.synced_seq)

    def restart(self, now_ns: int) -> None:
        """A new server reads its files: ids are learned again from the stored messages."""
        self.ids.clear()
        for stored in self.messages:
            message_id = codec.header(stored.headers, "Nats-Msg-Id")
            if message_id is not None:
                self.ids[message_id] = (stored.seq, stored.ts_ns)
        self.expire(now_ns)

    def purge(self) -> int:
        """Drop everything; the sequence goes on."""
        count = len(self.messages)
        while self.messages:
            self._drop_first()
        return count

    def state(self) -> dict[str, Any]:
        """As STREAM.INFO tells it."""
        return {
            "messages": len(self.messages),
            "bytes": self.size,
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
        }

    def _append(self, stored: Stored) -> None:
        if not self.messages:
            self.first_seq = stored.seq
        self.messages.append(stored)
        self.last_seq = stored.seq
        self.size += stored.size

    def _drop_first(self) -> None:
        dropped = self.messages.popleft()
        self.size -= dropped.size
        self.first_seq = self.messages[0].seq if self.messages else self.last_seq + 1
