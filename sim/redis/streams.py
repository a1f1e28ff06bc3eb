"""Commands on streams."""

from __future__ import annotations

from dataclasses import dataclass

from sim.errors import NotModelled
from sim.redis.call import Call, Command, Rest, option, whole
from sim.redis.codec import NULL_LIST, Fields, Reply
from sim.redis.errors import Refused, syntax
from sim.redis.stream import APPROXIMATE_LIMIT, ID_MAX, ID_MIN, ID_PART_MAX, Entry, Id, Stream, Trim, id_text


@dataclass(slots=True)
class Options:
    """What XADD and XTRIM say before the rest."""

    min_id: Id | None = None
    length_max: int | None = None
    is_approximate: bool = False
    limit: int | None = None
    makes_stream: bool = True

    @property
    def trim(self) -> Trim | None:
        """What is to be removed. Raises Refused."""
        if self.min_id is None and self.length_max is None:
            if self.limit is not None:
                raise Refused("syntax error, LIMIT cannot be used without specifying a trimming strategy")
            return None
        if self.limit is not None and not self.is_approximate:
            raise Refused("syntax error, LIMIT cannot be used without the special ~ option")
        limit = self.limit if self.limit is not None else APPROXIMATE_LIMIT if self.is_approximate else 0
        return Trim(min_id=self.min_id, length_max=self.length_max, is_approximate=self.is_approximate, limit=limit)


def xadd(call: Call) -> Reply:
    """XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] id field value …: the id."""
    rest = Rest(call.words[2:])
    options = _options(rest, is_add=True)
    word = rest.take()
    given = None if word == b"*" else _id(word, missing=0, is_strict=True)
    trim = options.trim
    fields = rest.all()
    if len(fields) < 2 or len(fields) % 2:
        raise Refused("wrong number of arguments for XADD")
    if given == ID_MIN:
        raise Refused("The ID specified in XADD must be greater than 0-0")
    if call.found(Stream) is None and not options.makes_stream:
        return None
    stream = call.found_or_made(Stream)
    if stream.last_id == ID_MAX:
        raise Refused("The stream has exhausted the last possible ID, unable to add more items")
    id = given if given is not None else max((call.now_ms, 0), _next(stream.last_id))
    if id <= stream.last_id:
        raise Refused("The ID specified in XADD is equal or smaller than the target stream top item")
    stream.append(id, fields)
    if trim is not None:
        stream.trim(trim)
    options_words = call.words[2 : len(call.words) - len(fields) - 1]
    call.changed(call.key, b"XADD", call.key, *options_words, id_text(id), *fields)
    return id_text(id)


def xtrim(call: Call) -> Reply:
    """XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]: how many entries are gone."""
    rest = Rest(call.words[2:])
    trim = _options(rest, is_add=False).trim
    if trim is None:
        raise Refused("syntax error, XTRIM must be called with at least one trimming strategy")
    stream = call.found(Stream)
    removed = 0 if stream is None else stream.trim(trim)
    if removed:
        call.changed(call.key)
    return removed


def xlen(call: Call) -> Reply:
    """XLEN key."""
    return len(call.found(Stream) or ())


def xrange_(call: Call) -> Reply:
    """XRANGE key start end [COUNT count]."""
    return _between(call, call.words[2], call.words[3], backwards=False)


def xrevrange(call: Call) -> Reply:
    """XREVRANGE key end start [COUNT count]."""
    return _between(call, call.words[3], call.words[2], backwards=True)


def xinfo(call: Call) -> Reply:
    """XINFO STREAM key."""
    if option(call.words[1]) != "STREAM" or len(call.words) != 3:
        raise NotModelled(f"expected XINFO STREAM key, got {call.words!r}")
    stream = call.keyspace.of_type(call.db, call.words[2], Stream)
    if stream is None:
        raise Refused("no such key")
    nodes = len(stream.nodes)
    return Fields(
        (
            (b"length", len(stream)),
            (b"radix-tree-keys", nodes),
            (b"radix-tree-nodes", nodes + 1),
            (b"last-generated-id", id_text(stream.last_id)),
            (b"groups", 0),
            (b"first-entry", None if stream.first is None else _told(stream.first)),
            (b"last-entry", None if stream.last is None else _told(stream.last)),
        )
    )


