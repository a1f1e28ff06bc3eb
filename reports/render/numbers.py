"""Measured numbers in as many digits as they deserve."""

from __future__ import annotations

from reports.options import Spread


def number(value: float) -> str:
    """Three significant digits, and all before the point: `0.0123`, `41.7` or `12,345`."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(found: Spread | None) -> str:
    """A median with its range."""
    if found is None:
        return "—"
    return f"{number(found.median)} ({number(found.low)}-{number(found.high)})"
