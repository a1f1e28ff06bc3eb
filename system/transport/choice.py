"""The transport that the settings name, put together from what a replica has."""

from __future__ import annotations

from collections.abc import Callable

from system.database import Database
from system.host import Host
from system.hub import Hub
from system.link import NatsLink
from system.metrics import Metrics
from system.places import Places
from system.settings import Settings
from system.tail import Tail
from system.transport import Transport
from system.transport.cursor import CursorTransport
from system.transport.jetstream import JetStreamTransport


def make_transport(
    settings: Settings,
    database: Database,
    link: NatsLink,
    host: Host,
    metrics: Metrics,
    *,
    places: Places,
    hub: Hub,
    tail: Tail,
    on_moved: Callable[[], None],
) -> Transport:
    """What the setting `transport` asks for. Raises NotImplementedError for what this release does not have yet."""
    match settings.transport:
        case "cursor":
            return CursorTransport(places, hub, tail, pause_s=settings.tail_poll_s)
        case "jetstream":
            return JetStreamTransport(
                settings, database, link, host, metrics, places=places, tail=tail, on_moved=on_moved
            )
        case "redis":
            # its client takes a sixth of a second to import
            from system.transport.redis import RedisTransport

            return RedisTransport(settings, database, link, host, metrics, hub=hub, tail=tail)
