"""Random programs over the commands, by several clients; how fast a server is changes none of their answers.

Times are long, or over at once. The server is killed and started between steps. At the end everything is looked at.
"""

from __future__ import annotations

import random
from typing import Any, TypeAlias

from tests.sim.redis.stage import Stage, plain
from tests.sim.redis.wire import Wire

Step: TypeAlias = "tuple[int, tuple[str, ...]]"
"""Which client, and what it says; `KILL` and `STOP` are done to the server."""
CLIENTS = 3
KEYS = ("s1", "s2", "h1", "m1", "z1", "x1", "x2")
MISTAKE = 0.06
"""How often a key of another type is taken."""


def program(rng: random.Random, length: int) -> list[Step]:
    """So many steps."""
    steps: list[Step] = []
    while len(steps) < length:
        client = rng.randrange(CLIENTS)
        match rng.randrange(24):
            case 0:
                steps += [(client, ("MULTI",)), *((client, _command(rng)) for _ in range(rng.randint(1, 4)))]
                steps.append((client, (rng.choice(("EXEC", "EXEC", "EXEC", "DISCARD")),)))
            case 1 | 2:
                steps += [(client, ("WATCH", *rng.sample(KEYS, 2))), (rng.randrange(CLIENTS), _command(rng))]
                steps += [(client, ("MULTI",)), (client, _command(rng)), (client, ("EXEC",))]
            case 3 if rng.random() < 0.3:
                steps.append((client, (rng.choice(("KILL", "KILL", "STOP")),)))
            case 4:
                own = (("SELECT", rng.choice("01")), ("UNWATCH",), ("FLUSHALL",), ("DBSIZE",), ("EXEC",), ("MULTI",))
                steps.append((client, rng.choice(own)))
            case _:
                steps.append((client, _command(rng)))
    return steps


def _command(rng: random.Random) -> tuple[str, ...]:
    kind = rng.choice("sshmzzxxxx")
    key = rng.choice([one for one in KEYS if one[0] == kind] if rng.random() > MISTAKE else KEYS)
    return tuple(map(str, rng.choice(_of(rng, kind, key))))


def _of(rng: random.Random, kind: str, key: str) -> list[tuple[Any, ...]]:
    """Commands of a kind of key, and of any."""
    member, other = rng.choice("abcde"), rng.choice("abcde")
    number = rng.choice((0, 1, 2, 2.5, -3, "1e3", "inf", "-inf", "(1", "(2", "x"))
    limit = rng.choice((0, 1, 2, 2.5, -3, "inf", "-inf", "(1", "(2"))
    time = rng.choice((0, -1, 500, 501))
    any_key: list[tuple[Any, ...]] = [("EXISTS", key, rng.choice(KEYS)), ("DEL", key), ("EXPIRE", key, time)]
    any_key += [("PERSIST", key), ("TYPE", key)]
    id, low, high = (_id(rng) for _ in range(3))
    of_kind: dict[str, list[tuple[Any, ...]]] = {
        "s": [
            ("GET", key),
            ("MGET", *rng.sample(KEYS, 3)),
            (
                "SET",
                key,
                member,
                *rng.choice(((), ("NX",), ("XX",), ("EX", "700"), ("KEEPTTL",), ("GET",), ("EX", "0"))),
            ),
        ],
        "h": [
            ("HSET", key, member, number, other, 1),
            ("HDEL", key, member, other),
            ("HGET", key, member),
            ("HMGET", key, member, other),
            ("HGETALL", key),
        ],
        "m": [
            ("SADD", key, member, rng.randrange(3)),
            ("SREM", key, member, other),
            ("SMEMBERS", key),
            ("SISMEMBER", key, member),
            ("SSCAN", key, 0, "COUNT", 100),
        ],
        "z": [
            ("ZADD", key, number, member),
            ("ZADD", key, *rng.choice((("NX",), ("XX", "CH"), ("GT",), ("LT", "CH"))), number, member, 2, other),
            ("ZREM", key, member, other),
            ("ZRANGE", key, rng.randint(-4, 3), rng.randint(-4, 3), *rng.choice(((), ("REV",), ("WITHSCORES",)))),
            ("ZRANGEBYSCORE", key, limit, number, *rng.choice(((), ("LIMIT", 1, 2), ("WITHSCORES",)))),
            ("ZREVRANGEBYSCORE", key, number, limit),
            ("ZREMRANGEBYSCORE", key, limit, number),
            ("ZCARD", key),
        ],
        "x": [
            ("XADD", key, id, member, other),
            ("XADD", key, id, member, "x" * rng.choice((1, 50, 700)), other, rng.randrange(10**9)),
            ("XADD", key, *rng.choice((("NOMKSTREAM",), ("MAXLEN", "3"), ("MINID", "~", low))), id, member, 1),
            ("XTRIM", key, "MINID", rng.choice(("=", "~")), low),
            ("XTRIM", key, "MAXLEN", rng.choice(("=", "~")), rng.randrange(8)),
            ("XRANGE", key, rng.choice((low, f"({low}", "-")), rng.choice((high, f"({high}", "+"))),
            ("XREVRANGE", key, "+", low, "COUNT", rng.randrange(4)),
            ("XLEN", key),
            ("XINFO", "STREAM", key),
        ],
    }
    return any_key[: rng.randrange(1, 6)] + of_kind[kind] * 2


def _id(rng: random.Random) -> str:
    ms = rng.choice((rng.randint(1, 60), rng.randint(1, 60), 0, 2**63, 2**64 - 1))
    return f"{ms}-{rng.choice((0, 1, 2, 2**63, 2**64 - 1))}" if rng.random() < 0.7 and ms else str(ms)


async def play(at: Stage, steps: list[Step]) -> list[Any]:
    """What each step was answered, and what there was in the end."""
    clients = await _joined(at)
    queues: list[list[tuple[str, ...]]] = [[] for _ in clients]
    for client, words in steps:
        if words[0] in ("KILL", "STOP"):
            await (at.ground.kill() if words[0] == "KILL" else at.ground.stop())
            await at.ground.start()
            clients = await _joined(at)
            queues = [[] for _ in clients]
        else:
            await _say(at, clients[client], words, queues[client])
    wire = await at.join()
    for db in "01":
        await at.do(wire, ("SELECT", db), "DBSIZE", *(f"TYPE {key}" for key in KEYS))
        for key in KEYS:
            reads = {"s": "GET {}", "h": "HGETALL {}", "m": "SMEMBERS {}", "z": "ZRANGE {} 0 -1 WITHSCORES"}
            await at.do(wire, reads.get(key[0], "XINFO STREAM {}").format(key))
            at.see(key, await wire.ask("TTL", key) > 0)
    await wire.ask("FLUSHALL")
    return at.seen


async def _say(at: Stage, wire: Wire, words: tuple[str, ...], queue: list[tuple[str, ...]]) -> None:
    answer = await wire.ask(*words)
    if words[0] == "EXEC" and isinstance(answer, list):
        answer = [plain(one, part) for one, part in zip(queue, answer, strict=True)]
    if answer == ("status", "QUEUED"):
        queue.append(words)
    elif words[0] in ("EXEC", "DISCARD"):
        queue.clear()
    at.see(words, plain(words, answer))


async def _joined(at: Stage) -> list[Wire]:
    return [await at.join(2 + number % 2) for number in range(CLIENTS)]
