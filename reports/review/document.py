"""The review as one value: all that any rendering shows is in it, and it is what the JSON file holds."""

from __future__ import annotations

from typing import Literal

import msgspec

from reports.options import OptionsReport, Spread
from reports.review.evidence import Covered, Difference, Marks, Outage, Provenance, SamePlan, Window

SCHEMA = "meshrelay-review-1"
Status = Literal["confirmed", "played", "refuted", "not shown"]
"""`played`: true of what was played because it was made so; it says nothing of production."""
PromiseVerdict = Literal["held", "violated", "not offered", "not run"]


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a review."""


class Trials(_Part, frozen=True, kw_only=True):
    """How often something was tried, how often it failed, and what follows for all that might be tried alike."""

    trials: int
    failures: int
    upper_limit: float | None
    """With 95 % confidence fewer than this share of trials fail; None without trials."""


class Promise(_Part, frozen=True, kw_only=True):
    """What is known of one guarantee of one option."""

    guarantee: str
    promise: str
    transport: str
    verdict: PromiseVerdict
    simulated: Trials
    """One trial is one seed: a plan drawn from it, and the world that plays it."""
    real: Trials
    """One trial is one run on the real stack."""
    away: list[str] = []
    """The outages that broke it, in words: what was away, for how long."""
    why: str
    command: str


class Claim(_Part, frozen=True, kw_only=True):
    """One claim of the ADR, put to the test."""

    name: str
    """Short and lasting: two reviews are compared by it."""
    claim: str
    """In the ADR's words."""
    status: Status
    evidence: list[str]
    """What it rests on, in sentences; the first one says why it has its status."""
    command: str
    """What finds it again."""


class GapRow(_Part, frozen=True, kw_only=True):
    """All agents that were away for a time, and what became of the events of one class that they missed."""

    transport: str
    retention_class: str
    retention_s: float
    gap_s: float
    agents: int
    events: int
    delivered: int
    told: int
    lost: int
    within: int
    told_by_410: int
    told_by_gap: int
    not_told: int
    """Agents by the notice that they got."""


class GapTotal(_Part, frozen=True, kw_only=True):
    """All absences over one option, added up."""

    transport: str
    agents: int
    events: int
    delivered: int
    told: int
    lost: int


class FaultTotal(_Part, frozen=True, kw_only=True):
    """How often one kind of fault took effect on one link or process, in both worlds and in every phase."""

    kind: str
    target: str
    count: int


class EnvelopeRow(_Part, frozen=True, kw_only=True):
    """How long one part may be away, over one option."""

    transport: str
    what: str
    nothing_gone_s: float | None
    """The longest absence in which every promise was kept and every event delivered; None if there was none."""
    told_s: float | None
    """The shortest in which agents were told that events are gone; None: never."""
    broken_s: float | None
    """The shortest in which a promise was broken; None: never."""
    broken: list[str]
    longest_s: float
    """The longest that was tried."""
    tried_s: list[float] = []
    """Every length that was tried; of those between two of them nothing is known."""
    broken_at_s: list[float] = []
    """Those of them at which a promise was broken: a longer one need not break it."""
    caught_up_s: float | None
    """The longest time that it took until everybody was caught up."""
    command: str


class Power(_Part, frozen=True, kw_only=True):
    """How well one planted bug is found."""

    bug: str
    what: str
    transport: str
    starts: int
    caught: int
    unfinished: int
    """Hunts that were given up for want of time, before as many seeds as a bug may take."""
    seeds: Spread | None
    """Until it was caught; None if it never was."""
    by: list[str]


class RealRun(_Part, frozen=True, kw_only=True):
    """One run on the real stack."""

    plan: str
    seed: int
    verdict: str
    reason: str
    events: int
    deliveries: int
    faults: int
    """With proof that they took effect."""
    kills: int
    p50_ms: float | None
    p99_ms: float | None
    command: str


class Change(_Part, frozen=True, kw_only=True):
    """What differs from an older review."""

    what: str
    before: str
    now: str
    is_worse: bool


class Answer(_Part, frozen=True, kw_only=True):
    """The three questions of a reviewer; every sentence is computed."""

    right: list[str]
    """Is the decision still right? The first sentence is the answer."""
    sure: list[str]
    """How sure are we?"""
    changes: list[str]
    """What would change our mind?"""


class Kept(_Part, frozen=True, kw_only=True):
    """Parts of the evidence that are of earlier runs, all of one version of the relay."""

    relay: str
    """The digest of its sources; empty if it was not noted."""
    is_same: bool
    """Whether the relay is the same in the checkout that wrote the report."""
    parts: list[str]
    days: list[str]
    """On which they were measured."""
    commits: list[str]


class Review(_Part, frozen=True, kw_only=True):
    """A whole review."""

    schema: Literal["meshrelay-review-1"] = "meshrelay-review-1"
    verdict: Literal["held", "violated", "not shown"]
    """Of the option that was chosen: whether it kept what it promises."""
    exit_code: int
    confidence: float
    """Of every limit in it."""
    answer: Answer
    promises: list[Promise]
    claims: list[Claim]
    window: Window | None
    gaps: list[GapRow]
    envelope: list[EnvelopeRow]
    outages: list[Outage]
    covered: list[Covered]
    never: list[str]
    marks: list[Marks]
    power: list[Power]
    real: list[RealRun]
    plans: list[SamePlan]
    options: OptionsReport
    comparisons: list[str]
    """The options' costs beside each other, in sentences."""
    not_modelled: list[Difference]
    commands: dict[str, str]
    """What finds each part again."""
    missing: list[str]
    """What nothing was measured of, and why."""
    origins: dict[str, str]
    """By part that is not of this run, the day on which and the commit at which it was measured."""
    provenance: Provenance
    kept: list[Kept] = []
    """The same by version of the relay."""
    gap_totals: list[GapTotal] = []
    fault_totals: list[FaultTotal] = []
    counts: dict[str, int] = {}
    """How many there are of what a sentence or a picture counts, by name."""
    against: str = ""
    """The older review that it was compared with: its commit and time."""
    changed: list[Change] = []


def encode(review: Review) -> bytes:
    """The review as JSON, for people's eyes too; equal reviews give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(review), indent=1) + b"\n"


def decode(data: bytes) -> Review:
    """Read a review. Raises msgspec.DecodeError with the place and what was expected."""
    return msgspec.json.decode(data, type=Review)
