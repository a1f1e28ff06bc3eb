"""From the parts on disk to the report: pure but for the reading."""

from __future__ import annotations

from collections.abc import Mapping

from faults.transports import TransportName
from reports.option_words import answer_of, redundancy_of
from reports.options import (
    SIMULATED,
    CountedReplay,
    OptionsReport,
    Replay,
    Row,
    crossings_of,
    replay_crossings_of,
    rows_of,
    spread_of,
)
from reports.scale import agreement
from sim.options.evidence import cells_of, worlds_that_failed
from sim.options.parts import Parts, ReplaySample, SimulatedReplay, SimulatedScale
from system.transport import offers

COMMANDS = {
    "simulated": "meshrelay compare --only simulated",
    "chaos on the real stack": "meshrelay compare --only chaos",
    "cost by the number of agents": "meshrelay compare --only scale",
    "replay by the length of the gap": "meshrelay compare --only replays",
    "the same in the simulated world": "meshrelay compare --only scale-simulated",
}


def gather(
    parts: Parts, *, started_at: str, machine: Mapping[str, str], runs: int, bug: str | None = None
) -> OptionsReport:
    """The report of all parts that there are; what there is not is named. Raises PartInvalid, OSError."""
    names = [option.value for option in TransportName]
    simulations = {name: found for name in names if (found := parts.simulated(name)) is not None}
    campaigns = {name: shaken for name in names if (shaken := parts.chaos(name)) is not None}
    rows = rows_of(parts.samples())
    replays, scale = parts.replays(), parts.simulated_scale()
    counted = rows_of(scale.samples)
    crossings, replayed = crossings_of(rows), _replays(replays)
    replay_crossings = replay_crossings_of(replayed)
    cells = cells_of(simulations, campaigns, offers.NOT_OFFERED, bug)
    missing = [f"simulated trials of {name}" for name in names if name not in simulations]
    missing += [f"chaos on the real stack over {name}" for name in names if name not in campaigns]
    missing += [f"costs of {name}" for name in names if not any(row.transport == name for row in rows)]
    missing += [f"replays over {name}" for name in names if not any(one.transport == name for one in replays)]
    missing += [f"counted costs of {name}" for name in names if not any(one.transport == name for one in counted)]
    missing += _fewer(rows, runs, "runs") + _fewer(counted, runs, "counted runs")
    missing += worlds_that_failed(list(simulations.values()))
    versions = next((found.versions for found in campaigns.values() if found.versions), {})
    return OptionsReport(
        started_at=started_at,
        answer=[say for of in (answer_of, redundancy_of) for say in of(crossings, cells, replay_crossings)],
        cells=cells,
        rows=rows,
        replays=replayed,
        crossings=crossings,
        limits={name: {one: list(texts) for one, texts in offers.LIMITS[name].items()} for name in names},
        commands=dict(COMMANDS),
        versions=dict(versions),
        machine=dict(machine),
        missing=missing,
        simulated_rows=counted,
        simulated_replays=_counted(scale),
        simulated_crossings=crossings_of(counted, tuple(SIMULATED)),
        replay_crossings=replay_crossings,
        agreement=agreement(rows, counted),
    )


def _fewer(rows: list[Row], runs: int, what: str) -> list[str]:
    """Where there were fewer runs than asked for."""
    return sorted(
        {
            f"{runs - row.spread.runs} of {runs} {what} of {row.transport} with {row.agents} agents"
            for row in rows
            if row.spread.runs < runs
        }
    )


def _counted(scale: SimulatedScale) -> list[CountedReplay]:
    grouped: dict[tuple[str, int], list[SimulatedReplay]] = {}
    for one in scale.replays:
        grouped.setdefault((one.transport, one.gap), []).append(one)
    return [
        CountedReplay(
            transport=transport,
            gap=gap,
            replay_ms=spread_of([one.replay_ms for one in found]),
            round_trips=spread_of([one.round_trips for one in found]),
            requests=spread_of([one.requests for one in found]),
        )
        for (transport, gap), found in grouped.items()
    ]


def _replays(found: list[ReplaySample]) -> list[Replay]:
    grouped: dict[tuple[str, int], list[float]] = {}
    for one in found:
        grouped.setdefault((one.transport, one.gap), []).append(one.replay_s)
    return [
        Replay(transport=transport, gap=gap, spread=spread_of(values))
        for (transport, gap), values in sorted(grouped.items())
    ]
