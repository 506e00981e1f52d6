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
<body>{% block client %}{% live_notify %}{% endblock %}{% block content %}{% endblock %}</body>
</html>
"""

# A page of a recipe; React brings the element itself.
PAGE = """{% extends "base.html" %}{% load live_notify static %}
{% block client %}{% if name != "react" %}{% live_notify %}{% endif %}{% endblock %}
{% block content %}
{% include template %}
<script type="module" src="{% static script %}"></script>
{% endblock %}
"""

URLS = """from django.shortcuts import render
from django.urls import include, path

def show(request, name):
    context = {"template": f"inbox/{name}.html", "script": f"inbox/{name}.bundle.js", "name": name}
    return render(request, "recipe.html", context)

urlpatterns = [
    path("inbox/", include("inbox.urls")),
    path("recipes/<name>/", show),
    path("", include("demo_site.urls")),
]
"""

SETTINGS = """from demo_site.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "inbox"]
ROOT_URLCONF = "recipes_urls"
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
    files = {
        "inbox/__init__.py": "",
        "inbox/templates/base.html": BASE,
        "inbox/templates/recipe.html": PAGE,
        "recipes_urls.py": URLS,
        "recipes_settings.py": SETTINGS,
        **find_recipes(),
    }
    for path, text in files.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
