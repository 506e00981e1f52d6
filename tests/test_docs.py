"""The documentation: what it names is there."""

from __future__ import annotations

import inspect
import re

import pytest

import django_live_notify
from django_live_notify.consumers import LiveNotifyConsumer
from django_live_notify.live.protocol import Verdict
from django_live_notify.templatetags.live_notify import live_notify
from django_live_notify.urls import urlpatterns
from tests.servers import ROOT

PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
# The modules of live delivery that write frames.
WRITERS = ("hub", "log", "protocol")

GUARANTEES = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
ELEMENTS = (ROOT / "docs" / "elements.md").read_text(encoding="utf-8")

STATIC = ROOT / django_live_notify.__name__ / "static" / django_live_notify.__name__
SCRIPT = (STATIC / "live-notify-ui.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/\S+?\.py::\w+)`", GUARANTEES))))
def test_each_guarantee_has_its_test(name: str) -> None:
    path, _, function = name.partition("::")
    source = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {function}\(", source, re.MULTILINE)


def test_every_fault_names_what_shows_it() -> None:
    table = GUARANTEES.partition("## The guarantees")[2].partition("Which guard")[0]
    rows = re.findall(r"^\| (?!fault|-)(.+) \|$", table, re.MULTILINE)
    assert len(rows) > 20
    assert all("`tests/" in row for row in rows)


def test_the_wire_is_described_complete() -> None:
    for verdict in Verdict:
        assert f"| {int(verdict)} |" in PROTOCOL
    for command in ("hello", "ping", "pong", *LiveNotifyConsumer.command_handlers):
        assert f"`{command}`" in PROTOCOL
    for pattern in urlpatterns:
        assert re.search(rf"[` ]{pattern.pattern}", PROTOCOL), pattern
    package = ROOT / "django_live_notify"
    modules = [*package.glob("*.py"), *(package / "live" / f"{name}.py" for name in WRITERS)]
    source = "".join(path.read_text(encoding="utf-8") for path in modules)
    for kind in set(re.findall(r'"type": "([a-z]+)"', source)):
        assert f"`{kind}`" in PROTOCOL, kind
    for code in set(re.findall(r'(?:CommandError|error)\(\s*"(\w+)"', source)):
        assert f"`{code}`" in PROTOCOL, code


def told(heading: str) -> set[str]:
    """Return the names in the table below a heading of the page on the elements."""
    section = ELEMENTS.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!---)(.+) \|$", section, re.MULTILINE)
    column = -1 if heading == "Parts" else 0
    return {name for row in rows for name in re.findall(r"`([\w.-]+)`", row.split(" | ")[column])}


def test_the_options_of_the_tag_are_told_with_their_defaults() -> None:
    options = inspect.signature(live_notify).parameters.values()
    for option in options:
        if option.kind is option.KEYWORD_ONLY:
            assert f"| `{option.name}` | `{option.default}` |" in ELEMENTS
    assert len(told("Options of the tag")) == len(options) - 1


def test_the_properties_of_the_elements_are_told() -> None:
    assert told("Colours and sizes") == set(re.findall(r"--live-notify-[a-z-]+", SCRIPT))


def test_the_parts_of_the_elements_are_told() -> None:
    parts = re.findall(r'part: "([a-z -]+)"', SCRIPT)
    assert told("Parts") == {*parts, "item", "toast"}


def test_the_slots_and_the_fields_of_an_item_are_told() -> None:
    for slot in re.findall(r'element\("slot", \{ name: "(\w+)"', SCRIPT):
        assert f'slot="{slot}"' in ELEMENTS
    fields = set(re.findall(r'"data-field": "(\w+)"', SCRIPT))
    assert len(fields) > 8 and fields <= told("Slots and layouts")
