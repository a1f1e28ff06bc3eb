"""Scenes of streams: how they grow, what is read of them, and what a trim removes."""

from __future__ import annotations

from tests.sim.redis.stage import Stage


async def streams_grow(at: Stage) -> None:
    """Entries are added above all others only; what is no id, or too low, is refused."""
    await at.do_alone(
        "XADD x 0-0 a 1",
        "XADD x 5 a 1",
        "XADD x 5 a 1",
        "XADD x 5-0 a 1",
        "XADD x 4-7 a 1",
        "XADD x 5-1 a 1 b",
        "XADD x 5-1 a 1 b 2",
        "XADD x 5-1 a 1",
        "XADD x abc a 1",
        "XADD x 5-x a 1",
        "XADD x - a 1",
        "XADD x -5 a 1",
        "XADD x 99999999999999999999 a 1",
        "XADD x NOMKSTREAM 7-1 a 1",
        "XADD y NOMKSTREAM 7-1 a 1",
        "EXISTS y",
        "XADD x MAXLEN 2 8-1 a 1",
        "XADD x MINID 8 9-1 a 1",
        "XADD x MINID ~ 9 9-2 a 1",
        "XADD x MAXLEN = 0 9-3 a 1",
        "XLEN x",
        "XLEN nothing",
        "XADD x 18446744073709551615-18446744073709551615 a 1",
        "XADD x 18446744073709551615-18446744073709551615 a 1",
        "XADD x * a 1",
        "XRANGE x - +",
        "XINFO STREAM x",
        "XINFO STREAM nothing",
    )


async def streams_read(at: Stage) -> None:
    """Ranges in both directions, with ends that are in or out, and counts."""
    ends = ["- +", "5 7", "5-1 7-1", "(5-1 7-1", "5-1 (7-1", "(5-0 (5-2", "+ -", "(5 (6", "9 5", "0 0", "8-2 8-2"]
    forwards = [f"XRANGE x {one}{more}" for one in ends for more in ("", " COUNT 2", " COUNT 0", " COUNT -1")]
    backwards = [f"XREVRANGE x {' '.join(one.split()[::-1])}{more}" for one in ends for more in ("", " COUNT 2")]
    await at.do_alone(
        *(f"XADD x {id} name {id} other v" for id in ("5-0", "5-1", "5-2", "6-0", "7-1", "8-2")),
        *forwards,
        *backwards,
        "XRANGE nothing - +",
        "XRANGE nothing - + COUNT 0",
        "XRANGE x x +",
        "XRANGE x - x",
        "XRANGE x ( +",
        "XRANGE x (- +",
        "XRANGE x (18446744073709551615-18446744073709551615 +",
        "XRANGE x - (0-0",
        "XRANGE x - (0",
        "XREVRANGE x (0 -",
        "XRANGE x - + COUNT",
        "XRANGE x - + COUNT x",
        "XRANGE x - + FOO 1",
    )


async def trimmed(at: Stage) -> None:
    """What lies below an id is removed exactly; the last id is remembered though nothing is left."""
    await at.do_alone(
        *(f"XADD x {number}-1 a {number}" for number in range(1, 21)),
        "XTRIM x MINID = 5",
        "XTRIM x MINID 5",
        "XTRIM x MINID = 6-2",
        "XLEN x",
        "XRANGE x - + COUNT 2",
        "XTRIM x MAXLEN 3",
        "XTRIM x MINID 99",
        "XLEN x",
        "EXISTS x",
        "XINFO STREAM x",
        "XADD x 20-1 a 1",
        "XADD x 20-2 a 1",
        "XTRIM nothing MINID 5",
        "XTRIM x MINID 9 LIMIT 5",
        "XTRIM x MINID ~ 9 LIMIT -1",
        "XTRIM x MAXLEN -1",
        "XTRIM x MINID ~ zz",
        "XTRIM x FOO 3",
        "XTRIM x LIMIT 3",
        "XTRIM x MINID 3 MAXLEN 4",
    )


async def trimmed_by_nodes(at: Stage) -> None:
    """`~` removes whole nodes only: so many entries, or as many as fit into so many bytes, by what is in them."""
    wire = await at.join()
    for key, size in (("few", 10), ("many", 1), ("large", 900), ("larger", 5_000)):
        for number in range(1, 351 if size < 100 else 41):
            await wire.ask("XADD", key, f"{number}-{number % 3}", "type", "note", "body", b"x" * size)
        await at.do(wire, f"XINFO STREAM {key}")
        for limit in (1, 15, 100, 101, 102, 202, 300, 400):
            await at.do(wire, f"XTRIM {key} MINID ~ {limit}", f"XLEN {key}", f"XRANGE {key} - + COUNT 1")
    for number in range(1, 251):
        await wire.ask(
            "XADD", "mixed", f"{1_700_000_000_000 + number * 997}-0", f"n{number % 7}", number**4, "b", -number
        )
    await at.do(wire, "XINFO STREAM mixed", "XTRIM mixed MINID = 1700000150000", "XINFO STREAM mixed")
    await at.do(wire, "XTRIM mixed MINID ~ 1700000200000 LIMIT 10", "XTRIM mixed MINID ~ 1700000200000 LIMIT 0")
    await at.do(wire, "XTRIM mixed MAXLEN ~ 30", "XLEN mixed", "XINFO STREAM mixed")


async def trimmed_across_far_ids(at: Stage) -> None:
    """Ids of one node that are more than 32 bits apart: this release removes what it should keep, and the reverse."""
    far = 2**31
    await at.do_alone(
        "XADD x 10-0 a 1",
        f"XADD x {10 + far}-0 a 1",
        f"XADD x {20 + 2 * far}-0 a 1",
        "XTRIM x MINID = 11",
        "XRANGE x - +",
        "XADD y 0-5 a 1",
        f"XADD y 0-{far + 4} a 1",
        f"XADD y 0-{far + 5} a 1",
        f"XADD y 0-{2 * far + 6} a 1",
        f"XTRIM y MINID = 0-{far}",
        "XRANGE y - +",
        f"XTRIM y MINID ~ 0-{far}",
        f"XTRIM y MINID = 0-{2 * far + 1}",
        "XRANGE y - +",
        "XINFO STREAM y",
    )
