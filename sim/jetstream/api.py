"""JetStream's API, pure: a request on a `$JS.API` subject and its answer."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sim.errors import NotModelled
from sim.jetstream import codec
from sim.jetstream.consumer import Consumer
from sim.jetstream.disk import NatsDisk
from sim.jetstream.push import PushConsumer
from sim.jetstream.stream import Stored, Stream, error

NO_STREAM = error(404, 10059, "stream not found")
NO_CONSUMER = error(404, 10014, "consumer not found")
NO_MESSAGE = error(404, 10037, "no message found")
OTHER_CONFIG = error(400, 10058, "stream name already in use with a different configuration")
OVERLAP = error(400, 10065, "subjects overlap with an existing stream")
ALONE = error(500, 10074, "replicas > 1 not supported in non-clustered mode")
BEHIND_THE_END = error(500, 10057, "stream store EOF")
TOO_FEW_DELIVERIES = error(400, 10116, "max deliver is required to be > length of backoff values")
UNAVAILABLE = error(503, 10008, "JetStream system temporarily unavailable")
"""What a cluster answers while nobody leads, or too few are there."""
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
    "max_msgs": (-1,),
    "max_msgs_per_subject": (-1,),
    "no_ack": (False,),
}
"""Settings of a stream that have one modelled value."""
CONSUMER_DEFAULTS: dict[str, Any] = {
    "ack_wait": 30_000_000_000,
    "max_deliver": -1,
    "max_ack_pending": 1_000,
    "max_waiting": 512,
    "deliver_policy": "all",
    "replay_policy": "instant",
}


FIXED = {
    "deliver_policy": "deliver policy can not be updated",
    "opt_start_seq": "start sequence can not be updated",
    "ack_policy": "ack policy can not be updated",
    "max_waiting": "max waiting can not be updated",
}
"""What can't be changed of a consumer, and what the server says to it, in the order in which it looks."""
PULL_SETTINGS = {
    *CONSUMER_DEFAULTS, "durable_name", "name", "ack_policy", "opt_start_seq", "filter_subject", "backoff",
}  # fmt: skip
PUSH_SETTINGS = {
    "deliver_subject", "deliver_policy", "opt_start_seq", "filter_subject", "ack_policy", "ack_wait", "max_deliver",
    "flow_control", "idle_heartbeat", "inactive_threshold", "mem_storage", "num_replicas", "replay_policy",
}  # fmt: skip
KIND = "io.nats.jetstream.api.v1."


