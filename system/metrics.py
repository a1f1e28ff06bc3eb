"""The relay's Prometheus metrics, in a registry of their own so that two relays in one process don't mix."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from system.batch import Batch

_LATENCY_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Tally(Collector):
    """A counter for one thread: prometheus_client's own takes a lock, which costs as much as a delivery."""

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._value = 0
        registry.register(self)

    def inc(self, amount: int = 1) -> None:
        """Count on."""
        self._value += amount

    def collect(self) -> Iterable[Metric]:
        """The metric as it stands (Collector)."""
        return [CounterMetricFamily(self._name, self._text, value=self._value)]


class Metrics:
    """All metrics by name; what each tells is its help text."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, registry=registry)

        def latency(name: str, text: str) -> Histogram:
            return Histogram(name, text, buckets=_LATENCY_BUCKETS_S, registry=registry)

        self.sessions = gauge("sse_sessions", "SSE sessions open")
        self.sessions_live = gauge("sse_sessions_live", "SSE sessions that have caught up")
        self.opened = counter("sse_sessions_opened_total", "SSE sessions opened")
        self.closed = counter("sse_sessions_closed_total", "SSE sessions closed, by reason", "reason")
        self.refused = counter("sse_sessions_refused_total", "SSE sessions refused for capacity, by limit", "limit")
        self.pages = gauge("relay_pages", "JSON pages under way")
        self.pages_refused = counter("relay_pages_refused_total", "JSON pages refused for capacity, by limit", "limit")
        self.answers_cut = counter("relay_answers_cut_total", "Connections cut: an answer was not taken in time")
        self.gone = counter(
            "sse_cursor_410_total", "Agents told that a critical event is gone, or their cursor foreign", "reason"
        )
        self.gaps = counter("sse_relay_gap_total", "Agents told that standard events are gone")
        self.replayed = counter("sse_replay_events_total", "Events sent by replay from Postgres")
        self.live = Tally("sse_live_events_total", "Events sent by live tail", registry)
        self.behind = counter("sse_sessions_behind_total", "Times that a slow client fell from live back to replay")
        self.published = counter("relay_published_total", "Events acknowledged by the stream", "duplicate")
        self.publish_refused = counter("relay_publish_refused_total", "Publish requests refused, by status", "status")
        self.publish_unknown = counter("relay_publish_unknown_total", "Publishes without a PubAck: outcome unknown")
        self.stored = counter("relay_writer_events_total", "Events stored by pg-writer")
        self.batches = counter("relay_writer_batches_total", "Batches committed by pg-writer")
        self.writer_redelivered = counter(
            "relay_writer_redelivered_total", "Messages seen again at or below the watermark"
        )
        self.writer_repeats = counter("relay_writer_repeats_total", "Publishes of an id that is stored already")
        self.writer_lost = counter("relay_writer_lost_total", "Messages that left the stream before pg-writer saw them")
        self.writer_restarts = counter(
            "relay_writer_restarts_total", "Times that pg-writer began again from the watermark"
        )
        self.writer_late = counter(
            "relay_writer_late_total",
            "Batches stored so late that their events are replayed from Postgres, not the stream",
        )
        self.consumers = gauge("relay_session_consumers", "JetStream consumers that sessions read from")
        self.consumers_made = counter("relay_session_consumers_made_total", "JetStream consumers made for sessions")
        self.dead = counter("relay_dead_letters_total", "Messages put to the dead letters, by reason", "reason")
        self.leading = gauge("relay_leading", "1 while this replica holds the lease")
        self.lag_messages = gauge("relay_writer_lag_messages", "Stream head less the watermark, as last seen")
        self.watermark = gauge("relay_watermark", "Stream sequence of the watermark, as last seen")
        self.swept = counter("relay_swept_total", "Events deleted past retention, by class", "retention_class")
        self.redispatched = counter("relay_stale_redispatches_total", "Assignments published again for want of an ack")
        self.not_redispatched = counter(
            "relay_redispatches_too_large_total", "Assignments given up, as their copy is larger than NATS takes"
        )
        self.acks = counter("relay_acks_total", "Acknowledgements stored")
        self.hub_resets = counter("relay_hub_resets_total", "Times that live tail lost continuity: sessions replayed")
        self.page_seconds = latency("relay_replay_page_seconds", "Time to read a replay page, in s")
        self.publish_seconds = latency("relay_publish_seconds", "Time from a publish request to its PubAck, in s")

    def wrote(self, batch: Batch) -> None:
        """Count what one commit did."""
        self.batches.inc()
        self.stored.inc(len(batch.events))
        self.writer_repeats.inc(batch.repeats)
        for letter in batch.dead:
            self.dead.labels(letter.reason).inc()

    def text(self) -> bytes:
        """The metrics in Prometheus's text format."""
        return generate_latest(self.registry)
