"""One command as its handler sees it: its words, its database, the moment, and what is to be written of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from sim.errors import NotModelled
from sim.redis.codec import Reply, integer
from sim.redis.errors import Refused, no_integer, syntax
from sim.redis.keyspace import Keyspace
from sim.redis.stream import Stream
from sim.redis.values import HashValue, SetValue, SortedSet

V = TypeVar("V", HashValue, SetValue, SortedSet, Stream)
Words: TypeAlias = "tuple[bytes, ...]"


@dataclass(slots=True, kw_only=True)
class Call:
    """What a handler is given; it is made for one command."""

    keyspace: Keyspace
    db: int
    now_ms: int
    words: Words
    """Its name first."""
    logged: list[Words] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The command, in small letters."""
        return self.words[0].decode().lower()

    @property
    def key(self) -> bytes:
        """The first word after the name."""
        return self.words[1]

    def found(self, kind: type[V]) -> V | None:
        """What the key holds. Raises Refused for another type."""
        return self.keyspace.of_type(self.db, self.key, kind)

    def found_or_made(self, kind: type[V]) -> V:
        """What the key holds, from now on at least an empty one. Raises Refused for another type."""
        value = self.found(kind)
        if value is None:
            value = kind()
            self.keyspace.put(self.db, self.key, value)
        return value

    def changed(self, key: bytes, *words: bytes) -> None:
        """Note that a key was changed, by these words or the command's own."""
        self.keyspace.touch(self.db, key)
        self.logged.append(words or self.words)


Handler: TypeAlias = "Callable[[Call], Reply]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How a command is to be called, and by what it is answered."""

    handler: Handler
    arity: int
    """Words, its name among them; negative: at least so many."""
    is_write: bool = False
    while_loading: bool = False

    def takes(self, count: int) -> bool:
        """Whether it may have so many words."""
        return count == self.arity if self.arity > 0 else count >= -self.arity


def whole(word: bytes) -> int:
    """A number of 64 bits. Raises Refused."""
    number = integer(word)
    if number is None:
        raise no_integer()
    return number


def score(word: bytes, message: str = "value is not a valid float") -> float:
    """A score, as C's strtod reads it. Raises Refused, NotModelled."""
    text = word.decode("latin-1")
    if re.fullmatch(r"[+-]?(inf|infinity)|[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.IGNORECASE | re.ASCII):
        return float(text)
    if re.match(r"[+-]?0x", text, re.IGNORECASE):
        raise NotModelled(f"expected a decimal score, got {text}")
    raise Refused(message)


def option(word: bytes) -> str:
    """A word of a command's grammar."""
    return word.decode("latin-1").upper()


def pattern(word: bytes) -> re.Pattern[bytes]:
    """What a glob matches. Raises NotModelled for more than stars and question marks."""
    if re.search(rb"[\[\]\\]", word):
        raise NotModelled(f"expected a pattern of stars and question marks, got {word!r}")
    return re.compile(re.escape(word).replace(rb"\*", b".*").replace(rb"\?", b"."), re.DOTALL)


class Rest:
    """The options behind a command's fixed words, taken one by one."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._words)

    @property
    def left(self) -> int:
        """How many words are not taken yet."""
        return len(self._words) - self._at

    def peek(self) -> bytes:
        """The next word, which stays."""
        return self._words[self._at]

    def take(self) -> bytes:
        """The next word. Raises Refused if there is none."""
        if not self:
            raise syntax()
        self._at += 1
        return self._words[self._at - 1]

    def all(self) -> Words:
        """Whatever is left."""
        left, self._at = self._words[self._at :], len(self._words)
        return left