def _between(call: Call, start: bytes, end: bytes, *, backwards: bool) -> Reply:
    low = _limit(start, missing=0, step=1, name="start")
    high = _limit(end, missing=ID_PART_MAX, step=-1, name="end")
    rest, count = Rest(call.words[4:]), -1
    while rest:
        if option(rest.take()) != "COUNT" or not rest:
            raise syntax()
        count = max(0, whole(rest.take()))
    stream = call.found(Stream)
    if stream is None:
        return []
    if not count:
        return NULL_LIST
    found: list[Reply] = []
    for entry in stream.between(low, high, backwards=backwards):
        found.append(_told(entry))
        if len(found) == count:
            break
    return found


def _told(entry: Entry) -> Reply:
    return [id_text(entry[0]), list(entry[1])]


def _options(rest: Rest, *, is_add: bool) -> Options:
    options = Options()
    while rest:
        word = option(rest.peek())
        if word in ("MAXLEN", "MINID") and rest.left > 1:
            rest.take()
            _threshold(rest, word, options)
        elif word == "LIMIT" and rest.left > 1:
            rest.take()
            options.limit = whole(rest.take())
            if options.limit < 0:
                raise Refused("The LIMIT argument must be >= 0.")
        elif is_add and word == "NOMKSTREAM":
            rest.take()
            options.makes_stream = False
        elif is_add:
            break
        else:
            raise syntax()
    return options


def _threshold(rest: Rest, word: str, options: Options) -> None:
    options.is_approximate = False
    if rest.peek() in (b"~", b"=") and rest.left > 1:
        options.is_approximate = rest.take() == b"~"
    if word == "MAXLEN":
        options.length_max = whole(rest.take())
        if options.length_max < 0:
            raise Refused("The MAXLEN argument must be >= 0.")
    else:
        options.min_id = _id(rest.take(), missing=0, is_strict=True)
    if options.min_id is not None and options.length_max is not None:
        raise Refused("syntax error, MAXLEN and MINID options at the same time are not compatible")


def _limit(word: bytes, *, missing: int, step: int, name: str) -> Id:
    if not word.startswith(b"(") or len(word) == 1:
        return _id(word, missing=missing, is_strict=False)
    id = _id(word[1:], missing=missing, is_strict=True)
    if id == (ID_MAX if step > 0 else ID_MIN):
        raise Refused(f"invalid {name} ID for the interval")
    return _next(id) if step > 0 else _before(id)


def _id(word: bytes, *, missing: int, is_strict: bool) -> Id:
    """An id, whose sequence may be missing. Raises Refused, NotModelled."""
    invalid = Refused("Invalid stream ID specified as stream command argument")
    if not is_strict and word in (b"-", b"+"):
        return ID_MIN if word == b"-" else ID_MAX
    ms, dash, seq = word.partition(b"-")
    parts = (ms, seq) if dash else (ms,)
    if any(part[:1] in (b"+", b" ", b"\t") for part in parts):
        raise NotModelled(f"expected an id of digits, got {word!r}")
    if len(word) > 127 or not all(part.isdigit() and int(part) <= ID_PART_MAX for part in parts):
        raise invalid
    return int(ms), int(seq) if dash else missing


def _next(id: Id) -> Id:
    return (id[0], id[1] + 1) if id[1] < ID_PART_MAX else (id[0] + 1, 0)


def _before(id: Id) -> Id:
    return (id[0], id[1] - 1) if id[1] else (id[0] - 1, ID_PART_MAX)


COMMANDS = {
    "xadd": Command(handler=xadd, arity=-5, is_write=True),
    "xtrim": Command(handler=xtrim, arity=-4, is_write=True),
    "xlen": Command(handler=xlen, arity=2),
    "xrange": Command(handler=xrange_, arity=-4),
    "xrevrange": Command(handler=xrevrange, arity=-4),
    "xinfo": Command(handler=xinfo, arity=-2),
}
