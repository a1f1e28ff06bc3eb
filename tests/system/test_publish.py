"""Publishing: an acknowledged event is stored and delivered once, however often and in whatever words it is sent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.system.conftest import StartRelay
from tests.system.harness import STREAM, InProcess, event, eventually, problem

pytestmark = pytest.mark.stack

WINDOW_S = 0.2
"""A dedupe window that a test can outwait."""


async def stored(relay: InProcess) -> list[str]:
    """The ids of all stored events, in order."""
    return [row["id"] for row in await relay.rows("SELECT id FROM agent_events ORDER BY pos")]


async def test_an_answer_has_a_cursor_for_each_event_in_order(relay: InProcess) -> None:
    """202 comes after the PubAck: cursors rise in the order of the batch, and the stream has the very bytes sent."""
    batch = [event(), event(subject="bob"), event(subject="_all", type="note.made")]
    response = await relay.post(batch)
    assert response.status_code == 202
    answers = response.json()["events"]
    assert [one["id"] for one in answers] == [one["id"] for one in batch]
    assert [int(one["cursor"].split("-")[1]) for one in answers] == [1, 2, 3]
    assert not any(one["duplicate"] for one in answers)
    for seq, sent in enumerate(batch, start=1):
        message = await relay.stream_message(seq)
        assert message.subject == f"mesh.events.{sent['subject']}.{sent['type']}"
        assert (message.headers or {})["Nats-Msg-Id"] == sent["id"]
        assert message.data == json.dumps(sent).encode()


async def test_a_retry_is_stored_and_delivered_once(relay: InProcess) -> None:
    """G4: the same publish, sent five times at once and again later, also in other words, is one event: every answer
    has the same cursor, one of them is the first, and the agent gets it once.
    """
    made = event()
    async with relay.stream(cursor="now") as stream:
        responses = await asyncio.gather(*(relay.post(made) for _ in range(5)))
        answers = [response.json()["events"][0] for response in responses]
        assert len({one["cursor"] for one in answers}) == 1
        assert [one["duplicate"] for one in answers].count(False) == 1
        await relay.settled()
        backwards = json.dumps({key: made[key] for key in reversed(made)}, indent=2).encode()
        late = (await relay.post(backwards)).json()["events"][0]
        assert late == answers[0] | {"duplicate": True}
        marker = event()
        await relay.publish(marker)
        assert await stream.events(2) == [made["id"], marker["id"]]
    assert await stored(relay) == [made["id"], marker["id"]]


async def test_ids_are_remembered_beyond_the_streams_window(start_relay: StartRelay) -> None:
    """G4: after the stream has forgotten an id, Postgres still knows it: a retry is a duplicate with the cursor of the
    first time, and another event under that id is refused, before it can come into the stream.
    """
    relay = await start_relay(dedupe_window_s=WINDOW_S)
    made = event(data="first")
    cursors = await relay.publish(made)
    await relay.settled()
    await asyncio.sleep(WINDOW_S * 2)
    again = (await relay.post(made)).json()["events"]
    assert again == [{"id": made["id"], "cursor": cursors[0], "duplicate": True}]
    problem(await relay.post(made | {"data": "second"}), 409, "use a fresh id")
    assert await relay.stream_state() == (1, 1)
    assert await stored(relay) == [made["id"]]


async def test_within_the_window_the_stream_itself_knows_the_first_event(start_relay: StartRelay) -> None:
    """An id that is in the stream but not yet stored: a retry is a duplicate, other content is refused all the same."""
    relay = await start_relay()
    made = event(data="first")
    await relay.rows(
        "UPDATE event_stream SET fence = fence + 1 RETURNING 1"
    )  # pg-writer has lost its fence: it stores nothing
    cursors = await relay.publish(made)
    again = (await relay.post(made)).json()["events"]
    assert again == [{"id": made["id"], "cursor": cursors[0], "duplicate": True}]
    problem(await relay.post(made | {"data": "second"}), 409, "use a fresh id")
    assert await relay.stream_state() == (1, 1)


@pytest.mark.parametrize("junk", [b"", b"junk", b"\xff\xfe", b"[]", b"{}"])
async def test_an_id_used_for_junk_past_the_relay_is_used(relay: InProcess, junk: bytes) -> None:
    """If the stream took junk under an event's id, the event is refused, not answered as the duplicate of junk, which
    would be an acknowledgement of what is stored nowhere. Comparing with junk was once a fault in the relay.
    """
    made = event()
    await relay.inject("mesh.events.ann.junk", junk, {"Nats-Msg-Id": made["id"]})
    problem(await relay.post(made), 409, "use a fresh id")
    assert (await relay.post(event())).status_code == 202


async def test_a_dead_letter_is_no_first_time(relay: InProcess) -> None:
    """The very event, published by hand on a wrong subject, went to the dead letters: publishing it rightly is refused
    under that id, because the stream drops it as a repeat. It used to be acknowledged and was lost.
    """
    made = event()
    await relay.inject("mesh.events.ann.wrong", json.dumps(made).encode(), {"Nats-Msg-Id": made["id"]})
    await relay.settled()
    problem(await relay.post(made), 409, "use a fresh id")
    assert await stored(relay) == []
    fresh = made | {"id": "fresh"}
    await relay.publish(fresh)
    await relay.settled()
    assert await stored(relay) == ["fresh"]


@pytest.mark.parametrize(
    "text",
    [
        '{"specversion":"1.0","id":"k","source":"s","type":"t","subject":"ann","data":[1.10,1e5,12345678901234567890123]}',
        '{"specversion":"1.0","id":"k","source":"s","type":"t","subject":"ann","data":"\\u0000\\u2028\u2028\u0085🚀"}',
        '{ "specversion" : "1.0",\r\n"id":"k",\n"source":"s","type":"t","subject":"ann","data":{"z":1,"a":"\\n"} }',
    ],
    ids=["numbers", "characters", "lines"],
)
async def test_what_arrives_is_what_was_published(relay: InProcess, text: str) -> None:
    """From the publisher's bytes to the agent's, by replay, live and by page, no value changes and no line breaks."""
    kept = text.replace("\r\n", "").replace("\n", "")

    def squeezed(line: str) -> str:
        return line.replace(" : ", ":").replace("{ ", "{").replace(" }", "}").replace(", ", ",").replace(": ", ":")

    async with relay.stream(cursor="now") as live:
        assert (await relay.post(text.encode())).status_code == 202
        await live.event()
        async with relay.stream(cursor="earliest") as replay:
            await replay.event()
    token = relay.token()
    async with relay.http.stream(
        "GET", "/v1/agents/ann/events?cursor=earliest", headers={"Authorization": f"Bearer {token}"}
    ) as response:
        body = b""
        async for piece in response.aiter_raw():
            body += piece
            if b"relay.cursor" in body:
                break
    line = next(line for line in body.split(b"\n") if line.startswith(b"data: {")).removeprefix(b"data: ").decode()
    assert squeezed(line) == squeezed(kept)
    page = (await relay.page(cursor="earliest")).content.decode()
    assert squeezed(kept) in squeezed(page)
    assert live.seen[-1].data == replay.seen[-1].data == json.loads(text)


async def test_the_first_events_of_a_relay_are_refused_honestly_until_it_is_ready(start_relay: StartRelay) -> None:
    """A publish to a relay that is still starting is a 503 with Retry-After that says that nothing was published, or
    it is stored: nothing in between.
    """
    relay = await start_relay(wait=False)
    answers: list[httpx.Response] = []

    async def publish() -> bool:
        answers.append(await relay.post(event(f"start{len(answers)}")))
        return answers[-1].status_code == 202

    await eventually(publish, "a publish that is taken")
    for answer in answers[:-1]:
        problem(answer, 503, "nothing was published")
    await relay.settled()
    assert await stored(relay) == [f"start{len(answers) - 1}"]


async def test_a_full_stream_refuses_and_loses_nothing(start_relay: StartRelay) -> None:
    """A stream at its byte limit takes no more, and never drops what it acknowledged; the answer is an honest 503."""
    relay = await start_relay(stream_max_bytes=20_000)
    acked: list[str] = []
    answer: Any = None
    for number in range(40):
        answer = await relay.post(event(f"big{number}", data="x" * 1_000))
        if answer.status_code != 202:
            break
        acked.append(f"big{number}")
    document = problem(answer, 503, "maximum bytes exceeded")
    assert document["refused"] == [f"big{len(acked)}"]
    assert await relay.metric("relay_publish_unknown_total") == 0
    await relay.settled()
    assert await stored(relay) == acked
    assert len(acked) > 5


async def test_an_event_larger_than_nats_takes_is_told(start_relay: StartRelay) -> None:
    """If the relay's limit is above that of NATS, the event between the two is refused as too large, not as unknown:
    a publisher would repeat it for ever.
    """
    relay = await start_relay(event_bytes_max=4_000_000, body_bytes_max=8_000_000)
    problem(await relay.post(event(data="x" * 2_000_000)), 413, "NATS")
    assert (await relay.post([event(), event()])).status_code == 202
    assert (await relay.stream_state())[0] == 2


async def test_a_full_stream_refuses_plainly(start_relay: StartRelay) -> None:
    """What a full stream refuses is answered at once with the stream's reason, beside what it took; nothing of it is
    unknown; when there is room, the same request is taken whole. It was *unknown* after the whole limit.
    """
    relay = await start_relay(stream_max_bytes=20_000, publish_timeout_s=30)
    events = [event(f"e{number}", data="x" * 6_000) for number in range(5)]
    async with asyncio.timeout(10):
        document = problem(await relay.post(events), 503, "maximum bytes exceeded (JetStream's error 10077)")
    assert [one["id"] for one in document["events"]] == ["e0", "e1", "e2"]
    assert (document["refused"], "unknown" in document) == (["e3", "e4"], False)
    assert await relay.stream_state() == (3, 3)
    assert "relay_publish_unknown_total 0.0" in (await relay.http.get("/metrics")).text
    await relay.ask_jetstream(f"STREAM.PURGE.{STREAM}", {"seq": 3})
    await relay.settled()
    answers = (await relay.post(events[3:])).json()["events"]
    assert [one["id"] for one in answers] == ["e3", "e4"]


async def test_a_sealed_stream_refuses_plainly(relay: InProcess) -> None:
    """No other request could be taken before somebody mends it: the answer says why, and how to look at it."""
    config = (await relay.ask_jetstream(f"STREAM.INFO.{STREAM}"))["config"]
    await relay.ask_jetstream(f"STREAM.UPDATE.{STREAM}", config | {"sealed": True})
    document = problem(await relay.post(event("e1")), 503, "sealed")
    assert (document["refused"], document["events"]) == (["e1"], [])
    assert f"nats stream info {STREAM}" in document["detail"]
    assert await relay.stream_state() == (0, 0)


async def test_what_exceeds_the_streams_own_size_is_413(relay: InProcess) -> None:
    """Somebody gave the stream a `max_msg_size`: what is larger is too large, for good, and the rest is stored."""
    config = (await relay.ask_jetstream(f"STREAM.INFO.{STREAM}"))["config"]
    await relay.ask_jetstream(f"STREAM.UPDATE.{STREAM}", config | {"max_msg_size": 1_000})
    document = problem(await relay.post([event("small"), event("large", data="x" * 2_000)]), 413, "10054")
    assert ([one["id"] for one in document["events"]], document["refused"]) == (["small"], ["large"])
