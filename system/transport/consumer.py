"""A session's consumer in JetStream: its settings, and the requests that make and delete it.

JetStream's own words instead of nats-py's: an ephemeral with two filters, in memory, is what sessions by the thousand
can afford, and what is asked must be what the simulator's server is asked.
"""

from __future__ import annotations

import json
from typing import Any

import nats.js.errors
from nats.js.api import StreamConfig

from system.event import ALL_AGENTS, SUBJECT_PREFIX
from system.link import Connection
from system.stream import StreamUnsafe

REQUEST_LIMIT_S = 5.0
NO_CONSUMER = 10014
_NS = 1_000_000_000
_TEXT_MAX = 200


def consumer_name(agent: str, token: str) -> str:
    """A name by which operators see whose it is."""
    return f"relay-{agent}-{token[:16]}"


def consumer_request(stream: str, agent: str, name: str, *, after_seq: int, inactive_s: float) -> dict[str, Any]:
    """The request for a session's consumer, which gives what the agent is to receive after a sequence.

    `inactive_s` is how long the server keeps it while nobody pulls: it clears away what a replica that died has left.
    One that goes earlier than we think, during a slow client's pause perhaps, is made anew.
    """
    config = {
        "name": name,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": after_seq + 1,
        "ack_policy": "none",  # the session's position is the truth; a server's count of it would only be a second one
        "filter_subjects": [f"{SUBJECT_PREFIX}.{agent}.>", f"{SUBJECT_PREFIX}.{ALL_AGENTS}.>"],
        "inactive_threshold": round(inactive_s * _NS),
        "num_replicas": 1,  # of a cluster's server that is gone it is made anew as well
        "mem_storage": True,
    }
    return {"stream_name": stream, "config": config}


async def ask(connection: Connection, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request to JetStream's API. Raises nats.errors.Error, TimeoutError."""
    data = b"" if body is None else json.dumps(body).encode()
    reply = await connection.nc.request(f"$JS.API.{subject}", data, timeout=REQUEST_LIMIT_S)
    connection.heard()
    answer: dict[str, Any] = json.loads(reply.data)
    if "error" in answer:
        nats.js.errors.APIError.from_error(answer["error"])
    return answer


async def make_consumer(
    connection: Connection, stream: str, agent: str, name: str, *, after_seq: int, inactive_s: float
) -> int:
    """Make it; answers how many messages it has to give. Raises nats.errors.Error, TimeoutError."""
    asked = consumer_request(stream, agent, name, after_seq=after_seq, inactive_s=inactive_s)
    answer = await ask(connection, f"CONSUMER.CREATE.{stream}.{name}", asked)
    return int(answer["num_pending"])


async def delete_consumer(connection: Connection, stream: str, name: str) -> None:
    """Delete it; one that is gone already is as good. Raises nats.errors.Error, TimeoutError."""
    try:
        await ask(connection, f"CONSUMER.DELETE.{stream}.{name}")
    except nats.js.errors.NotFoundError as error:
        if error.err_code != NO_CONSUMER:
            raise


async def fit_stream(connection: Connection, wanted: StreamConfig) -> tuple[dict[str, Any], bool]:
    """Change an existing stream to what reading from it needs, and nothing else.

    Answers what was changed, by the names of JetStream's settings, and whether messages may say how long they live.
    Raises StreamUnsafe if the server does not take it, nats.errors.Error (NotFoundError: there is no stream yet).
    """
    found = (await ask(connection, f"STREAM.INFO.{wanted.name}"))["config"]
    window_ns, age_ns = round((wanted.duplicate_window or 0) * _NS), round((wanted.max_age or 0) * _NS)
    changes: dict[str, Any] = {}
    if found["duplicate_window"] < window_ns:
        changes["duplicate_window"] = window_ns
    if 0 < found["max_age"] < age_ns:
        changes["max_age"] = age_ns
    if wanted.max_consumers and found.get("max_consumers", -1) < wanted.max_consumers:
        changes["max_consumers"] = wanted.max_consumers  # none at all means a thousand
    if not found.get("allow_msg_ttl"):
        changes["allow_msg_ttl"] = True
    if not changes:
        return {}, True
    try:
        took = (await ask(connection, f"STREAM.UPDATE.{wanted.name}", found | changes))["config"]
    except nats.js.errors.APIError as error:
        if isinstance(error, (nats.js.errors.NotFoundError, nats.js.errors.ServiceUnavailableError)):
            raise
        raise StreamUnsafe(
            f"stream {wanted.name}: expected {changes}, which NATS refused: {str(error)[:_TEXT_MAX]}. "
            "Mend it with `nats stream edit`, or choose another transport"
        ) from None
    refused = sorted(key for key in ("duplicate_window", "max_age") if key in changes and took[key] != changes[key])
    if refused:
        raise StreamUnsafe(f"stream {wanted.name}: expected {changes}, and NATS left {refused} as they were")
    done = {key: value for key, value in changes.items() if took.get(key) == value}
    return done, bool(took.get("allow_msg_ttl"))
