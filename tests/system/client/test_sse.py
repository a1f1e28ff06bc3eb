"""The SSE parser against the standard: a plain whole-text reading of it, and any way to cut the bytes into chunks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from system.client.errors import FrameTooLarge
from system.client.sse import RETRY_DIGITS_MAX, Frame, Retry, SseParser


def parsed(chunks: Iterable[bytes], frame_bytes_max: int = 1 << 20) -> list[Frame | Retry | str]:
    """Everything that the parser makes of the chunks; `too large` at the end if it stopped at its limit."""
    parser = SseParser(frame_bytes_max)
    items: list[Frame | Retry | str] = []
    try:
        for chunk in chunks:
            parser.feed(chunk)
            while (item := parser.next_item()) is not None:
                items.append(item)
    except FrameTooLarge:
        items.append("too large")
    return items


def by_the_standard(stream: bytes) -> Iterator[tuple[str, str, str] | int]:
    """(type, data, last event id) or retry, read off WHATWG HTML 9.2.6 line by line, with the whole text at hand."""
    text = stream.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    lines = re.split("\r\n|\n|\r", text)[:-1]  # what follows the last line end is no line yet
    data, event_type, last_id = "", "", ""
    for line in lines:
        if line == "":
            if data:
                yield event_type or "message", data.removesuffix("\n"), last_id
            data = event_type = ""
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                event_type = value
            elif name == "data":
                data += value + "\n"
            elif name == "id" and "\0" not in value:
                last_id = value
            elif name == "retry" and re.fullmatch("[0-9]+", value) and len(value) <= RETRY_DIGITS_MAX:
                yield int(value)


_word = st.sampled_from([b"data", b"event", b"id", b"retry", b"dat", b"Data", b"", b"x"])
_value = st.sampled_from(
    [b"", b" ", b"  a", b"12", b" 250", b"1x", b"a\0b", "ä€😀".encode(), b"\xff", b"\xe2\x82", b"a:b", b"\xef\xbb\xbfq"]
)
_line = st.builds(lambda name, colon, value: name + colon + value, _word, st.sampled_from([b":", b": ", b""]), _value)
_end = st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n"])
_stream = st.builds(
    lambda bom, parts: bom + b"".join(parts),
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb", b"\xef\xbb\xbf\xef\xbb\xbf"]),
    st.lists(st.builds(lambda line, end: line + end, _line, _end), max_size=12),
)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in chunks that begin at these places."""
    bounds = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(bounds)]


@given(stream=_stream | st.binary(max_size=60), places=st.lists(st.integers(0, 1000), max_size=8))
@example(stream=b"data: a\r\n\r\ndata: b\r\r", places=[8, 9, 10, 11])
@example(stream=b"\xef\xbb\xbfdata: a\n\n", places=[1, 2, 3])
@example(stream=b"\xef\xbb\n\ndata: a\n\n", places=[1, 2, 3])
def test_any_split_reads_as_the_standard_says(stream: bytes, places: list[int]) -> None:
    """Chunk boundaries mean nothing, and the frames are those of a plain reading of the standard."""
    items = parsed(cut(stream, places))
    assert items == parsed(stream[i : i + 1] for i in range(len(stream)))
    read = [item.retry_ms if isinstance(item, Retry) else _shown(item) for item in items]
    assert read == list(by_the_standard(stream))


@given(stream=_stream, places=st.lists(st.integers(0, 1000), max_size=8), limit=st.integers(1, 40))
def test_the_limit_strikes_at_the_same_place_however_cut(stream: bytes, places: list[int], limit: int) -> None:
    """What is too large, and what was read before it, does not depend on chunk boundaries."""
    whole = parsed([stream], limit)
    assert parsed(cut(stream, places), limit) == whole
    assert parsed((stream[i : i + 1] for i in range(len(stream))), limit) == whole


def _shown(item: Frame | Retry | str) -> tuple[str, str, str]:
    assert isinstance(item, Frame)
    return item.event, item.text, item.last_event_id


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10", "")]),
        (b": test stream\n\ndata: first\nid: 1\n\ndata:second\nid\n\ndata:  third\n\n",
         [("message", "first", "1"), ("message", "second", ""), ("message", " third", "")]),
        (b"data\n\ndata\ndata\n\ndata:", [("message", "", ""), ("message", "\n", "")]),
        (b"data:test\n\ndata: test\n\n", [("message", "test", ""), ("message", "test", "")]),
    ],
)  # fmt: skip
def test_the_examples_of_the_standard(stream: bytes, expected: list[tuple[str, str, str]]) -> None:
    """The four streams that the standard itself explains read as it explains them."""
    assert [_shown(item) for item in parsed([stream])] == expected


def test_an_id_outlives_its_frame_but_is_told_apart() -> None:
    """A frame without an id keeps the last one in force, yet shows that it gave none of its own."""
    frames = [
        item for item in parsed([b"id: 7\ndata: a\n\ndata: b\n\nid: 8\0\ndata: c\n\n"]) if isinstance(item, Frame)
    ]
    assert [(frame.id, frame.last_event_id) for frame in frames] == [("7", "7"), (None, "7"), (None, "7")]


def test_a_block_of_only_an_id_moves_the_last_event_id() -> None:
    """No frame is dispatched for it, and the id in force changes when the block ends, not before."""
    parser = SseParser()
    parser.feed(b"id: 9\n")
    assert (parser.next_item(), parser.last_event_id) == (None, "")
    parser.feed(b"\n")
    assert (parser.next_item(), parser.last_event_id) == (None, "9")


def test_heartbeats_are_nothing() -> None:
    """A comment, with or without an empty line behind it, makes no frame."""
    assert parsed([b":\n", b":\n", b": hb\n\n", b"id: 1\n:\ndata: a\n:\n\n"]) == parsed([b"id: 1\ndata: a\n\n"])


def test_too_large_says_what_to_do_and_stays() -> None:
    """The error names the limit and the place, and feeding on does not get past it."""
    parser = SseParser(frame_bytes_max=20)
    parser.feed(b"id: 4\ndata: a\n\ndata: " + b"x" * 30)
    assert isinstance(parser.next_item(), Frame)
    with pytest.raises(
        FrameTooLarge, match=r"at most 20 bytes, got one of 36 or more after id '4'; raise frame_bytes_max"
    ):
        parser.next_item()
    parser.feed(b"\n\ndata: b\n\n")
    with pytest.raises(FrameTooLarge, match="at most 20"):
        parser.next_item()


def test_a_frame_of_many_lines_is_bounded_as_a_whole() -> None:
    """Many short lines of data count together; comments that are not kept do not."""
    assert parsed([b"data: xxxx\n" * 10], frame_bytes_max=50) == ["too large"]
    assert parsed([b": xxxxx\n" * 1000], frame_bytes_max=50) == []
