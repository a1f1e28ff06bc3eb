"""The relay's settings: `MESHRELAY_*` in the environment, every value checked before anything starts."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from system.event import CRITICAL_TYPES, RetentionClass, class_of, is_event_type

TEN_YEARS_S = 10 * 366 * 86_400
"""Above it Postgres's intervals and JetStream's nanoseconds begin to overflow."""
Seconds = Annotated[float, Field(gt=0, le=TEN_YEARS_S, allow_inf_nan=False)]
StreamSeconds = Annotated[float, Field(ge=0.1, le=TEN_YEARS_S, allow_inf_nan=False)]
"""JetStream refuses ages and windows below 100 ms."""

CONSUMERS_MAX = 100_000
"""Of the stream under the transport jetstream, one a session: without a number NATS 2.15 allows a thousand."""
SWEEP_JITTER = 1.2
"""A sweep follows the last one after up to so many intervals."""

PREFIX = "MESHRELAY_"

SCHEMES = {
    "nats_url": ("nats", "tls", "ws", "wss"),
    "postgres_dsn": ("postgresql", "postgres"),
    "redis_url": ("redis", "rediss"),
}
EXAMPLES = {
    "nats_url": "nats://host:4222",
    "postgres_dsn": "postgresql://user:password@host:port/database",
    "jwks_url": "https://host/path",
    "nats_monitor_url": "http://host:8222",
    "redis_url": "redis://host:6379/0",
}


class SettingsInvalid(ValueError):
    """A setting is wrong; one line for each says the variable, what was expected and what came."""


class Settings(BaseSettings):
    """Everything that an operator can set; each field is the variable MESHRELAY_<NAME>."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    nats_url: str = "nats://127.0.0.1:4222"
    nats_monitor_url: str | None = Field(None, description="NATS monitoring address; lets start-up check sync_interval")
    postgres_dsn: SecretStr = SecretStr("postgresql://relay@127.0.0.1:5432/meshrelay")
    stream: str = Field("MESH_EVENTS", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    http_host: str = Field("127.0.0.1", min_length=1, description="0.0.0.0 or :: for every interface")
    http_port: int = Field(8080, ge=0, le=65535, description="0 lets the system choose; the log says which")

    transport: Literal["cursor", "jetstream", "redis"] = Field(
        "cursor", description="where sessions read from: Postgres, JetStream consumers of their own, Redis Streams"
    )
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="for the transport redis only")
    expiry_margin_s: Seconds = Field(
        86_400, description="transport jetstream: how much longer the stream keeps events than Postgres retains them"
    )

    consumer_idle_s: Seconds = Field(
        60, description="transport jetstream: how long NATS keeps a session's consumer after its replica died"
    )

    jwt_hs256_secret: SecretStr | None = Field(None, description="shared secret, at least 32 bytes")
    jwks_url: str | None = Field(None, description="where the issuer's public keys are")
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    jwt_leeway_s: float = Field(0, ge=0, le=300, allow_inf_nan=False)
    allow_query_token: bool = Field(False, description="accept ?access_token= (browsers' EventSource has no headers)")

    retention_critical_s: Seconds = 7 * 86_400
    retention_standard_s: Seconds = 86_400
    critical_types: Annotated[frozenset[str], NoDecode] = CRITICAL_TYPES
    dead_letter_retention_s: Seconds = 30 * 86_400
    sweep_interval_s: Seconds = 120
    sweep_pause_s: float = Field(0.02, ge=0, le=10, description="rest between two pieces of a sweep")

    stream_max_age_s: StreamSeconds = 8 * 86_400
    stream_max_bytes: int = Field(-1, ge=-1, description="-1 is unlimited; a full stream refuses publishes")
    stream_replicas: int = Field(1, ge=1, le=5)
    dedupe_window_s: StreamSeconds = 120
    writer_batch: int = Field(1_000, ge=1, le=10_000)
    lease_s: Seconds = 30
    redispatch_after_s: Seconds = 600
    redispatch_max: int = Field(3, ge=0, le=100)

    heartbeat_s: Seconds = 15
    bookmark_s: Seconds = 5
    retry_min_ms: int = Field(1_000, ge=1)
    retry_max_ms: int = Field(5_000, ge=1)
    tail_poll_s: Seconds = 0.5
    tail_rows: int = Field(1_000, ge=1, le=10_000)
    hub_window_events: int = Field(20_000, ge=1, description="recent events kept for the hand-off from replay to live")
    hub_window_bytes: int = Field(64 * 1024 * 1024, ge=1024)
    page_rows: int = Field(1_000, ge=1, le=5_000)
    page_bytes: int = Field(1024 * 1024, ge=1024)
    replays_max: int = Field(16, ge=1, description="replay pages read at the same time")
    sessions_max: int = Field(10_000, ge=1)
    sessions_per_agent_max: int = Field(8, ge=1)
    pages_max: int = Field(64, ge=1, description="JSON pages read and being answered at the same time")
    pages_per_agent_max: int = Field(4, ge=1)
    connections_max: int = Field(12_000, ge=1, description="a few more are taken for probes alone")
    publishes_max: int = Field(256, ge=1, description="publish requests under way at the same time")
    batch_events_max: int = Field(1_000, ge=1, le=5_000)
    event_bytes_max: int = Field(256 * 1024, ge=1024, le=8 * 1024 * 1024)
    body_bytes_max: int = Field(4 * 1024 * 1024, ge=1024)
    request_timeout_s: Seconds = 10
    keep_alive_s: Seconds = Field(75, description="idle connections are closed; above the proxy's own idle time")
    slow_client_bytes: int = Field(256 * 1024, ge=1024, description="unsent bytes at which a live session falls behind")
    slow_client_timeout_s: Seconds = Field(30, description="who does not take a page or an answer for so long is cut")
    publish_timeout_s: Seconds = 5
    database_timeout_s: Seconds = 5
    database_pool_max: int = Field(10, ge=2, le=200)
    drain_deadline_s: Seconds = 20
    ready_after_silence_s: Seconds = Field(10, description="/readyz asks NATS and Postgres that were silent for longer")
    idle_check_s: Seconds = Field(30, description="how often a replica that has nothing to do looks at both, unasked")

    cors_origins: Annotated[frozenset[str], NoDecode] = frozenset()
    log_format: Literal["json", "console"] = "json"
    delivery_log: bool = Field(
        False, description="log the cursors of every event sent, not only how many; as much log as events"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    allow_unsafe_storage: bool = Field(
        False, description="start although Postgres or NATS may lose acknowledged writes"
    )

    @field_validator("critical_types", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return frozenset(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("jwt_hs256_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < 32:
            raise ValueError("expected at least 32 bytes (RFC 7518 section 3.2); make one with `openssl rand -hex 32`")
        return value

    @field_validator("critical_types")
    @classmethod
    def _are_types(cls, value: frozenset[str]) -> frozenset[str]:
        wrong = sorted(kind for kind in value if not is_event_type(kind))
        if wrong:
            raise ValueError(f"expected event types such as task.assigned, comma separated; {wrong[0]!r} can't be one")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: frozenset[str]) -> frozenset[str]:
        for origin in sorted(value - {"*"}):
            parts = urlsplit(origin)
            if origin != f"{parts.scheme}://{parts.netloc}" or not parts.hostname or "*" in origin:
                raise ValueError(f"expected * or origins such as https://app.example, without a path; got {origin!r}")
        return value

    @field_validator("nats_url", "jwks_url", "nats_monitor_url", "postgres_dsn", "redis_url")
    @classmethod
    def _is_url(cls, value: str | SecretStr | None, info: ValidationInfo) -> str | SecretStr | None:
        if value is None:
            return None
        name = str(info.field_name)
        parts = urlsplit(value.get_secret_value() if isinstance(value, SecretStr) else value)
        try:
            has_port = parts.port is None or parts.port > 0
        except ValueError:
            has_port = False
        # Postgres alone may be reached over a socket, named in the query
        has_host = bool(parts.hostname) or name == "postgres_dsn"
        if parts.scheme not in SCHEMES.get(name, ("http", "https")) or not has_host or not has_port:
            raise ValueError(f"expected an address such as {EXAMPLES[name]}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        wrong = [
            text
            for bad, text in (
                (self.jwt_hs256_secret is None and self.jwks_url is None,
                 "expected JWT_HS256_SECRET or JWKS_URL: without a key no token can be checked"),
                (self.retry_min_ms > self.retry_max_ms, "expected RETRY_MIN_MS <= RETRY_MAX_MS"),
                (self.stream_max_age_s <= self.dedupe_window_s,
                 "expected STREAM_MAX_AGE_S above DEDUPE_WINDOW_S: repeats are found among what is stored"),
                (self.body_bytes_max < self.event_bytes_max, "expected BODY_BYTES_MAX >= EVENT_BYTES_MAX"),
                (self.retention_standard_s > self.retention_critical_s,
                 "expected RETENTION_STANDARD_S <= RETENTION_CRITICAL_S"),
                (self.transport == "jetstream"
                 and self.stream_max_age_s < self.retention_critical_s + self.expiry_margin_s,
                 "expected, for the transport jetstream, STREAM_MAX_AGE_S >= RETENTION_CRITICAL_S + EXPIRY_MARGIN_S: "
                 "what the stream forgets first is lost without a word"),
                (self.transport == "jetstream" and self.sweep_interval_s * SWEEP_JITTER >= self.expiry_margin_s / 2,
                 "expected, for the transport jetstream, SWEEP_INTERVAL_S well below half of EXPIRY_MARGIN_S: replay "
                 "is refused while the last sweep is older than that half"),
            )
            if bad
        ]  # fmt: skip
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def retention_s(self, kept_class: RetentionClass) -> float:
        """How long events of a class are kept, in s."""
        return self.retention_critical_s if kept_class is RetentionClass.CRITICAL else self.retention_standard_s

    def stream_limits(self) -> dict[str, Any]:
        """The keyword arguments of `stream_config`."""
        limits = {
            "max_age_s": self.stream_max_age_s,
            "dedupe_window_s": self.dedupe_window_s,
            "replicas": self.stream_replicas,
            "max_bytes": self.stream_max_bytes,
        }
        if self.transport == "jetstream":
            # there only the stream recognises repeats, which Postgres otherwise does for the whole retention
            window_s = max(self.dedupe_window_s, self.retention_critical_s)
            limits |= {"dedupe_window_s": window_s, "allow_msg_ttl": True, "max_consumers": CONSUMERS_MAX}
        return limits

    def ttl_rule(self, *, allowed: bool) -> Callable[[str], int | None]:
        """How long the stream is to keep an event of a type, in whole s; None for its own limit, `max_age`.

        Longer than Postgres retains it, by the margin: whoever reads the stream must be told of what is gone first.
        """
        if self.transport != "jetstream" or not allowed:
            return lambda _: None
        standard_s = math.ceil(self.retention_standard_s + self.expiry_margin_s)
        return lambda kind: None if class_of(kind, self.critical_types) is RetentionClass.CRITICAL else standard_s


def shown(name: str, value: Any) -> str:
    """A setting as people may see it: no secret, and no password within an address."""
    if value is None:
        return ""
    if "secret" in name or "dsn" in name:
        return "**********"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, frozenset):
        return ",".join(sorted(value))
    text = str(value)
    return re.sub(r"^(\w+:(?://)?)?.*@", r"\1**********@", text) if name.endswith("url") else text


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """Variables that are nearly a setting's, and that setting's.

    Others may be anybody's: an orchestrator gives a service named meshrelay MESHRELAY_PORT, and clients have their own.
    """
    known = [name.upper() for name in Settings.model_fields]
    meant = {}
    for name in sorted(names):
        bare = name.removeprefix(PREFIX)
        if bare != name and bare not in known and (near := difflib.get_close_matches(bare, known, 1, cutoff=0.85)):
            meant[name] = PREFIX + near[0]
    return meant


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment. Raises SettingsInvalid with a line for each wrong value or name."""
    lines = [f"{name}: no such setting; did you mean {meant}?" for name, meant in misspelt(os.environ).items()]
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        for one in error.errors():
            field = str(one["loc"][0]) if one["loc"] else ""
            got = f", got {shown(field, one['input'])!r}" if field else ""
            lines.append(f"MESHRELAY_{field.upper() or '*'}: {one['msg'].removeprefix('Value error, ')}{got}")
        raise SettingsInvalid("\n".join(lines)) from None
    if lines:
        raise SettingsInvalid("\n".join(lines))
    return settings
