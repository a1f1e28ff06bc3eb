"""The wire codec: messages are the same however their bytes are split; what is no message is refused."""

from __future__ import annotations

import struct

import pytest

from sim.errors import NotModelled
from sim.postgres import codec
from sim.postgres.codec import FrontendDecoder, FrontendMessage
from sim.postgres.errors import ServerError
from sim.postgres.types import TEXTS, TYPES


def _frame(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


STREAM = b"".join(
    [
        struct.pack("!ii", 8, codec.SSL_REQUEST),
        struct.pack("!ii", 8 + len(b"user\0ann\0a\0b\0\0"), codec.PROTOCOL_3_0) + b"user\0ann\0a\0b\0\0",
        _frame(b"p", b"secret\0"),
        _frame(b"Q", "SELECT 'é'\0".encode()),
        _frame(b"P", b"one\0SELECT 1\0" + struct.pack("!hi", 1, 25)),
        _frame(b"D", b"Sone\0"),
        _frame(b"H"),
        _frame(b"B", b"\0one\0" + struct.pack("!hhhi2sihh", 1, 1, 2, 2, b"ab", -1, 1, 1)),
        _frame(b"E", b"\0" + struct.pack("!i", 7)),
        _frame(b"C", b"Sone\0"),
        _frame(b"S"),
        _frame(b"X"),
    ]
)


def _read(decoder: FrontendDecoder) -> list[FrontendMessage]:
    messages = []
    while (message := decoder.next_message()) is not None:
        messages.append(message)
    return messages


def test_messages_do_not_depend_on_how_their_bytes_arrive() -> None:
    """Whole, byte by byte, and cut in two anywhere: the same messages."""
    whole = FrontendDecoder()
    whole.feed(STREAM)
    expected = _read(whole)
    names = "EncryptionRequest StartUp Password Query Parse Describe Flush Bind Execute Close Sync Terminate"
    assert " ".join(type(message).__name__ for message in expected) == names
    assert expected[1] == codec.StartUp({"user": "ann", "a": "b"})
    assert expected[7] == codec.Bind("", "one", (1,), (b"ab", None), (1,))
    slow, found = FrontendDecoder(), []
    for at in range(len(STREAM)):
        slow.feed(STREAM[at : at + 1])
        found += _read(slow)
    assert found == expected
    for at in range(len(STREAM)):
        decoder = FrontendDecoder()
        decoder.feed(STREAM[:at])
        first = _read(decoder)
        decoder.feed(STREAM[at:])
        assert first + _read(decoder) == expected, at


@pytest.mark.parametrize("data", [struct.pack("!ii", 8, 99), struct.pack("!ii", 3, 0), struct.pack("!ii", -1, 0)])
def test_what_is_no_start_up_is_refused(data: bytes) -> None:
    """Another protocol or an impossible length is not taken for a message."""
    decoder = FrontendDecoder()
    decoder.feed(data)
    with pytest.raises(NotModelled):
        decoder.next_message()


def test_an_unknown_message_is_refused() -> None:
    """COPY and the like are not modelled."""
    decoder = FrontendDecoder()
    decoder.feed(struct.pack("!ii", 9, codec.PROTOCOL_3_0) + b"\0" + _frame(b"d"))
    assert decoder.next_message() == codec.StartUp({})
    with pytest.raises(NotModelled, match="'d'"):
        decoder.next_message()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bool", True),
        ("int2", -2),
        ("int4", 1 << 30),
        ("int8", -(1 << 63)),
        ("float8", 0.1),
        ("text", "é\n"),
        ("bytea", b"\0\xff"),
        ("timestamptz", 5),
        ("text[]", []),
        ("text[]", ["", None, "é"]),
    ],
)
def test_values_survive_the_wire(name: str, value: object) -> None:
    """Every type's bytes are read back as the value that they were made of."""
    (kind,) = [one for one in TYPES if one.name == name]
    assert kind.decode(kind.encode(value)) == value


def test_text_with_a_zero_is_refused() -> None:
    """PostgreSQL has no text with a zero byte, in arrays neither."""
    with pytest.raises(ServerError) as refused:
        TEXTS.decode(TEXTS.encode(["a\0b"]))
    assert refused.value.sqlstate == "22021"
