"""An agent without a stream: it asks for a page of JSON now and then, by the production reader, and keeps its place.

What it does is what an application does that polls, or that rebuilds its state after a loss: a page behind the saved
cursor, each of its events handled and then saved, and the next page at once while there is more. In a history each
page is a connection of its own, and the end of the last one the bookmark that it amounts to.

Now and then it asks behind a cursor that it has made up, as a client with a broken store would, and drops the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from faults.plan import Agent
from faults.witness import AgentWitness
from reports.history import owner_of
from system.client import (
    AgentClient,
    ClientSettings,
    CursorStore,
    Handler,
    Page,
    PageReader,
    RelayRefused,
    RelayUnavailable,
)
from system.client.stopping import Interrupted, Stopper
from system.client.wire import Token
from system.cursor import Cursor
from system.host import Host

PAGE_EVENTS = 5
"""So few that a page is seldom all that there is."""
READ = "page"
"""Why a connection ended that brought a page."""
INVENTS_EVERY = 3
"""After so many pages it makes up a cursor, of each kind in turn."""
NO_TAG = "o0l1o0"
"""An epoch's tag that none can have: these characters are left out of them."""
BEYOND = 1_000_000_000
"""More than any stream of a plan takes in."""


class Pager:
    """One agent's polling, from its saved cursor on."""

    def __init__(
        self,
        base_url: str,
        agent: str,
        token: Token,
        handler: Handler,
        store: CursorStore,
        host: Host,
        *,
        every_s: float,
        types: Sequence[str],
        settings: ClientSettings,
        observer: AgentWitness,
    ) -> None:
        """`every_s` lies between two pages when there is no more; `observer` sees pages as it would see streams."""
        self._reader = PageReader(
            base_url, agent, token, host, types=types, page_events_max=PAGE_EVENTS, settings=settings
        )
        self._start = settings.start_from
        self._handler = handler
        self._store = store
        self._every_s = every_s
        self._observer = observer
        self._stopper = Stopper()
        self._conn = 0
        self._saved: str | None = None

    def stop(self) -> None:
        """End after the event in hand."""
        self._stopper.ask()

    async def run(self) -> None:
        """Read until `stop`. Raises what the reader does but for lack of an answer, and what the store does."""
        async with self._reader:
            try:
                while True:
                    if not await self._page():
                        async with self._stopper.interruptible():
                            await asyncio.sleep(self._every_s)
                    if self._conn % INVENTS_EVERY == 0:
                        await self._invent()
            except Interrupted:
                return

    async def _page(self) -> bool:
        """Ask for one page and handle it; whether there is more."""
        self._conn += 1
        self._saved = await self._store.load()
        place = self._saved or self._start
        self._observer.connecting(self._conn, place, resync=False)
        why = "cancelled"
        try:
            async with (
                self._stopper.interruptible(),
                aclosing(self._reader.read(start=place, told=self._observer.told)) as pages,
            ):
                page = await anext(pages)
            self._observer.told = page.told
            self._show(page, place)
            await self._handle(page)
            why = READ
            return page.more
        except RelayUnavailable as error:
            why = f"connect: {error}"
            return False
        except RelayRefused as error:
            self._observer.connected(self._conn, error.status, str(error), {})
            why = "refused"
            raise
        except Interrupted:
            why = "stopped"
            raise
        finally:
            self._observer.closed(self._conn, why)

    def _show(self, page: Page, place: str | None) -> None:
        """Tell the observer of everything that was read, before anything of it is handled."""
        self._observer.connected(self._conn, 200, None, {})
        if page.gone is not None:
            self._observer.gone(self._conn, place, page.gone)
        if page.gap is not None:
            self._observer.gap(self._conn, place, page.gap)
        for one in page.events:
            self._observer.deliver(self._conn, one.cursor, one.id, one.type, one.subject)
        if not page.more:
            self._observer.bookmark(self._conn, page.next)

    async def _handle(self, page: Page) -> None:
        if page.gone is not None:
            await self._handler.on_gone(page.gone)
        if page.gap is not None:
            await self._handler.on_gap(page.gap)
        for one in page.events:
            await self._handler.on_event(one)
            await self._save(one.cursor)
            if self._stopper.asked:
                raise Interrupted
        if page.next != self._saved:
            await self._save(page.next)

    async def _invent(self) -> None:
        """Ask behind a cursor that was never given out."""
        if self._saved is None:
            return
        cursor = made_up(Cursor.parse(self._saved), self._conn // INVENTS_EVERY)
        status, reason = None, None
        try:
            async with self._stopper.interruptible(), aclosing(self._reader.read(start=cursor)) as pages:
                gone = (await anext(pages)).gone
                status, reason = 200, None if gone is None else gone.reason
        except RelayRefused as error:
            status = error.status
        except RelayUnavailable:
            pass  # no answer that says anything of the cursor
        self._observer.invented(cursor, status, reason)

    async def _save(self, cursor: str) -> None:
        await self._store.save(cursor)
        self._saved = cursor
        self._observer.saved(cursor)


def made_up(saved: Cursor, number: int) -> str:
    """A cursor that was never given out: by its number none at all, of another life of the stream, or ahead of it."""
    texts = f"{saved.epoch}-{saved.seq:#x}", f"{NO_TAG}-{saved.seq}", f"{saved.epoch}-{saved.seq + BEYOND}"
    return texts[number % len(texts)]


def client_of(
    agent: Agent,
    base_url: str,
    token: Token,
    handler: Handler,
    store: CursorStore,
    host: Host,
    *,
    settings: ClientSettings,
    witness: AgentWitness,
) -> AgentClient | Pager:
    """What an agent of a plan reads by: a stream, or pages."""
    name, types, every_s = owner_of(agent.name), agent.types, agent.pages_every_s
    if every_s is None:
        return AgentClient(
            base_url, name, token, handler, store, host, types=types, settings=settings, observer=witness
        )
    return Pager(
        base_url, name, token, handler, store, host, every_s=every_s, types=types, settings=settings, observer=witness
    )
