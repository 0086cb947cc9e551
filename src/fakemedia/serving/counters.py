"""The numbers that `/metrics` shows to Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fakemedia.serving.live_detector import Serving

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Counters:
    """The metrics of one service, in a collector of its own."""

    def __init__(self) -> None:
        self.collector = CollectorRegistry()
        own = self.collector
        self.requests = Counter("fakemedia_requests", "Requests for scores by status", ["status"], registry=own)
        self.pictures = Counter("fakemedia_pictures", "Pictures scored by verdict", ["verdict"], registry=own)
        self.seconds = Histogram("fakemedia_request_seconds", "Time from request to answer", buckets=SECONDS,
                                 registry=own)
        self.crops = Histogram("fakemedia_batch_crops", "Crops in a batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128),
                               registry=own)
        self.working = Gauge("fakemedia_requests_working", "Requests at work", registry=own)
        self.version = Gauge("fakemedia_version", "Version of the detector that serves", registry=own)
        self.swaps = Counter("fakemedia_swaps", "Versions that began to serve", registry=own)
        self.swap_failures = Counter("fakemedia_swap_failures", "Times that the alias could not be followed",
                                     registry=own)
        self.log_lost = Gauge("fakemedia_log_lost", "Rows that could not be logged", registry=own)

    def swapped(self, serving: Serving) -> None:
        """Note that another version serves."""
        self.version.set(serving.version.number)
        self.swaps.inc()
