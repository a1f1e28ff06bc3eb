"""Scenes of single commands: what each answers, in either version of the protocol, and what it is refused for."""

from __future__ import annotations

import asyncio

from tests.sim.redis.stage import Stage

LONG = b"x" * 5_000


async def strings(at: Stage) -> None:
    """Values are set under conditions and read, one by one and together."""
    await at.do_alone(
        "GET a",
        "SET a 1",
        "GET a",
        "SET a 2 NX",
        "SET b 2 NX",
        "SET c 3 XX",
        "SET a 3 XX",
        "SET a 4 GET",
        "SET z 4 GET",
        "MGET a b c a",
        "EXISTS a a c",
        "DEL a c a",
        "MGET a b",
        "TYPE b",
        "TYPE c",
        ("SET", "", ""),
        ("GET", ""),
        ("SET", "long", LONG),
        ("GET", "long"),
        "DBSIZE",
        "ECHO hello",
        "FLUSHALL SYNC",
        "DBSIZE",
    )


async def badly_set(at: Stage) -> None:
    """What contradicts itself, or is no time, is refused, and nothing changes."""
    await at.do_alone(
        "SET a 1 NX XX",
        "SET a 1 NX GET",
        "SET a 1 EX",
        "SET a 1 EX 0",
        "SET a 1 EX -1",
        "SET a 1 PX x",
        "SET a 1 EX 9223372036854775807",
        "SET a 1 EX 10 PX 10",
        "SET a 1 EX 10 KEEPTTL",
        "SET a 1 KEEPTTL EX 10",
        "SET a 1 FOO",
        "SET a 1 2",
        "EXPIRE a x",
        "EXPIRE a 1 2",
        "GET a",
        "FLUSHALL FOO",
        "FLUSHALL SYNC SYNC",
    )


async def expiring(at: Stage) -> None:
    """A key is there until its time is over, whatever set the time; a new value forgets it unless told otherwise."""
    await at.do_alone(
        "SET a 1 EX 100",
        "TTL a",
        "SET a 2 KEEPTTL",
        "TTL a",
        "SET a 3",
        "TTL a",
        "EXPIRE a 50",
        "TTL a",
        "PERSIST a",
        "PERSIST a",
        "TTL a",
        "TTL nothing",
        "PTTL nothing",
        "EXPIRE nothing 5",
        "EXPIRE a 0",
        "EXISTS a",
        "SADD s 1",
        "PEXPIRE s -5",
        "EXISTS s",
        "HSET h a 1",
        "EXPIRE h 30",
        "HSET h b 2",
        "TTL h",
    )
    wire = await at.join()
    await at.do(wire, "SET later 1 PX 60000", "SET soon 1 PX 2000", "EXISTS soon later", "DBSIZE")
    await asyncio.sleep(2.5)
    await at.do(wire, "EXISTS soon later", "GET soon", "TTL soon", "SET soon 2 NX", "TTL soon", "DBSIZE")


async def hashes(at: Stage) -> None:
    """Fields come, change and go; a hash without any is not there."""
    await at.do_alone(
        "HSET h a 1 b 2 a 3",
        "HSET h a 4 c 5",
        "HGET h a",
        "HGET h x",
        "HGET nothing x",
        "HMGET h a x c a",
        "HMGET nothing a b",
        "HGETALL h",
        "HGETALL nothing",
        "HLEN h",
        "HDEL h a x a",
        "HDEL nothing a",
        "HDEL h b c",
        "EXISTS h",
        ("HSET", "h", "long", LONG),
        ("HGETALL", "h"),
    )


async def sets(at: Stage) -> None:
    """Members come and go; a set without any is not there."""
    await at.do_alone(
        "SADD s b a c b",
        "SADD s a d",
        "SADD s a",
        "SMEMBERS s",
        "SMEMBERS nothing",
        "SCARD s",
        "SISMEMBER s a",
        "SISMEMBER s x",
        "SREM s a x a",
        "SREM nothing a",
        "SMEMBERS s",
        "SREM s b c d",
        "EXISTS s",
        "SADD n 3 1 2 10 -5",
        "SMEMBERS n",
    )


