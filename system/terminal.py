"""`meshrelay tail` and `meshrelay publish`: the agent client and the publisher, for a person at a terminal."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from platformdirs import user_state_path
from rich.console import Console
from rich.text import Text

from system.client import (
    AgentClient,
    ClientSettings,
    CursorStore,
    Delivery,
    FileCursorStore,
    GapNotice,
    GoneNotice,
    MemoryCursorStore,
    Observer,
    Outcome,
    Publisher,
    PublishObserver,
    PublishOutcome,
)
from system.cursor import Cursor, CursorMalformed
from system.event import ALL_AGENTS, CRITICAL_TYPES, EventInvalid, read_event
from system.host import Host

EVENT_BYTES_MAX = 8 * 1024 * 1024
"""More than any relay takes; the relay's own limit decides."""


START_WORDS = ("earliest", "now", "acked")
NOT_CONNECTED = "connect: "
"""How an observer is told that no connection came to be."""


class Watcher(Observer):
    """Prints an agent's stream: handler and observer in one."""

    def __init__(self, console: Console, *, as_json: bool, count: int | None) -> None:
        self._console = console
        self._as_json = as_json
        self._left = count
        self.client: AgentClient | None = None

    async def on_event(self, delivery: Delivery) -> None:
        """Print one event; after the last one asked for, stop."""
        if self._as_json:
            sys.stdout.write(delivery.raw.decode() + "\n")
            sys.stdout.flush()
        else:
            self._console.print(_event_line(delivery), soft_wrap=True)
        if self._left is not None:
            self._left -= 1
            if self._left <= 0 and self.client is not None:
                self.client.stop()

    async def on_gap(self, notice: GapNotice) -> None:
        """Say that standard events have expired."""
        self._note("gap", f"standard events up to {notice.floors.standard} have expired; nothing critical is missing")

    async def on_gone(self, notice: GoneNotice) -> None:
        """Say that critical events are gone."""
        self._note(
            "gone", f"{notice.reason}: critical events up to {notice.floors.critical}; going on with what is left"
        )

    def connected(self, conn: int, status: int, reason: str | None, headers: Any) -> None:
        """Say how the relay answered."""
        self._note("connected" if status == 200 else f"status {status}", reason or "")

    def closed(self, conn: int, why: str) -> None:
        """Say why a connection ended, or that there was none."""
        if why.startswith(NOT_CONNECTED):
            self._note(why.removeprefix(NOT_CONNECTED), "")
        else:
            self._note("closed", why)

    def waiting(self, delay_s: float, why: str) -> None:
        """Say when the next connection is tried."""
        self._note("reconnecting", f"in {delay_s:.1f} s")

    def _note(self, what: str, text: str) -> None:
        # notices go to standard error, so that --json output stays pure
        self._console.print(Text(f"-- {what} {text}".rstrip(), style="dim"), soft_wrap=True)


async def watch(
    url: str, agent: str, token: str, *, store: CursorStore, start: str | None, types: list[str], watcher: Watcher
) -> None:
    """Follow an agent's stream until Ctrl-C. Raises ClientError and OSError."""
    client = AgentClient(
        url,
        agent,
        token,
        watcher,
        store,
        Host.real(),
        types=types,
        # a person who looks on must not acknowledge on the agent's behalf
        settings=ClientSettings(start_from=start, ack_interval_s=None),
        observer=watcher,
    )
    watcher.client = client
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, client.stop)
    await client.run()


def check_start(start: str) -> None:
    """Refuse what the relay could not begin at. Raises ValueError."""
    if start in START_WORDS:
        return
    try:
        Cursor.parse(start)
    except CursorMalformed:
        raise ValueError(
            f"--from: expected {', '.join(START_WORDS)} or a cursor such as abc234-1042 (an event's line begins with "
            f"its own), got {start[:64]!r}"
        ) from None


def cursor_store(url: str, agent: str, *, state: Path | None, start: str | None) -> CursorStore:
    """Where `tail` keeps its place: the file given, or one of its own for each relay and agent; none with --from."""
    if state is not None:
        return FileCursorStore(state)
    if start is not None:
        return MemoryCursorStore()
    name = hashlib.sha256(f"{url} {agent}".encode()).hexdigest()[:16]
    folder = user_state_path("meshrelay", ensure_exists=True)
    return FileCursorStore(folder / f"tail-{agent}-{name}.cursor")


def make_event(host: Host, *, to: str, event_type: str, data: str | None, event_id: str | None) -> dict[str, Any]:
    """A CloudEvent from the command line's options. Raises ValueError if `data` is not JSON."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": event_id or host.new_id(),
        "source": "/meshrelay/cli",
        "type": event_type,
        "subject": to,
    }
    if data is not None:
        try:
            event["data"] = json.loads(data)
        except ValueError as error:
            raise ValueError(f"--data: expected JSON such as '{{\"task\": 7}}', got {data[:60]!r}: {error}") from None
    return event


def read_events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """CloudEvents from lines of JSON, each checked. Raises ValueError with the line's number."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            read_event(line.strip().encode(), bytes_max=EVENT_BYTES_MAX)
        except EventInvalid as error:
            raise ValueError(f"line {number}: {error}") from None
        event: dict[str, Any] = msgspec.json.decode(line)
        yield event


class Retries(PublishObserver):
    """Says why an event is published again: nobody is to wait for a minute without a word."""

    def __init__(self, give_up_after_s: float) -> None:
        self._give_up_after_s = give_up_after_s
        self._said = ""

    def attempted(self, event: Mapping[str, Any], outcome: PublishOutcome) -> None:
        """Say what came in the way, once for each event and reason."""
        said = f"{outcome.id}: {outcome.detail}"
        if outcome.can_change and said != self._said:
            self._said = said
            sys.stderr.write(f"-- {said}; retrying with the same id for up to {self._give_up_after_s:g} s\n")


async def publish(
    url: str, token: str, events: list[dict[str, Any]], *, give_up_after_s: float
) -> list[PublishOutcome]:
    """Publish events in order, each until its outcome is known; stops at the first that is not stored."""
    outcomes: list[PublishOutcome] = []
    async with Publisher(url, token, Host.real(), observer=Retries(give_up_after_s)) as publisher:
        for event in events:
            outcome = await publisher.publish_until_known(event, give_up_after_s=give_up_after_s)
            outcomes.append(outcome)
            if outcome.outcome is not Outcome.ACKED:
                break
    return outcomes


def _event_line(delivery: Delivery) -> Text:
    event = delivery.decode()
    critical = delivery.type in CRITICAL_TYPES
    text = Text()
    text.append(f"{delivery.cursor:>14}  ", style="dim")
    text.append(f"{delivery.type:<16}", style="bold yellow" if critical else "cyan")
    if delivery.subject == ALL_AGENTS:
        text.append(" (to all)", style="magenta")
    text.append(f"  {delivery.id}  ", style="dim")
    text.append(json.dumps(event.get("data"), ensure_ascii=False))
    return text
