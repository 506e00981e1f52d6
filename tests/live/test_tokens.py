"""Clients without cookies: a token over HTTP, as over the socket, and never mixed with a cookie."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.test import Client as HttpClient

from django_live_notify import Action, apush, push
from django_live_notify.live import hub
from django_live_notify.live.hub import get_hub
from django_live_notify.models import Notification
from tests.live.client import Client, Request, Stream, story, until

pytestmark = pytest.mark.django_db(transaction=True)

BASE = "/live-notify/"


@pytest.fixture(autouse=True)
def tokens(alice: Any, bob: Any, settings: Any) -> None:
    """Let each have a token, which stands for the user as the database has them."""
    # Whoever looks an empty one up finds somebody who has none yet; with NUL, nobody can look.
    keys = {"alice's": alice.pk, "bob's": bob.pk, "": alice.pk, "\x00": "\x00"}

    def authenticate(request: Any, token: str) -> Any:
        return (
            type(alice)._default_manager.filter(pk=keys[token]).first() if token in keys else None
        )

    settings.LIVE_NOTIFY_AUTHENTICATE = authenticate


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def get(client: HttpClient, path: str, header: str, **query: Any) -> Any:
    return client.get(BASE + path, query, headers={"authorization": header})


def post(client: HttpClient, path: str, header: str, body: Any) -> Any:
    headers = {"authorization": header}
    return client.post(BASE + path, json.dumps(body), "application/json", headers=headers)


def strict(user: Any = None) -> HttpClient:
    """Return a client whose requests are checked as those of a browser are."""
    client = HttpClient(enforce_csrf_checks=True)
    if user is not None:
        client.force_login(user)
    return client


# Requests


def test_a_token_reads_and_changes_without_a_cookie_and_a_form(
    alice: Any, bob: Any, settings: Any
) -> None:
    settings.LIVE_NOTIFY_ON_MESSAGE = lambda user, name, data: [user.pk == alice.pk, name]
    settings.LIVE_NOTIFY_ON_ACTION = lambda user, notification, name: None
    said = push([alice, bob], "one", actions=[Action("yes", "Yes")])
    assert said is not None
    for scheme in ("Bearer alice's", "bearer  alice's "):
        answer = get(strict(), "inbox/", scheme).json()
        assert [item["title"] for item in answer["items"]] == ["one"]
    token = "Bearer alice's"
    for action, unread in (("seen", 1), ("read", 0), ("unread", 1)):
        assert post(strict(), f"{action}/", token, {"ids": [said.pk]}).json() == {"unread": unread}
    assert post(strict(), "message/", token, {"name": "n"}).json() == {"data": [True, "n"]}
    assert post(strict(), "action/", token, {"id": said.pk, "name": "yes"}).status_code == 200
    assert get(strict(), "poll/", token).json()["unread"] == 0
    assert Notification.objects.for_user(bob).unread().count() == 1


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "Bearer ", "bearer wrong"])
def test_a_token_that_is_wrong_is_not_the_cookies_user(alice: Any, header: str) -> None:
    said = push(alice, "one")
    assert said is not None
    for client in (strict(), strict(alice)):
        for path in ("inbox/", "poll/", "events/"):
            response = get(client, path, header)
            assert (response.status_code, response.json()["code"]) == (403, 4510), path
        for path, body in (("read/", {"ids": [said.pk]}), ("message/", {"name": "n"})):
            response = post(client, path, header, body)
            assert (response.status_code, response.json()["code"]) == (403, 4510), path
            assert not response.cookies
    assert Notification.objects.for_user(alice).unread().count() == 1


def test_of_a_token_and_a_cookie_the_token_counts(alice: Any, bob: Any) -> None:
    push(bob, "for bob")
    client, token = strict(alice), "Bearer bob's"
    answer = get(client, "inbox/", token).json()
    assert [item["title"] for item in answer["items"]] == ["for bob"]
    assert get(client, "inbox/", token, user=str(bob.pk)).status_code == 200
    other = get(client, "inbox/", token, user=str(alice.pk))
    assert (other.status_code, other.json()["code"]) == (403, 4511)


def test_who_comes_by_a_cookie_shows_a_form_whatever_else_is_said(
    alice: Any, settings: Any
) -> None:
    function = settings.LIVE_NOTIFY_AUTHENTICATE
    said = push(alice, "one")
    assert said is not None
    for setting, header in ((function, "Basic alice's"), (function, ""), (None, "Bearer alice's")):
        settings.LIVE_NOTIFY_AUTHENTICATE = setting
        assert get(strict(alice), "inbox/", header).status_code == 200
        assert post(strict(alice), "read/", header, {"ids": [said.pk]}).status_code == 403
        assert get(strict(), "inbox/", header).json()["code"] == 4510
    assert Notification.objects.for_user(alice).unread().count() == 1


@story
async def test_a_function_that_denies_lets_nobody_in(alice: Any, settings: Any) -> None:
    def deny(request: Any, token: str) -> None:
        raise PermissionDenied("expired")

    settings.LIVE_NOTIFY_AUTHENTICATE = deny
    response = await sync_to_async(lambda: get(strict(alice), "inbox/", "Bearer old"))()
    assert (response.status_code, response.json()["code"]) == (403, 4510)
    async with Client(alice.http) as client:
        await client.send({"type": "hello", "token": "old"})
        assert await client.receive_close() == 4510


def test_who_was_deactivated_is_not_let_in(alice: Any) -> None:
    if "is_active" not in {field.name for field in alice._meta.get_fields()}:
        pytest.skip("Nobody is inactive in this user model.")
    alice.is_active = False
    alice.save()
    response = get(strict(), "inbox/", "Bearer alice's")
    assert (response.status_code, response.json()["code"]) == (403, 4510)


def test_a_site_without_sessions_has_readers_by_token(alice: Any, settings: Any) -> None:
    function = settings.LIVE_NOTIFY_AUTHENTICATE

    async def authenticate(request: Any, token: str) -> Any:
        return await sync_to_async(function)(request, token)

    settings.LIVE_NOTIFY_AUTHENTICATE = authenticate
    settings.MIDDLEWARE = []
    assert get(strict(), "inbox/", "Bearer alice's").status_code == 200
    response = get(strict(), "inbox/", "")
    assert (response.status_code, response.json()["code"]) == (403, 4510)


# What is held


@story
async def test_a_stream_and_a_held_poll_are_those_of_the_token(
    alice: Any, bob: Any, settings: Any, monkeypatch: Any, looks: Any
) -> None:
    monkeypatch.setattr(hub, "CHECK_SESSIONS_EVERY", 0.05)
    settings.LIVE_NOTIFY_HEARTBEAT = 0.1
    headers = bearer("bob's")
    async with Request("poll/", alice.http, headers=headers, wait=20, known="") as request:
        place = (await request.answer())[1]
    query = {"wait": 20, "known": place["known"], "cursor": place["cursor"]}
    async with (
        Stream(alice.http, headers=headers) as stream,
        Request("poll/", alice.http, headers=headers, **query) as poll,
    ):
        assert (await stream.ready())["user"] == str(bob.pk)
        await until(lambda: len(looks) == 3, "the first look of each")
        # The session beside it is somebody else's: several checks after its end, both are there.
        await sync_to_async(alice.http.logout)()
        beats = len(stream.of_type("ping"))
        await until(lambda: len(stream.of_type("ping")) > beats + 3, "beats")
        assert not stream.is_over and not poll.done
        await apush(alice, "for alice")
        await apush(bob, "for bob")
        await stream.receive_titles("for bob")
        status, answer = await poll.answer()
        assert status == 200
        assert [item["title"] for item in answer["items"]] == ["for bob"]
        bob.set_password("new")
        await sync_to_async(bob.save)()
        assert (await stream.receive("bye"))["code"] == 4401


@story
async def test_nothing_is_held_for_a_token_that_is_wrong(alice: Any) -> None:
    for path in ("poll/", "events/"):
        headers = bearer("wrong")
        async with Request(path, alice.http, headers=headers, wait=20) as request:
            status, answer = await request.answer()
            assert (status, answer["code"]) == (403, 4510)
    assert not get_hub()._all()


@pytest.mark.parametrize("token", ["wrong", "", 7, {"a": 1}, "\x00"])
@story
async def test_a_socket_takes_no_cookie_in_place_of_a_token_either(alice: Any, token: Any) -> None:
    async with Client(alice.http) as client:
        await client.send({"type": "hello", "token": token})
        assert await client.receive_close() == 4510
