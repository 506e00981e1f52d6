"""The documentation: what it names is there."""

from __future__ import annotations

import re

import pytest

from tests.servers import ROOT

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
