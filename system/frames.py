"""Server-sent events as bytes, and their HTTP/1.1 chunks.

A frame is built once and shared by every session that receives it, chunk header included.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from system.cursor import SEQ_BITS, SEQ_MAX
from system.session import PageRow

HEARTBEAT = b":\n"
"""A comment of one line. With a second newline, parsers that remember an id would emit an empty message."""


def event_frame(cursor: str, event_type: str, text: str) -> bytes:
    """An event; `text` is one line of JSON."""
    return f"id: {cursor}\nevent: {event_type}\ndata: {text}\n\n".encode()


def page_frames(rows: Iterable[PageRow], tags: Mapping[int, str]) -> bytes:
    """The events of a page, as `event_frame` makes them; `tags` are by epoch ordinal.

    One string for all of them: this is replay's inner loop.
    """
    return "".join(
        [
            f"id: {tags[row.pos >> SEQ_BITS]}-{row.pos & SEQ_MAX}\nevent: {row.type}\ndata: {row.text}\n\n"
            for row in rows
        ]
    ).encode()


def bookmark_frame(cursor: str) -> bytes:
    """A bookmark: moves the cursor, carries nothing. Clients need `data` to see the id at all (npm eventsource)."""
    return f"id: {cursor}\nevent: relay.cursor\ndata: {{}}\n\n".encode()


def notice_frame(name: str, data: dict[str, Any]) -> bytes:
    """A notice (`gap`, `gone`), without an id: a notice must never move the cursor past what is still retained."""
    return f"event: relay.{name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def retry_frame(retry_ms: int) -> bytes:
    """The reconnect delay that clients are asked to keep; the block that it opens is ended by the next frame.

    Ended by itself it would be an empty message to httpx-sse.
    """
    return f"retry: {retry_ms}\n".encode()


def close_frame(reason: str, retry_ms: int) -> bytes:
    """The last frame before the server closes a stream, with the delay after which to come back."""
    return retry_frame(retry_ms) + notice_frame("close", {"reason": reason, "retry_ms": retry_ms})


def chunk(frames: Iterable[bytes]) -> bytes:
    """Frames as one HTTP/1.1 chunk (RFC 9112 section 7.1), or nothing: an empty chunk would end the body."""
    body = b"".join(frames)
    return b"%x\r\n%b\r\n" % (len(body), body) if body else b""
