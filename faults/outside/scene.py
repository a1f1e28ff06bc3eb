"""Makes the scene of a run from a stack that others started, after looking whether it is as its stack file says."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg

from faults.board import Scene, copy_logs, nursery_command, plan_settings, proxy_names
from faults.outside.commands import Runner
from faults.outside.file import StackFile
from faults.outside.mender import mending
from faults.outside.process import READY_S, OutsideProcess
from faults.outside.processes import processes_of
from faults.plan import Plan
from faults.stack import ProcessFailed, StackUnfit
from faults.stack.process import program
from faults.stack.servers import versions
from faults.stack.supervisor import Supervisor
from faults.streamwatch import StreamWatch
from faults.targets import Board, Line, Steered
from faults.toxiproxy import Toxiproxy, ToxiproxyFailed
from faults.vocabulary import REPLICAS, Link, ProcessName

WRITTEN = "# Written by a chaos run for the length of it; a run overwrites no other file.\n"
POLL_S = 0.2
LOGS = "stack.log"


@asynccontextmanager
async def set_up_outside(plan: Plan, stack: StackFile) -> AsyncIterator[Scene]:
    """The stack's `up`, if it has one, the checks, and a nursery of our own that is not started yet.

    At the end the nursery is gone and the stack is as it was found, whatever happens. Raises StackError, OSError.
    """
    refused = stack.refuses(plan)
    if refused:
        raise StackUnfit("this stack can't play the plan: " + "; ".join(refused))
    runner = Runner(stack=stack)
    await runner.check_needs()
    run_dir = Path(tempfile.gettempdir()) / f"meshrelay-{secrets.token_hex(8)}"
    supervisor = Supervisor(doomed_dir=run_dir)
    try:
        _check_settings_file(stack)
        with mending(stack) as mender:
            if stack.settings_path is not None:
                _write_settings(plan, stack.settings_path)
            if stack.up is not None:
                await runner.run(stack.up, within_s=stack.up_within_s)
            processes = processes_of(stack)
            board = await _board(stack, processes)
            await _check_empty(stack)
            mender.playing()
            try:
                yield _scene(stack, board, processes, supervisor, run_dir)
            finally:
                for process in processes.values():
                    await process.close()
    finally:
        supervisor.close()


def _check_settings_file(stack: StackFile) -> None:
    path = stack.settings_path
    if path is not None and path.exists() and not path.read_text().startswith(WRITTEN):
        raise StackUnfit(f"settings_file: expected a file of an earlier run or none, got {path}; move it away")


def _write_settings(plan: Plan, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(WRITTEN + "".join(f"MESHRELAY_{name}={value}\n" for name, value in plan_settings(plan).items()))


async def _board(stack: StackFile, processes: Mapping[str, OutsideProcess]) -> Board:
    """Look at every process and proxy. Raises StackUnfit with all that is not as it should be."""
    problems = []
    for seen in await asyncio.gather(*(one.wait_ready() for one in processes.values()), return_exceptions=True):
        if isinstance(seen, ProcessFailed):
            problems.append(str(seen))
        elif seen is not None:
            raise seen
    toxiproxy = Toxiproxy(stack.toxiproxy_address)
    lines: dict[Link, list[Line]] = {link: [] for link in Link}
    for name, (link, replica) in proxy_names().items():
        upstream = {
            Link.PUBLISHER_NATS: processes["nats"],
            Link.RELAY_NATS: processes["nats"],
            Link.RELAY_POSTGRES: processes["postgres"],
            Link.AGENT_RELAY: processes[replica or REPLICAS[0]],
        }[link].address
        try:
            route = await toxiproxy.attach(name, listen=stack.proxy_address(name), upstream=upstream)
        except ToxiproxyFailed as error:
            problems.append(str(error))
        else:
            lines[link].append(Line(replica=replica, route=route, client_pids=None))
    if problems:
        raise StackUnfit("\n".join(problems))
    steered: dict[ProcessName, Mapping[str, Steered]] = {
        ProcessName.RELAY: {name: processes[name] for name in REPLICAS},
        ProcessName.NATS: {"nats": processes["nats"]},
        ProcessName.POSTGRES: {"postgres": processes["postgres"]},
    }
    return Board(toxiproxy=toxiproxy, lines=lines, processes=steered)


async def _check_empty(stack: StackFile) -> None:
    """Events of another run would be delivered in this one. Raises StackUnfit, ProcessFailed."""
    watch, deadline = StreamWatch(stack.nats), asyncio.get_running_loop().time() + READY_S
    try:
        while (seen := await watch.look()) is None:
            if asyncio.get_running_loop().time() > deadline:
                raise ProcessFailed(f"expected a stream and its writer in NATS within {READY_S:g} s, got none")
            await asyncio.sleep(POLL_S)
    finally:
        await watch.close()
    connection = await asyncpg.connect(stack.postgres)
    try:
        has_rows = await connection.fetchval("select exists (select from agent_events)")
    except asyncpg.PostgresError as error:
        raise StackUnfit(f"postgres: expected the relays' tables, got {error}; is it their database?") from None
    finally:
        await connection.close()
    if seen.head_seq or has_rows:
        where = f"{seen.head_seq} in the stream, {'some' if has_rows else 'none'} in Postgres"
        raise StackUnfit(f"expected a stack without events, got {where}; give it an empty NATS and an empty database")


def _scene(
    stack: StackFile,
    board: Board,
    processes: Mapping[str, OutsideProcess],
    supervisor: Supervisor,
    run_dir: Path,
) -> Scene:
    agent_pids: list[Callable[[], Sequence[int]]] = []

    def ours() -> Sequence[int]:
        return [os.getpid(), *(pid for pids in agent_pids for pid in pids())]

    near = {Link.PUBLISHER_NATS: lambda: [os.getpid()], Link.AGENT_RELAY: ours}
    lines = {
        link: [Line(replica=one.replica, route=one.route, client_pids=near.get(link)) for one in of_link]
        for link, of_link in board.lines.items()
    }
    socket = run_dir / "agents.sock"
    return Scene(
        nats_url=stack.nats,
        jwt_secret=stack.jwt_secret,
        relays=[processes[name] for name in REPLICAS],
        nursery=program(supervisor, run_dir, "agents", nursery_command(socket), socket.exists),
        nursery_socket=socket,
        board=Board(toxiproxy=board.toxiproxy, lines=lines, processes=board.processes),
        agent_pids=agent_pids,
        server_versions=partial(versions, stack.nats_address, stack.postgres),
        keep_logs=partial(_keep_logs, stack, run_dir),
    )


async def _keep_logs(stack: StackFile, run_dir: Path, logs: Path) -> None:
    """Our own, and what the stack's `logs` prints."""
    await asyncio.to_thread(copy_logs, run_dir, logs)
    if stack.logs is not None:
        try:
            told = await Runner(stack=stack).run(stack.logs)
        except ProcessFailed as error:
            told = str(error)  # a run is not worth less for it
        (logs / LOGS).write_text(told)
