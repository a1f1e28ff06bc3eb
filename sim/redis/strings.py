"""Commands on keys of any type, and on strings."""

from __future__ import annotations

from sim.errors import NotModelled
from sim.redis.call import Call, Command, Rest, option, whole
from sim.redis.codec import OK, Reply, Status
from sim.redis.errors import Refused, syntax, wrong_type
from sim.redis.values import HashValue, SetValue, SortedSet

INT64_MAX = 2**63 - 1


def get(call: Call) -> Reply:
    """GET key."""
    return _string(call, call.key)


def mget(call: Call) -> Reply:
    """MGET key …: what holds no string is null."""
    values = (call.keyspace.get(call.db, key) for key in call.words[1:])
    return [one if isinstance(one, bytes) else None for one in values]


def set_(call: Call) -> Reply:
    """SET key value, and how."""
    rest, words = Rest(call.words[3:]), set()
    expiry: tuple[str, bytes] | None = None
    while rest:
        word = option(rest.take())
        if word in ("EX", "PX", "EXAT", "PXAT") and rest and expiry is None and "KEEPTTL" not in words:
            expiry = word, rest.take()
        elif word in ("NX", "XX", "GET", "KEEPTTL") and not (word == "KEEPTTL" and expiry):
            words.add(word)
        else:
            raise syntax()
    if {"NX", "XX"} <= words or {"NX", "GET"} <= words:
        raise syntax()
    when_ms = None if expiry is None else _when_ms(call, *expiry)
    before = _string(call, call.key) if "GET" in words else None
    exists = call.keyspace.get(call.db, call.key) is not None
    if ("NX" in words and exists) or ("XX" in words and not exists):
        return before
    call.keyspace.put(call.db, call.key, call.words[2])
    log = [b"SET", call.key, call.words[2]]
    if "KEEPTTL" in words:
        log.append(b"KEEPTTL")
    else:
        call.keyspace.expire_at(call.db, call.key, when_ms)
        log += [] if when_ms is None else [b"PXAT", b"%d" % when_ms]
    call.changed(call.key, *log)
    return before if "GET" in words else OK


def delete(call: Call) -> Reply:
    """DEL key …."""
    count = sum(call.keyspace.delete(call.db, key) for key in call.words[1:])
    if count:
        call.logged.append(call.words)
    return count


def exists(call: Call) -> Reply:
    """EXISTS key …: a key that is named twice counts twice."""
    return sum(call.keyspace.get(call.db, key) is not None for key in call.words[1:])


def expire(call: Call) -> Reply:
    """EXPIRE, PEXPIRE, PEXPIREAT."""
    unit = {"expire": "EX", "pexpire": "PX", "pexpireat": "PXAT"}[call.name]
    when_ms = _when_ms(call, unit, call.words[2], signed=True)
    if call.keyspace.get(call.db, call.key) is None:
        return 0
    if when_ms <= call.now_ms:
        call.keyspace.delete(call.db, call.key)
        call.logged.append((b"DEL", call.key))
        return 1
    call.keyspace.expire_at(call.db, call.key, when_ms)
    call.changed(call.key, b"PEXPIREAT", call.key, b"%d" % when_ms)
    return 1


def ttl(call: Call) -> Reply:
    """TTL and PTTL."""
    if call.keyspace.get(call.db, call.key) is None:
        return -2
    when_ms = call.keyspace.expiry_ms(call.db, call.key)
    if when_ms is None:
        return -1
    left_ms = max(0, when_ms - call.now_ms)
    return left_ms if call.name == "pttl" else (left_ms + 500) // 1000


def persist(call: Call) -> Reply:
    """PERSIST key."""
    if call.keyspace.expiry_ms(call.db, call.key) is None:
        return 0
    call.keyspace.expire_at(call.db, call.key, None)
    call.changed(call.key)
    return 1


def type_(call: Call) -> Reply:
    """TYPE key."""
    match call.keyspace.get(call.db, call.key):
        case None:
            return Status("none")
        case bytes():
            return Status("string")
        case HashValue():
            return Status("hash")
        case SetValue():
            return Status("set")
        case SortedSet():
            return Status("zset")
    return Status("stream")


def dbsize(call: Call) -> Reply:
    """DBSIZE: keys of this database."""
    return call.keyspace.size(call.db)


def flushall(call: Call) -> Reply:
    """FLUSHALL [ASYNC|SYNC]: every database."""
    if len(call.words) > 2 or (len(call.words) == 2 and option(call.words[1]) not in ("ASYNC", "SYNC")):
        raise syntax()
    call.keyspace.clear()
    call.logged.append(call.words)
    return OK


def _string(call: Call, key: bytes) -> bytes | None:
    value = call.keyspace.get(call.db, key)
    if value is not None and not isinstance(value, bytes):
        raise wrong_type()
    return value


def _when_ms(call: Call, unit: str, word: bytes, *, signed: bool = False) -> int:
    """When a time is over, in ms. Raises Refused."""
    number = whole(word)
    if signed and abs(number) > INT64_MAX // 2000:
        raise NotModelled(f"expected a time that fits into 64 bits of ms, got {number}: the real one calculates on")
    invalid = Refused(f"invalid expire time in {call.name}")
    if not signed and number <= 0:
        raise invalid
    when_ms = number * 1000 if unit in ("EX", "EXAT") else number
    if not -INT64_MAX <= when_ms <= INT64_MAX:
        raise invalid
    when_ms += call.now_ms if unit in ("EX", "PX") else 0
    if when_ms > INT64_MAX:
        raise invalid
    return when_ms


COMMANDS = {
    "get": Command(handler=get, arity=2),
    "mget": Command(handler=mget, arity=-2),
    "set": Command(handler=set_, arity=-3, is_write=True),
    "del": Command(handler=delete, arity=-2, is_write=True),
    "exists": Command(handler=exists, arity=-2),
    "expire": Command(handler=expire, arity=3, is_write=True),
    "pexpire": Command(handler=expire, arity=3, is_write=True),
    "pexpireat": Command(handler=expire, arity=3, is_write=True),
    "persist": Command(handler=persist, arity=2, is_write=True),
    "ttl": Command(handler=ttl, arity=2),
    "pttl": Command(handler=ttl, arity=2),
    "type": Command(handler=type_, arity=2),
    "dbsize": Command(handler=dbsize, arity=1),
    "flushall": Command(handler=flushall, arity=-1, is_write=True),
}
