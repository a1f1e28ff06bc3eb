"""The agent client: brings an agent its events, each at least once, none skipped, whatever breaks in between.

    client = AgentClient("https://relay.example", "alice", token, MyHandler(), FileCursorStore(path), Host.real())
    await client.run()  # until client.stop(), cancellation, or an error that no retry heals

The agent's place is saved *after* its handler has returned, so a crash repeats the last event and never skips one:
handlers must be idempotent by `delivery.id`. Events are handled one by one; while one is, the socket is not read, and
the relay feels it. A handler that raises gets the same event again, over a new connection from the saved place; after
`handler_attempts_max` failures `run` raises HandlerFailed with the event's id, and the event is still not passed over.

This module is the thin driver around `machine.Machine`, which decides. It starts no thread, and takes time from the
event loop and jitter from its host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import aiohttp

from system.client import steps
from system.client.acks import Acker
from system.client.errors import StoreCorrupt
from system.client.machine import Machine
from system.client.notices import Delivery, GapNotice, GoneNotice
from system.client.observer import Observer
from system.client.settings import ClientSettings
from system.client.stopping import Interrupted, Stopper
from system.client.store import CursorStore
from system.client.stream import EventStream
from system.client.wire import RelayHttp, Token, TokenKeeper, events_path
from system.cursor import Cursor, CursorMalformed
from system.host import Host


class Handler(Protocol):
    """The application. Each method is awaited to its end before anything else is read."""

    async def on_event(self, delivery: Delivery) -> None:
        """Do the work; may see the same event again after a crash, a cut or an error."""
        ...

    async def on_gap(self, notice: GapNotice) -> None:
        """Only lesser events have expired beyond the agent's place; may be told again until the place moves."""
        ...

    async def on_gone(self, notice: GoneNotice) -> None:
        """Rebuild the agent's state; delivery continues at the relay's resync address once this returns."""
        ...


class AgentClient:
    """One agent's connection to the relay, for the length of one `run`."""

    def __init__(
        self,
        base_url: str,
        agent: str,
        token: Token,
        handler: Handler,
        store: CursorStore,
        host: Host,
        *,
        types: Sequence[str] = (),
        settings: ClientSettings | None = None,
        observer: Observer | None = None,
        http: aiohttp.ClientSession | None = None,
    ) -> None:
        """`http`, if given, is used for everything and stays open. Raises ValueError for a wrong URL or agent."""
        self._settings = settings or ClientSettings()
        self._handler = handler
        self._store = store
        self._observer = observer or Observer()
        self._relay = RelayHttp(
            base_url,
            TokenKeeper(token, self._settings.token_timeout_s),
            connect_timeout_s=self._settings.connect_timeout_s,
            response_timeout_s=self._settings.response_timeout_s,
            http=http,
        )
        self._machine = Machine(self._settings, host.rng, types)
        self._stopper = Stopper()
        self._stream = EventStream(
            self._relay,
            events_path(agent),
            ",".join(types) or None,
            settings=self._settings,
            observer=self._observer,
            stopper=self._stopper,
            wall=host.wall,
        )
        interval_s = self._settings.ack_interval_s
        self._acker: Acker | None = None
        if interval_s is not None:
            self._acker = Acker(
                self._relay,
                agent,
                interval_s=interval_s,
                settings=self._settings,
                observer=self._observer,
                rng=host.rng,
            )

    @property
    def place(self) -> Cursor | None:
        """The cursor that was saved last; everything at or before it has been handled."""
        return self._machine.place

    def stop(self) -> None:
        """Ask run() to return: at once if it waits, else after the event in hand; may be called before run() too."""
        self._stopper.ask()

    async def run(self) -> None:
        """Receive until stop() or cancellation; to be called once.

        Raises RelayRefused, ProtocolViolated, HandlerFailed, what the store raises (StoreCorrupt, OSError), and what
        a token provider raises beyond TokenUnavailable, OSError and TimeoutError.
        """
        assert self._machine.state is steps.State.IDLE, "expected run() to be called once; make a new AgentClient"
        why = "cancelled"
        acking: asyncio.Task[None] | None = None
        try:
            saved = await self._load()
            if self._acker is not None:
                acking = asyncio.create_task(self._acker.run(), name="acks")
                acking.add_done_callback(lambda _: self._stopper.ask())  # it ends early only by a bug: see _end_acks
            finish = await self._drive(steps.Started(saved=saved))
        except Exception as error:
            why = f"failed: {error!r}"
            raise
        else:
            await self._end_acks(acking)
            if finish.error is not None:
                raise finish.error
        finally:
            if acking is not None:
                acking.cancel()
                await asyncio.wait([acking])
            await self._stream.close(why)
            await self._relay.aclose()

    async def _load(self) -> Cursor | None:
        text = await self._store.load()
        if text is None:
            return None
        try:
            saved = Cursor.parse(text)
        except CursorMalformed as error:
            raise StoreCorrupt(f"expected a cursor in the store, got {text[:64]!r}: {error}") from error
        self._stream.moved(saved)
        if self._acker is not None:
            self._acker.note(saved)  # the process may have died between its save and its ack
        return saved

    async def _drive(self, event: steps.Event) -> steps.Finish:
        while True:
            action = self._machine.step(event)
            match action:
                case steps.Read():
                    event = await self._stream.read()
                case steps.Handle(delivery=delivery):
                    event = await self._handle(delivery)
                case steps.Save(place=place):
                    event = await self._save(place, of_event=False)
                case steps.Tell(notice=notice):
                    event = await self._tell(notice)
                case steps.Connect():
                    event = await self._connect(action)
                case steps.Wait(delay_s=delay_s, why=why):
                    await self._stream.close(why)
                    event = await self._wait(delay_s, why)
                case steps.Finish(why=why):
                    await self._stream.close(why)
                    return action

    async def _connect(self, action: steps.Connect) -> steps.Event:
        event = await self._stream.open(action)
        if isinstance(event, steps.Answered):
            await self._stream.close(f"refused: status {event.status}")
        return event

    async def _handle(self, delivery: Delivery) -> steps.Event:
        try:
            await self._handler.on_event(delivery)
        except Exception as error:  # to the machine, the application's failure is an event like any other
            return steps.Raised(error=error)
        return await self._save(delivery.place, of_event=True)

    async def _save(self, place: Cursor, *, of_event: bool) -> steps.Event:
        await self._store.save(str(place))
        self._stream.moved(place)
        self._observer.saved(str(place))
        if self._acker is not None:
            self._acker.note(place, of_event=of_event)
        return steps.Done()

    async def _tell(self, notice: GapNotice | GoneNotice) -> steps.Event:
        try:
            if isinstance(notice, GapNotice):
                await self._handler.on_gap(notice)
            else:
                await self._handler.on_gone(notice)
        except Exception as error:  # to the machine, the application's failure is an event like any other
            return steps.Raised(error=error)
        return steps.Done()

    async def _wait(self, delay_s: float, why: str) -> steps.Event:
        self._observer.waiting(delay_s, why)
        try:
            async with self._stopper.interruptible():
                await asyncio.sleep(delay_s)
        except Interrupted:
            return steps.StopAsked()
        return steps.Elapsed()

    async def _end_acks(self, acking: asyncio.Task[None] | None) -> None:
        """Post the last ack; after a cancellation there is none, since that must not take time.

        Raises what ended the ack task before its time: a bug, or an observer's error.
        """
        if acking is None or self._acker is None:
            return
        acking.cancel()
        await asyncio.wait([acking])
        if not acking.cancelled():
            acking.result()
        await self._acker.flush(self._settings.ack_flush_timeout_s)
