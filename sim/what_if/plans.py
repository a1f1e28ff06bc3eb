"""A variant as a plan of the simulated world, checked, with what is wrong told in the words that the person used; pure.

What can't be together is found by the plan's own checks (`faults/check.py`) and the relay's settings; here stands only
what is a contradiction in the window alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from pydantic import ValidationError

from faults.check import problems_of
from faults.plan import Plan, Publisher, RelayLimits, RelayTimes
from faults.vocabulary import Fault
from sim.programs import relay_settings
from sim.what_if.contradictions import contradictions
from sim.what_if.durations import shown
from sim.what_if.outages import faults_of, sentence_of
from sim.what_if.settings import HOUR_S, SETTINGS, Unit, plan_field
from sim.what_if.variants import ASKED, AskedWrong, Variant
from sim.window import People, window_plan
from system.settings import Settings

_WORKLOAD = ("broadcast_share", "repeat_share", "data_bytes_max", "events")
_FIELDS = {
    "duration_s": "days",
    "converge_within_s": "converge_within",
    "critical_s": "retention.critical",
    "standard_s": "retention.standard",
    "RETENTION_CRITICAL_S": "retention.critical",
    "RETENTION_STANDARD_S": "retention.standard",
    "STREAM_MAX_AGE_S": f"{shown(Settings.model_fields['stream_max_age_s'].default)}, the stream's age limit,",
    "servers.nats_replicas": "nats.replicas",
    "servers.redis_sync": "redis.sync",
    "workload.publishers": "publishers.http and publishers.nats",
}
"""What checks call things, and by which names they are set here; the relay's own follow from the table."""
_SWAPPED = re.compile(r"got (\d+(?:\.\d+)?) and (\d+(?:\.\d+)?); swap them")
"""Two times without a unit: of retention in s, of retries in ms."""
_SECONDS = re.compile(r"\b(\d+(?:\.\d+)?(?:e\+\d+)?) s\b")


def plan_of(variant: Variant, *, seed: int, days: float) -> Plan:
    """The plan of a variant; the base's is the window's own. Raises AskedWrong with every problem."""
    days = float(variant.values.get("days") or days)
    at_odds = list(contradictions(variant, days))
    if at_odds:
        raise AskedWrong(_told(variant, one) for one in at_odds)
    plan = _with_settings(window_plan(seed=seed, days=days, people=_people(variant)), variant)
    problems: list[str] = []
    faults: list[Fault] = []
    for number, outage in enumerate(variant.outages, start=1):
        try:
            faults += faults_of(outage, plan, number)
        except ValueError as error:
            problems.append(f"--outage {outage.text}: {error}")
    plan = msgspec.structs.replace(plan, faults=tuple(faults))
    # the relay would say the plan's problems again
    found = problems_of(plan) or list(_refused(plan))
    problems += [_in_words(one, variant) for one in found]
    if problems:
        raise AskedWrong(_told(variant, one) for one in problems)
    return plan


def sentences_of(variant: Variant, plan: Plan) -> list[str]:
    """The outages of a checked variant, for people."""
    return [
        sentence_of(outage, faults_of(outage, plan, number)) for number, outage in enumerate(variant.outages, start=1)
    ]


def notes_of(variant: Variant, plan: Plan) -> list[str]:
    """What follows from the settings and nobody wrote."""
    if variant.is_base or "presence" in variant.values:
        return []
    if plan.workload.presence_s is None:
        return ["presence=off, for agents.sleep is set: work comes for agents that sleep, too"]
    return []


def _told(variant: Variant, problem: str) -> str:
    return problem if variant.name == ASKED else f"{variant.name}: {problem}"


def _people(variant: Variant) -> People:
    agents = _int(variant, "agents")
    sleepers = variant.values.get("agents.sleepers")
    return People(
        agents=agents,
        shift_hours=round(_float(variant, "agents.shift") / HOUR_S),
        spell_hours=(_float(variant, "agents.work_min") / HOUR_S, _float(variant, "agents.work_max") / HOUR_S),
        sleep_s=_optional(variant, "agents.sleep"),
        sleepers=agents if sleepers is None else int(sleepers),
    )


