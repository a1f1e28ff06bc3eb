"""Evidence with something in every part: three options, breaches, long commands, gaps, outages, hunts, real runs.

No number in it was measured. Most are odd ones, so that one that a rendering makes up is not found by accident.
"""

from __future__ import annotations

from msgspec.structs import replace

from reports.option_words import answer_of
from reports.options import (
    OPTIONS,
    Cell,
    CountedReplay,
    OptionsReport,
    Replay,
    Row,
    Sample,
    crossings_of,
    replay_crossings_of,
    rows_of,
    spread_of,
)
from reports.review.evidence import (
    Covered,
    Difference,
    Evidence,
    GapTrial,
    Hunt,
    Marks,
    Origin,
    Outage,
    Provenance,
    RetentionClass,
    SamePlan,
    Window,
)
from reports.scale import agreement
from tests.reports.review.real_run import GUARANTEES, WHY, real_run

DAY_S = 86_400.0
RETENTION_S: dict[RetentionClass, float] = {"standard": DAY_S, "critical": 7 * DAY_S}
GAPS_S = (900.0, 21_600.0, 86_280.0, 86_520.0, 172_800.0, 604_680.0, 604_920.0, 691_200.0)
OUTAGES_S = (60.0, 600.0, 3_600.0, 28_800.0, 93_600.0)
PARTS = ("nats", "postgres", "relay", "leader", "agent", "publisher <of tasks>", "redis")
ORIGIN = Origin(started_at="2026-02-03T04:05:06Z", commit="89abcdef", relay="0a1b2c3d4e5f", is_same=False)
LONG = "meshrelay sim run --seed 918273645 --transport jetstream --plan " + "/".join(["partition-and-restart"] * 6)
KINDS = (
    "bandwidth", "clock-skew", "cut", "half-open", "kill", "latency", "one-way cut", "pause", "power-loss", "reset",
    "restart", "slice",
)  # fmt: skip
TARGETS = ("agent->relay", "nats", "pg-writer->postgres", "postgres", "publisher->relay", "relay", "relay->nats")


def full() -> Evidence:
    """Every part has something, and what was chosen is broken."""
    return Evidence(
        provenance=Provenance(
            started_at="2026-03-04T05:06:07Z",
            commit="7ffe66492907+",
            bug="floor-after-delete",
            minutes=17.0,
            machine={"processors": "2", "memory": "7.7 GiB", "system": "Linux-6.1.0-x86_64-with-glibc2.36"},
            versions={"python": "3.11.2", "meshrelay": "0.1.0", "nats-server": "2.15.3", "postgres": "18.1"},
        ),
        origins={"costs": ORIGIN, "real": replace(ORIGIN, relay="4f5e6d7c8b9a", is_same=True)},
        options=options(),
        window=window(),
        gaps=gaps(),
        outages=outages(),
        hunts=hunts(),
        covered=covered(),
        never=["power-loss of redis", "clock-skew of the hosts of agents"],
        left_out=["an outage of redis for 26 h: it would take 11 min more"],
        marks=marks(),
        real=[real_run(7, "held"), real_run(11, "violated")],
        plans=[
            SamePlan(plan="main", simulated="held", real="held", outcome="same", command="meshrelay sim same main"),
            SamePlan(
                plan="partition-and-restart/" * 5 + "long",
                simulated="violated",
                real="held",
                outcome="different",
                command=LONG,
            ),
            SamePlan(plan="power", simulated="held", real="not run", outcome="not compared", command=LONG),
        ],
        not_modelled=[
            Difference(server="postgres", what="vacuum", model="never runs", real="runs now and then", why="no effect"),
            Difference(server="nats", what="$JS.API.STREAM.PURGE", model="refused", real="purges", why="never asked"),
        ],
    )


def sound() -> Evidence:
    """The same with nothing broken, no planted bug, and what was chosen kept."""
    evidence = full()
    return replace(
        evidence,
        provenance=replace(evidence.provenance, bug=None, commit="7ffe66492907"),
        options=replace(
            evidence.options,
            cells=[one for one in evidence.options.cells if one.transport != "cursor"]
            + [_held(name, "cursor", 523 + place) for place, name in enumerate(GUARANTEES)],
        ),
        gaps=[replace(one, lost=0, delivered=one.events - one.told) for one in evidence.gaps],
        outages=[replace(one, verdict="held", violated=(), lost=0) for one in evidence.outages],
        real=[real_run(7, "held"), real_run(11, "held")],
    )


