"""Plans over any of the ADR's options, for commands that play them."""

from __future__ import annotations

import random
from typing import Annotated

import msgspec
import typer

from faults.plan import Plan
from faults.vocabulary import ClockSkew, Link, ProcessName
from system.transport.names import TransportName

__all__ = ["Over", "TransportName", "as_option", "over"]

MARGINS_S = (3.0, 8.0, 30.0)
"""How much longer than Postgres the stream of option A keeps an event, squeezed as plans squeeze retention."""
SWEEPS_WITHIN_MARGIN = 2.6
"""Half of a margin must outlast an interval between two sweeps, or the relay refuses to start."""
STORING = (ProcessName.NATS, ProcessName.POSTGRES, ProcessName.RELAY, Link.RELAY_NATS, Link.RELAY_POSTGRES)
"""What an event passes through until it is stored, and by whose clocks it expires."""
LONG_S = 3_600.0
"""A plan whose retention is longer is not squeezed, and neither is its margin."""


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
        relay = msgspec.structs.replace(relay, expiry_margin_s=_margin_s(plan))
    base = plan.name.removesuffix(f"-{plan.transport}")
    name = base if transport is TransportName.CURSOR else f"{base}-{transport.value}"
    return msgspec.structs.replace(plan, transport=transport.value, name=name, relay=relay)


def _margin_s(plan: Plan) -> float:
    """A margin such as an operator's must be, drawn apart, so that nothing else of a seed changes with it.

    It covers what the plan does to the clocks by which events expire, and how long it keeps pg-writer from storing
    them: beyond that option A promises nothing.
    """
    storing = [fault for fault in plan.faults if fault.target in STORING]
    skew_s = sum(abs(fault.skew_ms) / 1_000 for fault in storing if isinstance(fault, ClockSkew))
    away_s = sum(fault.until_s - fault.at_s for fault in storing if not isinstance(fault, ClockSkew))
    drawn_s = random.Random(f"margin/{plan.seed}").choice(MARGINS_S)
    return round(plan.relay.sweep_interval_s * SWEEPS_WITHIN_MARGIN + drawn_s + 2 * skew_s + away_s, 3)


def as_option(transport: TransportName | None) -> str:
    """What a command that repeats a run needs, with a space before it; nothing for the plan's own."""
    return "" if transport is None else f" --transport {transport.value}"
