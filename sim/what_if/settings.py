"""Every name that `--set NAME=VALUE` takes: what it is, its unit, its default and what it may be; pure.

Ranges are those within which the window can be played and means something; each says why. What settings mean together
is checked in `plans.py`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from faults.plan import EVENTS_MAX, RelayLimits, RelayTimes
from sim.what_if.durations import DurationWrong, seconds, shown
from sim.window import AGENTS, DAYS, EVENTS, PRESENCE_S, PRODUCTION, SHIFT_HOURS, SPELL_HOURS
from system.settings import Settings

Value: TypeAlias = float | int | str | None
"""Durations in s, counts, shares, words; None is `off`."""
OFF = "off"
NEAR = 0.6
"""How alike two names must be for one to be meant by the other."""
MINUTE_S, HOUR_S, DAY_S = 60.0, 3_600.0, 86_400.0
DAYS_MAX = 90.0


class Unit(Enum):
    """How a value is written."""

    DAYS = "days"
    DURATION = "duration"
    HOURS = "whole hours"
    COUNT = "count"
    SHARE = "share"
    WORD = "word"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One name."""

    name: str
    what: str
    unit: Unit
    default: Value
    low: float = 0.0
    high: float = 0.0
    why: str = ""
    """Why no less and no more."""
    words: tuple[str, ...] = ()
    """All that a word may be."""
    can_be_off: bool = False
    default_shown: str = ""
    """In place of the default, where it follows from something else."""

    @property
    def range_shown(self) -> str:
        """What it may be, for people."""
        if self.unit is Unit.WORD:
            return ", ".join(self.words)
        off = f", or {OFF}" if self.can_be_off else ""
        return f"{self.value_shown(self.low)} to {self.value_shown(self.high)}{off}"

    def value_shown(self, value: Value) -> str:
        """A value as it would be written."""
        if value is None:
            return OFF
        if isinstance(value, str):
            return value
        if self.unit in (Unit.DURATION, Unit.HOURS):
            return shown(value)
        return f"{value:g}" if isinstance(value, float) else str(value)

    def read(self, text: str) -> Value:
        """The value of a text. Raises ValueError with what was expected and what came."""
        text = text.strip()
        if self.can_be_off and text.lower() == OFF:
            return None
        if self.unit is Unit.WORD:
            if text not in self.words:
                raise ValueError(f"expected one of {self.range_shown}, got {text!r}{meant(text, self.words)}")
            return text
        value = _number(self.unit, text)
        if not self.low <= value <= self.high:
            raise ValueError(f"expected {self.range_shown}, got {text!r}; {self.why}")
        return value


def _number(unit: Unit, text: str) -> float | int:
    if unit is Unit.COUNT:
        digits = text.replace("_", "").replace(",", "")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 12:
            raise ValueError(f"expected a whole number, got {text!r}")
        return int(digits)
    if unit is Unit.SHARE:
        number = _float(text.removesuffix("%"))
        if number is None:
            raise ValueError(f"expected a share such as 0.05 or 5%, got {text!r}")
        return number / 100 if text.endswith("%") else number
    days = _float(text) if unit is Unit.DAYS else None
    try:
        value = seconds(text) if days is None else days * DAY_S
    except DurationWrong as error:
        raise ValueError(f"expected days such as 2 or 0.5, or a duration, got {text!r}" if unit is Unit.DAYS else
                         str(error)) from None  # fmt: skip
    if unit is Unit.HOURS and value % HOUR_S:
        raise ValueError(f"expected whole hours such as 8h, got {text!r}")
    return value / DAY_S if unit is Unit.DAYS else value


