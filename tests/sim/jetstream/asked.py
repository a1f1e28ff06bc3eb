"""Scenes of a server that asks its clients for a sign of life every two seconds, if they give none by themselves."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from urllib.parse import urlsplit

from tests.sim.jetstream.stage import Stage

PING_S = 2.0
ASKS = f'ping_interval: "{PING_S:g}s"\n'
"""What makes a real server do so."""
SPEAKS_S = 0.15
"""How often a client that speaks does."""


class Talker:
    """A client on the bare wire that counts how often it is asked."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        self._reader = reader
        self._writer = writer
        self._answers = answers
        self.heard: Counter[str] = Counter()
        self._hearing = asyncio.create_task(self._hear())
        self._talking: asyncio.Task[None] | None = None

    @classmethod
    async def join(cls, at: Stage, *, answers: bool = True) -> Talker:
        """Connect, and be known to the server."""
        url = urlsplit(at.nc.connected_url.geturl() if at.nc.connected_url else "")
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        await reader.readline()
        options = {"verbose": False, "pedantic": False, "headers": True, "protocol": 1}
        writer.write(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
        return cls(reader, writer, answers=answers)

    async def _hear(self) -> None:
        while line := await self._reader.readline():
            self.heard[line.decode().split("\r")[0]] += 1
            if line == b"PING\r\n" and self._answers:
                self._writer.write(b"PONG\r\n")
        self.heard["the end"] += 1

    def talk(self, line: bytes) -> None:
        """Say this again and again."""

        async def say() -> None:
            while True:
                self._writer.write(line)
                await asyncio.sleep(SPEAKS_S)

        self._talking = asyncio.create_task(say())

    def hush(self) -> None:
        """Say no more."""
        if self._talking is not None:
            self._talking.cancel()

    def leave(self) -> None:
        """Be gone."""
        self.hush()
        self._hearing.cancel()
        self._writer.close()


async def asked_once_while_they_speak(at: Stage) -> None:
    """Who publishes, subscribes or asks is asked once, for the round trip; who only answers is asked each time.

    Once they are silent, they are asked as the others are.
    """
    speakers = [await Talker.join(at) for _ in range(3)]
    silent = await Talker.join(at)
    lines = (b"PUB nobody 0\r\n\r\n", b"SUB talk.> 1\r\nUNSUB 1\r\n", b"PING\r\n")
    for speaker, line in zip(speakers, lines, strict=True):
        speaker.talk(line)
    await asyncio.sleep(3.6 * PING_S)
    at.see(*(one.heard["PING"] for one in speakers), silent.heard["PING"] >= 3)
    for speaker in speakers:
        speaker.hush()
    before = [one.heard["PING"] for one in speakers]
    await asyncio.sleep(2.3 * PING_S)
    at.see(*(one.heard["PING"] - had >= 1 for one, had in zip(speakers, before, strict=True)))
    for one in (*speakers, silent):
        one.leave()


async def taken_for_dead(at: Stage) -> None:
    """Who says nothing is asked twice and then told that it is stale; who speaks without answering stays."""
    mute, speaker = await Talker.join(at, answers=False), await Talker.join(at, answers=False)
    speaker.talk(b"PUB nobody 0\r\n\r\n")
    await asyncio.sleep(3.6 * PING_S)
    for one in (mute, speaker):
        at.see(one.heard["PING"], one.heard["-ERR 'Stale Connection'"], one.heard["the end"])
        one.leave()
