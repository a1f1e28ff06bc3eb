"""What a request for an agent's events asks for, beside the place: how, of which types, how much at once."""

from __future__ import annotations

from aiohttp import web

from system.cursor import Cursor, CursorMalformed
from system.event import is_event_type
from system.http.problems import Problem
from system.session import OnGone

PAGE_EVENTS_MAX = 1_000


def wants_page(request: web.Request) -> bool:
    """Whether it is a page of JSON that is wanted, and no stream. Raises Problem 406."""
    accept = request.headers.get("Accept", "*/*").lower()
    if "text/event-stream" in accept or "*/*" in accept or "text/*" in accept:
        return False
    if "application/json" in accept or "application/*" in accept:
        return True
    raise Problem(406, f"expected Accept: text/event-stream or application/json, got {accept[:80]!r}")


def types_of(request: web.Request) -> frozenset[str]:
    """The wanted types, all if none is named; one that no event can have is a mistake, not a quiet agent.

    Raises Problem 400.
    """
    types = frozenset(part.strip() for part in request.query.get("types", "").split(",") if part.strip())
    for name in sorted(types):
        if not is_event_type(name):
            raise Problem(400, f"types: expected event types such as task.assigned, comma separated; got {name[:80]!r}")
    return types


def on_gone_of(request: web.Request) -> OnGone:
    """How the agent wants to hear of a loss. Raises Problem 400."""
    value = request.query.get("on_gone", OnGone.STATUS.value)
    try:
        return OnGone(value)
    except ValueError:
        raise Problem(400, f"on_gone: expected status, event or skip, got {value[:32]!r}") from None


def told_of(request: web.Request) -> Cursor | None:
    """The head that the agent was given with the page before, if it says so. Raises Problem 400."""
    value = request.query.get("told")
    try:
        return Cursor.parse(value) if value else None
    except CursorMalformed as error:
        raise Problem(400, f"told: {error}") from None


def limit_of(request: web.Request) -> int:
    """Events of a page. Raises Problem 400."""
    value = request.query.get("limit", "200")
    if not (value.isascii() and value.isdigit() and len(value) <= 9 and 1 <= int(value) <= PAGE_EVENTS_MAX):
        raise Problem(400, f"limit: expected 1 to {PAGE_EVENTS_MAX}, got {value[:32]!r}")
    return int(value)