def time_text(ns: int) -> str:
    """A time as Go writes it, to the nanosecond."""
    second = datetime.fromtimestamp(ns // 1_000_000_000, tz=UTC)
    return f"{second:%Y-%m-%dT%H:%M:%S}.{ns % 1_000_000_000:09d}Z"


class Api:
    """Answers requests over a disk; tells of consumers that are gone."""

    def __init__(
        self,
        disk: NatsDisk,
        gone: Callable[[Consumer], None],
        made: Callable[[PushConsumer], None],
        *,
        draw: Callable[[], float],
        replicas: int = 1,
    ) -> None:
        """`made` is told of a new push consumer; `draw` answers numbers from 0 to 1."""
        self._disk = disk
        self._gone = gone
        self._made = made
        self._draw = draw
        self._replicas = replicas
        self.pushing: dict[tuple[str, str], PushConsumer] = {}
        """Push consumers, which are in memory only."""

    def answer(self, subject: str, body: bytes, now_ns: int) -> dict[str, Any]:
        """The answer to a request. Raises NotModelled for what the model does not know."""
        words = subject.split(".")[2:]
        asked = json.loads(body) if body.strip() else {}
        match words:
            case ["STREAM", "NAMES"]:
                return self._stream_names(asked)
            case ["STREAM", *what, name]:
                kind = "_".join(word.lower() for word in ["stream", *what])
                return {"type": f"{KIND}{kind}_response"} | self._of_stream(what, name, asked, now_ns)
            case ["CONSUMER", "CREATE", name]:
                return {"type": f"{KIND}consumer_create_response"} | self._create_push_consumer(
                    name, asked["config"], now_ns
                )
            case ["CONSUMER", "CREATE", name, consumer, *_] | ["CONSUMER", "DURABLE", "CREATE", name, consumer]:
                return {"type": f"{KIND}consumer_create_response"} | self._create_consumer(
                    name, consumer, asked["config"], now_ns
                )
            case ["CONSUMER", "INFO", name, consumer]:
                return {"type": f"{KIND}consumer_info_response"} | self._consumer_info(name, consumer, now_ns)
            case ["CONSUMER", "DELETE", name, consumer]:
                return {"type": f"{KIND}consumer_delete_response"} | self._delete_consumer(name, consumer)
        raise NotModelled(f"expected a JetStream request that is modelled, got {subject}")

    def refusal(self, subject: str) -> dict[str, Any] | None:
        """What is answered while the cluster can't decide; None for what it can still tell.

        A stream's state and its messages are told by whoever has them.
        """
        words = subject.split(".")[2:]
        if words[:2] in (["STREAM", "INFO"], ["STREAM", "NAMES"]) or words[:3] == ["STREAM", "MSG", "GET"]:
            return None
        kind = "_".join(word.lower() for word in (words[:2] if words[0] == "CONSUMER" else words[:-1]))
        return {"type": f"{KIND}{kind}_response"} | UNAVAILABLE

    def direct(self, subject: str, body: bytes, now_ns: int) -> tuple[bytes, bytes] | None:
        """The header block and the data that answer a direct look-up; None if nobody answers it."""
        name, _, on = subject.split(".", 4)[-1].partition(".")
        stream = self._disk.streams.get(name)
        if stream is None or not stream.config["allow_direct"]:
            return None
        stream.expire(now_ns)
        stored = stream.last_on(on) if on else _found(stream, json.loads(body))
        if stored is None:
            return codec.status(404, "Message Not Found"), b""
        more = {
            "Nats-Stream": name,
            "Nats-Subject": stored.subject,
            "Nats-Sequence": stored.seq,
            "Nats-Time-Stamp": time_text(stored.ts_ns),
        }
        return codec.with_headers(stored.headers, more), stored.data

    # Streams

    def _of_stream(self, what: list[str], name: str, asked: dict[str, Any], now_ns: int) -> dict[str, Any]:
        stream = self._disk.streams.get(name)
        if what == ["CREATE"]:
            return self._create_stream(name, asked, now_ns)
        if stream is None:
            return NO_STREAM | ({"purged": 0} if what == ["PURGE"] else {})
        stream.expire(now_ns)
        match what:
            case ["INFO"]:
                return self._described_stream(stream)
            case ["UPDATE"]:
                return self._update_stream(stream, asked)
            case ["DELETE"]:
                return self._delete_stream(name)
            case ["PURGE"]:
                if set(asked) - {"seq", "keep"}:
                    raise NotModelled(f"expected a purge of everything or by sequence, got {asked}")
                purged = stream.purge(before=int(asked.get("seq") or 0), keep=int(asked.get("keep") or 0))
                return {"success": True, "purged": purged}
            case ["MSG", "GET"]:
                stored = _found(stream, asked)
                return NO_MESSAGE if stored is None else {"message": _message(stored)}
            case ["MSG", "DELETE"]:
                seq = int(asked["seq"])
                if stream.delete(seq):
                    return {"success": True}
                return BEHIND_THE_END if seq > stream.last_seq else error(400, 10043, f"sequence {seq} not found")
        raise NotModelled(f"expected a request on a stream that is modelled, got {what}")

    def _create_stream(self, name: str, asked: dict[str, Any], now_ns: int) -> dict[str, Any]:
        config = _stream_config(asked)
        if config["num_replicas"] > self._replicas:
            return ALONE
        stream = self._disk.streams.get(name)
        if stream is not None and stream.config != config:
            return OTHER_CONFIG
        others = [one for one in self._disk.streams.values() if one.name != name]
        if any(
            codec.overlap(mine, theirs)
            for one in others
            for mine in config["subjects"]
            for theirs in one.config["subjects"]
        ):
            return OVERLAP
        if stream is None:
            stream = self._disk.streams[name] = Stream(config, created_ns=now_ns)
        return self._described_stream(stream) | {"did_create": True}

    def _update_stream(self, stream: Stream, asked: dict[str, Any]) -> dict[str, Any]:
        config = _stream_config(asked)
        changed = {key for key, value in config.items() if value != stream.config.get(key)}
        if changed - {"max_bytes", "max_age", "duplicate_window", "allow_direct"}:
            raise NotModelled(f"expected an update of a stream's limits, got {sorted(changed)}")
        stream.config = config
        return self._described_stream(stream)

    def _stream_names(self, asked: dict[str, Any]) -> dict[str, Any]:
        wanted = asked.get("subject")
        names = [one.name for one in self._disk.streams.values() if wanted is None or one.takes(wanted)]
        return {
            "type": f"{KIND}stream_names_response",
            "total": len(names),
            "offset": 0,
            "limit": 1024,
            "streams": sorted(names) or None,
        }

    def _described_stream(self, stream: Stream) -> dict[str, Any]:
        count = sum(key[0] == stream.name for key in (*self._disk.consumers, *self.pushing))
        return {
            "config": stream.config,
            "created": time_text(stream.created_ns),
            "state": stream.state() | {"consumer_count": count},
        }

    def _delete_stream(self, name: str) -> dict[str, Any]:
        del self._disk.streams[name]
        for key in [key for key in self.pushing if key[0] == name]:
            del self.pushing[key]
        for key in [key for key in self._disk.consumers if key[0] == name]:
            self._gone(self._disk.consumers.pop(key))
        return {"success": True}

    # Consumers

    def _create_consumer(self, name: str, consumer: str, asked: dict[str, Any], now_ns: int) -> dict[str, Any]:
        stream = self._disk.streams.get(name)
        if stream is None:
            return NO_STREAM
        stream.expire(now_ns)
        given = {key: value for key, value in asked.items() if value or key not in CONSUMER_DEFAULTS}
        config = _pull_config(CONSUMER_DEFAULTS | given)
        backoff, most = config.get("backoff") or [], config["max_deliver"]
        if most != -1 and len(backoff) > most:
            return TOO_FEW_DELIVERIES
        found = self._disk.consumers.get((name, consumer))
        if found is None:
            found = self._disk.consumers[name, consumer] = Consumer(stream, config, now_ns)
            return self._described(found)
        for key, refused in FIXED.items():
            if config.get(key) != found.config.get(key):
                return error(500, 10012, refused)
        found.configure(config)
        return self._described(found)

    def _create_push_consumer(self, name: str, asked: dict[str, Any], now_ns: int) -> dict[str, Any]:
        stream = self._disk.streams.get(name)
        if stream is None:
            return NO_STREAM
        stream.expire(now_ns)
        config = {key: value for key, value in asked.items() if value}
        if "deliver_subject" not in config or set(config) - PUSH_SETTINGS:
            odd = sorted(set(config) - PUSH_SETTINGS) or "no deliver_subject"
            raise NotModelled(f"expected settings of a push consumer that are modelled, got {odd}: {asked}")
        consumer = f"{round(self._draw() * (1 << 40)):010x}"
        made = PushConsumer(stream, consumer, config, created_ns=now_ns, draw=self._draw)
        self.pushing[name, consumer] = made
        described = self._described(made)
        self._made(made)  # it may send before the answer goes out, which tells of the moment before
        return described

    def _consumer_info(self, name: str, consumer: str, now_ns: int) -> dict[str, Any]:
        stream = self._disk.streams.get(name)
        if stream is None:
            return NO_STREAM
        stream.expire(now_ns)
        found = self._disk.consumers.get((name, consumer)) or self.pushing.get((name, consumer))
        return NO_CONSUMER if found is None else self._described(found)

    def _delete_consumer(self, name: str, consumer: str) -> dict[str, Any]:
        if name not in self._disk.streams:
            return NO_STREAM
        if self.pushing.pop((name, consumer), None) is not None:
            return {"success": True}
        found = self._disk.consumers.pop((name, consumer), None)
        if found is None:
            return NO_CONSUMER
        self._gone(found)
        return {"success": True}

    def _described(self, consumer: Consumer | PushConsumer) -> dict[str, Any]:
        return consumer.info() | {"created": time_text(consumer.created_ns)}


def _stream_config(asked: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, and the server's own where nothing was. Raises NotModelled."""
    config = STREAM_DEFAULTS | {key: value for key, value in asked.items() if value is not None}
    if not config["duplicate_window"]:
        window_ns, age_ns = STREAM_DEFAULTS["duplicate_window"], config["max_age"]
        config["duplicate_window"] = min(window_ns, age_ns) if age_ns else window_ns
    if not config["max_bytes"]:
        config["max_bytes"] = -1
    for key, values in MODELLED.items():
        if config[key] not in values:
            raise NotModelled(f"expected a stream with {key} in {values}, got {config[key]!r}")
    return config


def _pull_config(config: dict[str, Any]) -> dict[str, Any]:
    """As the server keeps it. Raises NotModelled."""
    is_pulled = config.get("durable_name") and not config.get("deliver_subject")
    if config.get("ack_policy") not in ("all", "explicit") or not is_pulled:
        raise NotModelled(f"expected a durable consumer that is pulled and acknowledged, got {config}")
    odd = sorted({key for key, value in config.items() if value} - PULL_SETTINGS)
    if config["max_deliver"] != -1 and (config["max_deliver"] < 0 or config["ack_policy"] != "explicit"):
        odd.append("a limit of deliveries without an explicit ack of each")
    if odd:
        raise NotModelled(f"expected settings of a consumer that are modelled, got {odd}: {config}")
    return config | ({"ack_wait": config["backoff"][0]} if config.get("backoff") else {})


def _found(stream: Stream, asked: dict[str, Any]) -> Stored | None:
    """The message that a look-up is for. Raises NotModelled."""
    match asked:
        case {"last_by_subj": subject}:
            return stream.last_on(subject)
        case {"seq": seq, "next_by_subj": subject}:
            return stream.next_from(int(seq), subject)
        case {"seq": seq}:
            return stream.get(int(seq))
    raise NotModelled(f"expected a message by its sequence or subject, got {asked}")


def _message(stored: Stored) -> dict[str, Any]:
    described = {
        "subject": stored.subject,
        "seq": stored.seq,
        "data": base64.b64encode(stored.data).decode(),
        "time": time_text(stored.ts_ns),
    }
    return described | ({"hdrs": base64.b64encode(stored.headers).decode()} if stored.headers else {})
