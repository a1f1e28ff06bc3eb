"""A window's variants side by side, as one value: what each came to, and what of it differs from the first; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from reports.campaign import WORST_FIRST
from reports.report import Verdict
from reports.told_gone import ToldGone
from reports.verdict import EXIT_CODES


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one variant came to."""

    guarantees: dict[str, str]
    """By name, as its report says."""
    findings: dict[str, int]
    """How many findings against each guarantee."""
    events: int
    """Acknowledged to their publishers."""
    unacknowledged: int
    """Published, and nobody can say whether they were stored."""
    deliveries: int
    lost: int
    """Events, each counted for every agent that lacks it: acknowledged, within retention, never received."""
    told_gone: ToldGone
    told_gone_by_agent: dict[str, ToldGone]
    told_410: int
    """How often an agent was told of critical events."""
    told_gap: int
    """How often an agent was told of standard events only."""
    redelivered: int
    """Messages that JetStream gave pg-writer again."""
    redispatched: int
    """Assignments that nobody acknowledged in time, published again."""
    pending: int
    """pg-writer's, at the last look."""
    reconnects: int
    longest_away_s: float
    """From the end of a stream to the next answered connection of the same client."""
    replayed: int
    """Events delivered to an agent that connected after they were published."""
    refused: int
    """Connections with a cursor that were answered with neither a stream nor a 410."""
    after_outage_s: float | None
    """From the end of the outage that took longest to get over, until all agents at work had what had come up by then;
    None without outages."""
    after_window_s: float | None
    """From the window's end, when everything is healed, until all were caught up; None if they never were."""
    live_p50_ms: float | None
    """Publish to delivery, of events that were published while their agent was connected; None without any."""
    live_p99_ms: float | None
    live_max_ms: float | None


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One variant."""

    name: str
    settings: list[str]
    """What was set, `NAME=VALUE`; empty for the ADR's own window."""
    outages: list[str]
    """What was done to it, a sentence each."""
    notes: list[str]
    command: str
    """The words that play it alone."""
    days: float
    verdict: Verdict
    reason: str
    figures: Figures | None = None
    """None if it could not be played to its end."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_mb: int = 0
    """Of its process, at its largest."""
    steps: int = 0
    trace_sha256: str = ""
    plan: str = ""
    """The plan's file and the report's page, beside the document; empty if they were not written."""
    page: str = ""

    @property
    def exit_code(self) -> int:
        """What playing it alone would end with."""
        return EXIT_CODES[self.verdict]


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """The whole comparison."""

    schema: Literal["meshrelay-what-if-1"] = "meshrelay-what-if-1"
    verdict: Verdict
    """The worst of the columns'."""
    exit_code: int
    seed: int
    jobs: int
    wall_s: float
    command: str
    """The words that repeat all of it."""
    columns: list[Column]
    differs: dict[str, list[str]]
    """By column, the rows in which it differs from the first one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of all columns."""

    label: str
    of: Callable[[Column], str]
    is_marked: bool = True
    """Whether a difference from the first column is worth a mark: what the machine took is not."""
    is_prominent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One figure of one column."""

    text: str
    differs: bool
    """From the first column's."""


def comparison(columns: Sequence[Column], *, seed: int, jobs: int, wall_s: float, command: str) -> WhatIf:
    """The comparison of at least one column."""
    verdict = min((one.verdict for one in columns), key=WORST_FIRST.index)
    return WhatIf(
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        seed=seed,
        jobs=jobs,
        wall_s=round(wall_s, 1),
        command=command,
        columns=list(columns),
        differs={one.name: [row.label for row in ROWS if _differs(row, columns[0], one)] for one in columns[1:]},
    )


def _differs(row: Row, first: Column, other: Column) -> bool:
    """Whether a figure is another; what one of them does not have is none."""
    texts = {row.of(first), row.of(other)}
    return row.is_marked and len(texts) > 1 and NOTHING not in texts


def cells(found: WhatIf, row: Row) -> list[Cell]:
    """A row's cells, in the order of the columns."""
    return [
        Cell(text=row.of(one), differs=row.label in found.differs.get(one.name, ())) for one in found.columns
    ]  # fmt: skip


