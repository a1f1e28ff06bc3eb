"""The ADR's options by name, for commands that play plans over any of them."""

from __future__ import annotations

import enum
import random
from typing import Annotated

import msgspec
import typer

from faults.plan import Plan

MARGIN_SWEEPS = (4.0, 10.0, 60.0)
"""How much longer than Postgres the stream of option A keeps an event, in intervals of a plan's sweeps."""
LONG_S = 3_600.0
"""A plan whose retention is longer is not squeezed, and neither is its margin."""


class TransportName(enum.StrEnum):
    """Where the relay's sessions read from."""

    CURSOR = "cursor"
    """Option C: Postgres."""
    JETSTREAM = "jetstream"
    """Option A: a JetStream consumer each."""
    REDIS = "redis"
    """Option B: Redis Streams."""


Over = Annotated[
    TransportName | None,
    typer.Option("--transport", help="Have the relay's sessions read over this transport; else the plan's, cursor."),
]


def over(plan: Plan, transport: TransportName | None) -> Plan:
    """The plan, played over another transport; its name says so, for what it leaves must not be mixed up."""
    if transport is None or transport.value == plan.transport:
        return plan
    relay = plan.relay
    if transport is TransportName.JETSTREAM and plan.retention.critical_s < LONG_S:
        sweeps = random.Random(f"margin/{plan.seed}").choice(MARGIN_SWEEPS)
        relay = msgspec.structs.replace(relay, expiry_margin_s=sweeps * relay.sweep_interval_s)
    base = plan.name.removesuffix(f"-{plan.transport}")
    name = base if transport is TransportName.CURSOR else f"{base}-{transport.value}"
    return msgspec.structs.replace(plan, transport=transport.value, name=name, relay=relay)


def as_option(transport: TransportName | None) -> str:
    """What a command that repeats a run needs, with a space before it; nothing for the plan's own."""
    return "" if transport is None else f" --transport {transport.value}"
