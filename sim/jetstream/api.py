"""JetStream's API, pure: a request on a `$JS.API` subject and its answer."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sim.errors import NotModelled
from sim.jetstream.consumer import Consumer
from sim.jetstream.disk import NatsDisk
from sim.jetstream.stream import Stored, Stream, error

NO_STREAM = error(404, 10059, "stream not found")
NO_CONSUMER = error(404, 10014, "consumer not found")
NO_MESSAGE = error(404, 10037, "no message found")
OTHER_CONFIG = error(400, 10058, "stream name already in use with a different configuration")
STREAM_DEFAULTS: dict[str, Any] = {
    "retention": "limits",
    "max_consumers": -1,
    "max_msgs": -1,
    "max_bytes": -1,
    "max_age": 0,
    "max_msgs_per_subject": -1,
    "max_msg_size": -1,
    "discard": "old",
    "storage": "file",
    "num_replicas": 1,
    "duplicate_window": 120_000_000_000,
    "allow_direct": False,
    "no_ack": False,
}
MODELLED: dict[str, tuple[Any, ...]] = {
    "retention": ("limits",),
    "storage": ("file",),
    "num_replicas": (1,),
    "max_msgs": (-1,),
    "max_msgs_per_subject": (-1,),
    "no_ack": (False,),
}
"""Settings of a stream that have one modelled value."""
CONSUMER_DEFAULTS: dict[str, Any] = {
    "ack_wait": 30_000_000_000,
    "max_deliver": -1,
    "max_ack_pending": 1_000,
    "deliver_policy": "all",
    "replay_policy": "instant",
}


def time_text(ns: int) -> str:
    """A time as Go writes it, to the nanosecond."""
    second = datetime.fromtimestamp(ns // 1_000_000_000, tz=UTC)
    return f"{second:%Y-%m-%dT%H:%M:%S}.{ns % 1_000_000_000:09d}Z"


class Api:
    """Answers requests over a disk; `touched` is told of consumers that may have something to send."""

    def __init__(self, disk: NatsDisk, gone: Callable[[Consumer], None]) -> None:
        self._disk = disk
        self._gone = gone

    def answer(self, subject: str, body: bytes, now_ns: int) -> dict[str, Any]:
        """The answer to a request. Raises NotModelled for what the model does not know."""
        words = subject.split(".")[2:]
        asked = json.loads(body) if body.strip() else {}
        match words:
            case ["STREAM", "CREATE", name]:
                return self._create_stream(name, asked, now_ns)
            case ["STREAM", "INFO", name]:
                return self._stream_info(name, "stream_info", now_ns)
            case ["STREAM", "DELETE", name]:
                return self._delete_stream(name)
            case ["STREAM", "PURGE", name]:
                stream = self._disk.streams.get(name)
                return NO_STREAM if stream is None else {"success": True, "purged": stream.purge()}
            case ["STREAM", "MSG", "GET", name]:
                return self._get(name, asked, now_ns)
            case ["CONSUMER", "INFO", name, consumer]:
                return self._consumer_info(name, consumer, now_ns)
            case ["CONSUMER", "CREATE", name, consumer, *_] | ["CONSUMER", "DURABLE", "CREATE", name, consumer]:
                return self._create_consumer(name, consumer, asked["config"], now_ns)
            case ["CONSUMER", "DELETE", name, consumer]:
                return self._delete_consumer(name, consumer)
        raise NotModelled(f"expected a JetStream request that is modelled, got {subject}")

    def _create_stream(self, name: str, asked: dict[str, Any], now_ns: int) -> dict[str, Any]:
        config = STREAM_DEFAULTS | {key: value for key, value in asked.items() if value is not None}
        for key, values in MODELLED.items():
            if config[key] not in values:
                raise NotModelled(f"expected a stream with {key} in {values}, got {config[key]!r}")
        stream = self._disk.streams.get(name)
        if stream is None:
            self._disk.streams[name] = Stream(config, created_ns=now_ns)
        elif stream.config != config:
            return OTHER_CONFIG
        return self._stream_info(name, "stream_create", now_ns) | {"did_create": True}

    def _stream_info(self, name: str, kind: str, now_ns: int) -> dict[str, Any]:
        stream = self._disk.streams.get(name)
        if stream is None:
            return NO_STREAM
        stream.expire(now_ns)
        count = sum(key[0] == name for key in self._disk.consumers)
        return {
            "type": f"io.nats.jetstream.api.v1.{kind}_response",
            "config": stream.config,
            "created": time_text(stream.created_ns),
            "state": stream.state() | {"consumer_count": count},
        }

    def _delete_stream(self, name: str) -> dict[str, Any]:
        if self._disk.streams.pop(name, None) is None:
            return NO_STREAM
        for key in [key for key in self._disk.consumers if key[0] == name]:
            self._gone(self._disk.consumers.pop(key))
        return {"success": True}

    def _get(self, name: str, asked: dict[str, Any], now_ns: int) -> dict[str, Any]:
        stream = self._disk.streams.get(name)
        if stream is None:
            return NO_STREAM
        if set(asked) - {"seq"}:
            raise NotModelled(f"expected a message by its sequence, got {asked}")
        stream.expire(now_ns)
        stored = stream.get(int(asked["seq"]))
        return NO_MESSAGE if stored is None else {"message": _message(stored)}

    def _create_consumer(self, name: str, consumer: str, asked: dict[str, Any], now_ns: int) -> dict[str, Any]:
        stream = self._disk.streams.get(name)
        if stream is None:
            return NO_STREAM
        config = CONSUMER_DEFAULTS | {key: value for key, value in asked.items() if value is not None}
        if config.get("ack_policy") not in ("all", "explicit") or config.get("filter_subject"):
            raise NotModelled(f"expected a pull consumer with acks and no filter, got {asked}")
        if config["deliver_policy"] not in ("all", "by_start_sequence") or config["max_deliver"] != -1:
            raise NotModelled(f"expected delivery from a sequence, without a limit, got {asked}")
        found = self._disk.consumers.get((name, consumer))
        if found is None:
            found = self._disk.consumers[name, consumer] = Consumer(stream, config, now_ns)
        else:
            found.config.update(config)
        return self._described(found)

    def _consumer_info(self, name: str, consumer: str, now_ns: int) -> dict[str, Any]:
        stream = self._disk.streams.get(name)
        if stream is None:
            return NO_STREAM
        stream.expire(now_ns)
        found = self._disk.consumers.get((name, consumer))
        return NO_CONSUMER if found is None else self._described(found)

    def _delete_consumer(self, name: str, consumer: str) -> dict[str, Any]:
        found = self._disk.consumers.pop((name, consumer), None)
        if found is None:
            return NO_CONSUMER
        self._gone(found)
        return {"success": True}

    def _described(self, consumer: Consumer) -> dict[str, Any]:
        kind = {"type": "io.nats.jetstream.api.v1.consumer_info_response"}
        return kind | consumer.info() | {"created": time_text(consumer.created_ns)}


def _message(stored: Stored) -> dict[str, Any]:
    described = {
        "subject": stored.subject,
        "seq": stored.seq,
        "data": base64.b64encode(stored.data).decode(),
        "time": time_text(stored.ts_ns),
    }
    return described | ({"hdrs": base64.b64encode(stored.headers).decode()} if stored.headers else {})
