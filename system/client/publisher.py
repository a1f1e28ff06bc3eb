"""A publisher with an outbox's discipline: an event keeps its id, and an unknown outcome is asked again, not guessed.

    publisher = Publisher("https://relay.example", token, Host.real())
    outcome = await publisher.publish_until_known(event, give_up_after_s=60)

A lost answer says nothing about whether the event was stored, so the same event is posted again with the same id: the
relay stores it once and answers `duplicate`. It keeps no outbox itself: whoever must not lose events over a crash
writes them down before the first attempt, and publishes them again afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import aiohttp
import msgspec

from system.client.backoff import backoff_s, retry_after_s
from system.client.errors import TokenUnavailable
from system.client.wire import NO_ANSWER, Answer, RelayHttp, Token, TokenKeeper, in_words
from system.host import Host

PATH = "/v1/events"
HEADERS = {"Content-Type": "application/cloudevents+json", "Accept": "application/json"}
OF_THE_EVENT = (400, 409, 413, 422)
"""Refusals that hold for every attempt with an event. Others say of this one alone that it stored nothing."""


class Outcome(Enum):
    """What is known about one attempt, or about all of them."""

    ACKED = "acked"
    """The relay stored the event, now or at an earlier attempt."""
    REFUSED = "refused"
    """The relay did not store it."""
    UNKNOWN = "unknown"
    """It may be stored or not; publishing it again with the same id is safe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOutcome:
    """How publishing one event went."""

    id: str
    outcome: Outcome
    cursor: str | None = None
    """Where it was stored, if acknowledged."""
    duplicate: bool = False
    """It had been stored before this attempt."""
    status: int | None = None
    """The HTTP status; None if there was no answer."""
    detail: str = ""
    told_s: float = 0.0
    """Retry-After."""

    @property
    def can_change(self) -> bool:
        """Whether another attempt may end differently: always if unknown, else for lack of capacity or of a token."""
        return self.outcome is Outcome.UNKNOWN or (self.outcome is Outcome.REFUSED and self.status in (401, 425, 429))


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherSettings:
    """A publisher's limits and intervals."""

    connect_timeout_s: float = 10.0
    response_timeout_s: float = 15.0
    """Longer than the relay waits for a PubAck, so that mostly the relay is the one to say 'unknown'."""
    token_timeout_s: float = 30.0
    backoff_base_s: float = 0.25
    backoff_max_s: float = 10.0
    told_max_s: float = 300.0
    """The longest Retry-After that is obeyed."""


class PublishObserver:
    """Sees every attempt; retries of one event included. Cheap and synchronous."""

    def attempt(self, event: Mapping[str, Any]) -> None:
        """The event is about to be posted."""

    def attempted(self, event: Mapping[str, Any], outcome: PublishOutcome) -> None:
        """What that attempt came to; not called if it was cancelled, which leaves it unknown."""


class Publisher:
    """Posts events to one relay, one at a time or many at once; close it when done."""

    def __init__(
        self,
        base_url: str,
        token: Token,
        host: Host,
        *,
        settings: PublisherSettings | None = None,
        observer: PublishObserver | None = None,
        http: aiohttp.ClientSession | None = None,
    ) -> None:
        """`http`, if given, is used as it is and stays open. Raises ValueError for the base URL."""
        self._settings = settings or PublisherSettings()
        self._host = host
        self._observer = observer or PublishObserver()
        self._relay = RelayHttp(
            base_url,
            TokenKeeper(token, self._settings.token_timeout_s),
            connect_timeout_s=self._settings.connect_timeout_s,
            response_timeout_s=self._settings.response_timeout_s,
            http=http,
        )

    async def __aenter__(self) -> Publisher:
        """Nothing is opened before the first publish."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections, unless they are the caller's."""
        await self._relay.aclose()

    async def publish(self, event: Mapping[str, Any]) -> PublishOutcome:
        """One attempt to publish a CloudEvent, which must have its `id` already.

        Raises ValueError without an id: one made up here would be lost with the answer.
        """
        event_id = event.get("id")
        if not isinstance(event_id, str) or not event_id:
            raise ValueError(f"expected an event with an id of its own, got {event_id!r}; retries must repeat it")
        self._observer.attempt(event)
        try:
            answer = await self._relay.exchange("POST", PATH, headers=HEADERS, content=msgspec.json.encode(event))
            outcome = self._outcome_of(event_id, answer)
        except (*NO_ANSWER, TokenUnavailable) as error:
            outcome = PublishOutcome(id=event_id, outcome=Outcome.UNKNOWN, detail=in_words(error))
        self._observer.attempted(event, outcome)
        return outcome

    async def publish_until_known(
        self, event: Mapping[str, Any], *, give_up_after_s: float | None = None
    ) -> PublishOutcome:
        """Publish with the same id until the event is stored or definitely refused, with jittered back-off between.

        After `give_up_after_s` seconds (None: never) the outcome over all attempts is returned as it then is: unknown
        if any attempt was, even if the last one was turned away for lack of capacity, or by whatever stands between.
        """
        loop = asyncio.get_running_loop()
        give_up_at = None if give_up_after_s is None else loop.time() + give_up_after_s
        attempt = 0
        may_be_stored = False
        while True:
            outcome = await self.publish(event)
            may_be_stored |= outcome.outcome is Outcome.UNKNOWN
            if not outcome.can_change:
                if may_be_stored and outcome.outcome is Outcome.REFUSED and outcome.status not in OF_THE_EVENT:
                    return replace(outcome, outcome=Outcome.UNKNOWN)
                return outcome
            delay_s = backoff_s(
                self._host.rng,
                attempt=attempt,
                base_s=self._settings.backoff_base_s,
                max_s=self._settings.backoff_max_s,
                told_s=outcome.told_s,
            )
            if give_up_at is not None and loop.time() + delay_s > give_up_at:
                return replace(outcome, outcome=Outcome.UNKNOWN) if may_be_stored else outcome
            await asyncio.sleep(delay_s)
            attempt += 1

    def _outcome_of(self, event_id: str, answer: Answer) -> PublishOutcome:
        if answer.status == 202:
            return _acked(event_id, answer)
        # Of the definite statuses none leaves an event stored; 408 and 5xx may come from a proxy that gave up on a
        # relay that did not, and any other success is not the relay's.
        is_definite = 300 <= answer.status < 500 and answer.status != 408
        return PublishOutcome(
            id=event_id,
            outcome=Outcome.REFUSED if is_definite else Outcome.UNKNOWN,
            status=answer.status,
            detail=answer.explained(),
            told_s=retry_after_s(
                answer.headers.get("retry-after"), wall=self._host.wall, max_s=self._settings.told_max_s
            ),
        )


class _Stored(msgspec.Struct):
    id: str
    cursor: str
    duplicate: bool = False


class _Accepted(msgspec.Struct):
    events: list[_Stored]


def _acked(event_id: str, answer: Answer) -> PublishOutcome:
    try:
        stored = msgspec.json.decode(answer.body, type=_Accepted).events
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return PublishOutcome(
            id=event_id, outcome=Outcome.UNKNOWN, status=answer.status, detail=f"unreadable answer: {error}"
        )
    if [one.id for one in stored] != [event_id]:
        detail = f"expected an answer for {event_id!r}, got one for {[one.id for one in stored]!r}"
        return PublishOutcome(id=event_id, outcome=Outcome.UNKNOWN, status=answer.status, detail=detail)
    return PublishOutcome(
        id=event_id,
        outcome=Outcome.ACKED,
        cursor=stored[0].cursor,
        duplicate=stored[0].duplicate,
        status=answer.status,
    )
