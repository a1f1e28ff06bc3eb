"""Frames: exactly the bytes that the interface promises, readable by a parser of the standard."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.frames import (
    HEARTBEAT,
    bookmark_frame,
    chunk,
    close_frame,
    event_frame,
    notice_frame,
    retry_frame,
)


def test_the_bytes_are_those_of_the_interface() -> None:
    """Field by field, in this order, one block each; a heartbeat and a delay are single lines, of no block."""
    assert event_frame("abc234-5", "task.assigned", '{"id":"é"}') == (
        'id: abc234-5\nevent: task.assigned\ndata: {"id":"é"}\n\n'.encode()
    )
    assert bookmark_frame("abc234-5") == b"id: abc234-5\nevent: relay.cursor\ndata: {}\n\n"
    assert retry_frame(1500) == b"retry: 1500\n"
    assert HEARTBEAT == b":\n"
    assert close_frame("drain", 7) == b'retry: 7\nevent: relay.close\ndata: {"reason":"drain","retry_ms":7}\n\n'


@pytest.mark.parametrize("name", ["gap", "gone", "close"])
def test_a_notice_has_no_id(name: str) -> None:
    """A notice must never move a client's cursor past what is still retained."""
    frame = notice_frame(name, {"reason": "expired"})
    assert frame == b'event: relay.%b\ndata: {"reason":"expired"}\n\n' % name.encode()


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=9) | st.none(), max_size=4))
def test_a_notice_stays_on_its_line(data: dict[str, str | None]) -> None:
    """Nothing within a notice's data can end its field or begin another one."""
    lines = notice_frame("gap", data).split(b"\n")
    assert lines[0] == b"event: relay.gap"
    assert lines[2:] == [b"", b""]
    assert json.loads(lines[1].removeprefix(b"data: ")) == data


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_a_chunk_is_one_http_chunk_of_all_frames(frames: list[bytes]) -> None:
    """Size line, body, line end (RFC 9112 section 7.1); without a body nothing: an empty chunk would end the answer."""
    body, whole = b"".join(frames), chunk(frames)
    if not body:
        assert whole == b""
        return
    size, _, rest = whole.partition(b"\r\n")
    assert int(size, 16) == len(body)
    assert rest == body + b"\r\n"
