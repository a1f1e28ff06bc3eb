"""Did a fault on a link take effect? Decided from two probes made at the same moment: one through the proxy, and a
control straight to the same server. Pure.

A fault counts as effective only if the probe shows what the fault must do *and* the control shows that the server by
itself does not do it. A slow machine, a dead server or a lost packet can therefore prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from faults.dialects import SIZE_BYTES_MAX
from faults.probe import Ending, Experiment, Seen
from faults.vocabulary import (
    Bandwidth,
    Cut,
    Direction,
    Down,
    HalfOpen,
    Latency,
    LimitData,
    LinkFault,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)

MARGIN_S = 1.0
"""What a probe gets beyond what the fault costs it: connecting, and a busy machine."""
SILENCE_S = 1.0
"""How long nothing may come before a link counts as silent: a thousand times a loopback round trip."""
OVERHEAD_BYTES = 800
"""What a dialect sends or gets beyond the size asked for: NATS's INFO and CONNECT."""
MEASURED_MS = 400
"""What the effect of a rate should come to, so that it stands out."""
SLICED_MS = 200
"""The same for slices; lower, because slices may be much smaller than their average says."""
ROUNDING_MS = 2.0
"""Timers of both sides have a resolution of about a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The judgement of one pair of probes."""

    effective: bool
    expected: str
    """What the probe had to show."""
    probe: Seen
    control: Seen

    def numbers(self) -> dict[str, Any]:
        """For the history: what was expected and what was seen, without what was not."""
        seen = {name: {k: v for k, v in asdict(getattr(self, name)).items() if v is not None}
                for name in ("probe", "control")}  # fmt: skip
        return {"expected": self.expected, **seen}


