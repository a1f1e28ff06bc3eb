"""An agent's retained events as JSON pages: for rebuilding state after a loss, and for looking without following.

    async for page in PageReader("https://relay.example", "alice", token, Host.real()).read(address=notice.resync):
        for delivery in page.events: ...

Reading pages moves no cursor and acknowledges nothing. Losses are not errors here: a page says what is missing
before it (`gap`, `gone`), and the reading goes on with what is retained.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import aiohttp
import msgspec

from system.client.backoff import backoff_s, retry_after_s
from system.client.errors import ProtocolViolated, RelayRefused, RelayUnavailable, TokenUnavailable
from system.client.machine import Verdict, verdict_of
from system.client.notices import Delivery, GapNotice, GoneNotice, checked_address, delivery_at, gap_from, gone_from
from system.client.settings import ClientSettings
from system.client.wire import NO_ANSWER, Answer, RelayHttp, Token, TokenKeeper, events_path, query_of
from system.host import Host

PAGE_BYTES_MAX = 64 * 1024 * 1024
"""200 events of the usual few hundred bytes need 0.1 MB; 64 events of 1 MiB still fit."""
ATTEMPTS_MAX = 8
"""With the default back-off about half a minute of outage; a stream, not a snapshot, is what outlasts longer ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page, in cursor order."""

    events: Sequence[Delivery]
    next: str
    """The cursor behind this page."""
    head: str
    """The end of the stream as the relay knew it; reaching it is being up to date."""
    more: bool
    gap: GapNotice | None
    """Only lesser events are missing before this page."""
    gone: GoneNotice | None
    """Critical events are missing before this page, or the position meant nothing."""

    @property
    def told(self) -> str:
        """What the next page is to be asked for with: the head of the life of the stream that this page speaks of."""
        return self.head if self.gone is None or self.gone.head is None else self.gone.head


class _Row(msgspec.Struct):
    cursor: str
    event: msgspec.Raw


class _Page(msgspec.Struct):
    events: list[_Row]
    next: str
    head: str
    more: bool
    gap: msgspec.Raw = msgspec.Raw(b"null")
    gone: msgspec.Raw = msgspec.Raw(b"null")


class PageReader:
    """Reads one agent's pages from one relay."""

    def __init__(
        self,
        base_url: str,
        agent: str,
        token: Token,
        host: Host,
        *,
        types: Sequence[str] = (),
        page_events_max: int = 200,
        settings: ClientSettings | None = None,
        http: aiohttp.ClientSession | None = None,
    ) -> None:
        """`http`, if given, is used as it is and stays open. Raises ValueError for the base URL or the agent's name."""
        self._settings = settings or ClientSettings()
        self._host = host
        self._path = events_path(agent)
        self._types = ",".join(types) or None
        self._page_events_max = page_events_max
        self._relay = RelayHttp(
            base_url,
            TokenKeeper(token, self._settings.token_timeout_s),
            connect_timeout_s=self._settings.connect_timeout_s,
            response_timeout_s=self._settings.response_timeout_s,
            http=http,
        )

    async def __aenter__(self) -> PageReader:
        """Nothing is opened before the first page."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections, unless they are the caller's."""
        await self._relay.aclose()

    async def read(
        self, *, start: str | None = None, address: str | None = None, told: str | None = None
    ) -> AsyncGenerator[Page, None]:
        """The pages behind `start` (a cursor, `earliest` or `acked`; None: the last ack), up to the head.

        `told` is that of a page that was read before, by who goes on behind it: what that page told of the stream's
        former lives is not told again. `address` is a resync address and takes precedence over both; it is used for
        the first page only.
        Raises RelayRefused, RelayUnavailable, ProtocolViolated.
        """
        asked = self._address_of(start, told) if address is None else _skipping(checked_address(address))
        behind: str | None = None
        while True:
            page = _page_from(await self._get(asked))
            yield page
            if not page.more:
                return
            if page.next == behind:
                raise ProtocolViolated(f"expected pages to advance, got {behind!r} as 'next' twice with more to come")
            behind = page.next
            asked = self._address_of(behind, page.told)

    def _address_of(self, position: str | None, told: str | None) -> str:
        limit = str(self._page_events_max)
        query = {"cursor": position, "told": told, "types": self._types, "limit": limit, "on_gone": "skip"}
        return self._path + query_of(query)

    async def _get(self, address: str) -> bytes:
        for attempt in range(ATTEMPTS_MAX):
            told_s = 0.0
            try:
                answer = await self._relay.exchange(
                    "GET", address, headers={"Accept": "application/json"}, body_bytes_max=PAGE_BYTES_MAX
                )
            except (*NO_ANSWER, TokenUnavailable) as error:
                why = repr(error)
            else:
                if answer.status == 200 and answer.is_cut:
                    raise ProtocolViolated(
                        f"expected a page of at most {PAGE_BYTES_MAX} bytes, got more; lower page_events_max"
                    )
                if answer.status == 200:
                    return answer.body
                why = _refusal_of(answer)
                told_s = retry_after_s(
                    answer.headers.get("retry-after"), wall=self._host.wall, max_s=self._settings.told_max_s
                )
            if attempt < ATTEMPTS_MAX - 1:
                base_s, max_s = self._settings.backoff_base_s, self._settings.backoff_max_s
                rng = self._host.rng
                await asyncio.sleep(backoff_s(rng, attempt=attempt, base_s=base_s, max_s=max_s, told_s=told_s))
        raise RelayUnavailable(f"expected a page within {ATTEMPTS_MAX} attempts, got {why}; try again later")


def _skipping(address: str) -> str:
    """A resync address for pages, in which a loss is told beside the events that are left."""
    return address if "on_gone=" in address else f"{address}&on_gone=skip"


def _refusal_of(answer: Answer) -> str:
    """What a retry should remember of this answer. Raises RelayRefused if a retry is of no use."""
    what = f"{answer.status}: {answer.explained()}"
    if verdict_of(answer.status, has_gone=False) is Verdict.STOP:
        raise RelayRefused(f"expected a page of events, got {what}; check position, agent and token", answer.status)
    return what


def _page_from(body: bytes) -> Page:
    try:
        page = msgspec.json.decode(body, type=_Page)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolViolated(f"expected a page of events as JSON, got {body[:80]!r}: {error}") from error
    gap, gone = bytes(page.gap), bytes(page.gone)
    return Page(
        events=tuple(delivery_at(row.cursor, bytes(row.event), 0) for row in page.events),
        next=page.next,
        head=page.head,
        more=page.more,
        gap=None if gap == b"null" else gap_from(gap),
        gone=None if gone == b"null" else gone_from(gone, "event"),
    )
