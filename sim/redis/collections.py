"""Commands on hashes and sets."""

from __future__ import annotations

from sim.errors import NotModelled
from sim.redis.call import Call, Command, Rest, option, pattern, whole
from sim.redis.codec import Fields, Members, Reply
from sim.redis.errors import Refused, syntax, wrong_arguments
from sim.redis.values import HashValue, SetValue

SCAN_COUNT = 10


def hset(call: Call) -> Reply:
    """HSET key field value …: how many fields are new."""
    if len(call.words) % 2:
        raise wrong_arguments(call.name)
    fields = call.found_or_made(HashValue)
    before = len(fields)
    fields.update(zip(call.words[2::2], call.words[3::2], strict=True))
    call.changed(call.key)
    return len(fields) - before


def hget(call: Call) -> Reply:
    """HGET key field."""
    return _fields(call).get(call.words[2])


def hmget(call: Call) -> Reply:
    """HMGET key field …."""
    fields = _fields(call)
    return [fields.get(one) for one in call.words[2:]]


def hgetall(call: Call) -> Reply:
    """HGETALL key."""
    return Fields(_fields(call).items())


def hlen(call: Call) -> Reply:
    """HLEN key."""
    return len(call.found(HashValue) or ())


def hdel(call: Call) -> Reply:
    """HDEL key field …: how many were there."""
    return _removed(call, call.found(HashValue))


def sadd(call: Call) -> Reply:
    """SADD key member …: how many are new."""
    members = call.found_or_made(SetValue)
    before = len(members)
    members.update(dict.fromkeys(call.words[2:]))
    if len(members) > before:
        call.changed(call.key)
    return len(members) - before


def srem(call: Call) -> Reply:
    """SREM key member …: how many were there."""
    return _removed(call, call.found(SetValue))


def smembers(call: Call) -> Reply:
    """SMEMBERS key."""
    members = call.found(SetValue)
    return Members(() if members is None else members.told())


def sismember(call: Call) -> Reply:
    """SISMEMBER key member."""
    return int(call.words[2] in (call.found(SetValue) or ()))


def scard(call: Call) -> Reply:
    """SCARD key."""
    return len(call.found(SetValue) or ())


def sscan(call: Call) -> Reply:
    """SSCAN key cursor [MATCH pattern] [COUNT count]: the next cursor, and some members."""
    if call.words[2].startswith((b"-", b"+")):
        raise NotModelled(f"expected a cursor of digits, got {call.words[2]!r}")
    if not call.words[2].isdigit() or int(call.words[2]) >= 2**64:
        raise Refused("invalid cursor")
    members = call.found(SetValue)
    if members is None:
        return [b"0", []]
    rest, count, wanted = Rest(call.words[3:]), SCAN_COUNT, pattern(b"*")
    while rest:
        word = option(rest.take())
        if word == "COUNT" and rest:
            count = whole(rest.take())
            if count < 1:
                raise syntax()
        elif word == "MATCH" and rest:
            wanted = pattern(rest.take())
        else:
            raise syntax()
    cursor, found = members.scan(int(call.words[2]), count)
    return [b"%d" % cursor, [one for one in found if wanted.fullmatch(one)]]


def _fields(call: Call) -> HashValue:
    return call.found(HashValue) or HashValue()


def _removed(call: Call, of: HashValue | SetValue | None) -> int:
    if of is None:
        return 0
    before = len(of)
    for one in call.words[2:]:
        of.pop(one, None)
    removed = before - len(of)
    if removed:
        call.changed(call.key)
        call.keyspace.delete_if_empty(call.db, call.key)
    return removed


COMMANDS = {
    "hset": Command(handler=hset, arity=-4, is_write=True),
    "hget": Command(handler=hget, arity=3),
    "hmget": Command(handler=hmget, arity=-3),
    "hgetall": Command(handler=hgetall, arity=2),
    "hlen": Command(handler=hlen, arity=2),
    "hdel": Command(handler=hdel, arity=-3, is_write=True),
    "sadd": Command(handler=sadd, arity=-3, is_write=True),
    "srem": Command(handler=srem, arity=-3, is_write=True),
    "smembers": Command(handler=smembers, arity=2),
    "sismember": Command(handler=sismember, arity=3),
    "scard": Command(handler=scard, arity=2),
    "sscan": Command(handler=sscan, arity=-3),
}
