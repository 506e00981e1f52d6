"""HTTP: the inbox, changes of state and the poll, for the reader alone."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import Any
from wsgiref.util import is_hop_by_hop

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied, ValidationError
from django.test import Client
from django.utils import timezone

from django_live_notify import EVERYONE, Topic, follow, push
from django_live_notify.models import LogState, Notification

pytestmark = pytest.mark.django_db

BASE = "/live-notify/"


@pytest.fixture
def http(alice: Any) -> Client:
    client = Client()
    client.force_login(alice)
    return client


def get(client: Client, path: str, **query: Any) -> Any:
    return client.get(BASE + path, query)


def post(client: Client, path: str, body: Any) -> Any:
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return client.post(BASE + path, text, content_type="application/json")


def titles(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [item["title"] for item in response.json()["items"]]


def test_the_inbox_is_the_readers_own_newest_first(http: Client, alice: Any, bob: Any) -> None:
    follow(alice, Topic("news"))
    push(alice, "one", actor=bob, data={"n": 1})
    push(bob, "for bob")
    push(Topic("news"), "two")
    push(EVERYONE, "three")
    response = get(http, "inbox/")
    assert titles(response) == ["three", "two", "one"]
    answer = response.json()
    assert answer["unread"] == 3 and answer["next"] is None
    assert answer["cursor"].startswith("1.")
    item = answer["items"][2]
    assert item["actor"]["name"] == bob.get_username()
    assert item["created_at"].endswith("Z") and item["read"] is False
    assert response.headers["Cache-Control"].startswith("max-age=0")


def test_pages_and_filters(http: Client, alice: Any) -> None:
    for number in range(5):
        push(alice, str(number), kind="even" if number % 2 == 0 else "odd")
    page = get(http, "inbox/", limit=2).json()
    assert [item["title"] for item in page["items"]] == ["4", "3"]
    assert titles(get(http, "inbox/", before=page["next"], limit=100)) == ["2", "1", "0"]
    assert titles(get(http, "inbox/", kind="odd")) == ["3", "1"]
    inbox = Notification.objects.for_user(alice)
    inbox.filter(title="4").mark_read()
    inbox.filter(title="3").archive()
    assert titles(get(http, "inbox/", unread=1)) == ["2", "1", "0"]
    assert titles(get(http, "inbox/", archived=1)) == ["3"]
    assert titles(get(http, "inbox/")) == ["4", "2", "1", "0"]


def test_each_filter_alone_and_all_together(http: Client, alice: Any) -> None:
    for level in Notification.Level.values:
        for kind in "ab":
            push(alice, f"{level} {kind}", level=level, kind=kind)
    inbox = Notification.objects.for_user(alice)
    inbox.filter(kind="a").mark_seen()
    inbox.filter(level="info").mark_read()
    inbox.filter(level="error").archive()
    assert titles(get(http, "inbox/", level="error")) == []
    assert titles(get(http, "inbox/", level="error", archived="1")) == ["error b", "error a"]
    assert titles(get(http, "inbox/", level=["info", "warning"], kind="a")) == [
        "warning a",
        "info a",
    ]
    assert titles(get(http, "inbox/", kind=["a", "b"], unseen=1)) == ["warning b", "success b"]
    assert titles(get(http, "inbox/", unread="true", kind="a")) == ["warning a", "success a"]
    assert titles(get(http, "inbox/", unread="0", unseen="false", kind="", archived=1)) == [
        "error b",
        "error a",
    ]
    assert titles(get(http, "inbox/", kind="none")) == []
    everything = {"archived": 1, "unread": 1, "unseen": 1, "kind": "a", "level": "error"}
    assert titles(get(http, "inbox/", **everything)) == [], "what is archived is not news"


def test_counts_by_kind_come_where_they_are_asked_for(http: Client, alice: Any) -> None:
    for kind in ("a", "a", "b", ""):
        push(alice, "x", kind=kind)
    Notification.objects.for_user(alice).filter(kind="a")[:1].mark_seen()
    assert "kinds" not in get(http, "inbox/").json()
    answer = get(http, "inbox/", counts=1, kind="b").json()
    assert answer["kinds"] == {
        "a": {"unread": 2, "unseen": 1},
        "b": {"unread": 1, "unseen": 1},
        "": {"unread": 1, "unseen": 1},
    }
    assert (answer["unread"], answer["unseen"], len(answer["items"])) == (4, 3, 1)


@pytest.mark.parametrize(
    "query",
    [{"level": "loud"}, {"level": ["info", "INFO"]}, {"kind": "x" * 101}, {"kind": "a\x00"}]
    + [{"unread": "yes"}, {"unseen": "2"}, {"archived": "all"}, {"counts": "-1"}]
    + [{"limit": "x"}, {"limit": "0"}, {"before": "-1"}, {"before": "9" * 30}, {"limit": "²"}]
    + [{"before": "9" * 5000}],
)
def test_bad_parameters_are_a_400_in_json(http: Client, query: dict[str, Any]) -> None:
    response = get(http, "inbox/", **query)
    answer = response.json()
    assert response.status_code == 400 and answer["code"] == "invalid"
    (name,) = query
    assert answer["message"].startswith(f"{name} "), "it says which"


@pytest.mark.parametrize("path", ["inbox/", "poll/"])
@pytest.mark.parametrize("text", ["a\x00", "\x00", b"\xed\xa0\x80", "\U0001f600"])
def test_no_text_of_an_address_reaches_a_database_that_cannot_take_it(
    http: Client, alice: Any, settings: Any, path: str, text: Any
) -> None:
    settings.LIVE_NOTIFY_CAN_JOIN = lambda user, topic: True
    push(alice, "one")
    names = ("before", "limit", "kind", "level", "unread", "counts", "user", "cursor", "since")
    for name in (*names, "seen", "known", "wait", "join"):
        response = get(http, path, **{name: text})
        assert response.status_code in (200, 400, 403), (name, response.content)


def test_too_many_kinds_are_a_400(http: Client) -> None:
    response = get(http, "inbox/", kind=[str(number) for number in range(1_000)])
    assert response.status_code == 400 and response.json()["code"] == "too_large"


@pytest.mark.parametrize("path", ["inbox/", "poll/", "events/"])
def test_nobody_reads_nothing(path: str, bob: Any, http: Client) -> None:
    anonymous = get(Client(), path)
    assert anonymous.status_code == 403 and anonymous.json()["code"] == 4510
    other = get(http, path, user=str(bob.pk))
    assert other.status_code == 403 and other.json()["code"] == 4511


def test_states_are_changed_by_post(http: Client, alice: Any) -> None:
    said = push(alice, "one")
    push(alice, "two")
    assert said is not None
    for action, unread in (
        ("seen", 2),
        ("read", 1),
        ("unread", 2),
        ("archive", 1),
        ("unarchive", 2),
    ):
        response = post(http, f"{action}/", {"ids": [said.pk]})
        assert (response.status_code, response.json()) == (200, {"unread": unread}), action
    assert post(http, "read/", {"up_to": said.pk}).json() == {"unread": 1}
    assert get(http, "read/").status_code == 405


def test_nobody_changes_what_is_not_theirs(http: Client, bob: Any) -> None:
    said = push(bob, "for bob")
    assert said is not None
    assert post(http, "read/", {"ids": [said.pk]}).status_code == 200
    assert Notification.objects.for_user(bob).unread().count() == 1
    assert post(Client(), "read/", {"ids": [said.pk]}).status_code == 403


@pytest.mark.parametrize(
    "body",
    ["", "junk", b"\xff\xfe", "[]", "{}", '{"ids": 1}', '{"ids": ["a"]}', '{"up_to": "1"}']
    + ['{"up_to": 0}', '{"ids": [], "up_to": 1}', '{"up_to": 1e400}', "[" * 10_000]
    + ['{"up_to": 1, "x": "\\ud800"}', '{"up_to": 1, "x": NaN}'],
)
def test_bad_bodies_are_a_400_in_json(http: Client, body: Any) -> None:
    response = post(http, "read/", body)
    assert response.status_code == 400 and response.json()["code"] == "invalid"


def test_large_bodies_are_refused(http: Client) -> None:
    response = post(http, "read/", {"ids": list(range(1, 10_000))})
    assert response.status_code == 400 and response.json()["code"] == "too_large"


@pytest.mark.parametrize("middleware", [True, False])
def test_posts_need_a_csrf_token(alice: Any, settings: Any, middleware: bool) -> None:
    if not middleware:
        settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if "csrf" not in path]
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert post(client, "read/", {"up_to": 1}).status_code == 403
    assert post(client, "message/", {"name": "vote"}).status_code == 403


def test_a_message_reaches_the_site_and_its_answer_comes_back(
    http: Client, alice: Any, settings: Any
) -> None:
    heard: list[Any] = []

    def on_message(user: Any, name: str, data: Any) -> Any:
        heard.append((user, name, data))
        return {"choice": data["choice"], "at": timezone.now()}

    async def on_message_async(user: Any, name: str, data: Any) -> Any:
        return await sync_to_async(on_message)(user, name, data)

    for function in (on_message, on_message_async):
        settings.LIVE_NOTIFY_ON_MESSAGE = function
        response = post(http, "message/", {"name": "vote", "data": {"choice": 2}})
        assert response.status_code == 200
        assert response.json()["data"]["choice"] == 2
        assert heard.pop() == (alice, "vote", {"choice": 2})


@pytest.mark.parametrize(
    ("error", "code"),
    [(PermissionDenied("Not you."), "forbidden"), (ValidationError("Not you."), "invalid")],
)
def test_what_the_site_refuses_is_a_400_with_its_words(
    http: Client, settings: Any, error: Exception, code: str
) -> None:
    def on_message(user: Any, name: str, data: Any) -> Any:
        raise error

    settings.LIVE_NOTIFY_ON_MESSAGE = on_message
    response = post(http, "message/", {"name": "vote"})
    assert response.status_code == 400
    assert response.json() == {"code": code, "message": "Not you."}


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", '{"name": ""}', '{"name": 7}', '"vote"', '{"name": "v", "data": Infinity}']
    + ['{"name": "v", "data": ' + "[" * 5_000 + "]" * 5_000 + "}"]
    + ['{"name": "v", "data": 1e999}', '{"name": "v", "data": "\\ud800"}']
    + ['{"name": "v", "data": ["\\u0000"]}', '{"name": "v\\u0000"}', b'{"name": "v\xed\xa0\x80"}'],
)
def test_a_message_that_is_none_is_a_400_in_json(http: Client, settings: Any, body: Any) -> None:
    settings.LIVE_NOTIFY_ON_MESSAGE = lambda user, name, data: None
    response = post(http, "message/", body)
    assert response.status_code == 400 and response.json()["code"] == "invalid"


def test_a_site_that_takes_no_messages_says_so(http: Client) -> None:
    response = post(http, "message/", {"name": "vote"})
    assert (response.status_code, response.json()["code"]) == (400, "forbidden")


def test_an_answer_in_bytes_is_for_sockets_and_a_clear_error_elsewhere(
    http: Client, settings: Any
) -> None:
    settings.LIVE_NOTIFY_ON_MESSAGE = lambda user, name, data: b"bytes"
    response = post(http, "message/", {"name": "image"})
    answer = {"code": "failed", "message": "Only a WebSocket carries bytes."}
    assert (response.status_code, response.json()) == (400, answer)


def test_a_page_to_sign_in_is_not_what_a_client_gets(settings: Any, db: None) -> None:
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    for path in ("inbox/", "poll/", "events/"):
        response = get(Client(), path)
        assert (response.status_code, response.json()["code"]) == (403, 4510), path
    assert post(Client(), "message/", {"name": "vote"}).status_code == 403
    assert get(Client(), "socket/").status_code == 426


def test_a_form_with_its_token_is_no_json(alice: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    token = "x" * 32
    client.cookies["csrftoken"] = token
    # As multipart, which the check reads to its end.
    response = client.post(BASE + "read/", {"csrfmiddlewaretoken": token, "ids": "1"})
    assert (response.status_code, response.json()["code"]) == (400, "invalid")


def test_a_first_poll_gives_a_place_to_go_on_from(http: Client, alice: Any) -> None:
    push(alice, "old")
    first = get(http, "poll/").json()
    assert first["items"] == [] and first["unread"] == 1 and first["reset"] is False
    push(alice, "new")
    second = get(http, "poll/", cursor=first["cursor"])
    assert "new" in titles(second)


def test_a_poll_repeats_what_may_have_been_overtaken(http: Client, alice: Any) -> None:
    cursor = get(http, "poll/").json()["cursor"]
    push(alice, "one")
    again = get(http, "poll/", cursor=cursor).json()
    assert again["cursor"] == cursor, "a younger id may still be in an open transaction"
    Notification.objects.update(created_at=timezone.now() - timedelta(minutes=5))
    settled = get(http, "poll/", cursor=cursor).json()
    assert [item["title"] for item in settled["items"]] == ["one"]
    assert titles(get(http, "poll/", cursor=settled["cursor"])) == []


def test_a_first_visit_polls_what_came_since_the_page_was_rendered(
    http: Client, alice: Any
) -> None:
    push(alice, "old")
    Notification.objects.update(created_at=timezone.now() - timedelta(hours=1))
    rendered = timezone.now().isoformat()
    push(alice, "new")
    assert titles(get(http, "poll/", since=rendered)) == ["new"]


@pytest.mark.parametrize("since", ["0001-01-01T00:00:30Z", "1969-12-31T23:59:59Z", "x"])
def test_a_time_that_is_none_is_a_first_visit(http: Client, alice: Any, since: str) -> None:
    push(alice, "one")
    answer = get(http, "poll/", since=since)
    assert titles(answer) == [] and answer.json()["reset"] is False


def test_a_poll_tells_what_changed(http: Client, alice: Any) -> None:
    said, other = push(alice, "one"), push(alice, "two")
    assert said is not None and other is not None
    answer = get(http, "poll/").json()
    Notification.objects.for_user(alice).filter(pk=said.pk).mark_read()
    other.retract()
    states = get(http, "poll/", cursor=answer["cursor"], since=answer["time"]).json()["states"]
    assert {"type": "state", "action": "read", "ids": [said.pk]} in states
    assert {"type": "retracted", "ids": [other.pk]} in states


@pytest.mark.parametrize("cursor", ["1.another.3", "1.x.99999999999999999999"])
def test_a_foreign_cursor_means_reset(http: Client, alice: Any, cursor: str) -> None:
    push(alice, "one")
    answer = get(http, "poll/", cursor=cursor).json()
    assert answer["reset"] is True and answer["items"] == []
    assert LogState.current().epoch in answer["cursor"]


def test_a_server_of_wsgi_takes_every_answer_and_nobody_is_told_of_an_error(
    http: Client, caplog: Any
) -> None:
    paths = {"socket/": 426, "events/": 406, "poll/": 200, "inbox/": 200, "read/": 405}
    for path, status in paths.items():
        response = get(http, path)
        assert response.status_code == status
        # wsgiref raises where an application sends one.
        assert [name for name in response.headers if is_hop_by_hop(name)] == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