def options() -> OptionsReport:
    """Three options at five sizes, with crossings, replays, limits, and both worlds."""
    rows, simulated = cost_rows(1.0), cost_rows(1.7)
    crossings = crossings_of(rows)
    found, missed = cells(), replays()
    return OptionsReport(
        started_at="2026-03-04T05:06:07Z",
        answer=answer_of(crossings, found),
        cells=found,
        rows=rows,
        replays=missed,
        crossings=crossings,
        replay_crossings=replay_crossings_of(missed),
        limits={
            "cursor": {},
            "jetstream": {"G1": ["depends on Nats-TTL, which NATS 2.11 and later have."]},
            "redis": {"G8": ["depends on appendfsync always.", "is not met with 1 s of appendfsync."]},
        },
        commands={"costs": "meshrelay compare --only scale --runs 3", "guarantees": LONG},
        versions={"python": "3.11.2", "redis": "6.2.14"},
        machine={"processors": "2"},
        missing=["redis at 5,000 agents: no memory"],
        simulated_rows=simulated,
        simulated_replays=[
            CountedReplay(
                transport=name,
                gap=gap,
                replay_ms=spread_of([gap * 0.0313, gap * 0.0329, gap * 0.0371]),
                round_trips=spread_of([3.0, 4.0, 6.0]),
                requests=spread_of([7.0, 8.0, 9.0]),
            )
            for name in OPTIONS
            for gap in (100, 10_000)
        ],
        simulated_crossings=crossings_of(simulated),
        agreement=agreement(rows, simulated),
    )


def replays() -> list[Replay]:
    """Each option slower than the one before it."""
    return [
        Replay(transport=name, gap=gap, spread=spread_of([gap / 7_331 * slow, gap / 7_000, gap / 6_100 * slow]))
        for name, slow in zip(OPTIONS, (1.0, 1.31, 1.7), strict=True)
        for gap in (100, 1_000, 10_000, 100_000)
    ]


def cost_rows(factor: float) -> list[Row]:
    """Processor time that crosses between options, memory that does not, and times."""
    shapes = {"cursor": (41.3, 0.0), "jetstream": (23.7, 0.41), "redis": (57.1, 0.0)}
    samples = []
    for transport, (base, slope) in shapes.items():
        for agents in (10, 50, 100, 500, 1_000):
            for run in (1, 2, 3):
                cost = (base + slope * agents) * (1 + 0.013 * run) * factor
                values = {
                    "cpu_ms": cost,
                    "cpu_ms.relay": cost * 0.7,
                    "cpu_ms.nats": cost * 0.3,
                    "network_kb": 913.0 + cost / 3,
                    "memory_kb": cost * 11,
                    "connect_s": 0.17 + agents * 0.0031 * run,
                    "herd_s": 1.9 + agents * 0.0043 * run,
                    "latency_ms.p50": 2.31 + cost / 90,
                    "latency_ms.p99": 17.9 + cost / 9,
                }
                samples.append(Sample(transport=transport, agents=agents, run=run, values=values))
    return rows_of(samples)


def cells() -> list[Cell]:
    """Most kept, one broken by what was chosen, one not offered, one not run."""
    found = [_held(name, option, 523 + place) for option in OPTIONS for place, name in enumerate(GUARANTEES)]
    special = {
        ("G2", "cursor"): Cell(
            guarantee="G2",
            transport="cursor",
            verdict="violated",
            seeds=523,
            violated_in=6,
            real_runs=9,
            real_violated=2,
            why=WHY,
            command=LONG.replace("jetstream", "cursor"),
        ),
        ("G8", "redis"): Cell(
            guarantee="G8",
            transport="redis",
            verdict="not offered",
            seeds=0,
            violated_in=0,
            real_runs=0,
            why="depends on appendfsync always.",
            command="",
        ),
        ("G7", "jetstream"): Cell(
            guarantee="G7", transport="jetstream", verdict="not run", seeds=0, violated_in=0, real_runs=0, why="",
            command="meshrelay compare",
        ),
    }  # fmt: skip
    return [special.get((one.guarantee, one.transport), one) for one in found]


def _held(guarantee: str, transport: str, seeds: int) -> Cell:
    return Cell(
        guarantee=guarantee,
        transport=transport,
        verdict="held",
        seeds=seeds,
        violated_in=0,
        real_runs=13,
        why="",
        command="meshrelay compare",
    )


