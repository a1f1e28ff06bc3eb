"""Three clients as their users run them, behind one interface: what each saw is a list of messages, or a failure.

curl and httpx-sse leave reconnecting to their user, so a loop around them does what the standard says: wait as long as
`retry` wished, connect again with the last id. eventsource does it by itself. A status other than 200 ends all three.
All follow the address in relay.gone if asked to, but not from a stream of on_gone=skip: that one goes on by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
from httpx_sse import SSEError, aconnect_sse

from faults.stack import PartUnavailable
from tests.node import find_node, installed_packages
from tests.system.harness import eventually
from tests.system.sse_reader import WAIT_S

NODE_MAJOR_MIN = 20
"""What eventsource 4 asks for."""
NAMES = ("message", "task.assigned", "note.added", "relay.cursor", "relay.gap", "relay.gone", "relay.close")
"""eventsource has no listener for all names; `message` is what an event without a name is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message as a client hands it to its user."""

    name: str
    data: str
    id: str

    @property
    def document(self) -> dict[str, Any]:
        """Its data, read as JSON."""
        read: dict[str, Any] = json.loads(self.data)
        return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An answer that ended a client for good; eventsource tells the status alone."""

    status: int
    content_type: str = ""
    body: str = ""


class Client:
    """A client that follows one agent's stream until closed, or until a failure."""

    name: ClassVar[str]

    def __init__(self, token: str, *, resync: bool = False) -> None:
        self.messages: list[Message] = []
        self.failure: Failure | None = None
        self.ends: list[str] = []
        """How each connection ended, in the client's own words."""
        self.retry_s = 0.01
        self._lives = 0
        """How many connections (eventsource: processes) are over."""
        self._token = token
        self._resync = resync
        self._task: asyncio.Task[None] | None = None

    @property
    def delivered(self) -> list[str]:
        """The ids of the mesh's events, in order of arrival, over all connections."""
        return [one.document["id"] for one in self.messages if not one.name.startswith("relay.")]

    @property
    def last_id(self) -> str | None:
        """Where to go on: the last id of all messages."""
        return next((one.id for one in reversed(self.messages) if one.id), None)

    def named(self, name: str) -> list[Message]:
        """The messages of this name."""
        return [one for one in self.messages if one.name == name]

    def follow(self, url: str) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(url))

    async def kill(self) -> None:
        """Let it lose its connection and its memory in mid-stream; it starts anew after the last id that it told us."""
        await self.until(self._is_running, "a running client")
        before = self._lives
        self._kill()
        await self.until(lambda: self._lives > before, "its end")

    def _is_running(self) -> bool:
        raise NotImplementedError

    def _kill(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """End it. Raises what went wrong in it."""
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def until_delivered(self, count: int) -> None:
        """Wait for so many of the mesh's events, over all connections."""
        await self.until(lambda: len(self.delivered) >= count, f"{count} events")

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for something to be seen; a fault of the client itself is raised at once."""

        def seen() -> Any:
            if self._task is not None and self._task.done():
                self._task.result()
            return condition()

        try:
            await eventually(seen, what)
        except AssertionError:
            raise AssertionError(
                f"{self.name}: {what}; got {self.messages[-5:]}, {self.failure}, {self.ends}"
            ) from None

    async def _run(self, url: str) -> None:
        raise NotImplementedError


class LoopedClient(Client):
    """A client around which its user loops."""

    async def _run(self, url: str) -> None:
        last_id: str | None = None
        while self.failure is None:
            seen = len(self.messages)
            self.ends.append(await self._once(url, last_id))
            self._lives += 1
            last_id = next((one.id for one in reversed(self.messages[seen:]) if one.id), last_id)
            gone = [one for one in self.messages[seen:] if one.name == "relay.gone"]
            if gone and self._resync and "on_gone=skip" not in url:
                url, last_id = url_at(url, gone[-1].document["resync"]), None
            await asyncio.sleep(self.retry_s)

    async def _once(self, url: str, last_id: str | None) -> str:
        raise NotImplementedError

    def _headers(self, last_id: str | None) -> dict[str, str]:
        position = {} if last_id is None else {"Last-Event-ID": last_id}
        return {"Authorization": f"Bearer {self._token}", "Accept": "text/event-stream", **position}


class Curl(LoopedClient):
    """`curl -N`, its output read by the rules of the standard."""

    name = "curl"
    _process: asyncio.subprocess.Process | None = None

    def _is_running(self) -> bool:
        return self._process is not None

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()

    async def _once(self, url: str, last_id: str | None) -> str:
        program = shutil.which("curl")
        if program is None:
            raise PartUnavailable("curl", "put curl on PATH; it is the one client here that can't be installed by us")
        headers = [word for name, value in self._headers(last_id).items() for word in ("-H", f"{name}: {value}")]
        self._process = await asyncio.create_subprocess_exec(
            program, "-N", "-s", "-i", *headers, url, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        code = await to_its_end(self._process, self._read)
        self._process = None
        return f"code {code}"

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        status_line = (await process.stdout.readline()).decode()
        headers: dict[str, str] = {}
        while (line := (await process.stdout.readline()).decode().rstrip("\r\n")) != "":
            key, _, value = line.partition(": ")
            headers[key.lower()] = value
        if status_line and (status := int(status_line.split()[1])) != 200:
            body = (await process.stdout.read()).decode()
            self.failure = Failure(status=status, content_type=headers.get("content-type", ""), body=body)
            return
        block = _Block()
        async for raw in process.stdout:
            if raw.endswith(b"\n"):  # else cut within a line
                self._take(block, raw.decode().removesuffix("\n"))

    def _take(self, block: _Block, line: str) -> None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if block.data:
                name, data = block.name or "message", "\n".join(block.data)
                self.messages.append(Message(name=name, data=data, id=block.id))
            block.name, block.data, block.id = "", [], ""
        elif field == "data":
            block.data.append(value)
        elif field == "event":
            block.name = value
        elif field == "id":
            block.id = value
        elif field == "retry":
            self.retry_s = int(value) / 1000


@dataclass(slots=True)
class _Block:
    name: str = ""
    data: list[str] = field(default_factory=list)
    id: str = ""


class HttpxSse(LoopedClient):
    """httpx-sse, in this process."""

    name = "httpx-sse"
    _connection: asyncio.Task[str] | None = None

    def _is_running(self) -> bool:
        return self._connection is not None

    def _kill(self) -> None:
        assert self._connection is not None
        self._connection.cancel()

    async def _once(self, url: str, last_id: str | None) -> str:
        self._connection = connection = asyncio.create_task(self._read(url, last_id))
        try:
            await asyncio.wait([connection])
        finally:
            connection.cancel()
            self._connection = None
        return "killed" if connection.cancelled() else connection.result()

    async def _read(self, url: str, last_id: str | None) -> str:
        async with httpx.AsyncClient(timeout=WAIT_S) as http:
            try:
                async with aconnect_sse(http, "GET", url, headers=self._headers(last_id)) as source:
                    await self._take(source)
                    return "end"
            except (httpx.TransportError, SSEError) as error:
                return type(error).__name__

    async def _take(self, source: Any) -> None:
        response = source.response
        if response.status_code != 200:
            body = (await response.aread()).decode()
            content_type = response.headers.get("content-type", "")
            self.failure = Failure(status=response.status_code, content_type=content_type, body=body)
        async for sse in source.aiter_sse():
            self.retry_s = self.retry_s if sse.retry is None else sse.retry / 1000
            self.messages.append(Message(name=sse.event, data=sse.data, id=sse.id))


class Eventsource(Client):
    """eventsource from npm, in a Node.js process."""

    name = "eventsource"
    _process: asyncio.subprocess.Process | None = None

    def _is_running(self) -> bool:
        return self._process is not None

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()

    async def _run(self, url: str) -> None:
        node = await asyncio.to_thread(find_node, NODE_MAJOR_MIN)
        packages = await asyncio.to_thread(installed_packages, node, Path(__file__).parent)
        script = __file__.replace("clients.py", "eventsource_tail.mjs")
        while self.failure is None:
            last_id = self.last_id
            wish = {
                "packages": str(packages),
                "url": url if last_id is None else url_with(url, cursor=last_id),
                "token": self._token,
                "types": NAMES,
                "resync": self._resync,
            }
            self._process = await asyncio.create_subprocess_exec(
                node.node,
                script,
                json.dumps(wish),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=1024 * 1024,
            )
            code = await to_its_end(self._process, self._read)
            self._process = None
            self._lives += 1
            assert code == -signal.SIGKILL, f"expected node to run until it is killed, got code {code}"

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if not line.endswith(b"\n"):
                continue  # killed within a line
            told = json.loads(line)
            if "name" in told:
                self.messages.append(Message(name=told["name"], data=told["data"], id=told["id"]))
                continue
            self.ends.append(str(told["error"]))
            if told["code"] is not None:
                assert told["state"] == 2, "expected CLOSED: eventsource does not come back after a status"
                self.failure = Failure(status=told["code"])


CLIENTS: tuple[type[Client], ...] = (Curl, HttpxSse, Eventsource)


async def to_its_end(
    process: asyncio.subprocess.Process, read: Callable[[asyncio.subprocess.Process], Awaitable[None]]
) -> int:
    """Read a process until it ends, or kill it should that fail; answers its code."""
    try:
        await read(process)
    except BaseException:
        # only while it lives: a signal to the dead would take its code away from asyncio
        process.kill()
        raise
    finally:
        code = await process.wait()
    return code


def url_at(url: str, path_and_query: str) -> str:
    """Another path and query on the same server."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{path_and_query}"


def url_with(url: str, **query: str) -> str:
    """The address with these parameters, its own ones of these names replaced."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode(dict(parse_qsl(parts.query)) | query)))
