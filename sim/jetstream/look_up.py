"""Messages looked up in a stream, one or several, over the API or directly."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from sim.errors import NotModelled
from sim.jetstream import codec
from sim.jetstream.stream import Stored, Stream

MISSING = codec.status(404, "Message Not Found")
NONE_OF_THEM = codec.status(404, "No Results")


def time_text(ns: int) -> str:
    """A time as Go writes it, to the nanosecond."""
    second = datetime.fromtimestamp(ns // 1_000_000_000, tz=UTC)
    return f"{second:%Y-%m-%dT%H:%M:%S}.{ns % 1_000_000_000:09d}Z"


def direct(stream: Stream, asked: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """The header blocks and the data that answer a direct look-up. Raises NotModelled."""
    match asked:
        case {"batch": batch, "seq": seq, **others} if not set(others) - {"next_by_subj"}:
            wanted = stream.from_on(int(seq), str(others.get("next_by_subj") or ">"))
            if not wanted:
                return [(MISSING, b"")]
            return _together(stream, wanted, int(batch), {})
        case {"multi_last": subjects, **others} if not set(others) - {"up_to_seq"}:
            until = int(others.get("up_to_seq") or stream.last_seq)
            last: dict[str, Stored] = {}
            for stored in stream.from_on(1, ">"):
                if stored.seq <= until and any(codec.matches(one, stored.subject) for one in subjects):
                    last[stored.subject] = stored
            if not last:
                return [(NONE_OF_THEM, b"")]
            return _together(stream, sorted(last.values()), len(last), {"Nats-UpTo-Sequence": until})
    one = found(stream, asked)
    return [(MISSING, b"")] if one is None else [(codec.with_headers(one.headers, _described(stream, one)), one.data)]


def _together(stream: Stream, wanted: list[Stored], batch: int, more: dict[str, object]) -> list[tuple[bytes, bytes]]:
    """So many of the messages, each with how many come behind it, and a status that ends them."""
    answers = []
    before = {"Nats-Num-Pending": len(wanted), "Nats-Last-Sequence": 0}
    for place, one in enumerate(wanted[:batch]):
        before["Nats-Num-Pending"] = len(wanted) - place - 1
        answers.append((codec.with_headers(one.headers, _described(stream, one) | before), one.data))
        before["Nats-Last-Sequence"] = one.seq
    ending = codec.with_headers(codec.status(204, "EOB"), before | more)
    return [*answers, (ending, b"")]


def _described(stream: Stream, stored: Stored) -> dict[str, object]:
    return {
        "Nats-Stream": stream.name,
        "Nats-Subject": stored.subject,
        "Nats-Sequence": stored.seq,
        "Nats-Time-Stamp": time_text(stored.ts_ns),
    }


def found(stream: Stream, asked: dict[str, Any]) -> Stored | None:
    """The message that a look-up is for. Raises NotModelled."""
    match asked:
        case {"last_by_subj": subject}:
            return stream.last_on(subject)
        case {"seq": seq, "next_by_subj": subject}:
            return stream.next_from(int(seq), subject)
        case {"seq": seq}:
            return stream.get(int(seq))
    raise NotModelled(f"expected a message by its sequence or subject, got {asked}")


def message(stored: Stored) -> dict[str, Any]:
    """As the API tells it."""
    described = {
        "subject": stored.subject,
        "seq": stored.seq,
        "data": base64.b64encode(stored.data).decode(),
        "time": time_text(stored.ts_ns),
    }
    return described | ({"hdrs": base64.b64encode(stored.headers).decode()} if stored.headers else {})
