"""Settings that can't be together in the window, whatever a plan allows; pure.

Each is a rule: the settings that it is about, whether they are at odds, what was expected, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sim.what_if.durations import shown
from sim.what_if.settings import DAY_S
from sim.what_if.variants import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One contradiction."""

    about: tuple[str, ...]
    is_broken: Callable[[Variant, float], bool]
    """By a variant, and the days of its window."""
    expected: str
    advice: str


def contradictions(variant: Variant, days: float) -> Iterator[str]:
    """What of a variant's settings can't be together, each with the settings as they were written."""
    for rule in RULES:
        if rule.is_broken(variant, days):
            got = " and ".join(variant.written(name) for name in rule.about)
            window = f" ({shown(days * DAY_S)})" if "window" in rule.expected else ""
            yield f"expected {rule.expected}{window}, got {got}; {rule.advice}"


def _value(variant: Variant, name: str) -> float:
    value = variant.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _above(first: str, second: str) -> Callable[[Variant, float], bool]:
    return lambda variant, _: _value(variant, first) > _value(variant, second)


def _has_no_sleep(variant: Variant, _: float) -> bool:
    return variant.get("agents.sleep") is None and "agents.sleepers" in variant.values


def _outsleeps(variant: Variant, days: float) -> bool:
    sleep_s = _value(variant, "agents.sleep")
    return sleep_s > 0 and sleep_s + _value(variant, "agents.work_max") >= days * DAY_S


def _outworks(variant: Variant, _: float) -> bool:
    is_in_shifts = variant.get("agents.sleep") is None or "agents.sleepers" in variant.values
    return is_in_shifts and _value(variant, "agents.work_max") > _value(variant, "agents.shift")


def _outstays(variant: Variant, _: float) -> bool:
    return "presence" in variant.values and _value(variant, "presence") >= _value(variant, "agents.work_max")


RULES = (
    Rule(
        about=("retention.standard", "relay.sweep_interval"),
        is_broken=_above("relay.sweep_interval", "retention.standard"),
        expected="retention.standard at least relay.sweep_interval",
        advice="events would be kept until the next sweep, longer than you ask: sweep more often",
    ),
    Rule(
        about=("agents.work_min", "agents.work_max"),
        is_broken=_above("agents.work_min", "agents.work_max"),
        expected="agents.work_min at most agents.work_max",
        advice="swap them",
    ),
    Rule(
        about=("agents.work_max", "agents.shift"),
        is_broken=_outworks,
        expected="agents.work_max within agents.shift",
        advice="a spell of work ends with its shift",
    ),
    Rule(
        about=("agents.sleepers", "agents.sleep"),
        is_broken=_has_no_sleep,
        expected="agents.sleep with agents.sleepers",
        advice="say how long they sleep, such as agents.sleep=30h",
    ),
    Rule(
        about=("agents.sleepers", "agents"),
        is_broken=_above("agents.sleepers", "agents"),
        expected="agents.sleepers at most agents",
        advice="there are no others who could sleep",
    ),
    Rule(
        about=("agents.sleep", "agents.work_max"),
        is_broken=_outsleeps,
        expected="both together shorter than the window",
        advice="nobody would wake again: lengthen the window (days), or shorten the sleep",
    ),
    Rule(
        about=("presence", "agents.work_max"),
        is_broken=_outstays,
        expected="presence below agents.work_max",
        advice="nobody would ever be there for so long",
    ),
)
