"""Random requests from the relay's own OpenAPI document: no fault, no crash, nothing undocumented, nothing lost.

`MESHRELAY_FUZZ_REQUESTS` sets how many (default 2,000, a minute's work on two cores; nightly 10,000 and more).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import pytest
import pytest_asyncio
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from faults.stack import EmbeddedStack, NatsProcess, RelayProcess
from system.event import is_agent_name
from system.http.openapi import document
from tests.system.harness import UnderTest, event, own_servers, under_test

pytestmark = pytest.mark.stack

REQUESTS = int(os.environ.get("MESHRELAY_FUZZ_REQUESTS", "2000"))
DOCUMENT = document()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {
    f"{method.upper()} {path}": SCHEMA[path][method]
    for path, methods in DOCUMENT["paths"].items()
    for method in methods
}
TARGETS = [(label, mode) for label in OPERATIONS for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]
UNROUTED = {404, 405}
"""A random path may lead elsewhere; what is not there is not in the document."""
FIRST_BYTES = 64


class Fuzzed:
    """A relay as a process, and what was sent to it."""

    def __init__(self, process: RelayProcess, relay: UnderTest, connect: Callable[[], UnderTest]) -> None:
        self.process = process
        self.relay = relay
        self.connect = connect
        """The same relay for another event loop."""
        self.session = requests.Session()
        self.statuses: Counter[int] = Counter()
        self.acked: set[str] = set()
        self.cursors = ["earliest", "now", "acked", ""]

    def send(self, case: Any, headers: dict[str, str]) -> tuple[requests.Response, bytes]:
        """Send a generated request with these headers instead of its own; reads a stream's beginning only."""
        arguments = case.as_transport_kwargs(base_url=self.relay.url)
        kept = {name: value for name, value in (arguments.pop("headers", None) or {}).items() if name not in headers}
        arguments |= {"headers": kept | headers, "stream": True, "timeout": 30, "allow_redirects": False}
        with self.session.request(**arguments) as response:
            is_stream = response.headers.get("Content-Type", "").startswith("text/event-stream")
            body = next(response.iter_content(FIRST_BYTES), b"") if is_stream else response.content
        self.statuses[response.status_code] += 1
        return response, body


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fuzzed(stack: EmbeddedStack) -> AsyncIterator[Fuzzed]:
    """A relay for all fuzzing of the module."""
    async with own_servers(stack) as (dsn, nats_server):
        process = stack.add_relay(f"{nats_server.name}-fuzzed", _settings(dsn, nats_server))
        await process.start()

        def connect() -> UnderTest:
            return under_test(process, dsn, nats_server, stack.jwt_secret)

        made = Fuzzed(process, connect(), connect)
        events = [event(subject="_all") for _ in range(3)]
        cursors = await made.relay.publish(*events)
        made.acked |= {one["id"] for one in events}
        tag = cursors[0].partition("-")[0]
        made.cursors += [*cursors, f"{tag}-0", f"{tag}-999999", "zzzzzz-1"]
        yield made
        print(f"{sum(made.statuses.values())} random requests: {dict(sorted(made.statuses.items()))}")  # noqa: T201
        made.session.close()
        await made.relay.close()
        await stack.remove(process)


def _settings(dsn: str, nats_server: NatsProcess) -> dict[str, str]:
    return {
        "NATS_URL": nats_server.url,
        "NATS_MONITOR_URL": nats_server.monitor_url,
        "POSTGRES_DSN": dsn,
        "SWEEP_INTERVAL_S": "0.5",
        "LOG_LEVEL": "warning",
    }


def conforms(label: str, response: requests.Response, body: bytes) -> None:
    """Check an answer against the document: status, content type, and its schema."""
    method, path = label.split(" ")
    status = response.status_code
    assert status < 500 or status == 503, (status, body)
    kind = response.headers["Content-Type"].partition(";")[0]
    documented = DOCUMENT["paths"][path][method.lower()]["responses"].get(str(status))
    if documented is None:
        assert status in UNROUTED, (status, body)
        documented = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    if status == 400 and kind == "text/plain":
        return  # what is no HTTP is answered before there is a request
    assert kind in documented["content"], (status, kind)
    if kind == "text/event-stream":
        assert body.startswith(b"retry: "), body
        return
    schema = documented["content"][kind]["schema"] | {"components": DOCUMENT["components"]}
    jsonschema_rs.Draft202012Validator(schema).validate(json.loads(body))
    if status in (429, 503):
        assert int(response.headers["Retry-After"]) >= 1


def headers_for(fuzzed: Fuzzed, case: Any, data: st.DataObject) -> list[dict[str, str]]:
    """How to send a case: as it was generated, and with a token that opens what it asks for."""
    agent = unquote(str((case.path_parameters or {}).get("agent", "publisher")))
    good = {"Authorization": f"Bearer {fuzzed.relay.token(agent if is_agent_name(agent) else 'ann')}"}
    if case.method.upper() == "GET":
        good["Accept"] = data.draw(st.sampled_from(["application/json", "text/event-stream", "*/*"]), label="Accept")
        place = data.draw(st.sampled_from([None, *fuzzed.cursors]), label="place")
        if place is not None:
            good["Last-Event-ID"] = place
    return [{}, good]


@pytest.mark.parametrize(("label", "mode"), TARGETS, ids=lambda value: str(getattr(value, "value", value)))
def test_random_requests_are_answered_as_documented(fuzzed: Fuzzed, label: str, mode: GenerationMode) -> None:
    """Requests made to and against the document, each sent as it is and with a good token: no answer in the 500s but
    503, no status, content type or body that is not documented; the relay stays alive and has logged no fault.
    """
    share = -(-REQUESTS // len(TARGETS))
    wanted = sum(fuzzed.statuses.values()) + share

    @settings(
        max_examples=-(-share // 2),  # each is sent twice
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(OPERATIONS[label].as_strategy(generation_mode=mode), st.data())
    def fuzz(case: Any, data: st.DataObject) -> None:
        for headers in headers_for(fuzzed, case, data):
            response, body = fuzzed.send(case, headers)
            conforms(label, response, body)
            if response.status_code == 202:
                fuzzed.acked |= {one["id"] for one in json.loads(body)["events"]}

    while sum(fuzzed.statuses.values()) < wanted:
        fuzz()
    assert fuzzed.process.is_running()
    assert requests.get(f"{fuzzed.relay.url}/readyz", timeout=10).status_code == 200
    log = fuzzed.process.log_path.read_text()
    assert "http.fault" not in log
    assert "part_failed" not in log
    assert "Traceback" not in log.replace("aiohttp.http_exceptions", ""), log[-3_000:]


def test_what_was_acknowledged_among_the_noise_is_stored(fuzzed: Fuzzed) -> None:
    """Every event that any of the random publishes was acknowledged for is stored, once; nothing else is; no message
    that came over HTTP is a dead letter.
    """

    async def stored() -> list[str]:
        relay = fuzzed.connect()
        try:
            await relay.settled()
            assert await relay.rows("SELECT * FROM dead_letters") == []
            return [row["id"] for row in await relay.rows("SELECT id FROM agent_events WHERE id !~ '~r[0-9]+$'")]
        finally:
            await relay.close()

    ids = asyncio.run(stored())
    assert sorted(ids) == sorted(fuzzed.acked)