def window() -> Window:
    """All of the ADR's days, and one thing in them that the ADR says there was none of."""
    return Window(
        days=21.0,
        events=13_228,
        agents=47,
        verdict="held",
        reason="every guarantee held",
        acknowledged=13_228,
        deliveries=13_914,
        lost=0,
        redelivered=0,
        pending=0,
        redispatched=3,
        told_gone=29,
        longest_gap_s=187_261.5,
        command="meshrelay sim window --seed 20260304",
    )


def gaps() -> list[GapTrial]:
    """Absences near both edges of retention; one event is lost in silence."""
    found = []
    for transport in ("cursor", "jetstream"):
        for seed, gap_s in enumerate(GAPS_S, start=701):
            for kept, retention_s in RETENTION_S.items():
                events, is_late = 17 + seed % 5, gap_s > retention_s
                told = events * 2 // 3 if is_late else 0
                lost = int(transport == "cursor" and gap_s == 172_800.0 and kept == "standard")
                found.append(
                    GapTrial(
                        transport=transport,
                        retention_class=kept,
                        retention_s=retention_s,
                        gap_s=gap_s + 0.731,
                        seed=seed,
                        events=events,
                        delivered=events - told - lost,
                        told=told,
                        lost=lost,
                        within=events - told,
                        notice="none" if not is_late else "410" if kept == "critical" else "gap",
                    )
                )
    return found


def outages() -> list[Outage]:
    """Each part away for five lengths over two options; what lasts a day is told gone, and one part breaks."""
    return [
        Outage(
            transport=transport,
            what=what,
            how="stopped, and started again with what it had on disk",
            length_s=length_s,
            seed=31 + place,
            verdict="violated" if (is_broken := what == "postgres" and length_s > 28_000) else "held",
            reason=WHY if is_broken else "every guarantee held",
            violated=("G1", "G2") if is_broken else (),
            events=2_711 + place,
            refused=37 * place,
            delivered=2_683 + place,
            lost=5 if is_broken else 0,
            told_critical=0,
            told_standard=23 if length_s > DAY_S and what != "redis" else 0,
            caught_up_s=None if is_broken else 1.873 + place,
            command=f"meshrelay sim outage --what '{what}' --for {length_s:g} --seed {31 + place}",
        )
        for transport in ("cursor", "jetstream")
        for what in PARTS
        for place, length_s in enumerate(OUTAGES_S)
    ]


def hunts() -> list[Hunt]:
    """One bug that is found soon, one that was given up, one that got away."""
    seeds = {"floor-after-delete": (3, 8, 2), "ack-before-commit": (19, 0, 27), "hand-off-gap": (0, 41, 0)}
    what = {
        "floor-after-delete": "the sweeper raises the floor in a transaction of its own, after it has deleted",
        "ack-before-commit": "pg-writer acknowledges before it commits",
        "hand-off-gap": "replay ends before live begins",
    }
    return [
        Hunt(
            bug=bug,
            what=what[bug],
            transport="cursor",
            start=1_000 * place,
            seeds=count,
            seeds_max=57 if bug == "ack-before-commit" else 300,
            by=("lost-middle", "told-without-cause") if count else (),
        )
        for bug, counts in seeds.items()
        for place, count in enumerate(counts)
    ]


def covered() -> list[Covered]:
    """Most kinds on most targets, from once to thousands of times."""
    return [
        Covered(world=world, kind=kind, target=target, phase=phase, count=1 + (7 * x + 131 * y * y * y) % 9_973)
        for world in ("sim", "real")
        for x, kind in enumerate(KINDS)
        for y, target in enumerate(TARGETS)
        if (x * y) % 5 != 3
        for phase in (("live", "replay", "nobody") if world == "sim" else ("live",))
    ]


def marks() -> list[Marks]:
    """Two states that were reached, one that never was."""
    meaning = {
        "sweep-between-pages": "a sweep deleted between two pages of one replay",
        "zombie-writer": "a writer that was thought dead wrote, and was fenced off",
        "hub-window-full": "a session fell out of the hub's window, and went back to replay",
    }
    hit = {"sweep-between-pages": 4_099, "zombie-writer": 61}
    return [Marks(transport="cursor", runs=5_231, hit=hit, meaning=meaning)]