def experiment_for(fault: LinkFault) -> Experiment:
    """The probe that can show a fault's effect, and how long it takes at most."""
    size, ending, cost_s = 1, Ending.NONE, 0.0
    match fault:
        case Cut() | Timeout() | HalfOpen():
            return Experiment(size_bytes=1, wait_s=SILENCE_S)
        case Latency():
            cost_s = len(fault.directions) * (fault.latency_ms + fault.jitter_ms) / 1000
        case Bandwidth():
            size = min(SIZE_BYTES_MAX, fault.rate_kb_s * MEASURED_MS)
            cost_s = len(fault.directions) * (size + OVERHEAD_BYTES) / fault.rate_kb_s / 1000
        case Slicer():
            pieces = max(3, SLICED_MS * 1000 // fault.delay_us)
            size = min(SIZE_BYTES_MAX, pieces * fault.average_size_bytes)
            # Toxiproxy halves what is longer than average plus variation, give or take the variation.
            smallest = max(1, (fault.average_size_bytes - fault.size_variation_bytes) / 2)
            pieces_max = 1 + (size + OVERHEAD_BYTES) / smallest
            cost_s = len(fault.directions) * pieces_max * fault.delay_us / 1e6
        case ResetPeer():
            cost_s = fault.timeout_ms / 1000
        case SlowClose():
            ending = Ending.CLIENT if fault.direction is Direction.UPSTREAM else Ending.SERVER
            cost_s = len(fault.directions) * fault.delay_ms / 1000
        case LimitData():
            size = min(SIZE_BYTES_MAX, fault.limit_bytes + 500)
        case Down():
            pass
    return Experiment(size_bytes=size, ending=ending, wait_s=round(cost_s + MARGIN_S, 3))


def judge(fault: LinkFault, probe: Seen, control: Seen) -> Proof:
    """Whether this pair of probes proves the fault, and by what."""
    expected, shown = _JUDGES[type(fault)](fault, probe, control)
    effective = shown and control.answered_ms is not None
    return Proof(effective=effective, expected=expected, probe=probe, control=control)


def passes(probe: Seen) -> bool:
    """Whether a link serves as if there were no fault: the whole answer came."""
    return probe.answered_ms is not None


Verdict = tuple[str, bool]


def _down(fault: Down, probe: Seen, control: Seen) -> Verdict:
    return "refused", probe.ended == "refused"


def _silent(fault: Cut | Timeout | HalfOpen, probe: Seen, control: Seen) -> Verdict:
    # Upstream alone, a server that greets is heard still; the answer is not.
    greeted_only = fault.direction is Direction.UPSTREAM or probe.received_bytes == 0
    closed_in_time = (
        isinstance(fault, Timeout)
        and fault.timeout_ms > 0
        and probe.ended in ("eof", "reset")
        and _at_least(probe.ended_ms, fault.timeout_ms)
    )
    is_silent = probe.connected_ms is not None and probe.answered_ms is None and greeted_only
    return "connected, no answer", is_silent and (probe.ended == "open" or closed_in_time)


def _latency(fault: Latency, probe: Seen, control: Seen) -> Verdict:
    floor_ms = len(fault.directions) * (fault.latency_ms - fault.jitter_ms)
    return _slower(floor_ms, probe.answered_ms, control.answered_ms)


def _bandwidth(fault: Bandwidth, probe: Seen, control: Seen) -> Verdict:
    # Both ways may overlap in time, so the slower one is the floor. 0.9: Toxiproxy makes up for its timers' errors.
    return _slower(0.9 * _most(fault, probe) / fault.rate_kb_s, probe.answered_ms, control.answered_ms)


def _slicer(fault: Slicer, probe: Seen, control: Seen) -> Verdict:
    pieces = -(-_most(fault, probe) // (fault.average_size_bytes + fault.size_variation_bytes))
    return _slower((pieces - 1) * fault.delay_us / 1000, probe.answered_ms, control.answered_ms)


def _reset(fault: ResetPeer, probe: Seen, control: Seen) -> Verdict:
    is_reset = probe.ended == "reset" and probe.answered_ms is None and _at_least(probe.ended_ms, fault.timeout_ms)
    return f"reset after {fault.timeout_ms} ms or later, unanswered", is_reset


def _slow_close(fault: SlowClose, probe: Seen, control: Seen) -> Verdict:
    return _slower(fault.delay_ms, _closing_ms(probe), _closing_ms(control))


def _limit_data(fault: LimitData, probe: Seen, control: Seen) -> Verdict:
    is_cut = probe.ended in ("eof", "reset") and probe.answered_ms is None
    if fault.direction is Direction.UPSTREAM:
        expected, in_limit = "closed, unanswered", probe.sent_bytes > fault.limit_bytes
    elif fault.direction is Direction.DOWNSTREAM:
        expected = f"closed after {fault.limit_bytes} bytes"
        in_limit = probe.received_bytes == fault.limit_bytes < control.received_bytes
    else:
        expected = f"closed after at most {fault.limit_bytes} bytes"
        in_limit = probe.received_bytes <= fault.limit_bytes < control.received_bytes
    return expected, is_cut and in_limit


def _slower(floor_ms: float, probe_ms: float | None, control_ms: float | None) -> Verdict:
    is_slower = _at_least(probe_ms, floor_ms) and control_ms is not None and control_ms < floor_ms / 2
    return f"at least {floor_ms:.0f} ms, control less than half of it", is_slower


def _at_least(time_ms: float | None, floor_ms: float) -> bool:
    return time_ms is not None and time_ms >= floor_ms - ROUNDING_MS


def _most(fault: LinkFault, probe: Seen) -> int:
    """The bytes over the busier of the ways that are hit."""
    moved = {Direction.UPSTREAM: probe.sent_bytes, Direction.DOWNSTREAM: probe.received_bytes}
    return max(moved[direction] for direction in fault.directions)


def _closing_ms(seen: Seen) -> float | None:
    if seen.asked_to_end_ms is None or seen.ended_ms is None:
        return None
    return seen.ended_ms - seen.asked_to_end_ms


_JUDGES: dict[type, Callable[[Any, Seen, Seen], Verdict]] = {
    Cut: _silent,
    Timeout: _silent,
    HalfOpen: _silent,
    Down: _down,
    Latency: _latency,
    Bandwidth: _bandwidth,
    Slicer: _slicer,
    ResetPeer: _reset,
    SlowClose: _slow_close,
    LimitData: _limit_data,
}