def _with_settings(plan: Plan, variant: Variant) -> Plan:
    """The plan with everything that was set, but for how agents live and what fails."""
    if variant.is_base:
        return plan
    values = variant.values
    replace = msgspec.structs.replace
    work: dict[str, Any] = {name: values[name] for name in _WORKLOAD if name in values}
    if "presence" in values or values.get("agents.sleep") is not None:
        work["presence_s"] = values.get("presence")
    ttl_s, handler_ms = _float(variant, "agents.token_ttl"), round(_float(variant, "agents.handler") * 1000)
    acks_s = _optional(variant, "agents.ack_interval")
    servers = {
        "nats_sync": variant.get("nats.sync"),
        "nats_replicas": int(str(variant.get("nats.replicas"))),
        "redis_sync": variant.get("redis.sync"),
    }
    return replace(
        plan,
        name=f"{plan.name}-{variant.name}",
        converge_within_s=_float(variant, "converge_within"),
        transport=variant.get("transport"),
        retention=replace(
            plan.retention,
            critical_s=_float(variant, "retention.critical"),
            standard_s=_float(variant, "retention.standard"),
        ),
        relay=replace(plan.relay, **_part(variant, "relay.", RelayTimes)),
        limits=RelayLimits(**_part(variant, "limits.", RelayLimits)),
        servers=replace(plan.servers, **servers),
        workload=replace(plan.workload, publishers=_publishers(variant), **work),
        agents=tuple(
            replace(agent, token_ttl_s=ttl_s, handler_ms=handler_ms, ack_interval_s=acks_s) for agent in plan.agents
        ),
    )


def _part(variant: Variant, prefix: str, part: type[RelayTimes] | type[RelayLimits]) -> dict[str, Any]:
    """What was set of the relay's own, by the plan's fields."""
    found: dict[str, Any] = {}
    for name, value in variant.values.items():
        if name.startswith(prefix):
            field = plan_field(name)
            assert field in part.__struct_fields__, field
            found[field] = round(float(value or 0) * 1000) if field.endswith("_ms") else value
    return found


def _publishers(variant: Variant) -> tuple[Publisher, ...]:
    ways: tuple[tuple[str, Literal["http", "nats"]], ...] = (("mesh", "http"), ("bridge", "nats"))
    batch_max, retry_max_s = _int(variant, "publishers.batch_max"), _float(variant, "publishers.retry_max")
    return tuple(
        Publisher(
            name=first if number == 1 else f"{first}-{number}", via=via, batch_max=batch_max, retry_max_s=retry_max_s
        )
        for first, via in ways
        for number in range(1, _int(variant, f"publishers.{via}") + 1)
    )


def _refused(plan: Plan) -> Iterator[str]:
    """What the relay itself would refuse to start with."""
    try:
        relay_settings(plan, stream_replicas=plan.servers.nats_replicas)
    except ValidationError as error:
        for one in error.errors():
            yield from one["msg"].removeprefix("Value error, ").split("; expected")


def _in_words(problem: str, variant: Variant) -> str:
    """A check's sentence by the names and in the units in which things are set here, with what was set behind it."""
    text = re.sub(r"fault '?outage-(\d+)[\w.-]*'?(?: \(\w+\))?", lambda found: _outage(variant, found[1]), problem)
    text = re.sub(r"'?outage-(\d+)[\w.-]*'?", lambda found: _outage(variant, found[1]), text)
    for field, name in _names().items():
        text = re.sub(rf"(?<![\w.-]){re.escape(field)}(?![\w])", name, text)
    per_s = 1_000 if "retry" in problem else 1
    text = _SWAPPED.sub(
        lambda two: f"got {shown(float(two[1]) / per_s)} and {shown(float(two[2]) / per_s)}; swap them", text
    )
    text = _SECONDS.sub(lambda found: shown(float(found[1])), text)
    named = [name for name in SETTINGS if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-]*\w)", text)]
    given = ", ".join(variant.written(name) for name in named if name not in ("agents", "days", "events"))
    return f"{text} ({given})" if given else text


def _names() -> dict[str, str]:
    found = dict(_FIELDS)
    for name in SETTINGS:
        if name.startswith(("relay.", "limits.")):
            field = plan_field(name)
            found[field] = name
            found[field.upper()] = name
    return found


def _outage(variant: Variant, number: str) -> str:
    return f"--outage {variant.outages[int(number) - 1].text}"


def _float(variant: Variant, name: str) -> float:
    value = variant.get(name)
    assert isinstance(value, int | float), (name, value)
    return float(value)


def _optional(variant: Variant, name: str) -> float | None:
    return None if variant.get(name) is None else _float(variant, name)


def _int(variant: Variant, name: str) -> int:
    assert SETTINGS[name].unit is Unit.COUNT, name
    return int(_float(variant, name))