def _float(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and text.isascii() else None


def meant(text: str, names: Iterable[str]) -> str:
    """The names that are like a text, as a question to append; empty if none is."""
    near = difflib.get_close_matches(text, list(names), n=3, cutoff=NEAR)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _duration(name: str, what: str, default: float | None, low: float, high: float, why: str) -> Setting:
    return Setting(name=name, what=what, unit=Unit.DURATION, default=default, low=low, high=high, why=why)


def _off_or(one: Setting, default_shown: str = "") -> Setting:
    return Setting(
        name=one.name, what=one.what, unit=one.unit, default=one.default, low=one.low, high=one.high, why=one.why,
        can_be_off=True, default_shown=default_shown,
    )  # fmt: skip


def _count(name: str, what: str, default: Value, low: int, high: int, why: str, default_shown: str = "") -> Setting:
    return Setting(
        name=name, what=what, unit=Unit.COUNT, default=default, low=low, high=high, why=why, default_shown=default_shown
    )


def _share(name: str, what: str, default: float) -> Setting:
    return Setting(
        name=name, what=what, unit=Unit.SHARE, default=default, low=0.0, high=1.0, why="it is a part of all events"
    )


def _word(name: str, what: str, *words: str) -> Setting:
    return Setting(name=name, what=what, unit=Unit.WORD, default=words[0], words=words)


_SLACK = "an age is known to the judge to 20s, so less could not be judged; above 90d no window ends"
_COST = "each costs the simulation as much as one of the 12, so 21 days of 1,000 take hours"
_SPELL = "agents need some seconds to connect and to be caught up"

_WORK = (
    Setting(name="days", what="how long the window is", unit=Unit.DAYS, default=DAYS, low=0.01, high=DAYS_MAX,
            why="below a quarter of an hour nothing happens, and 90 days take ten minutes of one core"),
    _count("events", "events published in the window", None, 1, EVENTS_MAX,
           "a plan holds no more", f"{EVENTS:,} in {DAYS:g} days"),
    Setting(name="transport", what="the ADR's option: where sessions read from", unit=Unit.WORD, default="cursor",
            words=("cursor", "jetstream", "redis")),
    _share("broadcast_share", "part of the events that is for all agents", 0.0),
    _share("repeat_share", "part of the events that is published once more after its acknowledgement", 0.0),
    _count("data_bytes_max", "the largest event's data, in bytes", 400, 0, 65_536, "a plan allows no more"),
    _off_or(_duration("presence", "work is for agents at work that stay so long; off: for any agent", PRESENCE_S,
                      1.0, HOUR_S, "publishers who know more than an hour ahead who is at work know the future"),
            "1m; off with agents.sleep"),
    _duration("converge_within", "G6: by when all must be caught up after the window", 120.0, 1.0, DAY_S,
              "within a second nobody connects"),
)  # fmt: skip
_RETENTION = (
    _duration("retention.critical", "how long task.assigned, task.created and task.mentioned are kept", 7 * DAY_S,
              MINUTE_S, 90 * DAY_S, _SLACK),
    _duration("retention.standard", "how long all other events are kept", DAY_S, MINUTE_S, 90 * DAY_S, _SLACK),
)  # fmt: skip
_PEOPLE = (
    _count("agents", "how many agents", AGENTS, 1, 1_000, _COST),
    _off_or(_duration("agents.sleep", "how long agents sleep between spells of work; off: they work in shifts", None,
                      MINUTE_S, DAYS_MAX * DAY_S, "shorter is no sleep; longer than the window nobody wakes")),
    _count("agents.sleepers", "how many agents sleep so; the others work in shifts", None, 1, 1_000, _COST, "all"),
    Setting(name="agents.shift", what="a spell of work lies in each", unit=Unit.HOURS, default=SHIFT_HOURS * HOUR_S,
            low=HOUR_S, high=7 * DAY_S, why="the week's rhythm is known by the hour, and for a week"),
    _duration("agents.work_min", "the shortest spell of work", SPELL_HOURS[0] * HOUR_S, MINUTE_S, DAY_S, _SPELL),
    _duration("agents.work_max", "the longest spell of work", SPELL_HOURS[1] * HOUR_S, MINUTE_S, 7 * DAY_S, _SPELL),
    _duration("agents.token_ttl", "how long an agent's token is good", HOUR_S, MINUTE_S, 30 * DAY_S,
              "a shorter one ends before it is used"),
    _off_or(_duration("agents.ack_interval", "how often an agent acknowledges; off: never", 5.0, 0.1, HOUR_S,
                      "the client gathers what it handled for so long")),
    _duration("agents.handler", "how long an agent takes over an event", 0.0, 0.0, 10.0,
              "a plan knows no slower reader"),
)  # fmt: skip
_PUBLISHERS = (
    _count("publishers.http", "publishers over the relay's HTTP", 1, 0, 50, "fifty share the events of any window"),
    _count("publishers.nats", "publishers straight into NATS", 1, 0, 50, "fifty share the events of any window"),
    _count("publishers.batch_max", "events in one request, or awaiting their PubAck", 20, 1, 1_000,
           "the relay takes no larger batch"),
    Setting(name="publishers.retry_max", what="the longest pause before a publisher tries again", unit=Unit.DURATION,
            default=15.0, low=0.5, high=HOUR_S, why="more often an outage is nothing but tries",
            default_shown="15s; 500ms in the base"),
)  # fmt: skip
_SERVERS = (
    _word("nats.sync", "when NATS syncs its files: before each PubAck, or every two minutes", "always", "interval"),
    Setting(name="nats.replicas", what="on how many servers NATS keeps the stream", unit=Unit.WORD, default="1",
            words=("1", "3")),
    _word("redis.sync", "transport redis: when Redis syncs its file", "always", "everysec", "no"),
)  # fmt: skip

_TIMES: Mapping[str, tuple[str, float, float, str]] = {
    "sweep_interval_s": ("how often expired events are deleted", 10.0, DAY_S, "a sweep is a look at every class"),
    "heartbeat_s": ("silence after which a stream says that it lives", 1.0, 600.0,
                    "more often a window is nothing but heartbeats; proxies close what is silent for longer"),
    "bookmark_s": ("how often a quiet stream is told its place", 1.0, HOUR_S, "a second is what a head needs to move"),
    "redispatch_after_s": ("after which an unacknowledged task.assigned is published again", 30.0, 7 * DAY_S,
                           "agents acknowledge every few seconds; after retention nobody has it"),
    "retry_min_ms": ("the least that a client is asked to wait", 0.01, MINUTE_S, "a plan allows a minute"),
    "retry_max_ms": ("the most that a client is asked to wait", 0.01, MINUTE_S, "a plan allows a minute"),
    "drain_deadline_s": ("how long a replica that is stopped has", 1.0, 600.0, "service managers kill after that"),
    "lease_s": ("after which a dead leader is followed", 1.0, HOUR_S, "renewing it takes a round trip or two"),
    "dedupe_window_s": ("for how long the stream itself knows an id", 1.0, 7 * DAY_S,
                        "below a second a retry comes too late; no critical event is known for longer"),
    "publish_timeout_s": ("how long a publish waits for its PubAck", 0.5, MINUTE_S, "clients wait no longer"),
    "database_timeout_s": ("how long a statement may take", 0.5, MINUTE_S, "clients wait no longer"),
    "tail_poll_s": ("how often the watermark is looked at without a hint", 0.05, MINUTE_S,
                    "more often it is all that Postgres does"),
    "ready_after_silence_s": ("after which /readyz asks NATS and Postgres", 1.0, 600.0, "it is asked all the time"),
    "expiry_margin_s": ("transport jetstream: how much longer the stream keeps events", MINUTE_S, 30 * DAY_S,
                        "it must cover sweeps and clocks"),
    "idle_check_s": ("how often an idle replica looks at its connections", 1.0, HOUR_S,
                     "more often it is all that a replica does"),
}  # fmt: skip
_LIMITS: Mapping[str, tuple[str, int, int, str]] = {
    "page_rows": ("events in a replay page", 1, 5_000, "the relay allows no more"),
    "tail_rows": ("events that the tail reads at once", 1, 10_000, "the relay allows no more"),
    "writer_batch": ("events in one transaction of pg-writer", 1, 10_000, "the relay allows no more"),
    "hub_window_events": ("recent events kept for the hand-off to live", 1, 1_000_000, "memory is a gigabyte then"),
    "slow_client_bytes": ("unsent bytes at which a live session falls behind", 1_024, 1_000_000_000,
                          "a kilobyte is an event or two"),
    "redispatch_max": ("how often a task.assigned is published again", 0, 100, "the relay allows no more"),
}  # fmt: skip


def plan_field(name: str) -> str:
    """The field of a plan's part that `relay.…` or `limits.…` sets, by the setting's last word."""
    return next(one for one in (*_TIMES, *_LIMITS) if _bare(one) == name.partition(".")[2])


def _bare(field: str) -> str:
    """A field's name without its unit, which the value says."""
    return field.removesuffix("_s").removesuffix("_ms") if field in _TIMES else field


def _relay_settings() -> Iterable[Setting]:
    for field in RelayTimes.__struct_fields__:
        what, low, high, why = _TIMES[field]
        default = getattr(PRODUCTION, field)
        default_s = default / 1000 if field.endswith("_ms") else default
        yield _duration(f"relay.{_bare(field)}", what, default_s, low, high, why)
    for field in RelayLimits.__struct_fields__:
        what, least, most, why = _LIMITS[field]
        yield _count(f"limits.{field}", what, Settings.model_fields[field].default, least, most, why)


SETTINGS: Mapping[str, Setting] = {
    one.name: one for one in (*_WORK, *_RETENTION, *_PEOPLE, *_PUBLISHERS, *_SERVERS, *_relay_settings())
}
"""By name, in the order in which they are shown."""


def setting_of(word: str) -> tuple[Setting, Value]:
    """The setting and value of a `NAME=VALUE`. Raises ValueError with what was expected, what came, what to do."""
    name, is_given, text = word.partition("=")
    name = name.strip()
    if not is_given:
        raise ValueError(f"expected NAME=VALUE such as retention.standard=6h, got {word!r}{meant(name, SETTINGS)}")
    setting = SETTINGS.get(name)
    if setting is None:
        near = meant(name, SETTINGS) or ";"
        raise ValueError(
            f"expected the name of a setting, got {name!r}{near} `meshrelay sim window --settings` lists all"
        )
    return setting, setting.read(text)
