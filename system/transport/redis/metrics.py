"""What a replica counts of Redis, in the relay's own registry; only where Redis is the transport."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class RedisMetrics:
    """All of them by name; what each tells is its help text."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lag_messages = Gauge(
            "relay_redis_lag_messages", "Stream head less the watermark in Redis, as last fed", registry=registry
        )
        self.fed = Counter("relay_redis_events_total", "Events added to Redis Streams", registry=registry)
        self.restored = Counter(
            "relay_redis_restored_total", "Of these, events that Postgres had and Redis lacked", registry=registry
        )
        self.trimmed = Counter(
            "relay_redis_trimmed_total",
            "Events trimmed past retention, by class",
            ["retention_class"],
            registry=registry,
        )
        self.restarts = Counter(
            "relay_redis_feeder_restarts_total",
            "Times that the feeder began again from the watermark",
            registry=registry,
        )
        self.errors = Counter(
            "relay_redis_errors_total", "Calls that Redis refused or did not answer in time", registry=registry
        )
