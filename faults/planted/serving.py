"""Bugs of the live path: the tail, the hub, and what a client that reads too slowly is given."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import nats
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from faults.planted.plant import NOT_PUSHED, plant, replace
from system import database, hub, sessions, sql, stream, tail
from system.account import Burst
from system.cursor import Position, ordinal_of, pack, seq_of
from system.event import ALL_AGENTS, SUBJECT_PREFIX, read_event
from system.frames import event_frame
from system.hub import Hub, Released
from system.stream_session import StreamSession
from system.tail import Tail, _Reading

READ_S = 0.02
"""What a slow reader takes for a message."""
LARGE = 400
"""Characters of an event, of which nearly half have more."""
WAITING_MAX = 4
"""Messages that may wait for it."""


class _Row(dict[str, Any]):
    """A row that unpacks to its values, as asyncpg's records do."""

    def __iter__(self) -> Any:
        return iter(self.values())


@plant(
    "max-seq-for-watermark",
    "the tail releases up to the stream's last sequence, not the watermark",
    "G1",
    "G2",
    not_over=NOT_PUSHED,
)
def _max_seq_for_watermark() -> None:
    fetch, init = database.Database.fetch, Tail.__init__

    async def ahead(self: Any, statement: str, *args: Any) -> Any:
        rows = await fetch(self, statement, *args)
        link = getattr(self, "planted_link", None)
        if statement is not sql.READ_TAIL or not rows or link is None:
            return rows
        state = await stream.read_state(link.current().nc, args[0])
        highest = pack(ordinal_of(rows[0]["watermark"]), state.last_seq)
        return [_Row(dict(row) | {"watermark": highest}) for row in rows]

    def keep_link(self: Any, settings: Any, database: Any, link: Any, *rest: Any, **options: Any) -> None:
        database.planted_link = link
        init(self, settings, database, link, *rest, **options)

    replace(Tail, "__init__", keep_link)
    replace(database.Database, "fetch", ahead)


@plant("token-opens-for-ever", "a stream goes on when the token that opened it has ended", "G5", kinds={"past-token"})
def _token_opens_for_ever() -> None:
    replace(sessions._Expiry, "_check", lambda self: None)


@plant(
    "tail-takes-a-part-for-all",
    "the tail moves to the watermark with the first rows that it could read",
    "G1",
    "G2",
    not_over=NOT_PUSHED,
)
def _tail_takes_a_part_for_all() -> None:
    read = Tail._read

    async def all_of_it(self: Any, after: Position) -> Any:
        rows_max, rows = await read(self, after)
        return _Reading(rows_max, [_Row(dict(row) | {"has_more": False}) for row in rows[:1]] + list(rows[1:]))

    replace(Tail, "_read", all_of_it)


@plant(
    "tail-blind-to-sweeps",
    "the tail goes on though a sweep deleted what it had not released",
    "G2",
    not_over=NOT_PUSHED,
)
def _tail_blind_to_sweeps() -> None:
    goes_on = Tail._goes_on

    def blind(self: Any, watermark: Position, swept: int) -> bool:
        return goes_on(self, watermark, 0)

    replace(tail.Tail, "_goes_on", blind)


@plant(
    "head-before-its-sending",
    "the head moves first: who falls behind at a release is taken to have it",
    "G1",
    "G2",
    not_over=NOT_PUSHED,
)
def _head_before_its_sending() -> None:
    release = Hub._release

    def too_soon(self: Hub, events: Sequence[Released], head: Position) -> None:
        self.head = head
        release(self, events, head)

    replace(Hub, "_release", too_soon)


@plant(
    "head-before-its-reset",
    "a reset moves the head first: live sessions replay from there",
    "G1",
    "G2",
    not_over=NOT_PUSHED,
)
def _head_before_its_reset() -> None:
    reset = Hub.reset

    def too_soon(self: Hub, position: Position) -> None:
        self.head = position
        reset(self, position)

    replace(Hub, "reset", too_soon)


@plant(
    "slow-client-passed-over",
    "a client that reads too slowly is not sent what it has no room for",
    "G1",
    "G2",
    not_over=NOT_PUSHED,
)
def _slow_client_passed_over() -> None:
    push = StreamSession.push

    def only_if_it_fits(self: StreamSession, payload: bytes, burst: Burst) -> None:
        transport = self._transport
        if transport is None or transport.get_write_buffer_size() <= self._services.settings.slow_client_bytes:
            push(self, payload, burst)

    replace(StreamSession, "push", only_if_it_fits)


