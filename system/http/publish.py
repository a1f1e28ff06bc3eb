"""POST /v1/events: one event or a batch, refused whole or answered with cursors after the PubAck."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import nats
import structlog
from aiohttp import web
from nats.errors import Error as NatsError

from system.cursor import ordinal_of
from system.database import Database, DatabaseUnavailable
from system.event import Event, EventInvalid, read_event, same_content, subject_of
from system.http.problems import Problem, json_response, unavailable
from system.hub import Hub
from system.link import Connection, NatsLink, NatsUnavailable, describe
from system.metrics import Metrics
from system.places import Places
from system.settings import Settings
from system.stored import Stored, look_up
from system.stream import Published, Refused, Reused, TooLarge, publish_all

log = structlog.get_logger(__name__)

HEADERS_BYTES = 512
"""Room for the headers of a publish, which count towards NATS's max_payload."""
UNSENT_BYTES_MAX = 8 * 1024 * 1024
"""Of what waits to be sent to NATS: on a connection that takes nothing it would grow until the probes have ended it."""
CONTENT_TYPES = frozenset({"application/json", "application/cloudevents+json", "application/cloudevents-batch+json"})
STORED_CHECK_TIMEOUT_S = 1.0
REFUSED_RETRY_S = 5
"""A stream that refuses needs somebody's hand, or expiry: there is no hurry."""
UNKNOWN = (
    "the outcome is unknown: the stream may have stored events without answering. Send the same request again with the "
    "same ids until it answers; it will not store anything twice"
)


