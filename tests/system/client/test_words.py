"""What the client says of a relay that gives no answer: words, and no names of classes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from system.client.wire import NO_ANSWER, RelayHttp, TokenKeeper, in_words

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def words_of(url: str) -> str:
    """What is said of a request there, which must fail."""
    relay = RelayHttp(url, TokenKeeper("token", 1.0), connect_timeout_s=5.0, response_timeout_s=0.5)
    with pytest.raises(NO_ANSWER) as caught:
        await relay.exchange("GET", "/", headers={})
    await relay.aclose()
    return in_words(caught.value)


def answering(text: bytes, *, then_closes: bool) -> Serve:
    """A server that reads a request, and answers with this."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()
        if then_closes:
            writer.close()

    return serve


async def test_nobody_listens() -> None:
    """With the address, and the system's own word."""
    assert await words_of("http://127.0.0.1:1") == "no answer from http://127.0.0.1:1: connection refused"


@pytest.mark.parametrize(
    ("text", "then_closes", "said"),
    [
        (b"", True, "no answer from {url}: the connection ended before an answer"),
        (b"", False, "no answer in time"),
        (b"hello\r\n\r\n", True, "no answer: expected HTTP, got something else"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
            True,
            "no answer: the connection ended in the middle of an answer",
        ),
    ],
)
async def test_somebody_listens_who_does_not_answer(text: bytes, then_closes: bool, said: str) -> None:
    """Each way of that has a sentence."""
    async with await asyncio.start_server(answering(text, then_closes=then_closes), "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await words_of(url) == said.format(url=url)
