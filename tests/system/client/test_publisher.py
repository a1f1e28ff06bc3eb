"""The publisher: three outcomes and nothing between; a retry repeats the id; unknown never becomes refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from system.client.publisher import Outcome, Publisher, PublisherSettings, PublishObserver, PublishOutcome
from system.client.wire import Token
from tests.system.client.scripted import Exchange, ScriptedRelay, cursor, seeded_host

EVENT: dict[str, Any] = {"specversion": "1.0", "id": "p1", "source": "/t", "type": "task.created", "subject": "alice"}
QUICK = PublisherSettings(response_timeout_s=30.0, backoff_base_s=0.005, backoff_max_s=0.01)


class Noting(PublishObserver):
    """Notes attempts and their outcomes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def attempt(self, event: Any) -> None:
        self.notes.append(f"try {event['id']}")

    def attempted(self, event: Any, outcome: PublishOutcome) -> None:
        self.notes.append(outcome.outcome.value)


@asynccontextmanager
async def publisher(
    relay: ScriptedRelay, *, token: Token = "good", observer: PublishObserver | None = None, settings: Any = QUICK
) -> AsyncIterator[Publisher]:
    """A publisher to the scripted relay."""
    async with Publisher(relay.base_url, token, seeded_host(), settings=settings, observer=observer) as made:
        yield made


async def accept(exchange: Exchange, *, event_id: str = "p1", duplicate: bool = False) -> None:
    """Answer as the relay does after the PubAck."""
    body = {"events": [{"id": event_id, "cursor": cursor(5), "duplicate": duplicate}]}
    await exchange.answer(202, json.dumps(body).encode())


async def test_an_acknowledged_event_has_its_cursor(relay: ScriptedRelay) -> None:
    """A 202 for this id is the one and only acknowledgement; the event goes out as it was given."""
    async with publisher(relay) as made:
        publishing = asyncio.create_task(made.publish(EVENT))
        exchange = await relay.request()
        assert (exchange.method, exchange.target) == ("POST", "/v1/events")
        assert exchange.headers["authorization"] == "Bearer good"
        assert json.loads(exchange.body) == EVENT
        await accept(exchange)
        assert await publishing == PublishOutcome(id="p1", outcome=Outcome.ACKED, cursor=cursor(5), status=202)


@pytest.mark.parametrize(
    ("status", "outcome", "can_change"),
    [
        (307, Outcome.REFUSED, False),
        (400, Outcome.REFUSED, False),
        (403, Outcome.REFUSED, False),
        (409, Outcome.REFUSED, False),
        (413, Outcome.REFUSED, False),
        (422, Outcome.REFUSED, False),
        (429, Outcome.REFUSED, True),
        (408, Outcome.UNKNOWN, True),
        (200, Outcome.UNKNOWN, True),
        (202, Outcome.UNKNOWN, True),
        (502, Outcome.UNKNOWN, True),
        (503, Outcome.UNKNOWN, True),
    ],
)
async def test_what_a_status_says(relay: ScriptedRelay, status: int, outcome: Outcome, can_change: bool) -> None:
    """Refused is said only where the event is surely not stored; a 202 that does not name the event proves nothing."""
    async with publisher(relay) as made:
        publishing = asyncio.create_task(made.publish(EVENT))
        await (await relay.request()).problem(status, title="Planted", retry_after="7")
        result = await publishing
        assert (result.outcome, result.can_change, result.status) == (outcome, can_change, status)


async def test_no_answer_is_unknown(relay: ScriptedRelay) -> None:
    """A cut after the request leaves the outcome unknown: the relay may have stored the event."""
    async with publisher(relay) as made:
        publishing = asyncio.create_task(made.publish(EVENT))
        (await relay.request()).cut()
        result = await publishing
        assert (result.outcome, result.status) == (Outcome.UNKNOWN, None)


async def test_a_silent_relay_is_unknown_in_time(relay: ScriptedRelay) -> None:
    """An answer that does not come ends the attempt after `response_timeout_s`."""
    async with publisher(relay, settings=replace(QUICK, response_timeout_s=0.1)) as made:
        assert (await made.publish(EVENT)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("status", [307, 403, 404, 415])
async def test_what_may_be_stored_is_not_refused_by_a_bad_way(relay: ScriptedRelay, status: int) -> None:
    """The first answer was lost, and a proxy without a route gave the second: the event may be stored all the same."""
    async with publisher(relay) as made:
        publishing = asyncio.create_task(made.publish_until_known(EVENT))
        (await relay.request()).cut()
        await (await relay.request()).problem(status, title="No route")
        result = await publishing
        assert (result.outcome, result.status) == (Outcome.UNKNOWN, status)


async def test_retries_repeat_the_same_bytes_until_known(relay: ScriptedRelay) -> None:
    """Unknown outcomes are asked again with the same id; the acknowledgement may say that it was stored before."""
    noting = Noting()
    async with publisher(relay, observer=noting) as made:
        publishing = asyncio.create_task(made.publish_until_known(EVENT))
        first = await relay.request()
        first.cut()
        second = await relay.request()
        await second.problem(503, retry_after="0")
        third = await relay.request()
        await accept(third, duplicate=True)
        result = await publishing
        assert (result.outcome, result.duplicate) == (Outcome.ACKED, True)
        assert first.body == second.body == third.body
        assert noting.notes == ["try p1", "unknown", "try p1", "unknown", "try p1", "acked"]


async def test_unknown_stays_unknown_when_the_last_attempt_was_turned_away(relay: ScriptedRelay) -> None:
    """A 429 after a lost answer does not prove that nothing was stored: giving up reports unknown."""
    async with publisher(relay) as made:
        publishing = asyncio.create_task(made.publish_until_known(EVENT, give_up_after_s=60))
        (await relay.request()).cut()
        await (await relay.request()).problem(429, retry_after="299")
        assert (await publishing).outcome is Outcome.UNKNOWN
        publishing = asyncio.create_task(made.publish_until_known(EVENT, give_up_after_s=60))
        await (await relay.request()).problem(429, retry_after="299")
        assert (await publishing).outcome is Outcome.REFUSED


async def test_a_definite_refusal_ends_the_retries(relay: ScriptedRelay) -> None:
    """A refusal that depends on the event alone is final, also after lost answers."""
    async with publisher(relay) as made:
        publishing = asyncio.create_task(made.publish_until_known(EVENT))
        (await relay.request()).cut()
        await (await relay.request()).problem(422, title="Invalid", detail="'time': expected RFC 3339")
        result = await publishing
        assert (result.outcome, result.status) == (Outcome.REFUSED, 422)
        assert result.detail == "Invalid: 'time': expected RFC 3339"


async def test_an_expired_token_is_replaced_within_the_attempt(relay: ScriptedRelay) -> None:
    """A 401 costs one more request with a fresh token, not the event."""
    tokens = iter(["old", "new"])

    async def fetch() -> str:
        return next(tokens)

    async with publisher(relay, token=fetch) as made:
        publishing = asyncio.create_task(made.publish(EVENT))
        first = await relay.request()
        await first.problem(401, title="Expired")
        second = await relay.request()
        await accept(second)
        assert (await publishing).outcome is Outcome.ACKED
        assert [first.headers["authorization"], second.headers["authorization"]] == ["Bearer old", "Bearer new"]


async def test_an_event_without_an_id_is_refused_before_it_leaves(relay: ScriptedRelay) -> None:
    """An id made up on the way could not be repeated after a lost answer."""
    async with publisher(relay) as made:
        with pytest.raises(ValueError, match="with an id of its own"):
            await made.publish({"type": "task.created"})
