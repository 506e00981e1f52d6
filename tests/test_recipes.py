"""docs/recipes.md: what is rendered by the server alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.template.loader import render_to_string
from django.test import Client
from django.urls import clear_url_caches

from django_live_notify import push
from django_live_notify.models import Notification
from tests.recipes import write_recipes

pytestmark = pytest.mark.django_db

URLS = """from django.urls import include, path
urlpatterns = [
    path("inbox/", include("inbox.urls")),
    path("live-notify/", include("django_live_notify.urls")),
]
"""


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: Any, settings: Any) -> Any:
    """The app of the recipes, in a site."""
    write_recipes(tmp_path)
    (tmp_path / "site_of_recipes.py").write_text(URLS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    names = ("inbox", "inbox.urls", "inbox.views", "inbox.engine", "site_of_recipes")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "inbox"]
    settings.ROOT_URLCONF = "site_of_recipes"
    yield
    clear_url_caches()
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def page(inbox: Any, alice: Any) -> Any:
    """Alice's browser, which sends what Django's CSRF protection asks for, or is refused."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    return client


def press(page: Any, action: str) -> Any:
    """Send a form of the inbox that is there, and return the answer."""
    html = page.get("/inbox/").content.decode()
    assert f'action="{action}"' in html
    token = html.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    return page.post(action, {"csrfmiddlewaretoken": token})


def test_the_inbox_lists_page_by_page(page: Any, alice: Any, bob: Any) -> None:
    for number in range(21):
        push(alice, f"Number {number}.", body="<b>")
    push(bob, "Not for Alice")
    html = page.get("/inbox/").content.decode()
    assert "21 unread" in html and "Number 20." in html and "&lt;b&gt;" in html
    assert "Number 0." not in html and "Not for Alice" not in html
    older = html.partition('<a href="')[2].partition('"')[0]
    assert "Number 0." in page.get(older).content.decode()
    assert page.get(f"/inbox/before/{10**30}/").status_code == 200


def test_one_is_read_by_post_and_leads_to_where_it_points(page: Any, alice: Any, bob: Any) -> None:
    linked, plain = push(alice, "Linked", url="/orders/7/"), push(alice, "Plain")
    assert press(page, f"/inbox/{linked.pk}/read/").url == "/orders/7/"
    assert [row.pk for row in Notification.objects.for_user(alice).unread()] == [plain.pk]
    assert press(page, f"/inbox/{plain.pk}/read/").url == "/inbox/"
    assert Notification.objects.for_user(alice).count_unread() == 0
    assert page.get(f"/inbox/{plain.pk}/read/").status_code == 405
    assert page.post(f"/inbox/{plain.pk}/read/").status_code == 403
    foreign = push(bob, "Not for Alice")
    page.handler.enforce_csrf_checks = False
    assert page.post(f"/inbox/{foreign.pk}/read/").status_code == 404
    assert Notification.objects.for_user(bob).count_unread() == 1


def test_all_are_read_up_to_the_newest_that_was_shown(page: Any, alice: Any) -> None:
    for title in ("First", "Second"):
        newest = push(alice, title)
    html = page.get("/inbox/").content.decode()
    token = html.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    later = push(alice, "Later")
    action = f"/inbox/read/{newest.pk}/"
    assert f'action="{action}"' in html
    form = {"csrfmiddlewaretoken": token}
    page.post(action, form)
    assert [row.pk for row in Notification.objects.for_user(alice).unread()] == [later.pk]
    assert page.post(f"/inbox/read/{10**30}/", form).status_code == 302
    assert Notification.objects.for_user(alice).count_unread() == 0


def test_the_inbox_is_for_who_is_signed_in(inbox: Any, client: Any) -> None:
    assert client.get("/inbox/").status_code == 302


def test_jinja2_renders_the_client_for_who_is_signed_in(
    inbox: Any, settings: Any, rf: Any, alice: Any, tmp_path: Path
) -> None:
    exec((tmp_path / "settings.py").read_text(encoding="utf-8"), names := {"TEMPLATES": []})
    settings.TEMPLATES = [*names["TEMPLATES"], *settings.TEMPLATES]
    request = rf.get("/")
    request.user = alice
    html = render_to_string("inbox/page.html", {}, request)
    assert f'<live-notify endpoint="/live-notify/" user="{alice.pk}"' in html
    assert "<live-notify-bell" in html and "<live-notify-toasts" not in html
    request.user = AnonymousUser()
    html = render_to_string("inbox/page.html", {}, request)
    assert "<header>" in html and "live-notify" not in html
