# SPDX-License-Identifier: Apache-2.0
"""Who may import whom. These rules keep the architecture: see docs/architecture.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
SERVICES = ("identity", "compute", "image", "network", "dns", "dashboard")


def sources(service: str) -> Iterator[Path]:
    return (TREE / service / f"aerie_{service}").rglob("*.py")


def imports(path: Path) -> Iterator[str]:
    """Modules a file imports at run time (not those for the type checker alone)."""
    tree = ast.parse(path.read_text())
    for checking in [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]:
        checking.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offenders(paths: Iterator[Path], forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{path.relative_to(TREE)} imports {name}"
        for path in paths
        for name in imports(path)
        if any(name == f or name.startswith(f + ".") for f in forbidden)
    ]


def test_services_do_not_import_each_other() -> None:
    found = []
    for service in SERVICES:
        others = tuple(f"aerie_{other}" for other in SERVICES if other != service)
        found += offenders(sources(service), others)
    assert found == []


def test_common_knows_no_service() -> None:
    assert offenders(sources("common"), tuple(f"aerie_{s}" for s in SERVICES)) == []


def test_only_db_speaks_sql() -> None:
    """Handlers, schemas and drivers leave SQL to db/."""
    found = []
    for service in SERVICES:
        package = TREE / service / f"aerie_{service}"
        for layer in ("api", "schemas", "drivers", "agent"):
            found += offenders((package / layer).rglob("*.py"), ("sqlalchemy",))
    assert found == []


def test_handlers_leave_messages_and_flows_to_logic() -> None:
    found = []
    for service in SERVICES:
        package = f"aerie_{service}"
        api = (TREE / service / package / "api").rglob("*.py")
        found += offenders(api, (f"{package}.rpc", f"{package}.flows", f"{package}.db.tables", "oslo_messaging"))
    assert found == []


def test_drivers_import_nothing_above_them() -> None:
    found = []
    for service in SERVICES:
        package = f"aerie_{service}"
        above = tuple(f"{package}.{layer}" for layer in ("api", "logic", "db", "flows", "rpc", "container", "daemons"))
        found += offenders((TREE / service / package / "drivers").rglob("*.py"), above)
    assert found == []


def test_nobody_needs_eventlet() -> None:
    found = []
    for service in ("common", *SERVICES):
        found += offenders(sources(service), ("eventlet", "greenlet"))
    assert found == []


def test_every_source_file_says_its_licence() -> None:
    files = [p for s in ("common", *SERVICES, "tests", "migrations", "etc") for p in (TREE / s).rglob("*.py")]
    assert [
        str(p)
        for p in files
        if (text := p.read_text()) and not text.startswith(("# SPDX-License-Identifier: Apache-2.0", "#!"))
    ] == []
