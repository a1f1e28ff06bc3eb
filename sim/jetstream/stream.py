"""A stream of JetStream, pure: what is stored, what is a repeat, what has expired, and what a power loss takes.

What is stored is what a SIGKILL leaves, up to `synced_seq` what a power loss leaves. With `sync_interval: always` a
message is synced before its PubAck; by default every two minutes.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sim.errors import NotModelled
from sim.jetstream import codec

OVERHEAD_BYTES = 30
"""What a stored message takes beside its subject, headers and data: a record's head and its checksum."""
HEADERS_OVERHEAD_BYTES = 4
"""What it takes to say how long the headers are."""


class Stored(NamedTuple):
    """One message."""

    seq: int
    ts_ns: int
    subject: str
    headers: bytes
    data: bytes

    @property
    def size(self) -> int:
        """As the stream's limits count."""
        headers = len(self.headers) + HEADERS_OVERHEAD_BYTES if self.headers else 0
        return len(self.subject) + headers + len(self.data) + OVERHEAD_BYTES


def error(code: int, err_code: int, description: str) -> dict[str, Any]:
    """An error as JetStream's API answers it."""
    return {"error": {"code": code, "err_code": err_code, "description": description}}


@dataclass(slots=True)
class Stream:
    """Messages in order, and the ids of those within the dedupe window."""

    config: dict[str, Any]
    created_ns: int
    first_seq: int = 0
    """As JetStream counts it: one past the last, when it is empty; 0 before the first message ever."""
    last_seq: int = 0
    synced_seq: int = 0
    size: int = 0
    ids: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Sequence and time of each id, oldest first."""
    ids_kept_until_ns: int = 0
    """No id is forgotten before: the server's timer runs for a whole window from when it learned of the first."""
    removals: int = 0
    """Counts up whenever something is removed, so that consumers know when to look."""
    purged_seq: int = 0
    """Everything up to here was purged: consumers stand behind it."""
    _slots: deque[Stored | None] = field(default_factory=deque)
    """From `first_seq` on; None where a message was deleted. The first one is always there."""
    _holes: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.config["name"])

    @property
    def count(self) -> int:
        """How many messages it has."""
        return len(self._slots) - len(self._holes)

    def takes(self, subject: str) -> bool:
        """Whether messages on a subject are stored here."""
        return any(codec.matches(pattern, subject) for pattern in self.config["subjects"])

    # Storing

    def publish(self, subject: str, headers: bytes, data: bytes, now_ns: int) -> tuple[dict[str, Any], Stored | None]:
        """Store a message; the PubAck, and the message if it is new."""
        self.expire(now_ns)
        message_id = codec.header(headers, "Nats-Msg-Id")
        if message_id is not None and message_id in self.ids:
            return {"stream": self.name, "seq": self.ids[message_id][0], "duplicate": True}, None
        refused = self._unexpected(headers)
        stored = Stored(self.last_seq + 1, now_ns, subject, headers, data)
        limit = self.config["max_bytes"]
        if refused is None and limit >= 0 and self.size + stored.size > limit and self.config["discard"] == "new":
            refused = error(503, 10077, "maximum bytes exceeded")
        if refused is not None:
            return refused | {"stream": self.name, "seq": 0}, None
        self._append(stored)
        while 0 <= limit < self.size:
            self._drop_first()
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
        message_id = codec.header(headers, "Nats-Expected-Last-Msg-Id")
        last = self.get(self.last_seq)
        last_id = codec.header(last.headers, "Nats-Msg-Id") if last is not None else None
        if message_id is not None and message_id != (last_id or ""):
            return error(400, 10070, f"wrong last msg ID: {last_id or ''}")
        return None

    def _append(self, stored: Stored) -> None:
        if not self._slots:
            self.first_seq = stored.seq
        self._slots.append(stored)
        self.last_seq = stored.seq
        self.size += stored.size

    # Looking

    def get(self, seq: int) -> Stored | None:
        """A message by its sequence."""
        place = seq - self.first_seq
        return self._slots[place] if 0 <= place < len(self._slots) else None

    def next_from(self, seq: int, subject: str = ">") -> Stored | None:
        """The first message at or after a sequence, on a subject."""
        for one in range(max(seq, self.first_seq), self.last_seq + 1):
            stored = self.get(one)
            if stored is not None and codec.matches(subject, stored.subject):
                return stored
        return None

    def last_on(self, subject: str) -> Stored | None:
        """The last message on a subject."""
        found = (one for one in reversed(self._slots) if one is not None and codec.matches(subject, one.subject))
        return next(found, None)

    def count_after(self, seq: int, subject: str = ">") -> int:
        """How many messages there are behind a sequence, on a subject."""
        if subject != ">" and self.config["subjects"] != [subject]:
            later = (self.get(one) for one in range(max(seq + 1, self.first_seq), self.last_seq + 1))
            return sum(one is not None and codec.matches(subject, one.subject) for one in later)
        behind = max(seq + 1, self.first_seq)
        return max(0, self.last_seq + 1 - behind) - (len(self._holes) - bisect_right(self._holes, behind - 1))

    def state(self) -> dict[str, Any]:
        """As STREAM.INFO tells it."""
        return {
            "messages": self.count,
            "bytes": self.size,
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
        }

    # Removing

    def expire(self, now_ns: int) -> None:
        """Drop what is older than max_age, and ids past the dedupe window."""
        age_ns = self.config["max_age"]
        while age_ns and self._slots and self._first.ts_ns + age_ns <= now_ns:
            self._drop_first()
        window_ns = self.config["duplicate_window"]
        while self.ids and now_ns >= self.ids_kept_until_ns:
            oldest = next(iter(self.ids))
            if self.ids[oldest][1] + window_ns > now_ns:
                break
            del self.ids[oldest]

    def delete(self, seq: int) -> bool:
        """Remove one message; answers whether it was there."""
        stored = self.get(seq)
        if stored is None:
            return False
        if seq == self.first_seq:
            self._drop_first()
            return True
        self._slots[seq - self.first_seq] = None
        insort(self._holes, seq)
        self.size -= stored.size
        self.removals += 1
        return True

    def purge(self, *, before: int = 0, keep: int = 0) -> int:
        """Drop everything, what is before a sequence, or all but some; answers how many. The sequence goes on."""
        count = self.count
        until = before or self.last_seq + 1
        while self._slots and self.first_seq < until and self.count > keep:
            self._drop_first()
        self.purged_seq = max(self.purged_seq, self.first_seq - 1)
        self.removals += 1
        return count - self.count

    @property
    def _first(self) -> Stored:
        first = self._slots[0]
        assert first is not None
        return first

    def _drop_first(self) -> None:
        self.size -= self._first.size
        self._slots.popleft()
        while self._slots and self._slots[0] is None:
            self._slots.popleft()
        self.first_seq = self.last_seq + 1 - len(self._slots)
        del self._holes[: bisect_right(self._holes, self.first_seq - 1)]
        self.removals += 1

    # Lives of the server

    def sync(self) -> None:
        """Everything written is on the platter."""
        self.synced_seq = self.last_seq

    def lose_power(self) -> int:
        """What was not synced is gone, and its sequences will be given out again; answers how many messages."""
        count = self.count
        while self._slots and self.last_seq > self.synced_seq:
            lost = self._slots.pop()
            if lost is None:
                self._holes.pop()
            else:
                self.size -= lost.size
            self.last_seq -= 1
        self.last_seq = min(self.last_seq, self.synced_seq)
        if not self._slots:
            self.first_seq = self.last_seq + 1 if self.last_seq else 0
        self.purged_seq = min(self.purged_seq, self.last_seq)
        return count - self.count

    def restart(self, now_ns: int) -> None:
        """A new server reads its files: ids are learned again from the stored messages of one window."""
        self.ids.clear()
        self.ids_kept_until_ns = now_ns + self.config["duplicate_window"]
        for stored in self._stored():
            message_id = codec.header(stored.headers, "Nats-Msg-Id")
            if message_id is not None and stored.ts_ns + self.config["duplicate_window"] > now_ns:
                self.ids[message_id] = (stored.seq, stored.ts_ns)
        self.expire(now_ns)

    def _stored(self) -> Iterator[Stored]:
        return (one for one in self._slots if one is not None)


def start_of(stream: Stream, config: dict[str, Any]) -> int:
    """The sequence at which a new consumer begins. Raises NotModelled."""
    match config.get("deliver_policy") or "all":
        case "all":
            return max(1, stream.first_seq)
        case "new":
            return stream.last_seq + 1
        case "last":
            last = stream.last_on(str(config.get("filter_subject") or ">"))
            return stream.last_seq + 1 if last is None else last.seq
        case "by_start_sequence":
            return max(int(config.get("opt_start_seq") or 1), stream.first_seq)
        case other:
            raise NotModelled(f"expected delivery of all, new, the last, or from a sequence, got {other}")
