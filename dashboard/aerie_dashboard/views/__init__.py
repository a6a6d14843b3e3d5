# SPDX-License-Identifier: Apache-2.0
"""The pages."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from aerie_dashboard.tables import Table


def table_page(request: HttpRequest, table: Table) -> HttpResponse:
    """A list page; only its table when htmx asks for the live part."""
    template = "table.html" if request.headers.get("HX-Request") else "list.html"
    return render(request, template, {"table": table, "title": table.title})
