"""The report as one value: everything that any rendering shows is in it, and it is what the JSON file holds."""

from __future__ import annotations

from typing import Literal

import msgspec

LATENCY_OPEN_MS = 99_999.0
"""Stands for 'and more' as the bound of a histogram's last bin, for JSON has no infinity."""

Verdict = Literal["held", "violated", "not converged", "could not run"]


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a report."""


class GuaranteeResult(_Part, frozen=True, kw_only=True):
    """What the run says about one guarantee."""

    guarantee: str
    promise: str
    """The guarantee in one sentence."""
    verdict: Literal["held", "violated", "not converged", "not tried"]
    trials: int
    """How many times the run could have broken it."""
    trial: str
    """What one trial is."""
    findings: int = 0


class FindingShown(_Part, frozen=True, kw_only=True):
    """One violation, with the history records that show it."""

    guarantee: str
    kind: str
    agent: str | None
    event: str | None
    cursor: str | None
    at_s: float
    detail: str
    evidence: list[int] = []
    """Record numbers in the history, from 0."""


class FaultShown(_Part, frozen=True, kw_only=True):
    """One fault: when, on what, and the proof that it took effect."""

    id: str
    what: str
    target: str
    direction: str | None
    asked_s: float
    lifted_s: float | None
    effective: bool
    proof: str


class Second(_Part, frozen=True, kw_only=True):
    """What happened in one slice of the run."""

    at_s: float
    published: int = 0
    delivered: int = 0
    connected: int = 0


class GapShown(_Part, frozen=True, kw_only=True):
    """One reconnect: how long the agent had been away, and what it got."""

    agent: str
    away_s: float
    outcome: Literal["replay", "gap", "410", "nothing missed", "refused"]
    events: int
    """Events received on that connection."""


class Latency(_Part, frozen=True, kw_only=True):
    """Publish to delivery of live events, in ms."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    bounds_ms: list[float] = []
    """Upper bounds of the histogram's bins."""
    counts: list[int] = []


class Report(_Part, frozen=True, kw_only=True):
    """A whole report."""

    schema: Literal["meshrelay-report-1"] = "meshrelay-report-1"
    verdict: Verdict
    reason: str
    """One sentence that says why."""
    exit_code: int
    plan: str
    seed: int
    world: str
    command: str
    """The words that repeat the run."""
    started_at: str
    duration_s: float
    retention_critical_s: float
    retention_standard_s: float
    counts: dict[str, int]
    """Name in plain words → number, in the order to show them."""
    guarantees: list[GuaranteeResult]
    findings: list[FindingShown] = []
    findings_omitted: int = 0
    faults: list[FaultShown] = []
    kills_s: list[float] = []
    healed_s: float | None = None
    converged_s: float | None = None
    timeline: list[Second] = []
    slice_s: int = 1
    """How long one slice of the timeline is."""
    gaps: list[GapShown] = []
    latency: Latency | None = None
    versions: dict[str, str] = {}
    notes: list[str] = []
    """What a reader must know: torn last line, limits of the judgement."""
    history: str = ""
    """The history's file name, beside the report."""


def encode(report: Report) -> bytes:
    """The report as JSON, for people's eyes too; equal reports give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def decode(data: bytes) -> Report:
    """Read a report. Raises msgspec.ValidationError with the place and what was expected."""
    return msgspec.json.decode(data, type=Report)
