"""HTTP as the agent client uses it: one origin, one token source, no redirects, bounded answers.

Built on httpx over HTTP/1.1. A redirect is never followed, because it would carry the token to wherever it points;
the process environment's proxies are not used, because an agent must not change its route by a shell variable: pass
an `http=` client of your own for either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import msgspec

from system.client.errors import TokenUnavailable
from system.client.settings import BODY_BYTES_MAX
from system.event import is_agent_name

Token = str | Callable[[], Awaitable[str]]
"""A bearer token, or whatever fetches a fresh one; it may raise TokenUnavailable, OSError or TimeoutError."""

NO_ANSWER = (httpx.HTTPError, OSError, TimeoutError)
"""What a request may raise that says nothing about whether the relay acted on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A short response, read to its end or to a limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False
    """The body was longer than the limit; only its beginning was read."""

    def problem(self) -> Mapping[str, Any]:
        """The problem document (RFC 9457), empty if the body is none."""
        try:
            document = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {}
        return document if isinstance(document, dict) else {}

    def explained(self) -> str:
        """What a person should read: the problem's title and detail, or the start of the body."""
        problem = self.problem()
        parts = [str(problem[key]) for key in ("title", "detail") if problem.get(key)]
        return ": ".join(parts) or repr(self.body[:80].decode("utf-8", "replace"))


class TokenKeeper:
    """Keeps the token that works, and fetches another when told that it does not."""

    def __init__(self, source: Token, timeout_s: float) -> None:
        self._source = source
        self._timeout_s = timeout_s
        self._token: str | None = None
        self._fetching = asyncio.Lock()

    @property
    def is_fixed(self) -> bool:
        """Whether asking again can only give the same token."""
        return isinstance(self._source, str)

    async def get(self) -> str:
        """The token to present now; the provider is asked by one caller at a time.

        Raises TokenUnavailable if the provider has none at the moment; what else it raises is its bug and passes.
        """
        if isinstance(self._source, str):
            return self._source
        async with self._fetching:
            if self._token is None:
                try:
                    async with asyncio.timeout(self._timeout_s):
                        self._token = await self._source()
                except NO_ANSWER as error:
                    raise TokenUnavailable(f"expected a token from its provider, got {error!r}") from error
            return self._token

    def refuse(self, token: str | None) -> None:
        """The relay did not take this token; one that was fetched since is kept."""
        if self._token == token:
            self._token = None


class RelayHttp:
    """Requests to one relay."""

    def __init__(
        self,
        base_url: str,
        token: TokenKeeper,
        *,
        connect_timeout_s: float,
        response_timeout_s: float,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._base = checked_base(base_url)
        self.token = token
        self._connect_timeout_s = connect_timeout_s
        self._response_timeout_s = response_timeout_s
        self._owned = http is None
        # Loading the certificate store takes 20 ms and more, wasted on plain HTTP, which is never redirected here.
        self._http = http or httpx.AsyncClient(
            verify=self._base.startswith("https:"),
            trust_env=False,
            limits=httpx.Limits(max_connections=4, max_keepalive_connections=1),
        )

    async def open(
        self,
        method: str,
        address: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        read_timeout_s: float,
    ) -> tuple[httpx.Response, str]:
        """Send a request and return its response with the body unread, and the token that was presented.

        Raises httpx.HTTPError, TimeoutError, TokenUnavailable.
        """
        token = await self.token.get()
        request = self._http.build_request(
            method,
            self._base + address,
            content=content,
            headers={
                "Authorization": f"Bearer {token}",
                "Accept-Encoding": "identity",
                "Cache-Control": "no-store",
                **headers,
            },
            timeout=httpx.Timeout(read_timeout_s, connect=self._connect_timeout_s),
        )
        async with asyncio.timeout(self._response_timeout_s):
            return await self._http.send(request, stream=True, follow_redirects=False), token

    async def exchange(
        self,
        method: str,
        address: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> Answer:
        """Send a request and read its answer whole; a 401 is answered once with a fresh token.

        Raises httpx.HTTPError, TimeoutError, TokenUnavailable.
        """
        for is_last in (self.token.is_fixed, True):
            response, token = await self.open(
                method, address, headers=headers, content=content, read_timeout_s=self._response_timeout_s
            )
            answer = await self.read_whole(response, body_bytes_max)
            if answer.status != 401 or is_last:
                break
            self.token.refuse(token)
        return answer

    async def read_whole(self, response: httpx.Response, body_bytes_max: int = BODY_BYTES_MAX) -> Answer:
        """Read a response up to the limit, and close it. Raises httpx.HTTPError, TimeoutError."""
        body = bytearray()
        chunks = response.aiter_raw()
        try:
            async with asyncio.timeout(self._response_timeout_s):
                async for chunk in chunks:
                    body += chunk
                    if len(body) > body_bytes_max:
                        break
        finally:
            await close_stream(response, chunks)
        return Answer(
            status=response.status_code,
            headers=response.headers,
            body=bytes(body[:body_bytes_max]),
            is_cut=len(body) > body_bytes_max,
        )

    async def aclose(self) -> None:
        """Close the connections, if this object opened them."""
        if self._owned:
            await self._http.aclose()


async def close_stream(response: httpx.Response, chunks: AsyncIterator[bytes]) -> None:
    """Close a response whose body was not read to its end, and leave no generator behind.

    httpx nests five asynchronous generators. Dropped in mid-stream, they are finalised by tasks that the garbage
    collector starts whenever it likes; resumed after the connection's end, they run out at once, here.
    """
    await response.aclose()
    try:
        async for _ in chunks:
            pass
    except (httpx.HTTPError, httpx.StreamError):
        pass


def checked_base(base_url: str) -> str:
    """The base URL without a trailing slash. Raises ValueError."""
    parts = urlsplit(base_url)
    # User and password would become Basic credentials, in the place of the agent's token.
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
    ):
        got = "one with a user or password" if "@" in base_url else repr(base_url[:80])
        raise ValueError(f"expected a base URL such as 'https://relay.example', got {got}")
    return base_url.rstrip("/")


def events_path(agent: str) -> str:
    """The path of an agent's stream and pages. Raises ValueError for what can't be an agent's name."""
    return _agent_path(agent, "events")


def acks_path(agent: str) -> str:
    """The path of an agent's acks. Raises ValueError for what can't be an agent's name."""
    return _agent_path(agent, "acks")


def _agent_path(agent: str, leaf: str) -> str:
    # quoting would not do: whoever normalises an address drops '.' and '..', quoted or not (RFC 3986, 6.2.2)
    if not is_agent_name(agent):
        raise ValueError(
            f"expected an agent's name of 1 to 64 of A-Z a-z 0-9 _ -, beginning with a letter or digit, got {agent!r}"
        )
    return f"/v1/agents/{agent}/{leaf}"


def query_of(parameters: Mapping[str, str | None]) -> str:
    """`?a=b&c=d` of the parameters that have a value; empty if none has."""
    pairs = [f"{name}={quote(value, safe=',')}" for name, value in parameters.items() if value is not None]
    return "?" + "&".join(pairs) if pairs else ""


def presented_in(address: str) -> str | None:
    """The position within a resync address, for observers only: to the client the address is opaque."""
    values = parse_qs(urlsplit(address).query).get("cursor", [])
    return values[0] if values else None
