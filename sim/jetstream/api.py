"""JetStream's API, pure: a request on a `$JS.API` subject and its answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sim.errors import NotModelled
from sim.jetstream import codec, look_up
from sim.jetstream.config import CONSUMER_DEFAULTS, FIXED, INACTIVE_NS, PUSH_SETTINGS, pull_config, stream_config
from sim.jetstream.consumer import Consumer
from sim.jetstream.disk import NatsDisk
from sim.jetstream.push import PushConsumer
from sim.jetstream.sending import Heard
from sim.jetstream.stream import Stream, error

NO_STREAM = error(404, 10059, "stream not found")
NO_CONSUMER = error(404, 10014, "consumer not found")
NO_MESSAGE = error(404, 10037, "no message found")
OTHER_CONFIG = error(400, 10058, "stream name already in use with a different configuration")
OVERLAP = error(400, 10065, "subjects overlap with an existing stream")
ALONE = error(500, 10074, "replicas > 1 not supported in non-clustered mode")
BEHIND_THE_END = error(500, 10057, "stream store EOF")
BEFORE_THE_BEGINNING = error(500, 10057, "no message found")
TOO_FEW_DELIVERIES = error(400, 10116, "max deliver is required to be > length of backoff values")
NO_LIMITS = {
    "max_memory": -1,
    "max_storage": -1,
    "max_streams": -1,
    "max_consumers": -1,
    "max_ack_pending": -1,
    "memory_max_stream_bytes": -1,
    "storage_max_stream_bytes": -1,
    "max_bytes_required": False,
}
UNAVAILABLE = error(503, 10008, "JetStream system temporarily unavailable")
"""What a cluster answers while nobody leads, or too few are there."""
CHANGEABLE = {
    "max_bytes", "max_age", "max_msgs", "max_msgs_per_subject", "max_msg_size", "duplicate_window", "allow_direct",
    "allow_msg_ttl", "max_consumers",
}  # fmt: skip
"""Settings of a stream whose change is modelled."""
KIND = "io.nats.jetstream.api.v1."


class Api:
    """Answers requests over a disk; tells of consumers that are gone."""

    def __init__(
        self,
        disk: NatsDisk,
        gone: Callable[[Consumer], None],
        made: Callable[[Consumer | PushConsumer], None],
        *,
        draw: Callable[[], float],
        is_heard: Heard = lambda _: True,
        replicas: int = 1,
    ) -> None:
        """`made` is told of a new consumer; `draw` answers numbers from 0 to 1."""
        self._disk = disk
        self._gone = gone
        self._made = made
        self._draw = draw
        self._is_heard = is_heard
        self._replicas = replicas
        self._asked = 0
        self.pushing: dict[tuple[str, str], PushConsumer] = {}
        """Push consumers, which are in memory only."""

    def answer(self, subject: str, body: bytes, now_ns: int) -> dict[str, Any]:
        """The answer to a request. Raises NotModelled for what the model does not know."""
        words = subject.split(".")[2:]
        self._asked += 1
        asked = json.loads(body) if body.strip() else {}
        match words:
            case ["INFO"]:
                return self._account()
            case ["STREAM", "NAMES" | "LIST" as what]:
                return self._streams(what, asked)
            case ["CONSUMER", "NAMES" | "LIST" as what, name]:
                return self._consumers(what, name)
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
        named = {"CONSUMER": words[:2], "INFO": ["ACCOUNT", "INFO"]}
        kind = "_".join(word.lower() for word in named.get(words[0], words[:-1]))
        return {"type": f"{KIND}{kind}_response"} | UNAVAILABLE

    def direct(self, subject: str, body: bytes, now_ns: int) -> list[tuple[bytes, bytes]]:
        """The header blocks and the data that answer a direct look-up; none if nobody answers it."""
        name, _, on = subject.split(".", 4)[-1].partition(".")
        stream = self._disk.streams.get(name)
        if stream is None or not stream.config["allow_direct"]:
            return []
        stream.expire(now_ns)
        return look_up.direct(stream, {"last_by_subj": on} if on else json.loads(body))

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
                described = self._described_stream(stream)
                wanted = asked.get("subjects_filter")
                subjects = stream.subjects(wanted) if wanted else {}
                return described | {"state": described["state"] | ({"subjects": subjects} if subjects else {})}
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
                stored = look_up.found(stream, asked)
                return NO_MESSAGE if stored is None else {"message": look_up.message(stored)}
            case ["MSG", "DELETE"]:
                seq = int(asked["seq"])
                if stream.delete(seq):
                    return {"success": True}
                if seq > stream.last_seq:
                    return BEHIND_THE_END
                is_before = seq < stream.first_seq
                return BEFORE_THE_BEGINNING if is_before else error(400, 10043, f"sequence {seq} not found")
        raise NotModelled(f"expected a request on a stream that is modelled, got {what}")

    def _create_stream(self, name: str, asked: dict[str, Any], now_ns: int) -> dict[str, Any]:
        config = stream_config(asked)
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
        config = stream_config(asked)
        changed = {key for key, value in config.items() if value != stream.config.get(key)}
        if changed - CHANGEABLE:
            raise NotModelled(f"expected an update of a stream's limits, got {sorted(changed)}")
        stream.configure(config)
        return self._described_stream(stream)

    def _streams(self, what: str, asked: dict[str, Any]) -> dict[str, Any]:
        wanted = asked.get("subject")
        found = [one for _, one in sorted(self._disk.streams.items()) if wanted is None or one.takes(wanted)]
        listed = [one.name if what == "NAMES" else self._described_stream(one) for one in found]
        return {"type": f"{KIND}stream_{what.lower()}_response", "streams": listed or None} | _pages(what, listed)

    def _consumers(self, what: str, name: str) -> dict[str, Any]:
        kind = {"type": f"{KIND}consumer_{what.lower()}_response"}
        if name not in self._disk.streams:
            return kind | NO_STREAM
        every: list[Consumer | PushConsumer] = [*self._disk.consumers.values(), *self.pushing.values()]
        here = [one for one in every if one.stream.name == name]
        listed = [one.name if what == "NAMES" else self._described(one) for one in here]
        return kind | {"consumers": listed} | _pages(what, listed)

    def _account(self) -> dict[str, Any]:
        return {
            "type": f"{KIND}account_info_response",
            "memory": 0,
            "storage": sum(one.size for one in self._disk.streams.values()),
            "streams": len(self._disk.streams),
            "consumers": len(self._disk.consumers) + len(self.pushing),
            "limits": NO_LIMITS,
            "api": {"level": 5, "total": self._asked, "errors": 0},
        }

    def _described_stream(self, stream: Stream) -> dict[str, Any]:
        count = sum(key[0] == stream.name for key in (*self._disk.consumers, *self.pushing))
        return {
            "config": stream.config,
            "created": look_up.time_text(stream.created_ns),
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
        config = pull_config(CONSUMER_DEFAULTS | given)
        backoff, most = config.get("backoff") or [], config["max_deliver"]
        if most != -1 and len(backoff) > most:
            return TOO_FEW_DELIVERIES
        found = self._disk.consumers.get((name, consumer))
        if found is None:
            kept_ns = config.get("inactive_threshold") or (0 if config.get("durable_name") else INACTIVE_NS)
            if kept_ns:
                kept_ns += round((0.1 + 0.9 * self._draw()) * 1e9)
            found = self._disk.consumers[name, consumer] = Consumer(stream, config, now_ns, kept_ns=kept_ns)
            self._made(found)
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
        return consumer.info(self._is_heard) | {"created": look_up.time_text(consumer.created_ns)}


def _pages(what: str, listed: list[Any]) -> dict[str, int]:
    """Everything is on the first page. Raises NotModelled if it is not."""
    limit = 1024 if what == "NAMES" else 256
    if len(listed) > limit:
        raise NotModelled(f"expected a list of one page, of {limit} at most, got {len(listed)}")
    return {"total": len(listed), "offset": 0, "limit": limit}
