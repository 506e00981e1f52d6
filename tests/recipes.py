"""The blocks of docs/recipes.md, as the files that their first lines name."""

from __future__ import annotations

import re
from pathlib import Path

from tests.servers import ROOT

RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")

# What the recipes extend.
BASE = """{% load live_notify %}<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Recipes</title></head>
<body>{% live_notify %}{% block content %}{% endblock %}</body>
</html>
"""


def find_recipes() -> dict[str, str]:
    """Return the blocks by the path in their first line, which is left out."""
    blocks = re.findall(r"^```\S+\n(.*?)^```$", RECIPES, re.DOTALL | re.MULTILINE)
    recipes = {}
    for block in blocks:
        first, _, rest = block.partition("\n")
        (path,) = re.findall(r"^(?:# |// |\{# |<!-- )(\S+\.\w+)", first)
        recipes[path] = rest
    return recipes


def write_recipes(directory: Path) -> None:
    """Write each block to its file, and the app and the template that sites have of their own."""
    files = {"inbox/__init__.py": "", "inbox/templates/base.html": BASE, **find_recipes()}
    for path, text in files.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