async def scanned(at: Stage) -> None:
    """Whoever was there from the first call to the last is told, with many members in several calls."""
    wire = await at.join()
    await wire.ask("SADD", "many", *(f"member-{number}" for number in range(1_000)))
    for words in ((), ("COUNT", "100"), ("MATCH", "member-7*"), ("COUNT", "7", "MATCH", "*9?")):
        cursor, found, calls = b"0", set(), 0
        while True:
            cursor, members = await wire.ask("SSCAN", "many", cursor, *words)
            found |= set(members)
            calls += 1
            if calls == 2:
                await wire.ask("SADD", "many", "late")
                await wire.ask("SREM", "many", "late")
            if cursor == b"0":
                break
        at.see(words, sorted(found), calls > 5)
    await at.do_alone(
        "SADD few a b",
        "SSCAN few 0",
        "SSCAN few 0 COUNT 1000 MATCH a*",
        "SADD numbers 5 3 1",
        "SSCAN numbers 0 COUNT 1",
        "SSCAN nothing 0",
        "SSCAN nothing 7",
        "SSCAN few x",
        "SSCAN few 0 COUNT 0",
        "SSCAN few 0 COUNT x",
        "SSCAN few 0 COUNT",
        "SSCAN few 0 FOO 1",
    )


async def sorted_sets(at: Stage) -> None:
    """Members have scores, and change them under conditions; a set without members is not there."""
    await at.do_alone(
        "ZADD z 1 a 2 b 1.5 c",
        "ZADD z 1 a 3 d",
        "ZADD z NX 5 a 4 e",
        "ZADD z XX 5 a 4 f",
        "ZADD z CH 6 a 4 e",
        "ZADD z GT CH 1 a 7 b",
        "ZADD z LT CH 1 a 9 b",
        "ZADD nothing XX 1 a",
        "EXISTS nothing",
        "ZSCORE z a",
        "ZSCORE z x",
        "ZSCORE nothing x",
        "ZCARD z",
        "ZRANGE z 0 -1",
        "ZRANGE z 0 -1 WITHSCORES",
        "ZREM z a x a",
        "ZREM nothing a",
        "ZREMRANGEBYSCORE z (3 inf",
        "ZREMRANGEBYSCORE nothing 1 2",
        "ZRANGE z 0 -1 WITHSCORES",
        "ZREM z c d",
        "EXISTS z",
        "ZADD y 3.1 a -inf b inf c 1e100 d 0.1 e -0 f 17179869185 g",
        "ZRANGE y 0 -1 WITHSCORES",
    )


async def badly_sorted(at: Stage) -> None:
    """Scores that are none, and options that contradict each other, are refused, and nothing changes."""
    await at.do_alone(
        "ZADD z x a",
        "ZADD z 1 a nan b",
        "ZADD z 1",
        "ZADD z 1 a 2",
        "ZADD z NX XX 1 a",
        "ZADD z GT LT 1 a",
        "ZADD z NX GT 1 a",
        "ZADD z NX",
        "ZADD z 1 a 2 NX",
        "EXISTS z",
        "ZRANGEBYSCORE z x 2",
        "ZRANGEBYSCORE z 1 (x",
        "ZRANGEBYSCORE z ( 2",
        "ZREMRANGEBYSCORE z x 2",
        "ZRANGE z x 2",
        "ZRANGE z 1 2 LIMIT 0 1",
        "ZRANGE z 1 2 FOO",
        "ZRANGEBYSCORE z 1 2 LIMIT 0",
        "ZRANGEBYSCORE z 1 2 LIMIT x 1",
        "ZRANGEBYSCORE z 1 2 BYSCORE",
    )


async def sorted_ranges(at: Stage) -> None:
    """Ranges by rank and by score, with limits that are in or out, forwards and backwards."""
    ranges = [
        f"{command} z {limits}{more}"
        for command, pairs in (
            ("ZRANGEBYSCORE", ("-inf +inf", "1 2", "(1 2", "1 (2", "(1 (2", "2 1", "(2 (2", "5 9")),
            ("ZREVRANGEBYSCORE", ("+inf -inf", "2 1", "2 (1", "(2 1", "1 2")),
        )
        for limits in pairs
        for more in ("", " WITHSCORES", " LIMIT 1 2", " LIMIT 0 0", " LIMIT -1 5", " LIMIT 1 -1")
    ]
    ranks = [
        f"ZRANGE z {one}{more}" for one in ("0 0", "1 -2", "-2 9", "3 1", "-99 1", "9 12") for more in ("", " REV")
    ]
    await at.do_alone(
        "ZADD z 1 a 1 b 2 c 2 d 3 e 1 aa",
        *ranges,
        *ranks,
        "ZRANGE z 1 2 BYSCORE",
        "ZRANGE z 2 (1 BYSCORE REV LIMIT 0 2 WITHSCORES",
        "ZRANGE nothing 0 -1",
        "ZRANGEBYSCORE nothing 0 1 WITHSCORES",
    )


