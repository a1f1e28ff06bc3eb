"""Proofs of faults: each accepts what the fault must look like, and nothing that only resembles it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from faults.probe import Ending, Seen
from faults.proof import experiment_for, judge, passes
from faults.vocabulary import (
    Bandwidth,
    Cut,
    Direction,
    Down,
    Latency,
    LimitData,
    Link,
    LinkFault,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)

HEALTHY = Seen(sent_bytes=1000, received_bytes=1200, connected_ms=0.5, answered_ms=2.0)
CLOSED = dataclasses.replace(HEALTHY, asked_to_end_ms=2.0, ended_ms=3.0, ended="eof")
SILENT = Seen(sent_bytes=1000, connected_ms=0.5)
DEAD = Seen(ended="refused", ended_ms=0.3)


def _place(direction: Direction = Direction.BOTH) -> dict[str, Any]:
    return {"id": "f", "link": Link.RELAY_NATS, "at_s": 0.0, "for_s": 5.0, "direction": direction}


def _seen(seen: Seen, **changes: Any) -> Seen:
    return dataclasses.replace(seen, **changes)


BOTH, UP, DOWN = (_place(direction) for direction in Direction)
SLICER = Slicer(**DOWN, average_size_bytes=90, size_variation_bytes=10, delay_us=10_000)

CASES: list[tuple[LinkFault, Seen, list[Seen]]] = [
    (Cut(**BOTH), SILENT, [HEALTHY, DEAD, _seen(SILENT, ended="eof"), _seen(SILENT, received_bytes=5), Seen()]),
    (Cut(**UP), _seen(SILENT, received_bytes=400), [HEALTHY, DEAD]),
    (Down(**BOTH), DEAD, [HEALTHY, SILENT, Seen(), _seen(SILENT, ended="reset")]),
    (Latency(**BOTH, latency_ms=100), _seen(HEALTHY, answered_ms=200.0), [HEALTHY, _seen(HEALTHY, answered_ms=190.0)]),
    (Latency(**UP, latency_ms=100, jitter_ms=20), _seen(HEALTHY, answered_ms=80.5), [_seen(HEALTHY, answered_ms=70.0)]),
    (Bandwidth(**DOWN, rate_kb_s=10), _seen(HEALTHY, answered_ms=119.0), [HEALTHY, _seen(HEALTHY, answered_ms=99.0)]),
    (Bandwidth(**UP, rate_kb_s=10), _seen(HEALTHY, answered_ms=95.0), [HEALTHY, _seen(HEALTHY, answered_ms=80.0)]),
    (Timeout(**BOTH, timeout_ms=0), SILENT, [HEALTHY, DEAD, _seen(SILENT, ended="eof", ended_ms=500.0)]),
    (
        Timeout(**BOTH, timeout_ms=500),
        _seen(SILENT, ended="eof", ended_ms=501.0),
        [_seen(SILENT, ended="eof", ended_ms=100.0)],
    ),
    (
        ResetPeer(**BOTH, timeout_ms=50),
        _seen(SILENT, ended="reset", ended_ms=51.0),
        [SILENT, _seen(SILENT, ended="reset", ended_ms=9.0), _seen(SILENT, ended="eof", ended_ms=51.0), DEAD, HEALTHY],
    ),
    (SLICER, _seen(HEALTHY, answered_ms=111.0), [HEALTHY, _seen(HEALTHY, answered_ms=100.0)]),
    (SlowClose(**DOWN, delay_ms=300), _seen(CLOSED, ended_ms=303.0), [CLOSED, HEALTHY, _seen(CLOSED, ended_ms=250.0)]),
    (
        LimitData(**DOWN, limit_bytes=700),
        _seen(SILENT, received_bytes=700, ended="eof", ended_ms=3.0),
        [
            HEALTHY,
            _seen(SILENT, received_bytes=700),
            _seen(SILENT, received_bytes=699, ended="eof", ended_ms=3.0),
            _seen(SILENT, received_bytes=701, ended="eof", ended_ms=3.0),
        ],
    ),
    (LimitData(**UP, limit_bytes=700), _seen(SILENT, ended="reset", ended_ms=3.0), [HEALTHY, SILENT, DEAD]),
    (LimitData(**BOTH, limit_bytes=700), _seen(SILENT, ended="eof", ended_ms=3.0), [HEALTHY, SILENT]),
]


def _control(fault: LinkFault) -> Seen:
    return CLOSED if isinstance(fault, SlowClose) else HEALTHY


@pytest.mark.parametrize(("fault", "right", "wrong"), CASES)
def test_a_proof_takes_the_effect_and_nothing_else(fault: LinkFault, right: Seen, wrong: list[Seen]) -> None:
    """What the fault must do proves it, if the server is well; neither a healthy link nor another trouble does."""
    assert judge(fault, right, _control(fault)).effective
    assert not judge(fault, _control(fault), _control(fault)).effective
    assert [seen for seen in wrong if judge(fault, seen, _control(fault)).effective] == []


@pytest.mark.parametrize(("fault", "right", "wrong"), CASES)
def test_a_server_in_the_same_trouble_proves_nothing(fault: LinkFault, right: Seen, wrong: list[Seen]) -> None:
    """If the control straight to the server shows the same, or does not answer, there is no proof."""
    for control in (right, SILENT, DEAD):
        assert not judge(fault, right, control).effective


def test_every_kind_that_is_played_is_judged() -> None:
    """No kind of fault on a link but half_open, which the real stack can't play, is without a case here."""
    kinds = {fault.kind for fault, _, _ in CASES}
    assert kinds == {
        "cut",
        "down",
        "latency",
        "bandwidth",
        "timeout",
        "reset_peer",
        "slicer",
        "slow_close",
        "limit_data",
    }


def test_a_slow_close_is_asked_of_the_right_side() -> None:
    """The close that is delayed comes from the side whose bytes are hit."""
    assert experiment_for(SlowClose(**UP, delay_ms=300)).ending is Ending.CLIENT
    assert experiment_for(SlowClose(**DOWN, delay_ms=300)).ending is Ending.SERVER


def test_a_proof_says_what_was_seen() -> None:
    """The history gets the expectation and the numbers of both probes, without what did not happen."""
    numbers = judge(Latency(**UP, latency_ms=100), _seen(HEALTHY, answered_ms=102.0), HEALTHY).numbers()
    assert numbers["expected"] == "at least 100 ms, control less than half of it"
    assert numbers["probe"]["answered_ms"] == 102.0
    assert numbers["control"]["answered_ms"] == 2.0
    assert "ended_ms" not in numbers["probe"]


def test_only_a_whole_answer_passes() -> None:
    """A lifted fault is one after which the whole answer comes through again."""
    assert passes(HEALTHY)
    assert not passes(SILENT)
