"""The agent client and the publisher of events: a library for AI agents, and for whatever tests the relay."""

from system.client.client import AgentClient, Handler
from system.client.errors import (
    ClientError,
    CursorRefused,
    FrameTooLarge,
    HandlerFailed,
    ProtocolViolated,
    RelayRefused,
    RelayUnavailable,
    StoreCorrupt,
    TokenRefused,
    TokenUnavailable,
)
from system.client.notices import CloseNotice, Delivery, Floors, GapNotice, GoneNotice
from system.client.observer import Observer
from system.client.pages import Page, PageReader
from system.client.publisher import Outcome, Publisher, PublisherSettings, PublishObserver, PublishOutcome
from system.client.settings import ClientSettings
from system.client.store import CursorStore, FileCursorStore, MemoryCursorStore

__all__ = [
    "AgentClient",
    "ClientError",
    "ClientSettings",
    "CloseNotice",
    "CursorRefused",
    "CursorStore",
    "Delivery",
    "FileCursorStore",
    "Floors",
    "FrameTooLarge",
    "GapNotice",
    "GoneNotice",
    "Handler",
    "HandlerFailed",
    "MemoryCursorStore",
    "Observer",
    "Outcome",
    "Page",
    "PageReader",
    "ProtocolViolated",
    "PublishObserver",
    "PublishOutcome",
    "Publisher",
    "PublisherSettings",
    "RelayRefused",
    "RelayUnavailable",
    "StoreCorrupt",
    "TokenRefused",
    "TokenUnavailable",
]