def encode(found: WhatIf) -> bytes:
    """The comparison as JSON, for people's eyes too; equal ones give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"


def decode(data: bytes) -> WhatIf:
    """Read a comparison. Raises msgspec.ValidationError with the place and what was expected."""
    return msgspec.json.decode(data, type=WhatIf)


NOTHING = "—"


def _of(shown: Callable[[Figures], str]) -> Callable[[Column], str]:
    return lambda column: NOTHING if column.figures is None else shown(column.figures)


def _count(figure: Callable[[Figures], int]) -> Callable[[Column], str]:
    return _of(lambda figures: f"{figure(figures):,}")


def _time(figure: Callable[[Figures], float | None]) -> Callable[[Column], str]:
    return _of(lambda figures: time_shown(figure(figures)))


def _ms(figure: Callable[[Figures], float | None]) -> Callable[[Column], str]:
    def shown(figures: Figures) -> str:
        value = figure(figures)
        return time_shown(None if value is None else value / 1000)

    return _of(shown)


def time_shown(duration_s: float | None) -> str:
    """A time in its two largest units; a dash for none."""
    if duration_s is None:
        return NOTHING
    if duration_s == 0:
        return "0 s"
    if duration_s < 1:
        return f"{duration_s * 1000:.1f} ms"
    if duration_s < 60:
        return f"{duration_s:.1f} s"
    for large, small, large_s, small_s in (("d", "h", 86_400, 3_600), ("h", "min", 3_600, 60), ("min", "s", 60, 1)):
        whole, rest = divmod(round(duration_s / small_s), large_s // small_s)
        if whole:
            return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"
    return f"{duration_s:.1f} s"


def _guarantee(name: str) -> Callable[[Column], str]:
    def shown(figures: Figures) -> str:
        count = figures.findings.get(name, 0)
        return figures.guarantees.get(name, NOTHING) + (f" ({count:,})" if count else "")

    return _of(shown)


def _by_agents(figures: Figures) -> str:
    told = len(figures.told_gone_by_agent)
    return f"{told:,}"


ROWS: tuple[Row, ...] = (
    Row(label="verdict", of=lambda column: column.verdict, is_prominent=True),
    *(Row(label=name, of=_guarantee(name)) for name in ("G1", "G2", "G3", "G4", "G5", "G6", "G8")),
    Row(label="lost", of=_count(lambda found: found.lost), is_prominent=True),
    Row(label="told gone, critical", of=_count(lambda found: found.told_gone.critical), is_prominent=True),
    Row(label="told gone, standard", of=_count(lambda found: found.told_gone.standard), is_prominent=True),
    Row(label="agents told so", of=_of(_by_agents), is_prominent=True),
    Row(label="410s told", of=_count(lambda found: found.told_410)),
    Row(label="gaps told", of=_count(lambda found: found.told_gap)),
    Row(label="events acknowledged", of=_count(lambda found: found.events)),
    Row(label="never acknowledged", of=_count(lambda found: found.unacknowledged)),
    Row(label="deliveries", of=_count(lambda found: found.deliveries)),
    Row(label="redelivered to pg-writer", of=_count(lambda found: found.redelivered)),
    Row(label="pending", of=_count(lambda found: found.pending)),
    Row(label="stale redispatches", of=_count(lambda found: found.redispatched)),
    Row(label="reconnects", of=_count(lambda found: found.reconnects)),
    Row(label="reconnects refused", of=_count(lambda found: found.refused)),
    Row(label="longest reconnect gap", of=_time(lambda found: found.longest_away_s)),
    Row(label="replayed events", of=_count(lambda found: found.replayed)),
    Row(label="outage over → caught up", of=_time(lambda found: found.after_outage_s)),
    Row(label="window over → caught up", of=_time(lambda found: found.after_window_s)),
    Row(label="publish → deliver, p50", of=_ms(lambda found: found.live_p50_ms)),
    Row(label="publish → deliver, p99", of=_ms(lambda found: found.live_p99_ms)),
    Row(label="publish → deliver, max", of=_ms(lambda found: found.live_max_ms)),
    Row(label="simulated", of=lambda column: f"{column.days:g} d"),
    Row(label="wall", of=lambda column: f"{column.wall_s:,.1f} s", is_marked=False),
    Row(label="processor", of=lambda column: f"{column.cpu_s:,.1f} s", is_marked=False),
    Row(label="memory", of=lambda column: f"{column.memory_mb:,} MB", is_marked=False),
)
"""In the order in which they are shown; a row that says nothing of any column is left out."""


def rows(found: WhatIf) -> list[Row]:
    """The rows that say anything."""
    return [row for row in ROWS if any(row.of(one) != NOTHING for one in found.columns)]
