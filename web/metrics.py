"""What Prometheus reads at /metrics; no label names a person, a key or a path.

With several workers the figures of all are summed through files in PROMETHEUS_MULTIPROC_DIR, which
`vultus serve` sets before this module is loaded.
"""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

__all__ = ["CONTENT_TYPE_LATEST", "text"]

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

REQUESTS = Counter("vultus_requests_total", "Answers sent.", ("route", "method", "status"))
LATENCY = Histogram(
    "vultus_request_seconds", "Time to the answer's first byte.", ("route",), buckets=_SECONDS
)
DECISIONS = Counter("vultus_decisions_total", "Decisions given.", ("kind", "answer"))
REFUSED = Counter("vultus_refused_total", "Requests refused, by the code.", ("code",))
BATCH = Histogram(
    "vultus_encoder_batch_faces", "Faces encoded together.", buckets=(1, 2, 4, 8, 16, 32)
)
COMMIT = Histogram(
    "vultus_commit_decisions", "Decisions committed together.", buckets=(1, 2, 4, 8, 16, 32, 64)
)
INSIDE = Gauge(
    "vultus_pictures_in_work", "Requests with pictures in work.", multiprocess_mode="livesum"
)


def text() -> bytes:
    """All figures, of all workers, in Prometheus' text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # it ships no annotation here
    return generate_latest(registry)
