"""HTTP's small print: base URLs, addresses and queries, and tokens that several requests share."""

from __future__ import annotations

import asyncio

import aiohttp
import httpx
import pytest
from aiohttp.base_protocol import BaseProtocol
from hypothesis import given
from hypothesis import strategies as st

from system.client import AgentClient, ClientSettings, MemoryCursorStore, ProtocolViolated, TokenUnavailable
from system.client.notices import checked_address
from system.client.wire import NO_ANSWER, TokenKeeper, checked_base, events_path, presented_in, query_of, read_some
from system.event import is_agent_name
from tests.system.client.scripted import FAST, Application, ScriptedRelay, seeded_host


@pytest.mark.parametrize(
    "base", ["relay.example", "ftp://relay.example", "http://", "http://u:p@h", "http://h/?a=b", "https://h/#f", ""]
)
def test_a_base_url_that_is_none_is_refused_at_once(base: str) -> None:
    """A wrong base URL is said when the client is made, not at its first connection."""
    with pytest.raises(ValueError, match=r"expected a base URL such as"):
        AgentClient(base, "alice", "t", Application(), MemoryCursorStore(), seeded_host())


def test_a_base_url_keeps_its_path() -> None:
    """A relay behind a path prefix is reached there, with or without the last slash."""
    assert checked_base("https://h:8443/mesh/") == checked_base("https://h:8443/mesh") == "https://h:8443/mesh"


@given(
    agent=st.text(min_size=1, max_size=20) | st.from_regex(r"[A-Za-z0-9_.%/?#-]{1,20}", fullmatch=True), value=st.text()
)
def test_whatever_goes_into_an_address_stays_in_its_place(agent: str, value: str) -> None:
    """No agent name or parameter can add or remove a path segment, add a parameter or a fragment."""
    try:
        path = events_path(agent)
    except ValueError:
        assert not is_agent_name(agent)
        return
    url = httpx.URL("http://h" + path + query_of({"cursor": value, "types": None, "limit": "5"}))
    assert url.path == f"/v1/agents/{agent}/events"
    assert dict(url.params) == {"cursor": value, "limit": "5"}
    assert url.fragment == ""


@pytest.mark.parametrize("agent", [".", "..", "%2e", "a/b", "a.b", "_all", ""])
def test_a_name_that_no_agent_can_have_is_refused_at_once(agent: str) -> None:
    """Found by Hypothesis: httpx took the agent '.' out of the path, so that the request went elsewhere."""
    with pytest.raises(ValueError, match="expected an agent's name"):
        AgentClient("http://h", agent, "t", Application(), MemoryCursorStore(), seeded_host())


@given(st.text(max_size=40))
def test_a_checked_address_stays_on_its_origin(address: str) -> None:
    """Whatever passes the check has the relay's host when it is put behind the base URL."""
    try:
        checked = checked_address(address)
    except ProtocolViolated:
        return
    url = httpx.URL("http://relay.example:80" + checked)
    assert (url.host, url.userinfo, url.fragment) == ("relay.example", b"", "")


def test_the_presented_position_is_read_for_observers() -> None:
    """The cursor within a resync address is found wherever it stands; without one there is none."""
    assert presented_in("/v1/x?on_gone=skip&cursor=abc234-5") == "abc234-5"
    assert presented_in("/v1/x?on_gone=skip") is None


async def test_a_token_is_fetched_once_for_all_who_ask() -> None:
    """Requests that start together share one call of the provider."""
    calls = 0

    async def fetch() -> str:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return f"t{calls}"

    keeper = TokenKeeper(fetch, timeout_s=30)
    assert await asyncio.gather(*(keeper.get() for _ in range(5))) == ["t1"] * 5


async def test_a_late_refusal_does_not_throw_away_a_newer_token() -> None:
    """Only the token that was presented is given up, not the one fetched since."""
    tokens = iter(["t1", "t2", "t3"])

    async def fetch() -> str:
        return next(tokens)

    keeper = TokenKeeper(fetch, timeout_s=30)
    first = await keeper.get()
    keeper.refuse(first)
    assert await keeper.get() == "t2"
    keeper.refuse(first)
    assert await keeper.get() == "t2"


async def test_a_provider_that_hangs_is_given_up() -> None:
    """A provider has `token_timeout_s`; then the client backs off as for any other failure."""

    async def hang() -> str:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    with pytest.raises(TokenUnavailable, match="TimeoutError"):
        await TokenKeeper(hang, timeout_s=0.02).get()


async def test_a_given_http_client_is_used_and_left_open(relay: ScriptedRelay) -> None:
    """`http=` serves all requests and belongs to the caller; aiohttp's wish to follow redirects is overruled."""
    async with aiohttp.ClientSession(headers={"X-Mark": "mine"}, raise_for_status=True) as http:
        client = AgentClient(
            relay.base_url, "alice", "t", Application(), MemoryCursorStore(), seeded_host(), settings=FAST, http=http
        )
        task = asyncio.create_task(client.run())
        exchange = await relay.request()
        assert exchange.headers["x-mark"] == "mine"
        await exchange.answer(302, Location=relay.base_url)
        with pytest.raises(Exception, match="got 302"):
            await task
        assert not http.closed


@pytest.mark.parametrize(
    "wrong",
    [
        {"heartbeat_s": 0.0},
        {"heartbeats_missed_max": 0},
        {"handler_attempts_max": 0},
        {"backoff_base_min_s": 0.0},
        {"ack_interval_s": 0.0},
    ],
)
def test_settings_that_would_hang_or_spin_are_refused(wrong: dict[str, float]) -> None:
    """Limits of nothing are a mistake in the program that set them."""
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
        ClientSettings(**wrong)  # type: ignore[arg-type]


async def test_a_connection_that_ended_without_an_error_of_its_own_is_lost() -> None:
    """aiohttp says RuntimeError of it, which ended an agent for good: found by a seed, with 73 kB half read.

    Its parser, paused with more at hand when the connection ends, waits to be gone on with; but it is forgotten.
    """
    ended = BaseProtocol(asyncio.get_running_loop())
    body = aiohttp.StreamReader(ended, 2**16, loop=asyncio.get_running_loop())
    body.feed_data(b"data: half")
    assert await read_some(body) == b"data: half"
    with pytest.raises(NO_ANSWER, match="the connection ended"):
        await read_some(body)
