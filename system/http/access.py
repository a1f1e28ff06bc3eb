"""Who asks: the bearer token of a request, checked for what it opens."""

from __future__ import annotations

from aiohttp import web

from system.event import AGENT_NAME_RULE, is_agent_name
from system.http.problems import Problem, unavailable
from system.settings import Settings
from system.tokens import Grant, KeysUnavailable, TokenChecker, TokenRefused

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="meshrelay"'}


async def require(request: web.Request, checker: TokenChecker, settings: Settings, scope: str) -> Grant:
    """The request's grant, if its token is valid and has the scope. Raises Problem 401, 403 or 503."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        token = request.query.get("access_token", "") if settings.allow_query_token else ""
    if not token.strip():
        raise Problem(401, "expected 'Authorization: Bearer <token>'", headers=CHALLENGE)
    try:
        grant = await checker.check(token.strip())
    except TokenRefused as error:
        raise Problem(401, str(error), headers=CHALLENGE) from None
    except KeysUnavailable as error:
        raise unavailable(str(error), retry_after_s=3) from None
    if scope not in grant.scopes:
        raise Problem(403, f"expected a token with the scope '{scope}', got {sorted(grant.scopes)}")
    return grant


async def require_agent(request: web.Request, checker: TokenChecker, settings: Settings) -> tuple[str, Grant]:
    """The agent of the address, if the token is that agent's own. Raises Problem 400, 401, 403 or 503."""
    agent = request.match_info["agent"]
    if not is_agent_name(agent):
        raise Problem(400, f"expected an agent name: {AGENT_NAME_RULE}; got {agent[:80]!r}")
    grant = await require(request, checker, settings, "stream")
    if grant.subject != agent:
        raise Problem(403, f"the token is for {grant.subject[:64]!r}: a token opens one agent's stream, its own")
    return agent, grant


def require_still(grant: Grant, checker: TokenChecker) -> None:
    """What was read for a request may be given to it: its token has not ended meanwhile. Raises Problem 401."""
    try:
        checker.check_still(grant)
    except TokenRefused as error:
        raise Problem(401, str(error), headers=CHALLENGE) from None
