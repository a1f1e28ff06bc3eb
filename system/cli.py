"""The relay's own sub-commands: serve, publish, tail, token."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from system.client import ClientError, Outcome
from system.event import AGENT_NAME_RULE, is_agent_name
from system.exits import COULD_NOT_RUN, USAGE
from system.host import Host
from system.settings import SettingsInvalid, load_settings, shown
from system.tokens import mint
from system.transport.names import TransportName

FAILED = 1
SECRET_BYTES_MIN = 32

Url = Annotated[str, typer.Option("--url", envvar="MESHRELAY_URL", help="The relay's address.")]
Token = Annotated[str, typer.Option("--token", envvar="MESHRELAY_TOKEN", help="A token; better in the environment.")]
PLACE_HELP = (
    "The file that keeps the place. Default: meshrelay/tail-AGENT-….cursor, one for each relay and agent, in the "
    "user's state folder (on Linux $XDG_STATE_HOME, else ~/.local/state)."
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one value a line.")]


def register(app: typer.Typer) -> None:
    """Add the sub-commands to the root command."""
    app.command(rich_help_panel="Relay")(serve)
    app.command(rich_help_panel="Relay")(publish)
    app.command(rich_help_panel="Relay")(tail)
    app.command(rich_help_panel="Relay")(token)


def serve(
    transport: Annotated[
        TransportName | None,
        typer.Option("--transport", help="Where sessions read from; else MESHRELAY_TRANSPORT, else cursor."),
    ] = None,
    check_config: Annotated[bool, typer.Option("--check-config", help="Check every setting and stop.")] = False,
) -> None:
    """Run one relay replica, configured by MESHRELAY_* in the environment; SIGTERM drains it."""
    try:
        settings = load_settings(**({} if transport is None else {"transport": transport.value}))
    except SettingsInvalid as error:
        typer.echo(f"These settings are wrong:\n{error}", err=True)
        raise typer.Exit(USAGE) from None
    if check_config:
        for name, value in sorted(settings.model_dump().items()):
            typer.echo(f"MESHRELAY_{name.upper()}={shown(name, value)}")
        typer.echo("The settings are valid.", err=True)
        return
    from system.serve import run

    sys.exit(run(settings))


def publish(
    url: Url = "http://127.0.0.1:8080",
    token: Token = "",
    to: Annotated[str, typer.Option("--to", help="The receiving agent, or _all.")] = "",
    event_type: Annotated[str, typer.Option("--type", help="Such as task.assigned.")] = "task.assigned",
    data: Annotated[str | None, typer.Option("--data", help="JSON.")] = None,
    event_id: Annotated[str | None, typer.Option("--id", help="The idempotency key; made up if not given.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="CloudEvents, one a line; - for standard input.")] = None,
    give_up_after_s: Annotated[float, typer.Option("--give-up-after", help="Seconds of retries an event.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Publish one event, or a file of them, and print their cursors. Retries with the same id; never stores twice."""
    from system import terminal

    try:
        if file is not None:
            lines = sys.stdin if str(file) == "-" else file.read_text(encoding="utf-8").splitlines()
            events = list(terminal.read_events(lines))
        elif to:
            made = terminal.make_event(Host.real(), to=to, event_type=event_type, data=data, event_id=event_id)
            events = list(terminal.read_events([json.dumps(made)]))
        else:
            raise ValueError("expected --to AGENT or --file FILE")
        _need_token(token)
        outcomes = asyncio.run(terminal.publish(url, token, events, give_up_after_s=give_up_after_s))
    except (ValueError, OSError) as error:
        typer.echo(f"Nothing was published: {error}", err=True)
        raise typer.Exit(USAGE) from None
    for outcome in outcomes:
        if as_json:
            line = {"id": outcome.id, "outcome": outcome.outcome.value, "cursor": outcome.cursor}
            typer.echo(json.dumps(line | {"duplicate": outcome.duplicate, "detail": outcome.detail}))
        elif outcome.outcome is Outcome.ACKED:
            typer.echo(f"{outcome.cursor}  {outcome.id}{'  (was stored already)' if outcome.duplicate else ''}")
        else:
            typer.echo(f"{outcome.outcome.value}: {outcome.id}: {outcome.detail}", err=True)
    if len(outcomes) < len(events) or any(one.outcome is not Outcome.ACKED for one in outcomes):
        if len(outcomes) < len(events):
            typer.echo(f"{len(events) - len(outcomes)} events were not tried.", err=True)
        raise typer.Exit(FAILED)


def tail(
    agent: Annotated[str, typer.Argument(help="Whose stream.")],
    url: Url = "http://127.0.0.1:8080",
    token: Token = "",
    start: Annotated[
        str | None, typer.Option("--from", help="earliest, now, acked, or a cursor; keeps no place of its own.")
    ] = None,
    types: Annotated[str, typer.Option("--types", help="Only these types, comma separated.")] = "",
    state: Annotated[Path | None, typer.Option("--state", help=PLACE_HELP)] = None,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="Stop after so many events.")] = None,
    as_json: Json = False,
) -> None:
    """Watch an agent's stream; goes on where it stopped last time. Never acknowledges for the agent."""
    from system import terminal

    try:
        if not is_agent_name(agent):
            raise ValueError(f"expected an agent's name, {AGENT_NAME_RULE}, got {agent!r}")
        if start is not None:
            terminal.check_start(start)
        _need_token(token)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None
    watcher = terminal.Watcher(Console(stderr=as_json), as_json=as_json, count=count)
    store = terminal.cursor_store(url, agent, state=state, start=start)
    wanted = [part for part in types.split(",") if part]
    try:
        asyncio.run(terminal.watch(url, agent, token, store=store, start=start, types=wanted, watcher=watcher))
    except (ClientError, OSError, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(COULD_NOT_RUN) from None


def _need_token(token: str) -> None:
    """Raises ValueError if there is none: the relay would refuse every request."""
    if not token:
        raise ValueError("expected a token, got none; set MESHRELAY_TOKEN or give --token")


def token(
    subject: Annotated[str, typer.Argument(help="The agent's name; for publishers any name.")],
    scope: Annotated[str, typer.Option("--scope", help="stream, publish, or both.")] = "stream",
    ttl_s: Annotated[float, typer.Option("--ttl", min=1, help="Seconds that it is valid.")] = 86_400.0,
    secret: Annotated[str, typer.Option(envvar="MESHRELAY_JWT_HS256_SECRET", help="The relay's HS256 secret.")] = "",
) -> None:
    """Make an HS256 token for development; in production an identity provider issues them."""
    if len(secret.encode()) < SECRET_BYTES_MIN:
        came = f"one of {len(secret.encode())} bytes" if secret else "none"
        typer.echo(
            f"expected the relay's secret, of at least {SECRET_BYTES_MIN} bytes, got {came}; set "
            "MESHRELAY_JWT_HS256_SECRET or give --secret",
            err=True,
        )
        raise typer.Exit(USAGE)
    typer.echo(mint(secret, sub=subject, scope=scope, ttl_s=ttl_s, now=Host.real().wall()))
