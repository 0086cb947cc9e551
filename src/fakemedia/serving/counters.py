"""The metrics of the service, as `/metrics` gives them to Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fakemedia.serving.live_detector import Serving

LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Counters:
    """The metrics of one service, in its own collector."""

    def __init__(self) -> None:
        self.collector = CollectorRegistry()
        registry = self.collector
        self.requests = Counter("fakemedia_requests", "Requests for scores by status", ["status"], registry=registry)
        self.pictures = Counter("fakemedia_pictures", "Pictures scored by verdict", ["verdict"], registry=registry)
        self.seconds = Histogram("fakemedia_request_seconds", "Time from request to answer",
                                 buckets=LATENCY_BUCKETS, registry=registry)
        self.crops = Histogram("fakemedia_batch_crops", "Crops in a batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128),
                               registry=registry)
        self.working = Gauge("fakemedia_requests_working", "Requests in progress", registry=registry)
        self.version = Gauge("fakemedia_version", "Version of the detector that serves", registry=registry)
        self.swaps = Counter("fakemedia_swaps", "Versions that began to serve", registry=registry)
        self.swap_failures = Counter("fakemedia_swap_failures", "Times that the alias could not be followed",
                                     registry=registry)
        self.log_lost = Gauge("fakemedia_log_lost", "Rows that could not be logged", registry=registry)

    def swapped(self, serving: Serving) -> None:
        """Count a swap and set the version that serves."""
        self.version.set(serving.version.number)
        self.swaps.inc()
