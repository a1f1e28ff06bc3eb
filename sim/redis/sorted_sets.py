"""Commands on sorted sets."""

from __future__ import annotations

from typing import NamedTuple

from sim.errors import NotModelled
from sim.redis.call import Call, Command, Rest, Words, option, score, whole
from sim.redis.codec import Reply, Scored
from sim.redis.errors import Refused, syntax
from sim.redis.values import SortedSet


class Limits(NamedTuple):
    """A range of scores; exclusive where it says so."""

    low: float
    high: float
    above: bool
    below: bool


def zadd(call: Call) -> Reply:
    """ZADD key [NX|XX] [GT|LT] [CH] score member …: how many are new, with CH how many changed."""
    rest, flags = Rest(call.words[2:]), set()
    while rest and (word := option(rest.peek())) in ("NX", "XX", "GT", "LT", "CH", "INCR"):
        rest.take()
        flags.add(word)
    if "INCR" in flags:
        raise NotModelled("expected ZADD without INCR")
    pairs = rest.all()
    if not pairs or len(pairs) % 2:
        raise syntax()
    if {"NX", "XX"} <= flags:
        raise Refused("XX and NX options at the same time are not compatible")
    if len(flags & {"GT", "LT", "NX"}) > 1:
        raise Refused("GT, LT, and/or NX options at the same time are not compatible")
    scores = [score(one) for one in pairs[::2]]
    members = call.found(SortedSet)
    if members is None and "XX" in flags:
        return 0
    members = call.found_or_made(SortedSet)
    added = changed = 0
    for value, member in zip(scores, pairs[1::2], strict=True):
        before = members.scores.get(member)
        if ("XX" if before is None else "NX") in flags:
            continue
        if before is not None and (("GT" in flags and value <= before) or ("LT" in flags and value >= before)):
            continue
        if members.put(member, value):
            added += before is None
            changed += 1
    if changed:
        call.changed(call.key)
    return changed if "CH" in flags else added


def zrem(call: Call) -> Reply:
    """ZREM key member …: how many were there."""
    members = call.found(SortedSet)
    return 0 if members is None else _removed(call, members, call.words[2:])


def zcard(call: Call) -> Reply:
    """ZCARD key."""
    return len(call.found(SortedSet) or ())


def zscore(call: Call) -> Reply:
    """ZSCORE key member."""
    members = call.found(SortedSet)
    return None if members is None else members.scores.get(call.words[2])


def zremrangebyscore(call: Call) -> Reply:
    """ZREMRANGEBYSCORE key min max: how many were there."""
    limits = _limits(call.words[2], call.words[3])
    members = call.found(SortedSet)
    if members is None:
        return 0
    found = members.by_score(limits.low, limits.high, above=limits.above, below=limits.below)
    return _removed(call, members, tuple(member for _, member in found))


def zrangebyscore(call: Call) -> Reply:
    """ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]."""
    return _range(call, is_by_score=True, is_reverse=False, is_old=True)


def zrevrangebyscore(call: Call) -> Reply:
    """ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]."""
    return _range(call, is_by_score=True, is_reverse=True, is_old=True)


def zrange(call: Call) -> Reply:
    """ZRANGE key start stop [BYSCORE] [REV] [LIMIT offset count] [WITHSCORES]."""
    return _range(call, is_by_score=False, is_reverse=False, is_old=False)


def _range(call: Call, *, is_by_score: bool, is_reverse: bool, is_old: bool) -> Reply:
    rest, with_scores = Rest(call.words[4:]), False
    limit: tuple[int, int] | None = None
    while rest:
        word = option(rest.take())
        if word == "WITHSCORES":
            with_scores = True
        elif word == "LIMIT" and rest.left >= 2:
            limit = whole(rest.take()), whole(rest.take())
        elif word == "BYSCORE" and not is_old:
            is_by_score = True
        elif word == "REV" and not is_old:
            is_reverse = True
        elif word == "BYLEX" and not is_old:
            raise NotModelled("expected ZRANGE by rank or score, got BYLEX")
        else:
            raise syntax()
    if limit is not None and limit != (0, -1) and not is_by_score:
        raise Refused("syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
    if is_by_score:
        first, second = call.words[2:4][::-1] if is_reverse else call.words[2:4]
        limits = _limits(first, second)
        members = call.found(SortedSet) or SortedSet()
        found = members.by_score(limits.low, limits.high, above=limits.above, below=limits.below)
        found = found[::-1] if is_reverse else found
        if limit is not None:
            offset, count = limit
            found = [] if offset < 0 else found[offset:] if count < 0 else found[offset : offset + count]
    else:
        start, stop = whole(call.words[2]), whole(call.words[3])
        found = _ranks(call.found(SortedSet) or SortedSet(), start, stop, is_reverse=is_reverse)
    if with_scores:
        return Scored((member, value) for value, member in found)
    return [member for _, member in found]


def _ranks(members: SortedSet, start: int, stop: int, *, is_reverse: bool) -> list[tuple[float, bytes]]:
    count = len(members)
    start = max(0, start + count) if start < 0 else start
    stop = stop + count if stop < 0 else min(stop, count - 1)
    if start > stop:
        return []
    if is_reverse:
        return members.by_rank(count - 1 - stop, count - start)[::-1]
    return members.by_rank(start, stop + 1)


def _removed(call: Call, members: SortedSet, which: Words) -> int:
    removed = sum(members.remove(member) for member in which)
    if removed:
        call.changed(call.key)
        call.keyspace.delete_if_empty(call.db, call.key)
    return removed


def _limits(low: bytes, high: bytes) -> Limits:
    first, last = (score(one.removeprefix(b"(") or b"0", "min or max is not a float") for one in (low, high))
    return Limits(first, last, low.startswith(b"("), high.startswith(b"("))


COMMANDS = {
    "zadd": Command(handler=zadd, arity=-4, is_write=True),
    "zrem": Command(handler=zrem, arity=-3, is_write=True),
    "zcard": Command(handler=zcard, arity=2),
    "zscore": Command(handler=zscore, arity=3),
    "zrangebyscore": Command(handler=zrangebyscore, arity=-4),
    "zrevrangebyscore": Command(handler=zrevrangebyscore, arity=-4),
    "zremrangebyscore": Command(handler=zremrangebyscore, arity=4, is_write=True),
    "zrange": Command(handler=zrange, arity=-4),
}
