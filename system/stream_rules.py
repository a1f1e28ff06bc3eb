"""What of a stream's and a consumer's settings loses or stalls acknowledged events, and what is merely different.

Pure, over JetStream's own words, for nats-py drops the settings that it does not know. Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nats.js.api import StreamConfig

from system.event import SUBJECT_PREFIX

EVERYTHING = frozenset({">", f"{SUBJECT_PREFIX}.>"})
"""Filters that leave nothing out."""
Said = Mapping[str, Any]
"""Settings as the server says them; what is not set it may leave out."""
_NS = 1_000_000_000


def losing(found: Said, subjects: list[str] | None) -> list[str]:
    """What of a stream's settings can lose acknowledged events, a line each."""
    discard = found.get("discard", "old")
    told_by_subject = discard == "new" and bool(found.get("discard_new_per_subject"))
    full = "no limit, or discard new"
    return [
        f"{name}: expected {expected}, got {actual}"
        for name, expected, actual, wrong in (
            ("storage", "file", found.get("storage"), found.get("storage") != "file"),
            ("retention", "limits", found.get("retention"), found.get("retention") != "limits"),
            ("subjects", subjects, found.get("subjects"), f"{SUBJECT_PREFIX}.>" not in (found.get("subjects") or [])),
            ("persist_mode", "default", found.get("persist_mode"),
             str(found.get("persist_mode") or "").endswith("async")),
            ("no_ack", False, found.get("no_ack"), bool(found.get("no_ack"))),
            *(
                (name, full, f"{found.get(name)} and discard {discard}", _limits(found, name) and discard != "new")
                for name in ("max_msgs", "max_bytes")
            ),
            # discard new alone does not hold for it: the subject's oldest message goes all the same
            ("max_msgs_per_subject", "no limit", found.get("max_msgs_per_subject"),
             _limits(found, "max_msgs_per_subject") and not told_by_subject),
            ("subject_transform", "none", found.get("subject_transform"), bool(found.get("subject_transform"))),
        )
        if wrong
    ]  # fmt: skip


def raised_age_ns(found: Said, wanted: StreamConfig) -> int | None:
    """The age that a stream has to be given because it forgets earlier than that, in ns; None if it is old enough."""
    wanted_ns = round((wanted.max_age or 0) * _NS)
    return wanted_ns if 0 < found.get("max_age", 0) < wanted_ns else None


def differing(found: Said, wanted: StreamConfig) -> dict[str, str]:
    """What of a stream is not as the relay would have made it, and loses nothing by that: for the log."""
    window_ns, age_ns = round((wanted.duplicate_window or 0) * _NS), round((wanted.max_age or 0) * _NS)
    has_window_ns, has_age_ns = found.get("duplicate_window", 0), found.get("max_age", 0)
    discard, copies = found.get("discard", "old"), wanted.num_replicas or 1
    bytes_max, wanted_bytes = found.get("max_bytes") or -1, wanted.max_bytes or -1
    return {
        name: f"expected {expected}, got {actual}"
        for name, expected, actual, differs in (
            ("duplicate_window_ns", window_ns, has_window_ns, has_window_ns < window_ns),
            ("max_age_ns", age_ns, has_age_ns, has_age_ns != age_ns),
            ("max_bytes", wanted_bytes, bytes_max, bytes_max != wanted_bytes),
            ("max_msg_size", "no limit", found.get("max_msg_size"), _limits(found, "max_msg_size")),
            ("discard", "new", discard, discard != "new"),
            ("num_replicas", copies, found.get("num_replicas"), found.get("num_replicas", 1) < copies),
        )
        if differs
    }  # fmt: skip


def stalling(info: Said) -> list[str]:
    """What of a consumer, by its info, keeps events from who reads in stream order and acknowledges cumulatively."""
    found = info["config"]
    filters = {*(found.get("filter_subjects") or []), *filter(None, [found.get("filter_subject")])}
    return [
        f"{name}: expected {expected}, got {actual}"
        for name, expected, actual, wrong in (
            ("ack_policy", "all", found.get("ack_policy"), found.get("ack_policy") != "all"),
            ("filter_subject", "none", ", ".join(sorted(filters)), bool(filters) and not filters & EVERYTHING),
            ("deliver_subject", "none", found.get("deliver_subject"), bool(found.get("deliver_subject"))),
            ("headers_only", False, found.get("headers_only"), bool(found.get("headers_only"))),
            # a limit would skip an event for ever after so many failures
            ("max_deliver", "no limit", found.get("max_deliver"), _limits(found, "max_deliver")),
            *(
                (name, "no limit", found.get(name), _limits(found, name))
                for name in ("max_batch", "max_bytes", "max_expires")
            ),
            ("paused", False, True, bool(info.get("paused"))),
        )
        if wrong
    ]  # fmt: skip


def _limits(found: Said, name: str) -> bool:
    """Whether a setting limits anything: to nought or to -1 means no limit."""
    return int(found.get(name) or 0) > 0