class PublishEndpoint:
    """Publishes on behalf of HTTP clients."""

    def __init__(
        self, settings: Settings, database: Database, link: NatsLink, places: Places, hub: Hub, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._database = database
        self._link = link
        self._places = places
        self._hub = hub
        self._metrics = metrics
        self._under_way = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Validate everything, then publish everything. Raises Problem."""
        if self._under_way >= self._settings.publishes_max:
            raise unavailable(f"{self._under_way} publish requests are under way already; try again shortly")
        self._under_way += 1
        try:
            events = self._read(request.content_type, await read_body(request, self._settings))
            with self._metrics.publish_seconds.time():
                return await self._publish(events)
        finally:
            self._under_way -= 1

    def _read(self, content_type: str, body: bytes) -> list[Event]:
        if content_type not in CONTENT_TYPES:
            raise Problem(415, f"expected Content-Type {' or '.join(sorted(CONTENT_TYPES))}, got {content_type[:80]!r}")
        try:
            raws = msgspec.json.decode(body, type=list[msgspec.Raw]) if body.lstrip()[:1] == b"[" else [body]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Problem(400, f"expected JSON in UTF-8: {error}") from None
        if not 1 <= len(raws) <= self._settings.batch_events_max:
            raise Problem(
                422, f"expected 1 to {self._settings.batch_events_max} events, got {len(raws)}; nothing was published"
            )
        events: list[Event] = []
        problems: list[dict[str, Any]] = []
        status = 422
        by_id: dict[str, Event] = {}
        for index, raw in enumerate(raws):
            try:
                event = read_event(raw, bytes_max=self._settings.event_bytes_max)
            except EventInvalid as error:
                if error.malformed:
                    status = 400
                elif len(raw) > self._settings.event_bytes_max:
                    status = 413
                problems.append({"index": index, "problems": error.problems})
                continue
            if event.redispatch_of is not None:
                problems.append({"index": index, "problems": ["'redispatchof': only the relay redispatches"]})
            earlier = by_id.setdefault(event.id, event)
            if earlier is not event and not same_content(earlier.text, event.text):
                raise self._reused(event.id)
            events.append(event)
        if problems:
            self._metrics.publish_refused.labels(str(status)).inc()
            count = f"{len(problems)} of {len(raws)} events are not valid"
            detail = f"{count}; nothing was published. {problems[0]['problems'][0]}"
            raise Problem(status, detail, events=problems[:20])
        return events

    async def _publish(self, events: list[Event]) -> web.Response:
        stored = await self._stored(events)
        fresh = list({event.id: event for event in events if event.id not in stored}.values())
        results: dict[str, dict[str, Any]] = {}
        for event in events:
            if event.id in stored:
                if not stored[event.id].is_same:
                    raise self._reused(event.id)
                cursor = self._places.cursor_of(stored[event.id].pos)
                results[event.id] = {"id": event.id, "cursor": cursor, "duplicate": True}
        unknown: list[str] = []
        refused: dict[str, Refused] = {}
        if fresh:
            try:
                connection = self._link.current()
            except NatsUnavailable as error:
                raise unavailable(f"nothing was published: {error}") from None
            if self._hub.start is None:
                raise unavailable("nothing was published: the relay has not adopted the stream yet")
            if connection.nc.pending_data_size > UNSENT_BYTES_MAX:
                raise unavailable("nothing was published: NATS is behind in taking what was sent to it")
            self._check_size(fresh, connection.nc.max_payload)
            prefix = self._places.prefix_of(ordinal_of(self._hub.head))
            answers = await publish_all(
                connection,
                self._settings.stream,
                fresh,
                timeout_s=self._settings.publish_timeout_s,
                ttl_s=self._settings.ttl_rule(allowed=self._link.allows_ttl),
            )
            for event, answer in zip(fresh, answers, strict=True):
                found = await self._found(connection, event, answer)
                if isinstance(found, Refused):
                    refused[event.id] = found
                elif isinstance(found, Published):
                    self._metrics.published.labels(str(found.duplicate).lower()).inc()
                    cursor = f"{prefix}{found.seq}"
                    results[event.id] = {"id": event.id, "cursor": cursor, "duplicate": found.duplicate}
                else:
                    unknown.append(event.id)
                    self._link.doubt()
        # all answers have been seen before any of them decides: the others' events may well be stored
        ordered = [results[event.id] for event in events if event.id in results]
        if unknown:
            self._metrics.publish_unknown.inc(len(unknown))
            raise unavailable(UNKNOWN, events=ordered, unknown=unknown, refused=list(refused))
        if refused:
            raise self._refused(refused, ordered)
        return json_response(202, {"events": ordered})

    async def _stored(self, events: list[Event]) -> dict[str, Stored]:
        """What Postgres has under these ids: it remembers for the whole retention, the stream only for its window.

        While Postgres is away the stream goes on taking events; an id reused with another body is then found by
        pg-writer, which puts it to the dead letters.
        """
        try:
            stored = await self._database.use(
                lambda connection: look_up(connection, events), timeout_s=STORED_CHECK_TIMEOUT_S
            )
            for one in stored.values():
                await self._places.ensure_tag(one.pos)
        except DatabaseUnavailable as error:
            log.warning("publish.ids_unchecked", error=str(error), events=len(events))
            return {}
        return stored

    def _check_size(self, events: list[Event], payload_max: int) -> None:
        """An event that NATS would never take must not be answered as unknown: its publisher would try for ever."""
        limit = payload_max - HEADERS_BYTES
        for event in events:
            size = len(event.text.encode())
            if size > limit:
                raise Problem(
                    413,
                    f"expected at most {limit} bytes an event, which is what NATS takes, got {size} in {event.id!r}; "
                    "put large data elsewhere and link it. Nothing was published",
                )

    async def _found(
        self, connection: Connection, event: Event, answer: Published | Exception
    ) -> Published | Refused | None:
        """What became of an event by the stream's answer; None if nobody knows.

        A repeat that the stream recognised by its id must be the same event, and where pg-writer takes it for one.
        Anybody on NATS may have used the id for something else: what was never stored must not be answered as stored.
        """
        if not isinstance(answer, Published):
            return answer if isinstance(answer, Refused) else None
        self._link.stored(answer.seq)
        if not answer.duplicate:
            return answer
        try:
            found = await connection.js.get_msg(self._settings.stream, seq=answer.seq)
        except nats.js.errors.NotFoundError:
            return answer  # left the stream since: nothing to compare with
        except (NatsError, TimeoutError) as error:
            log.warning("publish.repeat_unchecked", seq=answer.seq, error=describe(error))
            return None
        same = same_content((found.data or b"").decode(errors="replace"), event.text)
        is_the_same = same and found.subject == subject_of(event.subject, event.type)
        return answer if is_the_same else Reused("the id belongs to an event with other content")

    def _refused(self, refused: dict[str, Refused], stored: list[dict[str, Any]]) -> Problem:
        """What was not stored: every other event of the request was."""
        reused = [event_id for event_id, one in refused.items() if isinstance(one, Reused)]
        if reused:
            return self._reused(reused[0], events=stored, refused=list(refused))
        event_id, why = next(iter(refused.items()))
        detail = f"the stream refused {len(refused)} events and stored {len(stored)}; of {event_id!r} it said: {why}. "
        more: dict[str, Any] = {"events": stored, "refused": list(refused)}
        if all(isinstance(one, TooLarge) for one in refused.values()):
            self._metrics.publish_refused.labels("413").inc()
            return Problem(413, f"{detail}Put large data elsewhere and link it", **more)
        self._metrics.publish_refused.labels("503").inc()
        log.error("publish.refused", stream=self._settings.stream, events=len(refused), error=str(why))
        return unavailable(
            f"{detail}Not before whoever runs the stream has mended that (room for it, its settings: "
            f"`nats stream info {self._settings.stream}`) will it take them: send the same again then",
            REFUSED_RETRY_S,
            **more,
        )

    def _reused(self, event_id: str, **more: Any) -> Problem:
        """`more` is what became of the others, if anything was published."""
        self._metrics.publish_refused.labels("409").inc()
        stored = f"; {len(more['events'])} others of the request were stored" if more else "; nothing was published"
        return Problem(
            409,
            f"the id {event_id!r} belongs to an event with other content; use a fresh id for a new event{stored}",
            id=event_id,
            **more,
        )


async def read_body(request: web.Request, settings: Settings) -> bytes:
    """The request's body within its limits. Raises Problem 408, 413."""
    if (request.content_length or 0) > settings.body_bytes_max:
        raise Problem(
            413, f"expected at most {settings.body_bytes_max} bytes, got {request.content_length}; send smaller batches"
        )
    try:
        async with asyncio.timeout(settings.request_timeout_s):
            return await request.read()
    except TimeoutError:
        raise Problem(408, f"expected the whole body within {settings.request_timeout_s} s") from None
    except web.HTTPRequestEntityTooLarge:
        raise Problem(413, f"expected at most {settings.body_bytes_max} bytes; send smaller batches") from None
    except (web.RequestPayloadError, ConnectionError, ValueError) as error:
        raise Problem(400, f"the body could not be read: {error}") from None
