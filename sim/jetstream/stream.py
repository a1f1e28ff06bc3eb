"""A stream of JetStream, pure: what is stored, what is a repeat, what has expired, and what a power loss takes.

What is stored is what a SIGKILL leaves, up to `synced_seq` what a power loss leaves. With `sync_interval: always` a
message is synced before its PubAck; by default every two minutes.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from sim.errors import NotModelled
from sim.jetstream import codec

OVERHEAD_BYTES = 30
"""What a stored message takes beside its subject, headers and data: a record's head and its checksum."""
HEADERS_OVERHEAD_BYTES = 4
"""What it takes to say how long the headers are."""


Subjects: TypeAlias = "str | tuple[str, ...]"
"""A pattern, or several of which one must match."""


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


KNOWN_HEADERS = {
    "Nats-Msg-Id",
    "Nats-Expected-Stream",
    "Nats-Expected-Last-Sequence",
    "Nats-Expected-Last-Msg-Id",
    "Nats-Expected-Last-Subject-Sequence",
    "Nats-Expected-Last-Subject-Sequence-Subject",
    "Nats-TTL",
}
"""Of the server's own; any other would be passed over in silence."""


def error(code: int, err_code: int, description: str) -> dict[str, Any]:
    """An error as JetStream's API answers it."""
    return {"error": {"code": code, "err_code": err_code, "description": description}}


