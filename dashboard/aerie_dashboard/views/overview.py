# SPDX-License-Identifier: Apache-2.0
"""The first page: what the project has, and how much of its quota that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from aerie_dashboard.cloud import together
from aerie_dashboard.template_tags import memory


@dataclass(frozen=True)
class Gauge:
    """One quota. limit -1: none; text: how a number of it is written."""

    label: str
    used: int
    limit: int
    text: Callable[[int], str] = str

    @property
    def used_text(self) -> str:
        return self.text(self.used)

    @property
    def limit_text(self) -> str:
        return self.text(self.limit)

    @property
    def percent(self) -> int:
        return min(100, round(100 * self.used / self.limit)) if self.limit > 0 else 0

    @property
    def tone(self) -> str:
        return "bad" if self.percent >= 90 else "working" if self.percent >= 70 else "good"


def overview(request: HttpRequest) -> HttpResponse:
    """Quotas and the newest servers."""
    cloud = request.cloud
    project = request.login["project_id"]
    got = together(
        limits=lambda: cloud.get("compute", "/limits", "limits")["absolute"],
        quotas=lambda: cloud.get("network", f"/quotas/{project}/details.json", "quota"),
        servers=lambda: cloud.get("compute", "/servers/detail?limit=5&sort_key=created_at&sort_dir=desc", "servers"),
    )
    limits, quotas = got["limits"], got["quotas"]
    gauges = [
        Gauge("Servers", limits["totalInstancesUsed"], limits["maxTotalInstances"]),
        Gauge("Cores", limits["totalCoresUsed"], limits["maxTotalCores"]),
        Gauge("Memory", limits["totalRAMUsed"], limits["maxTotalRAMSize"], memory),
    ]
    names = (("network", "Networks"), ("port", "Ports"), ("router", "Routers"), ("floatingip", "Floating IPs"))
    gauges += [Gauge(label, quotas[n]["used"], quotas[n]["limit"]) for n, label in names if n in quotas]
    return render(request, "overview.html", {"title": "Overview", "gauges": gauges, **got})
