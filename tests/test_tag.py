"""{% live_notify %}: what a page gets."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.template import Context, Template, TemplateSyntaxError
from django.test import RequestFactory
from django.utils.translation import override

import django_live_notify
from django_live_notify.templatetags.live_notify import ui_texts

pytestmark = pytest.mark.django_db


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def names(self) -> list[str]:
        return [name for name, _ in self.found]


def render(user: Any, arguments: str = "", **context: Any) -> str:
    request = RequestFactory().get("/")
    request.user = user
    template = Template("{% load live_notify %}{% live_notify " + arguments + " %}")
    return template.render(Context({"request": request, **context}))


def test_a_signed_in_reader_gets_client_bell_and_toasts(
    make_user: Any, django_assert_num_queries: Any
) -> None:
    alice = make_user("alice")
    with django_assert_num_queries(0):
        tags = Tags(render(alice))
    assert tags.names() == [
        "script",
        "script",
        "live-notify",
        "live-notify-bell",
        "live-notify-toasts",
    ]
    attributes = tags.found[2][1]
    assert attributes["endpoint"] == "/live-notify/"
    assert attributes["user"] == str(alice.pk)
    assert attributes["csrf-token"] and attributes["since"] and attributes["texts"]


def test_parts_may_be_left_out(make_user: Any) -> None:
    alice = make_user("alice")
    assert Tags(render(alice, "bell=False toasts=False")).names() == ["script", "live-notify"]
    assert "live-notify-toasts" not in Tags(render(alice, "toasts=False")).names()


def test_nobody_gets_nothing() -> None:
    assert render(AnonymousUser()).strip() == ""


def test_the_request_is_asked_for() -> None:
    with pytest.raises(TemplateSyntaxError, match="context processors"):
        Template("{% load live_notify %}{% live_notify %}").render(Context())


def test_scripts_carry_the_nonce_of_the_page(make_user: Any) -> None:
    tags = Tags(render(make_user("alice"), csp_nonce="abc"))
    assert [attributes.get("nonce") for name, attributes in tags.found if name == "script"] == [
        "abc",
        "abc",
    ]


def test_nothing_is_inline(make_user: Any) -> None:
    html = render(make_user("alice"))
    assert re.findall(r"<script[^>]*>([^<]+)</script>", html) == []
    assert "style" not in html and not re.search(r"\son\w+=", html)


def test_the_texts_are_those_of_the_script() -> None:
    static = Path(django_live_notify.__file__).parent / "static" / "django_live_notify"
    source = (static / "live-notify-ui.js").read_text(encoding="utf-8")
    block = re.search(r"const TEXTS = \{(.*?)\};", source, re.DOTALL)
    assert block is not None
    pairs = re.findall(r"^\s*(\w+): (\".*?\"),$", block[1], re.MULTILINE)
    with override("en"):
        assert {key: ast.literal_eval(text) for key, text in pairs} == ui_texts()


@pytest.mark.parametrize("language", ["de", "zh-hans"])
def test_the_texts_are_translated_with_their_parameters(language: str) -> None:
    with override("en"):
        english = ui_texts()
    with override(language):
        for key, text in ui_texts().items():
            assert text != english[key], key
            assert re.findall(r"%\(\w+\)s", text) == re.findall(r"%\(\w+\)s", english[key])
