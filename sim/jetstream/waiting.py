"""The pull requests of one consumer that wait, pure: whose turn it is, and how each of them ends."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import Any

from sim.errors import NotModelled
from sim.jetstream import codec
from sim.jetstream.sending import Heard, Sending

NONE_LEFT = codec.status(404, "No Messages")
REQUEST_SETTINGS = {"batch", "max_bytes", "expires", "no_wait", "idle_heartbeat"}


@dataclass(slots=True)
class Request:
    """One pull request, with what is left of it."""

    inbox: str
    messages_left: int
    bytes_left: int | None
    expires_ns: int | None
    no_wait: bool
    beat_ns: int | None
    """How long it may be silent; None: as long as it lasts."""
    beat_at_ns: int
    taken: int = 0
    taken_at_ns: int | None = None

    def status(self, code: int, description: str) -> Sending:
        """Its end, in the server's words."""
        left = {"Nats_Pending_Messages": self.messages_left, "Nats_Pending_Bytes": self.bytes_left or 0}
        return said(self.inbox, code, description, **left)


def said(inbox: str, code: int, description: str, **fields: int) -> Sending:
    """A status to an inbox."""
    return Sending(inbox, "", codec.status(code, description, **fields), b"")


def request_of(inbox: str, body: bytes, now_ns: int) -> Request | str:
    """A request in the protocol's words, or what is wrong with it. Raises NotModelled."""
    text = body.decode("latin-1").strip()
    if not text.startswith("{"):
        # a bare number of messages; what is none is taken for one
        asked: dict[str, Any] = {"batch": int(text)} if text.isdigit() else {}
    else:
        try:
            asked = json.loads(text)
        except json.JSONDecodeError as error:
            return f"invalid character {text[error.pos]!r} looking for beginning of value"
    odd = sorted(set(asked) - REQUEST_SETTINGS)
    if odd:
        raise NotModelled(f"expected a pull request with settings that are modelled, got {odd}: {asked}")
    expires_ns, beat_ns = asked.get("expires"), asked.get("idle_heartbeat") or None
    if beat_ns and (not expires_ns or beat_ns * 2 > expires_ns):
        return "heartbeat value too large"
    return Request(
        inbox,
        int(asked.get("batch", 1)),
        asked.get("max_bytes") or None,
        now_ns + int(expires_ns) if expires_ns else None,
        bool(asked.get("no_wait")),
        beat_ns,
        now_ns + (beat_ns or 0),
    )


class Waiting:
    """Requests, in the order of their turns."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def wanted(self) -> int:
        """How many messages they still want, all together."""
        return sum(one.messages_left for one in self._requests)

    def next_deadline_ns(self) -> int | None:
        """When one of them ends by itself, or wants a sign of life."""
        times = [one.expires_ns for one in self._requests if one.expires_ns is not None]
        return min(times + [one.beat_at_ns for one in self._requests if one.beat_ns], default=None)

    def add(self, request: Request) -> None:
        """Its turn comes after everybody else's."""
        self._requests.append(request)

    def turn_for(self, size: int, is_heard: Heard) -> tuple[Request | None, list[Sending]]:
        """Who gets a message of so many bytes, if anybody; those that it is too large for end."""
        ended: list[Sending] = []
        while self._requests:
            request = self._requests[0]
            if is_heard(request.inbox):
                if request.bytes_left is None or size <= request.bytes_left:
                    return request, ended
                ended.append(request.status(409, "Message Size Exceeds MaxBytes"))
            self._requests.popleft()
        return None, ended

    def gave(self, size: int, now_ns: int) -> list[Sending]:
        """Whose turn it was has got a message; it goes to the end, or ends: without a word if nothing is left of it."""
        request = self._requests.popleft()
        request.messages_left -= 1
        request.taken += 1
        request.taken_at_ns = now_ns
        request.beat_at_ns = now_ns + (request.beat_ns or 0)
        if request.bytes_left is not None:
            request.bytes_left -= size
        if request.messages_left > 0 and request.bytes_left != 0:
            self._requests.append(request)
        elif request.bytes_left:
            return [request.status(409, "Batch Completed")]
        return []

    def expire(self, now_ns: int) -> list[Sending]:
        """The ends of those whose time is over."""
        over = [one for one in self._requests if one.expires_ns is not None and one.expires_ns <= now_ns]
        return [self._ended(one, one.status(408, "Request Timeout")) for one in over]

    def end_no_wait(self, now_ns: int, *, is_replicated: bool) -> list[Sending]:
        """The ends of those that won't wait, now that nothing is left: with an expiry, once they have got something.

        On several servers what was given just now is still on its way when they end: they are told of a timeout.
        """
        over = [one for one in self._requests if one.no_wait and (one.taken or one.expires_ns is None)]
        return [
            self._ended(
                one,
                one.status(408, "Request Timeout")
                if is_replicated and one.taken_at_ns == now_ns
                else Sending(one.inbox, "", NONE_LEFT, b""),
            )
            for one in over
        ]

    def is_beat_due(self, now_ns: int) -> bool:
        """Whether one of them waits for a sign of life."""
        return any(one.beat_ns and one.beat_at_ns <= now_ns for one in self._requests)

    def beats(self, now_ns: int, *, consumer_seq: int, stream_seq: int) -> list[Sending]:
        """Signs of life, with the last sequences, for those that are due."""
        sent = []
        for request in self._requests:
            if request.beat_ns and request.beat_at_ns <= now_ns:
                request.beat_at_ns = now_ns + request.beat_ns
                last = {"Nats_Last_Consumer": consumer_seq, "Nats_Last_Stream": stream_seq}
                sent.append(said(request.inbox, 100, "Idle Heartbeat", **last))
        return sent

    def end_all(self, code: int, description: str) -> list[Sending]:
        """End every one of them."""
        ended = [said(one.inbox, code, description) for one in self._requests]
        self._requests.clear()
        return ended

    def count_heard(self, is_heard: Heard) -> int:
        """How many of them somebody waits for; the others may come back, and stay."""
        return sum(is_heard(one.inbox) for one in self._requests)

    def forget_unheard(self, is_heard: Heard) -> None:
        """Nobody waits for these any more."""
        for request in [one for one in self._requests if not is_heard(one.inbox)]:
            self._requests.remove(request)

    def _ended(self, request: Request, sending: Sending) -> Sending:
        self._requests.remove(request)
        return sending