async def of_another_type(at: Stage) -> None:
    """A command on a key that holds another type is refused, and nothing changes."""
    commands = (
        "GET {}",
        "SET {} 1 GET",
        "MGET {}",
        "HGET {} a",
        "HMGET {} a",
        "HGETALL {}",
        "HSET {} a 1",
        "HDEL {} a",
        "SADD {} a",
        "SREM {} a",
        "SMEMBERS {}",
        "SSCAN {} 0",
        "ZADD {} 1 a",
        "ZREM {} a",
        "ZCARD {}",
        "ZRANGE {} 0 1",
        "ZRANGEBYSCORE {} 0 1",
        "ZREMRANGEBYSCORE {} 0 1",
        "XADD {} 9-9 a 1",
        "XLEN {}",
        "XRANGE {} - +",
        "XRANGE {} - + COUNT 0",
        "XTRIM {} MINID 1",
        "XINFO STREAM {}",
        "TYPE {}",
    )
    keys = ("string", "hash", "set", "zset", "stream")
    await at.do_alone(
        "SET string 1",
        "HSET hash f 1",
        "SADD set f",
        "ZADD zset 1 f",
        "XADD stream 1-1 a 1",
        *(command.format(key) for key in keys for command in commands if not (key == "string" and "GET" in command)),
    )


async def miscounted(at: Stage) -> None:
    """Too few or too many words are refused, by the command's name in small letters."""
    names = "GET SET MGET DEL EXISTS EXPIRE TTL HSET HGET HMGET HGETALL HDEL SADD SREM SMEMBERS SSCAN ZADD ZREM ZCARD"
    more = "ZRANGEBYSCORE ZREVRANGEBYSCORE ZREMRANGEBYSCORE ZRANGE XADD XRANGE XREVRANGE XTRIM XLEN XINFO"
    own = "WATCH SELECT AUTH SUBSCRIBE PUBLISH CLIENT CONFIG"
    few = [*names.split(), *more.split(), *own.split()]
    many = [
        "GET a b",
        "TTL a b",
        "EXPIRE a 1 2",
        "SMEMBERS a b",
        "ZCARD a b",
        "XLEN a b",
        "DBSIZE a",
        "MULTI a",
        "EXEC a",
    ]
    many += ["DISCARD a", "UNWATCH a", "TIME a", "PUBLISH a b c", "PING a b", "SELECT a b", "HGETALL a b", "AUTH a b c"]
    await at.do_alone(*few, *many, "HSET h a", "HSET h a 1 b", "XADD x 1-1 a", "XADD x 1-1")


async def databases(at: Stage) -> None:
    """A connection's database is its own, FLUSHALL is for all."""
    one, other = await at.join(), await at.join()
    await at.do(one, "SET a 0", "SELECT 1", "GET a", "SET a 1", "SET b 1", "DBSIZE")
    await at.do(other, "GET a", "DBSIZE", "SELECT 1", "GET a", "SELECT 16", "SELECT -1", "SELECT x", "GET a")
    await at.do(other, "FLUSHALL", "DBSIZE", "SELECT 0", "DBSIZE")


async def introduced(at: Stage) -> None:
    """Who a client is, and what it is told of the server: settings, protocol, name and time."""
    wire = await at.join()
    await at.do(wire, "PING", "PING a", "CLIENT GETNAME", "CLIENT SETNAME me", "CLIENT GETNAME")
    await at.do(wire, ("CLIENT", "SETNAME", "a b"), "CLIENT GETNAME", ("CLIENT", "SETNAME", ""), "CLIENT GETNAME")
    await at.do(wire, "CLIENT SETINFO LIB-NAME x", "CLIENT MAINT_NOTIFICATIONS ON", "HELLO 4", "HELLO x", "HELLO 2 FOO")
    await at.do(wire, "HELLO 2 SETNAME", "AUTH x", "AUTH default x", "AUTH other x", "CONFIG GET appendfsync")
    await at.do(wire, "HELLO 3 SETNAME you", "HELLO 2 AUTH default x", "HELLO")
    await at.do(wire, "CLIENT GETNAME", "CONFIG GET appendonly", "CONFIG GET maxmemory-policy", "CONFIG GET save")
    seconds, microseconds = await wire.ask("TIME")
    at.see(seconds.isdigit(), 0 <= int(microseconds) < 1_000_000)
    kinds = {}
    for section in ("server", "clients", "persistence", "keyspace", "replication"):
        text = (await wire.ask("INFO", section)).decode()
        for line in text.splitlines():
            name, colon, value = line.partition(":")
            if colon and name in (
                "redis_version",
                "loading",
                "aof_enabled",
                "aof_last_write_status",
                "role",
                "redis_mode",
            ):
                kinds[name] = value
    at.see(kinds)
