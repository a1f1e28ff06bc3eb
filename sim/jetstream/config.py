"""Settings of streams and consumers: the server's own where nothing was asked for, and which of them are modelled."""

from __future__ import annotations

from typing import Any

from sim.errors import NotModelled

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
    "allow_msg_ttl": False,
}
MODELLED: dict[str, tuple[Any, ...]] = {
    "retention": ("limits",),
    "storage": ("file",),
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


INACTIVE_NS = 5_000_000_000
"""How long a consumer without a durable name is kept while nobody listens or pulls, unless it says otherwise."""
FIXED = {
    "deliver_policy": "deliver policy can not be updated",
    "opt_start_seq": "start sequence can not be updated",
    "ack_policy": "ack policy can not be updated",
    "max_waiting": "max waiting can not be updated",
}
"""What can't be changed of a consumer, and what the server says to it, in the order in which it looks."""
PULL_SETTINGS = {
    *CONSUMER_DEFAULTS, "durable_name", "name", "ack_policy", "opt_start_seq", "filter_subject", "backoff",
    "inactive_threshold", "mem_storage", "filter_subjects", "num_replicas",
}  # fmt: skip
PUSH_SETTINGS = {
    "deliver_subject", "deliver_policy", "opt_start_seq", "filter_subject", "ack_policy", "ack_wait", "max_deliver",
    "flow_control", "idle_heartbeat", "inactive_threshold", "mem_storage", "num_replicas", "replay_policy",
}  # fmt: skip


def stream_config(asked: dict[str, Any]) -> dict[str, Any]:
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


def pull_config(config: dict[str, Any]) -> dict[str, Any]:
    """As the server keeps it. Raises NotModelled."""
    is_pulled = (config.get("durable_name") or config.get("name")) and not config.get("deliver_subject")
    if config.get("ack_policy") not in ("all", "explicit", "none") or not is_pulled:
        raise NotModelled(f"expected a consumer with a name that is pulled, got {config}")
    odd = sorted({key for key, value in config.items() if value} - PULL_SETTINGS)
    if config["max_deliver"] != -1 and (config["max_deliver"] < 0 or config["ack_policy"] != "explicit"):
        odd.append("a limit of deliveries without an explicit ack of each")
    if config["ack_policy"] == "none" and not (config.get("mem_storage") and config.get("num_replicas") == 1):
        odd.append("no acks, but for a consumer in the memory of one server")
    if odd:
        raise NotModelled(f"expected settings of a consumer that are modelled, got {odd}: {config}")
    return config | ({"ack_wait": config["backoff"][0]} if config.get("backoff") else {})
