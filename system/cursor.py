"""Cursors and positions: where an agent stands in the stream.

A *cursor* is what clients hold: `<epoch tag>-<stream sequence>`, opaque to them, URL-safe, without authority. A
*position* is what tables hold: the epoch's ordinal and the sequence packed into one `bigint`, so that one column
orders events across epochs and every range is a plain integer range.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

Position = NewType("Position", int)
"""`epoch ordinal << 48 | stream sequence`; 0 is before everything."""

SEQ_BITS = 48
"""2^48 sequences an epoch: 8,900 years at 1,000 events/s; leaves 2^15 epochs in a signed bigint."""
SEQ_MAX = (1 << SEQ_BITS) - 1
ORDINAL_MAX = (1 << 15) - 1

TAG_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
TAG_LENGTH = 6
_CURSOR = re.compile(r"([a-z0-9]{6})-(0|[1-9][0-9]{0,14})", re.ASCII)


class CursorMalformed(ValueError):
    """The text is not a cursor: expected `<6 of a-z0-9>-<sequence>`, as received in an event's `id`."""


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the stream, as clients hold it; ordered by sequence within one epoch."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        """The text that goes over the wire."""
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor from its text.

        Raises CursorMalformed; a well-formed cursor may still name an unknown epoch or lie ahead of the stream.
        """
        match = _CURSOR.fullmatch(text)
        if match is None or int(match[2]) > SEQ_MAX:
            raise CursorMalformed(
                f"expected a cursor such as 'abc234-1042', got {text[:64]!r}; use the last id received"
            )
        return cls(match[1], int(match[2]))


def pack(ordinal: int, seq: int) -> Position:
    """The position of a sequence in the epoch with this ordinal (1 is the first)."""
    assert 0 <= ordinal <= ORDINAL_MAX, ordinal
    assert 0 <= seq <= SEQ_MAX, seq
    return Position(ordinal << SEQ_BITS | seq)


def ordinal_of(position: int) -> int:
    """The epoch ordinal within a position."""
    return position >> SEQ_BITS


def seq_of(position: int) -> int:
    """The stream sequence within a position."""
    return position & SEQ_MAX


def tag_from(token_hex: str) -> str:
    """A new epoch's tag, from a fresh token of at least 8 hexadecimal digits."""
    number = int(token_hex, 16)
    tag = ""
    for _ in range(TAG_LENGTH):
        number, digit = divmod(number, len(TAG_ALPHABET))
        tag += TAG_ALPHABET[digit]
    return tag
