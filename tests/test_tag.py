"""{% live_notify %}: what a page gets."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.template import Context, RequestContext, Template
from django.test import RequestFactory, override_settings
from django.utils.functional import SimpleLazyObject, empty
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


def nonces(html: str) -> list[str | None]:
    return [attributes.get("nonce") for name, attributes in Tags(html).found if name == "script"]


def render(
    user: Any, arguments: str = "", request_values: dict[str, Any] | None = None, **context: Any
) -> str:
    request = RequestFactory().get("/")
    request.user = user
    for name, value in (request_values or {}).items():
        setattr(request, name, value)
    template = Template("{% load live_notify %}{% live_notify " + arguments + " %}")
    return template.render(Context({"request": request, **context}))


def test_a_signed_in_reader_gets_client_bell_and_toasts(
    make_user: Any, django_assert_num_queries: Any
) -> None:
    alice = make_user("alice")
    with django_assert_num_queries(0):
        tags = Tags(render(alice))
    assert tags.names() == [
        *["script"] * 3,
        "live-notify",
        "live-notify-bell",
        "live-notify-toasts",
    ]
    attributes = tags.found[3][1]
    assert attributes["endpoint"] == "/live-notify/"
    assert attributes["user"] == str(alice.pk)
    assert attributes["csrf-token"] and attributes["since"] and attributes["texts"]


def test_parts_may_be_left_out(make_user: Any) -> None:
    alice = make_user("alice")
    names = Tags(render(alice, "bell=False toasts=False")).names()
    assert names == ["script", "script", "live-notify"]
    assert "live-notify-toasts" not in Tags(render(alice, "toasts=False")).names()


def test_nobody_gets_nothing() -> None:
    assert render(AnonymousUser()).strip() == ""


def test_a_page_without_a_request_gets_nothing() -> None:
    """Like a site's 500.html, which Django renders with no context at all."""
    assert Template("{% load live_notify %}{% live_notify %}").render(Context()).strip() == ""
    assert Template("{% load live_notify %}{% live_notify %}").render(RequestContext(None)) == "\n"


def test_scripts_carry_the_nonce_of_the_page(make_user: Any) -> None:
    assert nonces(render(make_user("alice"), csp_nonce="abc")) == ["abc"] * 3


@pytest.mark.parametrize("place", ["context", "csp_nonce", "_csp_nonce"])
def test_a_nonce_that_nobody_used_yet_is_one(place: str, alice: Any) -> None:
    class LazyNonce(SimpleLazyObject):
        """False until it is used, like those of Django and django-csp."""

        def __bool__(self) -> bool:
            return self._wrapped is not empty

    nonce = LazyNonce(lambda: "abc")
    if place == "context":
        html = render(alice, csp_nonce=nonce)
    else:
        html = render(alice, request_values={place: nonce})
    assert nonces(html) == ["abc"] * 3


@pytest.mark.parametrize("processors", [["csp"], []])
def test_the_scripts_pass_djangos_own_policy(processors: list[str], alice: Any) -> None:
    csp = pytest.importorskip("django.utils.csp", reason="Django has policies from 6.0 on.")
    from django.middleware.csp import ContentSecurityPolicyMiddleware
    from django.template import context_processors

    def page(request: Any) -> HttpResponse:
        request.user = alice
        values = {"request": request}
        for name in processors:
            values |= getattr(context_processors, name)(request)
        source = "{% load live_notify %}{% live_notify %}"
        return HttpResponse(Template(source).render(Context(values)))

    with override_settings(SECURE_CSP={"script-src": [csp.CSP.NONCE]}):
        response = ContentSecurityPolicyMiddleware(page)(RequestFactory().get("/"))
    first, *others = nonces(response.content.decode())
    assert others == [first, first] and first
    assert response["Content-Security-Policy"] == f"script-src 'nonce-{first}'"


def test_without_a_policy_there_is_no_nonce(alice: Any) -> None:
    assert nonces(render(alice)) == [None] * 3
    assert nonces(render(alice, csp_nonce=None)) == [None] * 3


def test_everything_is_escaped(alice: Any) -> None:
    with override_settings(FORCE_SCRIPT_NAME='/"><script>'):
        html = render(alice, csp_nonce='"><script>alert(1)</script>')
    assert Tags(html).names().count("script") == 3 and "alert(1)</script>" not in html


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


def test_the_elements_know_the_language_of_their_texts(alice: Any) -> None:
    for language, direction in (("zh-hans", "ltr"), ("ar", "rtl")):
        with override(language):
            attributes = dict(Tags(render(alice)).found)["live-notify"]
        assert (attributes["lang"], attributes["dir"]) == (language, direction)


def test_options_become_attributes(alice: Any) -> None:
    tags = dict(Tags(render(alice)).found)
    assert tags["live-notify-bell"] == {"title-badge": None}
    assert tags["live-notify-toasts"] == {}
    tags = dict(Tags(render(alice, "title=False favicon=True sound=True desktop=True")).found)
    assert tags["live-notify-bell"] == {"favicon": ""}
    assert tags["live-notify-toasts"] == {"sound": "", "desktop": None}
    tags = dict(Tags(render(alice, "favicon='/dot.svg' sound='/ping.mp3'")).found)
    assert tags["live-notify-bell"] == {"title-badge": None, "favicon": "/dot.svg"}
    assert tags["live-notify-toasts"] == {"sound": "/ping.mp3"}


def test_a_site_replaces_the_bell_by_a_template(alice: Any, tmp_path: Path, settings: Any) -> None:
    (tmp_path / "django_live_notify").mkdir()
    source = '<live-notify-bell><b slot="title">{{ request.user.pk }}</b></live-notify-bell>'
    (tmp_path / "django_live_notify" / "bell.html").write_text(source)
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    html = render(alice)
    assert f'<b slot="title">{alice.pk}</b></live-notify-bell><live-notify-toasts>' in html
