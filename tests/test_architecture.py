"""Which module may know which, and what importing the package costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import django_live_notify

PACKAGE = Path(django_live_notify.__file__).parent
STORE = {
    "api",
    "audiences",
    "conf",
    "content",
    "models",
    "pruning",
    "pushing",
    "querysets",
    "schema",
    "scheduling",
    "signals",
    "walking",
    "writing",
}
ENTRY_POINTS = {
    "acting",
    "admin",
    "asgi",
    "consumers",
    "forms",
    "holding",
    "inbox",
    "urls",
    "views",
}


def imported_by(path: Path) -> set[str]:
    """Return the modules that a file imports, ours relative to the package."""
    level = len(path.relative_to(PACKAGE).parts)
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
        elif isinstance(node, ast.ImportFrom):
            inside = ["live"] if level == 2 and node.level == 1 else []
            stem = ".".join([*inside, *([node.module] if node.module else [])])
            names |= (
                {stem} if node.module else {".".join([*inside, alias.name]) for alias in node.names}
            )
    return names


def test_the_store_knows_neither_channels_nor_live_delivery() -> None:
    for name in STORE:
        for imported in imported_by(PACKAGE / f"{name}.py"):
            assert imported.split(".")[0] not in {"channels", "live"} | ENTRY_POINTS, (
                name,
                imported,
            )


def test_live_delivery_knows_no_entry_point() -> None:
    for path in (PACKAGE / "live").glob("*.py"):
        for imported in imported_by(path):
            assert imported.split(".")[0] not in ENTRY_POINTS, (path.name, imported)


def test_importing_the_package_loads_no_model() -> None:
    code = (
        "import sys, django_live_notify;"
        "assert not [name for name in sys.modules if name.startswith('django.')], 'django loaded';"
        "assert 'push' in dir(django_live_notify)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_public_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(django_live_notify, "shove")
