"""What Redis refuses, in its own words (6.2)."""

from __future__ import annotations

from sim.redis.codec import Failure


class Refused(Exception):
    """A command is refused; `failure` is its answer."""

    def __init__(self, text: str, code: str = "ERR") -> None:
        super().__init__(text)
        self.failure = Failure(f"{code} {text}")


def wrong_type() -> Refused:
    """A command for another type of value."""
    return Refused("Operation against a key holding the wrong kind of value", "WRONGTYPE")


def syntax() -> Refused:
    """Words that the command does not know."""
    return Refused("syntax error")


def no_integer() -> Refused:
    """A word where a number should be."""
    return Refused("value is not an integer or out of range")


def wrong_arguments(name: str) -> Refused:
    """Too few or too many words."""
    return Refused(f"wrong number of arguments for '{name}' command")
