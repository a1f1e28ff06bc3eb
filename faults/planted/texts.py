"""The SQL of planted bugs, made from the relay's own: whatever changes there changes here, or is refused."""

from __future__ import annotations

from system import sql


def _without(text: str, begin: str, end: str) -> str:
    """A text less what stands from `begin` up to `end`."""
    assert begin in text, f"expected {begin!r} in the statement; plant the bug anew"
    assert end in text, f"expected {end!r} in the statement; plant the bug anew"
    return text[: text.index(begin)] + text[text.index(end) :]


def _with(text: str, old: str, new: str) -> str:
    """A text with something replaced."""
    assert old in text, f"expected {old!r} in the statement; plant the bug anew"
    return text.replace(old, new)


SWEEP_WITHOUT_FLOORS = _without(sql.SWEEP, "floors AS (", "closed AS (")
SWEEP_NAMING_FLOORS = _with(
    SWEEP_WITHOUT_FLOORS,
    "SELECT count(*), max(persisted_at) AS last FROM deleted",
    "SELECT agent, class, max(pos) AS floor, count(*) AS count, max(persisted_at) AS last\n"
    "FROM deleted GROUP BY agent, class ORDER BY agent, class",
)
RAISE_FLOOR = """
INSERT INTO agent_floors (agent, class, floor) VALUES ($1, $2, $3)
ON CONFLICT (agent, class) DO UPDATE SET floor = greatest(agent_floors.floor, excluded.floor)
"""
PAGE_FROM_CURSOR = _with(sql.READ_PAGE, "(agent, pos) > (", "(agent, pos) >= (")
PAGE_WITH_OWN_FLOORS = _with(sql.READ_PAGE, "agent IN ($2, '_all')", "agent IN ($2)")
PLACE_WITH_OWN_FLOORS = _with(sql.READ_PLACE, "agent IN ($2, '_all')", "agent IN ($2)")
WRITE_UNFENCED = _with(
    sql.WRITE_BATCH,
    "WHERE name = $1 AND fence = $2 AND watermark = $3",
    "WHERE name = $1 AND $2::bigint IS NOT NULL AND $3::bigint IS NOT NULL",
)
