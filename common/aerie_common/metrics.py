# SPDX-License-Identifier: Apache-2.0
"""Figures for Prometheus: requests by operation and status, and their duration. Served at /metrics of each API."""

from __future__ import annotations

import prometheus_client

_DURATION = prometheus_client.Histogram(
    "aerie_request_seconds",
    "Time to answer an API request.",
    ["service", "operation", "status"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
_children: dict[tuple[str, str, int], prometheus_client.Histogram] = {}


def observe(service: str, operation: str, status: int, seconds: float) -> None:
    """Count one answered request."""
    key = (service, operation, status)
    child = _children.get(key)
    if child is None:
        child = _children[key] = _DURATION.labels(service, operation, str(status))
    child.observe(seconds)


def exposition() -> tuple[bytes, str]:
    """All figures of this process in Prometheus' text format, and its content type."""
    return prometheus_client.generate_latest(), prometheus_client.CONTENT_TYPE_LATEST
