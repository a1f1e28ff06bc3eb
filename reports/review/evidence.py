"""The evidence of a review, each part as it was found: what the answer is drawn from, and nothing but what was seen.

Everything here is data. Whoever measured a part says with which command it is found again; parts of which nothing was
measured are empty, and the report says so.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from reports.options import OptionsReport
from reports.report import Report

RetentionClass = Literal["critical", "standard"]


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the evidence."""


class Provenance(_Part, frozen=True, kw_only=True):
    """Where evidence comes from."""

    started_at: str
    """ISO 8601."""
    commit: str
    """Of the code that ran; with `+` behind it if there were changes beside it, empty if it is not known."""
    relay: str = ""
    """A digest of the relay's own sources: whether it is still the same relay. Empty if it was not noted."""
    bug: str | None
    """The planted bug that was on; None: the relay as it is."""
    minutes: float
    """The time that the evidence was to take; 0: as long as it took."""
    machine: dict[str, str]
    versions: dict[str, str]


class Origin(_Part, frozen=True, kw_only=True):
    """Where a part comes from that was kept of an earlier run; empty where that was not noted."""

    started_at: str
    """Of that run, ISO 8601."""
    commit: str
    relay: str
    """The digest of the relay's sources then."""
    is_same: bool
    """Whether it is the digest of the relay as it is now."""


class Window(_Part, frozen=True, kw_only=True):
    """The ADR's quiet window, or its first days, played in the simulated world at production settings."""

    days: float
    events: int
    """As planned."""
    agents: int
    verdict: str
    reason: str
    acknowledged: int
    deliveries: int
    lost: int
    redelivered: int
    pending: int
    redispatched: int
    told_gone: int
    """Notices of either class."""
    longest_gap_s: float
    """The longest time that an agent was away."""
    command: str


class GapTrial(_Part, frozen=True, kw_only=True):
    """One agent that was away for a time, and what became of the events of one class that it missed."""

    transport: str
    retention_class: RetentionClass
    retention_s: float
    gap_s: float
    """From the last moment of the connection before to the first of the one after."""
    seed: int
    events: int
    """Acknowledged, addressed to it, of this class, published while it was away."""
    delivered: int
    told: int
    """Of those that it never got: covered by a notice (410, or a gap)."""
    lost: int
    """Neither got nor told, or told gone while it was promised to be delivered."""
    within: int
    """Younger than the retention when the agent was back, to the judge's slack: promised to be delivered."""
    notice: Literal["none", "gap", "410"]


class Outage(_Part, frozen=True, kw_only=True):
    """One part that was away for a time, and which promises were kept."""

    transport: str
    what: str
    """Such as `nats`, `postgres`, `relay` (every replica), `leader`, `agent`."""
    how: str
    """In words: stopped, cut off, without power."""
    length_s: float
    seed: int
    verdict: str
    reason: str
    violated: tuple[str, ...]
    """Guarantees."""
    events: int
    """Acknowledged."""
    refused: int
    """Publishes that were refused or got no answer at the first attempt; publishers repeat them."""
    delivered: int
    lost: int
    told_critical: int
    told_standard: int
    """Events told gone."""
    caught_up_s: float | None
    """From the end of the outage until everybody was caught up; None if that never came."""
    command: str


class Hunt(_Part, frozen=True, kw_only=True):
    """The search for a planted bug from one start."""

    bug: str
    what: str
    transport: str
    start: int
    seeds: int
    """How many it took; 0: it got away."""
    seeds_max: int
    by: tuple[str, ...] = ()
    """The kinds of findings that told of it."""


class Covered(_Part, frozen=True, kw_only=True):
    """How often a kind of fault was played on a link or process, while agents were doing this."""

    world: Literal["sim", "real"]
    kind: str
    target: str
    phase: str
    """`live`: everybody connected was caught up; `replay`: somebody was not; `nobody`: nobody was connected."""
    count: int


class SamePlan(_Part, frozen=True, kw_only=True):
    """One plan in both worlds."""

    plan: str
    simulated: str
    real: str
    """The verdicts."""
    outcome: Literal["same", "different", "not compared"]
    command: str


class Marks(_Part, frozen=True, kw_only=True):
    """States that runs over a transport are to reach, with how many reached each."""

    transport: str
    runs: int
    hit: dict[str, int]
    meaning: dict[str, str]
    """Of every mark, also of those that nobody hit."""


class Difference(_Part, frozen=True, kw_only=True):
    """What a model leaves out, or does differently on purpose."""

    server: str
    what: str
    model: str
    real: str
    why: str


class Evidence(_Part, frozen=True, kw_only=True):
    """All that is known when a review is written."""

    provenance: Provenance
    origins: dict[str, Origin] = {}
    """By part, where it comes from if it is not of this run."""
    options: OptionsReport
    """Guarantees by option, costs, replays."""
    window: Window | None = None
    gaps: list[GapTrial] = []
    outages: list[Outage] = []
    hunts: list[Hunt] = []
    covered: list[Covered] = []
    never: list[str] = []
    """Faults that the vocabulary has and that were played nowhere, in words."""
    left_out: list[str] = []
    """What there was no time for, in words."""
    marks: list[Marks] = []
    real: list[Report] = []
    """Runs on the real stack."""
    plans: list[SamePlan] = []
    not_modelled: list[Difference] = []