TTL_DISABLED = error(400, 10166, "per-message TTL is disabled")
TTL_INVALID = error(400, 10165, "invalid per-message TTL")
OTHER_STREAM = error(400, 10060, "expected stream does not match")
TOO_LARGE = error(400, 10054, "message size exceeds maximum allowed")


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
    purges: int = 0
    """Counts them, also those that removed nothing."""
    purged_seq: int = 0
    """Everything up to here was purged: consumers stand behind it."""
    _slots: deque[Stored | None] = field(default_factory=deque)
    """From `first_seq` on; None where a message was deleted. The first one is always there."""
    _holes: list[int] = field(default_factory=list)
    _lives: list[tuple[int, int]] = field(default_factory=list)
    """When messages end that said how long they live, and their sequences; the next one first."""

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
        odd = set(codec.header_names(headers, "Nats-")) - KNOWN_HEADERS
        if odd:
            raise NotModelled(f"expected headers of the server's that are modelled, got {sorted(odd)}")
        self.expire(now_ns)
        stored = Stored(self.last_seq + 1, now_ns, subject, headers, data)
        refused = (
            self._short_lived(headers)
            or self._too_large(stored)
            or self._other_stream(headers)
            or self._other_seq(subject, headers)
        )
        message_id = codec.header(headers, "Nats-Msg-Id")
        if refused is None and message_id is not None and message_id in self.ids:
            return {"stream": self.name, "seq": self.ids[message_id][0], "duplicate": True}, None
        refused = refused or self._other_id(headers) or self._full(stored)
        if refused is not None:
            return refused | {"stream": self.name, "seq": 0}, None
        self._append(stored)
        self._make_room_on(subject)
        self.make_room()
        if message_id is not None:
            self.ids[message_id] = (stored.seq, now_ns)
        return {"stream": self.name, "seq": stored.seq}, stored

    def _short_lived(self, headers: bytes) -> dict[str, Any] | None:
        """What is wrong with the life that a message asks for. Raises NotModelled."""
        text = codec.header(headers, "Nats-TTL")
        if text is None:
            return None
        if not self.config["allow_msg_ttl"]:
            return TTL_DISABLED
        if not text.isdigit():
            raise NotModelled(f"expected a Nats-TTL in whole seconds, got {text!r}")
        return None if int(text) else TTL_INVALID

    def _other_stream(self, headers: bytes) -> dict[str, Any] | None:
        return OTHER_STREAM if codec.header(headers, "Nats-Expected-Stream") not in (None, self.name) else None

    def _other_seq(self, subject: str, headers: bytes) -> dict[str, Any] | None:
        seq = codec.header(headers, "Nats-Expected-Last-Subject-Sequence")
        if seq is not None:
            other = codec.header(headers, "Nats-Expected-Last-Subject-Sequence-Subject")
            last = self.last_on(other or subject)
            last_seq = 0 if last is None else last.seq
            if int(seq) != last_seq:
                return error(400, 10071, f"wrong last sequence: {last_seq}")
        seq = codec.header(headers, "Nats-Expected-Last-Sequence")
        if seq is not None and int(seq) != self.last_seq:
            return error(400, 10071, f"wrong last sequence: {self.last_seq}")
        return None

    def _other_id(self, headers: bytes) -> dict[str, Any] | None:
        message_id = codec.header(headers, "Nats-Expected-Last-Msg-Id")
        last = self.get(self.last_seq)
        last_id = codec.header(last.headers, "Nats-Msg-Id") if last is not None else None
        if message_id is not None and message_id != (last_id or ""):
            return error(400, 10070, f"wrong last msg ID: {last_id or ''}")
        return None

    def _too_large(self, stored: Stored) -> dict[str, Any] | None:
        size_max = self.config["max_msg_size"]
        return TOO_LARGE if 0 <= size_max < len(stored.headers) + len(stored.data) else None

    def _full(self, stored: Stored) -> dict[str, Any] | None:
        if self.config["discard"] != "new":
            return None
        each = self.config["max_msgs_per_subject"]
        if self.config.get("discard_new_per_subject") and 0 < each <= len(self._on(stored.subject)):
            return error(503, 10077, "maximum messages per subject exceeded")
        if 0 < self.config["max_msgs"] <= self.count:
            return error(503, 10077, "maximum messages exceeded")
        if 0 <= self.config["max_bytes"] < self.size + stored.size:
            return error(503, 10077, "maximum bytes exceeded")
        return None

    def _on(self, subject: str) -> list[int]:
        """The sequences on one subject."""
        return [one.seq for one in self._stored() if one.subject == subject]

    def _make_room_on(self, subject: str) -> None:
        each = self.config["max_msgs_per_subject"]
        if each > 0:
            for seq in self._on(subject)[:-each]:
                self.delete(seq)

    def make_room(self) -> None:
        """Drop from the front what is beyond the limits of the whole."""
        messages_max, bytes_max = self.config["max_msgs"], self.config["max_bytes"]
        while self._slots and (0 < messages_max < self.count or 0 <= bytes_max < self.size):
            self._drop_first()

    def configure(self, config: dict[str, Any]) -> None:
        """Other limits take effect at once."""
        self.config = config
        self.make_room()
        for subject in self.subjects(">"):
            self._make_room_on(subject)

    def _append(self, stored: Stored) -> None:
        if not self._slots:
            self.first_seq = stored.seq
        self._slots.append(stored)
        self.last_seq = stored.seq
        self.size += stored.size
        self._note_life(stored)

    def _note_life(self, stored: Stored) -> None:
        text = codec.header(stored.headers, "Nats-TTL")
        if text is not None:
            heappush(self._lives, (stored.ts_ns + int(text) * 1_000_000_000, stored.seq))

    # Looking

    def get(self, seq: int) -> Stored | None:
        """A message by its sequence."""
        place = seq - self.first_seq
        return self._slots[place] if 0 <= place < len(self._slots) else None

    def next_from(self, seq: int, subject: Subjects = ">") -> Stored | None:
        """The first message at or after a sequence, on a subject."""
        for one in range(max(seq, self.first_seq), self.last_seq + 1):
            stored = self.get(one)
            if stored is not None and _is_under(subject, stored.subject):
                return stored
        return None

    def from_on(self, seq: int, subject: str) -> list[Stored]:
        """All messages from a sequence on, on a subject."""
        return [one for one in self._stored() if one.seq >= seq and codec.matches(subject, one.subject)]

    def last_on(self, subject: str) -> Stored | None:
        """The last message on a subject."""
        found = (one for one in reversed(self._slots) if one is not None and codec.matches(subject, one.subject))
        return next(found, None)

    def count_after(self, seq: int, subject: Subjects = ">") -> int:
        """How many messages there are behind a sequence, on a subject."""
        if subject != ">" and self.config["subjects"] != [subject]:
            later = islice(self._slots, max(0, seq + 1 - self.first_seq), None)
            return sum(one is not None and _is_under(subject, one.subject) for one in later)
        behind = max(seq + 1, self.first_seq)
        return max(0, self.last_seq + 1 - behind) - (len(self._holes) - bisect_right(self._holes, behind - 1))

    def subjects(self, wanted: str) -> dict[str, int]:
        """How many messages there are on each subject under a filter."""
        return dict(Counter(one.subject for one in self._stored() if codec.matches(wanted, one.subject)))

    def state(self) -> dict[str, Any]:
        """As STREAM.INFO tells it."""
        return {
            "messages": self.count,
            "bytes": self.size,
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
            **({"num_deleted": len(self._holes)} if self._holes else {}),
        }

    # Removing

    def expire(self, now_ns: int) -> None:
        """Drop what is older than max_age, and ids past the dedupe window."""
        age_ns = self.config["max_age"]
        while age_ns and self._slots and self._first.ts_ns + age_ns <= now_ns:
            self._drop_first()
        while self._lives and self._lives[0][0] <= now_ns:
            self.delete(heappop(self._lives)[1])
        window_ns = self.config["duplicate_window"]
        while self.ids and now_ns >= self.ids_kept_until_ns:
            oldest = next(iter(self.ids))
            if self.ids[oldest][1] + window_ns > now_ns:
                break
            del self.ids[oldest]

    def next_expiry_ns(self) -> int | None:
        """When the oldest message will be too old."""
        age_ns = self.config["max_age"]
        times = [self._first.ts_ns + age_ns] if age_ns and self._slots else []
        return min(times + [at_ns for at_ns, _ in self._lives[:1]], default=None)

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
        if not self._slots and until > self.last_seq and before != 1 and not keep:
            self.first_seq = max(self.last_seq + 1, before)
            self.last_seq = self.first_seq - 1
        self.purged_seq = max(self.purged_seq, self.first_seq - 1)
        self.removals += 1
        self.purges += 1
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
        self._lives = [one for one in self._lives if one[1] <= self.last_seq]
        heapify(self._lives)
        if not self._slots:
            self.first_seq = self.last_seq + 1 if self.last_seq else 0
        self.purged_seq = min(self.purged_seq, self.last_seq)
        return count - self.count

    def restart(self, now_ns: int) -> None:
        """A new server reads its files: ids are learned again from the stored messages of one window."""
        if not self.last_seq:
            self.first_seq = 0
        self.ids.clear()
        self.ids_kept_until_ns = now_ns + self.config["duplicate_window"]
        for stored in self._stored():
            message_id = codec.header(stored.headers, "Nats-Msg-Id")
            if message_id is not None and stored.ts_ns + self.config["duplicate_window"] > now_ns:
                self.ids[message_id] = (stored.seq, stored.ts_ns)
        self.expire(now_ns)

    def _stored(self) -> Iterator[Stored]:
        return (one for one in self._slots if one is not None)


def _is_under(subjects: Subjects, subject: str) -> bool:
    if isinstance(subjects, str):
        return codec.matches(subjects, subject)
    return any(codec.matches(pattern, subject) for pattern in subjects)


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
