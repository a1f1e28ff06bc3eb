"""How many bytes a stream's node takes: what decides where the next one begins, and so what `XTRIM … ~` may remove.

Source: listpack.c and t_stream.c of Redis 6.2.
"""

from __future__ import annotations

from sim.redis.codec import integer

NODE_ENTRIES_MAX, NODE_BYTES_MAX = 100, 4096
"""`stream-node-max-entries` and `stream-node-max-bytes`."""
EMPTY_BYTES = 7
"""A listpack's head and end."""
_BY_WIDTH = ((13, 2), (16, 3), (24, 4), (32, 5))


def element_bytes(value: bytes | int) -> int:
    """One element, as the listpack stores it: what looks like a number is one."""
    number = value if isinstance(value, int) else (integer(value) if len(value) < 21 else None)
    if number is not None:
        size = _integer_bytes(number)
    else:
        assert isinstance(value, bytes)
        length = len(value)
        size = length + (1 if length < 64 else 2 if length < 4096 else 5)
    return size + _backwards_bytes(size)


def _integer_bytes(number: int) -> int:
    if 0 <= number <= 127:
        return 1
    for bits, size in _BY_WIDTH:
        if -(1 << (bits - 1)) <= number < 1 << (bits - 1):
            return size
    return 9


def _backwards_bytes(size: int) -> int:
    """Each element ends with its own length, seven bits a byte."""
    return 1 if size <= 127 else 2 if size < 16_383 else 3 if size < 2_097_151 else 4 if size < 268_435_455 else 5
