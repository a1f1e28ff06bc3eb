"""Tokens: who may open which agent's stream, and who may publish.

JWTs, signed with HS256 by a shared secret or with an asymmetric algorithm by a key of the issuer's JWKS. The algorithm
is chosen by the key that we hold, never by the token. Expiry is checked against the host's own clock.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import structlog

from system.settings import Settings

log = structlog.get_logger(__name__)

_ASYMMETRIC = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
JWKS_FRESH_S = 300.0
"""A key set this old is fetched again."""
JWKS_PAUSE_S = 30.0
"""Between two fetches, whatever is asked for: anybody can invent unknown keys."""
JWKS_RETRY_S = 3.0
"""Between two fetches after one that failed."""
JWKS_TIMEOUT_S = 5.0
TOKEN_LENGTH_MAX = 8_192


class TokenRefused(Exception):
    """The token is missing, malformed, forged or expired; the text says which."""


class KeysUnavailable(Exception):
    """The token can't be judged: the issuer's keys could not be read; try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a valid token allows: its subject, its scopes, until `expires_at` (seconds since the epoch)."""

    subject: str
    scopes: frozenset[str]
    expires_at: float


class TokenChecker:
    """Checks bearer tokens against the configured keys."""

    def __init__(self, settings: Settings, wall: Callable[[], float], http: httpx.AsyncClient | None = None) -> None:
        self._settings = settings
        self._wall = wall
        self._http = http
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._next_fetch_at = float("-inf")
        self._failed = False
        self._fetching = asyncio.Lock()

    async def check(self, token: str) -> Grant:
        """Verify a token and return its grant. Raises TokenRefused, KeysUnavailable."""
        if len(token) > TOKEN_LENGTH_MAX:
            raise TokenRefused(f"expected a token of at most {TOKEN_LENGTH_MAX} characters")
        try:
            header = jwt.get_unverified_header(token)
            key, algorithms = await self._key_for(header)
            claims = jwt.decode(
                token,
                key,
                algorithms=algorithms,
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                # times are checked below, against the host's own clock
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": self._settings.jwt_audience is not None,
                    "require": ["exp", "sub"],
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise TokenRefused(f"the token is not valid: {error}") from None
        return self._grant(claims)

    def check_still(self, grant: Grant) -> None:
        """See that a grant has not ended since. Raises TokenRefused."""
        if self._wall() >= grant.expires_at:
            raise TokenRefused("the token has expired; get a fresh one")

    def _grant(self, claims: dict[str, Any]) -> Grant:
        now, leeway_s = self._wall(), self._settings.jwt_leeway_s
        try:
            expires_at, not_before = float(claims["exp"]), float(claims.get("nbf", 0))
        except (TypeError, ValueError, OverflowError):
            raise TokenRefused("expected 'exp' and 'nbf' as seconds since the epoch") from None
        if not (math.isfinite(expires_at) and math.isfinite(not_before)):
            raise TokenRefused("expected 'exp' and 'nbf' as finite numbers of seconds since the epoch")
        if now < not_before - leeway_s:
            raise TokenRefused("the token is not valid yet; check the clocks")
        scope = claims.get("scope", "")
        scopes = frozenset(scope.split() if isinstance(scope, str) else ())
        grant = Grant(subject=str(claims["sub"]), scopes=scopes, expires_at=expires_at + leeway_s)
        self.check_still(grant)
        return grant

    async def _key_for(self, header: dict[str, Any]) -> tuple[Any, list[str]]:
        secret = self._settings.jwt_hs256_secret
        if header.get("alg") == "HS256" and secret is not None:
            return secret.get_secret_value(), ["HS256"]
        if self._settings.jwks_url is None:
            raise TokenRefused(f"expected a token signed with HS256, got {str(header.get('alg'))[:16]!r}")
        key_id = str(header.get("kid", ""))
        await self._refresh(unless=key_id)
        key = self._keys.get(key_id)
        if key is None and self._failed:
            raise KeysUnavailable(
                "the issuer's key set can't be read just now, so the token can't be checked; try again"
            )
        if key is None:
            raise TokenRefused(f"no key {key_id[:64]!r} in the issuer's key set")
        return key.key, [key.algorithm_name]

    async def _refresh(self, *, unless: str) -> None:
        """Fetch the key set if it is old, or lacks this key; nobody whose key is known waits for a slow issuer."""
        if not self._is_due(unless) or (unless in self._keys and self._fetching.locked()):
            return
        async with self._fetching:
            if self._is_due(unless):
                await self._fetch()

    def _is_due(self, key_id: str) -> bool:
        now = self._wall()
        if now < self._next_fetch_at <= now + JWKS_PAUSE_S:  # a wall clock that was put back ends no pause late
            return False
        return key_id not in self._keys or not 0 <= now - self._fetched_at < JWKS_FRESH_S

    async def _fetch(self) -> None:
        assert self._settings.jwks_url is not None
        try:
            if self._http is None:
                self._http = httpx.AsyncClient(timeout=JWKS_TIMEOUT_S, follow_redirects=False)
            async with asyncio.timeout(JWKS_TIMEOUT_S):  # httpx limits each read, not their sum
                answer = (await self._http.get(self._settings.jwks_url)).raise_for_status()
            keys = jwt.PyJWKSet.from_dict(answer.json()).keys
        except (httpx.HTTPError, TimeoutError, jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
            # keys that we have stay good: an issuer that is away must not lock everyone out
            log.warning("tokens.jwks_unavailable", error=repr(error))
            self._failed, self._next_fetch_at = True, self._wall() + JWKS_RETRY_S
            return
        self._keys = {
            str(key.key_id): key
            for key in keys
            if key.algorithm_name in _ASYMMETRIC and key.public_key_use in (None, "sig")
        }
        self._failed, self._fetched_at, self._next_fetch_at = False, self._wall(), self._wall() + JWKS_PAUSE_S

    async def close(self) -> None:
        """Close the client that fetches keys."""
        if self._http is not None:
            await self._http.aclose()


def mint(secret: str, *, sub: str, scope: str, ttl_s: float, now: float, **claims: object) -> str:
    """Make an HS256 token for development and tests; in production an identity provider issues them."""
    return jwt.encode({"sub": sub, "scope": scope, "exp": now + ttl_s, **claims}, secret, algorithm="HS256")
