"""How Postgres carries out a statement of the relay: its plan as a tree, and what is wrong with it.

A statement is examined as the relay's own connection would run it, once planned for its values and once for any, and
always rolled back. Statistics are set to what a young, a changed and a well-kept database has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

EVENTS = "agent_events"

CLEAR_STATISTICS = """
SELECT pg_clear_relation_stats('public', 'agent_events'),
       (SELECT count(pg_clear_attribute_stats('public', 'agent_events', attname, false))
        FROM pg_attribute WHERE attrelid = 'agent_events'::regclass AND attnum > 0)
"""

OLD_STATISTICS = """
SELECT pg_restore_attribute_stats('schemaname', 'public', 'relname', 'agent_events', 'attname', 'agent',
           'inherited', false, 'version', 180000, 'null_frac', 0::real, 'avg_width', 8, 'n_distinct', {distinct}::real,
           'most_common_vals', '{{{values}}}'::text, 'most_common_freqs', '{{{shares}}}'::real[]),
       pg_restore_attribute_stats('schemaname', 'public', 'relname', 'agent_events', 'attname', 'pos',
           'inherited', false, 'version', 180000, 'null_frac', 0::real, 'avg_width', 8, 'n_distinct', -1::real,
           'histogram_bounds', '{{281474976710657,281474976714657}}'::text, 'correlation', 1::real)
"""
"""As after an ANALYZE of the first 4,000 events."""

STATISTICS = {
    "none": (CLEAR_STATISTICS,),
    # all events were one agent's; all other agents began since
    "one": (CLEAR_STATISTICS, OLD_STATISTICS.format(distinct=1, values="agent-1", shares="1")),
    # nearly all were one agent's; one that had none is the busiest now
    "two": (CLEAR_STATISTICS, OLD_STATISTICS.format(distinct=2, values="agent-1,z-quiet", shares="0.9997,0.0003")),
    "fresh": ("ANALYZE agent_events", "ANALYZE open_assignments"),
}
"""What the planner knows of the events, by name."""


async def set_statistics(connection: Any, name: str) -> None:
    """Make the planner know nothing of the events, or what was true once, or what is true."""
    for statement in STATISTICS[name]:
        await connection.execute(statement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a statement may do at most."""

    buffers: int
    """Blocks of 8 KiB, found in memory or read."""
    filtered: int
    """Rows that a scan may read and throw away."""
    sorted: int
    indexes: frozenset[str]
    """Those that the events may be found by."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An executed plan: nodes as EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) has them."""

    root: dict[str, Any]

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Every node, outer ones first."""
        yield from _below(self.root)

    def using(self, index: str) -> dict[str, Any]:
        """The one node that walks this index."""
        (found,) = (node for node in self.nodes() if node.get("Index Name") == index)
        return found

    def problems(self, bounds: Bounds) -> list[str]:
        """Everything that goes beyond the bounds; empty for a plan as it should be."""
        found = []
        if buffers(self.root) > bounds.buffers:
            found.append(f"{buffers(self.root)} buffers, expected at most {bounds.buffers}")
        for node in self.nodes():
            kind, index = node["Node Type"], node.get("Index Name", "")
            if kind == "Seq Scan" and node["Relation Name"] == EVENTS:
                found.append("a sequential scan of the events")
            if index.startswith(EVENTS) and index not in bounds.indexes:
                found.append(f"events found by {index}, expected {sorted(bounds.indexes)}")
            if kind == "Bitmap Index Scan" and index.startswith(EVENTS):
                found.append(f"a bitmap of {index}: all that matches, in no order")
            if "Scan" in kind and node.get("Rows Removed by Filter", 0) > bounds.filtered:
                found.append(f"{node['Rows Removed by Filter']} rows read by {kind} {index} and thrown away")
            if kind in ("Sort", "Incremental Sort") and _rows(node["Plans"][0]) > bounds.sorted:
                found.append(f"{_rows(node['Plans'][0])} rows sorted, expected at most {bounds.sorted}")
        return found


def buffers(node: dict[str, Any]) -> int:
    """The shared blocks that a node and all below it touched."""
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


async def explain(connection: Any, statement: str, *values: str | float | None, generic: bool) -> Plan:
    """Execute a statement with these values, planned for them or (`generic`) for any, and undo it."""
    mode = "force_generic_plan" if generic else "force_custom_plan"
    await connection.execute(f"PREPARE examined AS {statement}")
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        text = await connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE examined({', '.join(map(_literal, values))})"
        )
    finally:
        await transaction.rollback()
        await connection.execute("DEALLOCATE examined")
    return Plan(json.loads(text)[0]["Plan"])


def _literal(value: str | float | None) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int | float) else f"'{value}'"


def _rows(node: dict[str, Any]) -> int:
    return round(float(node["Actual Rows"]) * int(node["Actual Loops"]))


def _below(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _below(child)