@plant(
    "leak-by-prefix",
    "an agent receives what is addressed to those whose names begin like its own",
    "G5",
    not_over=NOT_PUSHED,
)
def _leak_by_prefix() -> None:
    release = Hub._release

    def of_others(agent: str, events: Sequence[Released]) -> list[Released]:
        return [one for one in events if one.agent not in (agent, ALL_AGENTS) and one.agent.startswith(agent)]

    def leaking(self: Hub, events: Sequence[Released], head: Position) -> None:
        for agent, group in list(self._live.items()):
            if leaked := of_others(agent, events):
                hub._send(list(group), leaked)
        release(self, events, head)

    replace(Hub, "_release", leaking)


@plant(
    "broadcast-to-some",
    "an event to all goes past those who have one of their own in the same release",
    "G1",
    "G2",
    not_over=NOT_PUSHED,
)
def _broadcast_to_some() -> None:
    def thinned(self: Hub, events: Sequence[Released], head: Position) -> None:
        self._keep(events)
        owned = {one.agent for one in events}
        for agent, group in list(self._live.items()):
            wanted = agent if agent in owned else ALL_AGENTS
            if due := [one for one in events if one.agent == wanted]:
                hub._send(list(group), due)
        self.head = head

    replace(Hub, "_release", thinned)


@plant(
    "ordered-consumer-for-a-tail",
    "the live tail is nats-py's ordered consumer, which drops what a slow reader leaves waiting and tells nobody",
    "G1", "G2", not_over=NOT_PUSHED,
)  # fmt: skip
def _ordered_consumer_for_a_tail() -> None:
    step = Tail._step

    async def follow(self: Any) -> None:
        while self._hub.start is None:  # the first position still comes from Postgres
            await step(self)
            await asyncio.sleep(READ_S)
        while True:
            connection = await self._link.wait_connected()
            try:
                await from_the_stream(self, connection)
            except (NatsError, TimeoutError):
                await asyncio.sleep(READ_S)

    async def from_the_stream(self: Any, connection: Any) -> None:
        hub = self._hub
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=seq_of(hub.head) + 1,
            ack_policy=AckPolicy.NONE,
        )
        subscription = await connection.js.subscribe(
            f"{SUBJECT_PREFIX}.>",
            stream=self._settings.stream,
            ordered_consumer=True,
            config=config,
            pending_msgs_limit=WAITING_MAX,
        )
        while not connection.over.is_set():
            try:
                message = await subscription.next_msg(timeout=1.0)
            except nats.errors.TimeoutError:
                continue
            await asyncio.sleep(READ_S)
            position = pack(ordinal_of(hub.head), message.metadata.sequence.stream)
            if position <= hub.head:
                continue
            await self._places.ensure_tag(position)
            cursor = self._places.cursor_of(position)
            event = read_event(message.data, bytes_max=1 << 20)
            frame = event_frame(cursor, event.type, event.text)
            hub.release([Released(position, event.subject, event.type, frame)], position)
            self._on_moved()

    replace(Tail, "_follow", follow)


@plant(
    "large-events-without-data",
    "a live frame of a large event leaves its data out",
    "G5",
    not_over=NOT_PUSHED,
)
def _large_events_without_data() -> None:
    def cut(cursor: str, event_type: str, text: str) -> bytes:
        if len(text) > LARGE:
            attributes = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            attributes.pop("data", None)
            text = msgspec.json.encode(attributes).decode()
        return event_frame(cursor, event_type, text)

    replace(tail, "event_frame", cut)


@plant(
    "mixed-release-passed-over",
    "a session that asks for some types misses them where they are released together with others",
    "G1",
    "G2",
    not_over=NOT_PUSHED,
)
def _mixed_release_passed_over() -> None:
    send = hub._send

    def all_or_none(sessions: list[Any], events: Sequence[Released]) -> None:
        kinds = {one.type for one in events}
        send([one for one in sessions if not one.types or kinds <= one.types], events)

    replace(hub, "_send", all_or_none)


@plant(
    "types-unheeded",
    "a session that asks for some types is given all",
    "G5",
    kinds=["unasked"],
)
def _types_unheeded() -> None:
    serve = StreamSession.serve

    async def unfiltered(self: StreamSession, request: Any, response: Any, *, first: list[bytes]) -> str:
        self.types = frozenset()
        return await serve(self, request, response, first=first)

    replace(StreamSession, "serve", unfiltered)
