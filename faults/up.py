"""`meshrelay up`: the whole stack and a relay on this machine, for trying things out."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from faults.paths import folder_to_write
from faults.stack import EmbeddedStack, PartUnavailable, RelayProcess, ReservedPort, StackError
from system.event import AGENT_NAME_RULE, is_agent_name
from system.exits import COULD_NOT_RUN, USAGE
from system.tokens import mint

AGENT = "alice"
TOKEN_TTL_S = 30 * 86_400.0


FOLDERS = {"nats", "postgres", "relay"}
LEFT = FOLDERS | {f"{name}.log" for name in FOLDERS}
"""What `up --data` leaves in its folder, or a part of it where it came to nothing."""


def data_folder(path: Path | None) -> Path | None:
    """A folder that is new, empty, or of an earlier `up --data`. Raises BadParameter, which ends the command."""
    folder = folder_to_write(path)
    if folder is None or not folder.is_dir():
        return folder
    names = {one.name for one in folder.iterdir()}
    if not names <= LEFT and not names >= FOLDERS:
        raise typer.BadParameter(
            f"expected a new or empty folder, or one that an earlier `up --data` left, got {folder} with "
            f"{min(names - LEFT)!r} in it; give another"
        )
    return folder


def register(app: typer.Typer) -> None:
    """Add the sub-command to the root command."""
    app.command(rich_help_panel="Relay")(up)


def up(
    data: Annotated[
        Path | None,
        typer.Option("--data", callback=data_folder, help="Keep the data in this folder; else it is thrown away."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The relay's port; 0 takes a free one.")] = 0,
    agent: Annotated[str, typer.Option("--agent", help="Whose token is printed.")] = AGENT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the addresses as one line of JSON.")] = False,
) -> None:
    """Start NATS, PostgreSQL and a relay on this machine; prints how to use them. Ctrl-C ends everything.

    Exit codes: 0 ended by Ctrl-C or SIGTERM, 2 usage, 4 could not run.
    """
    if not is_agent_name(agent):
        typer.echo(f"--agent: expected an agent's name, {AGENT_NAME_RULE}, got {agent!r}", err=True)
        raise typer.Exit(USAGE)
    _need_free(port)
    try:
        asyncio.run(_up(data, port, agent, as_json=as_json))
    except (PartUnavailable, StackError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(COULD_NOT_RUN) from None


def _need_free(port: int) -> None:
    """End the command at once if the port can't be had: the servers take seconds to start."""
    try:
        ReservedPort(port).release()
    except OSError as error:
        why = f"can't be had ({os.strerror(error.errno or 0).lower()})"
        typer.echo(f"--port: expected a free port, got {port}, which {why}; give another, or none for any", err=True)
        raise typer.Exit(COULD_NOT_RUN) from None


async def _up(data: Path | None, port: int, agent: str, *, as_json: bool) -> None:
    console = Console(stderr=as_json)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    with console.status("starting NATS, PostgreSQL and the relay"):
        stack = await EmbeddedStack.open(run_dir=data)
    try:
        settings = {"LOG_FORMAT": "json", "CORS_ORIGINS": "*"} | ({"HTTP_PORT": str(port)} if port else {})
        relay = stack.add_relay(settings=settings)
        with console.status("starting the relay"):
            relay.start_nowait()
            await relay.wait_ready()
        if as_json:
            typer.echo(json.dumps(_addresses(stack, relay, agent)))
        else:
            # no box, and no line broken: each is to be pasted
            console.print(_instructions(_addresses(stack, relay, agent)), highlight=False, soft_wrap=True)
        while not stopping.is_set() and relay.is_running():
            try:
                await asyncio.wait_for(stopping.wait(), 0.5)
            except TimeoutError:
                continue
        if not relay.is_running():
            raise StackError(f"the relay ended by itself; its log: {relay.spec.log_path.read_text()[-2000:]}")
        with console.status("stopping"):
            await relay.stop()
    finally:
        stack.close()
    console.print("stopped; nothing is left running")


def _addresses(stack: EmbeddedStack, relay: RelayProcess, agent: str) -> dict[str, Any]:
    now = time.time()
    return {
        "url": relay.url,
        "agent": agent,
        "agent_token": mint(stack.jwt_secret, sub=agent, scope="stream", ttl_s=TOKEN_TTL_S, now=now),
        "publisher_token": mint(stack.jwt_secret, sub="publisher", scope="publish", ttl_s=TOKEN_TTL_S, now=now),
        "nats_url": stack.nats_url,
        "postgres_dsn": stack.postgres_dsn,
        "log": str(relay.spec.log_path),
    }


def _instructions(at: dict[str, Any]) -> str:
    return f"""[bold]meshrelay is up[/]

[bold]address[/]  {at["url"]}   NATS {at["nats_url"]}
[bold]log[/]      {escape(at["log"])}

In another terminal, watch {at["agent"]}'s stream:

export MESHRELAY_URL={at["url"]}
export MESHRELAY_TOKEN={at["agent_token"]}
curl -N -H "Authorization: Bearer $MESHRELAY_TOKEN" $MESHRELAY_URL/v1/agents/{at["agent"]}/events
[dim]# or, with resuming:[/] .venv/bin/meshrelay tail {at["agent"]}

and in a third one, give it work:

export MESHRELAY_URL={at["url"]}
export MESHRELAY_TOKEN={at["publisher_token"]}
.venv/bin/meshrelay publish --to {at["agent"]} --type task.assigned --data '{{"task": 7}}'

Ctrl-C ends it all."""
