"""HTTP as the agent client uses it: one origin, one token source, no redirects, bounded answers.

Built on aiohttp's client, over HTTP/1.1. A redirect is never followed, because it would carry the token to wherever it
points; the process environment's proxies are not used, because an agent must not change its route by a shell variable:
pass an `http=` session of your own for that.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
import msgspec
from yarl import URL

from system.client.errors import TokenUnavailable
from system.client.settings import BODY_BYTES_MAX
from system.event import AGENT_NAME_RULE, is_agent_name

Token = str | Callable[[], Awaitable[str]]
"""A bearer token, or whatever fetches a fresh one; it may raise TokenUnavailable, OSError or TimeoutError."""

NO_ANSWER = (aiohttp.ClientError, OSError, TimeoutError)
"""What a request may raise that says nothing about whether the relay acted on it."""
CONNECTIONS_MAX = 4
KEEP_ALIVE_S = 5.0
"""An idle connection is used again for so long: well within what relays and proxies grant."""
READ_BUFFER_BYTES = 64 * 1024
"""Twice this is read ahead of a handler that takes its time; then the socket is left alone, and the relay feels it."""
NEVER_ROUNDED_S = 1e9
"""aiohttp would round timeouts above 5 s up to whole seconds."""


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
        http: aiohttp.ClientSession | None = None,
    ) -> None:
        self._base = str(URL(checked_base(base_url))).rstrip("/")
        self.token = token
        self._connect_timeout_s = connect_timeout_s
        self._response_timeout_s = response_timeout_s
        self._owned = http is None
        self._http = http

    async def open(
        self,
        method: str,
        address: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        read_timeout_s: float,
    ) -> tuple[aiohttp.ClientResponse, str]:
        """Send a request and return its response with the body unread, and the token that was presented.

        Close the response, unless its body was read to the end. Raises aiohttp.ClientError, OSError, TimeoutError,
        TokenUnavailable.
        """
        token = await self.token.get()
        async with asyncio.timeout(self._response_timeout_s):
            response = await self._session().request(
                method,
                URL(self._base + address, encoded=True),  # as it is: a resync address is the relay's
                data=content,
                headers={
                    "Authorization": f"Bearer {token}",
                    "Accept-Encoding": "identity",
                    "Cache-Control": "no-store",
                    **headers,
                },
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    sock_connect=self._connect_timeout_s,
                    sock_read=read_timeout_s,
                    ceil_threshold=NEVER_ROUNDED_S,
                ),
                allow_redirects=False,
                raise_for_status=False,
                read_bufsize=READ_BUFFER_BYTES,
            )
        return response, token

    def _session(self) -> aiohttp.ClientSession:
        """The caller's, or one of our own, which can only be made where a loop runs."""
        if self._http is None:
            self._http = aiohttp.ClientSession(
                # a relay's name may lead elsewhere the next time: each connection asks
                connector=aiohttp.TCPConnector(
                    limit=CONNECTIONS_MAX, keepalive_timeout=KEEP_ALIVE_S, use_dns_cache=False
                ),
                middlewares=(once,),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._http

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

        Raises aiohttp.ClientError, OSError, TimeoutError, TokenUnavailable.
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

    async def read_whole(self, response: aiohttp.ClientResponse, body_bytes_max: int = BODY_BYTES_MAX) -> Answer:
        """Read a response up to the limit; unless that was its end, its connection is closed.

        Raises aiohttp.ClientError, OSError, TimeoutError.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(self._response_timeout_s):
                while len(body) <= body_bytes_max and (chunk := await read_some(response.content)):
                    body += chunk
        finally:
            response.close()  # a connection whose body was read to its end is already another's
        return Answer(
            status=response.status,
            headers=response.headers,
            body=bytes(body[:body_bytes_max]),
            is_cut=len(body) > body_bytes_max,
        )

    async def aclose(self) -> None:
        """Close the connections, if this object opened them."""
        if self._owned and self._http is not None:
            await self._http.close()


async def read_some(body: aiohttp.StreamReader) -> bytes:
    """What has come of a body, waiting for something; empty at its end.

    Raises aiohttp.ClientError, OSError, also where aiohttp raises RuntimeError: for a connection that ended while its
    parser was paused with more at hand, which it neither goes on with nor calls an error.
    """
    try:
        return await body.readany()
    except RuntimeError as error:
        raise aiohttp.ClientConnectionError("the connection ended, and aiohttp knows no error of it") from error


class Unanswered(aiohttp.ClientConnectionError):
    """The connection failed, or ended before an answer; says so in words, the cause has the particulars."""


async def once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A middleware for aiohttp, which would send a GET again at once: when to try again is the caller's to decide, for
    after a relay's death all its agents come.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Unanswered(f"no answer from {request.url.origin()}: {reason_of(error)}") from error


def in_words(error: BaseException) -> str:
    """What a request came to that brought no answer, for people."""
    if isinstance(error, Unanswered | TokenUnavailable):
        return str(error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"no answer: {reason_of(error)}"


def reason_of(error: BaseException) -> str:
    """Why a connection failed, for people: of the system's errors the system's words, and no names of classes."""
    match error:
        case aiohttp.ServerDisconnectedError():
            return "the connection ended before an answer"
        case aiohttp.ClientPayloadError():
            return "the connection ended in the middle of an answer"
        case aiohttp.ClientResponseError():
            return "expected HTTP, got something else"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    words = str(cause)
    if isinstance(cause, OSError) and cause.errno is not None:
        has_own_words = isinstance(cause, socket.gaierror | ssl.SSLError)
        # asyncio's are `Connect call failed ('127.0.0.1', 1)`, for whatever reason
        words = (has_own_words and cause.strerror) or os.strerror(cause.errno)
    return words[:1].lower() + words[1:] or type(error).__name__


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
        raise ValueError(f"expected an agent's name of {AGENT_NAME_RULE}, got {agent!r}")
    return f"/v1/agents/{agent}/{leaf}"


def query_of(parameters: Mapping[str, str | None]) -> str:
    """`?a=b&c=d` of the parameters that have a value; empty if none has."""
    pairs = [f"{name}={quote(value, safe=',')}" for name, value in parameters.items() if value is not None]
    return "?" + "&".join(pairs) if pairs else ""


def presented_in(address: str) -> str | None:
    """The position within a resync address, for observers only: to the client the address is opaque."""
    values = parse_qs(urlsplit(address).query).get("cursor", [])
    return values[0] if values else None
