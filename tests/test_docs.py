"""The documentation: what it names is there."""

from __future__ import annotations

import re

import pytest

from django_live_notify.consumers import LiveNotifyConsumer
from django_live_notify.live.protocol import Verdict
from django_live_notify.urls import urlpatterns
from tests.servers import ROOT

PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
# The modules of live delivery that write frames.
WRITERS = ("hub", "log", "protocol")

GUARANTEES = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")


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
