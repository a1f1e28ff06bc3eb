"""`meshrelay up`: the whole stack and a relay on this machine, for trying things out."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.panel import Panel

from faults.paths import folder_to_write
from faults.stack import EmbeddedStack, PartUnavailable, RelayProcess, StackError
from system.tokens import mint

COULD_NOT_RUN = 4
AGENT = "alice"
TOKEN_TTL_S = 30 * 86_400.0


def register(app: typer.Typer) -> None:
    """Add the sub-command to the root command."""
    app.command(rich_help_panel="Relay")(up)


def up(
    data: Annotated[
        Path | None,
        typer.Option("--data", callback=folder_to_write, help="Keep the data in this folder; else it is thrown away."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The relay's port; 0 takes a free one.")] = 0,
    agent: Annotated[str, typer.Option("--agent", help="Whose token is printed.")] = AGENT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the addresses as one line of JSON.")] = False,
) -> None:
    """Start NATS, PostgreSQL and a relay on this machine; prints how to use them. Ctrl-C ends everything."""
    try:
        asyncio.run(_up(data, port, agent, as_json=as_json))
    except (PartUnavailable, StackError, OSError) as error:
        typer.echo(str(error), err=True)
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
            console.print(Panel(_instructions(_addresses(stack, relay, agent)), title="meshrelay is up", expand=False))
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
    return f"""[bold]address[/]  {at["url"]}   NATS {at["nats_url"]}
[bold]log[/]      {at["log"]}

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
