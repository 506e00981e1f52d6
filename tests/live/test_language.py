"""Everybody reads in their own language, and a frame is made once for each."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils.translation import gettext_lazy, ngettext_lazy

from django_live_notify import EVERYONE, apush
from django_live_notify.live import hub
from tests.live.client import Client, story, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fast_sweep")]

YEARS = ngettext_lazy("%(num)d year", "%(num)d years", "num")


def speaking(user: Any, language: str) -> Client:
    """Return a client of a user whose browser asks for a language."""
    session = user.http.cookies[settings.SESSION_COOKIE_NAME].value
    return Client(cookies=f"{settings.SESSION_COOKIE_NAME}={session}; django_language={language}")


def get(user: Any, path: str, language: str, **query: Any) -> list[tuple[str, str]]:
    answer = user.http.get(f"/live-notify/{path}/", query, HTTP_ACCEPT_LANGUAGE=language).json()
    return [(item["title"], item["body"]) for item in answer["items"]]


@story
async def test_a_frame_is_made_once_for_each_language(
    alice: Any, bob: Any, monkeypatch: Any
) -> None:
    made: list[str] = []
    encode = hub._encode

    def note(packed: Any, language: str, touched: Any) -> str:
        made.append(language)
        return encode(packed, language, touched)

    monkeypatch.setattr(hub, "_encode", note)
    clients = [speaking(user, language) for user in (alice, bob) for language in ("en", "de", "de")]
    async with clients[0], clients[1], clients[2], clients[3], clients[4], clients[5]:
        for client in clients:
            await client.hello()
        for audience in (EVERYONE, [alice, bob]):
            made.clear()
            await apush(audience, YEARS, body=gettext_lazy("Yes"), params={"num": 3})
            await until(lambda: all(client.items for client in clients))
            assert sorted(made) == ["de", "en"]
            for number, client in enumerate(clients):
                said = [(item["title"], item["body"]) for item in client.items]
                assert said == [("3 years", "Yes") if number % 3 == 0 else ("3 Jahre", "Ja")]
                client.frames.clear()


@story
async def test_replays_pages_and_polls_are_in_the_language_of_who_asks(alice: Any) -> None:
    async with speaking(alice, "en") as client:
        cursor = (await client.hello())["cursor"]
    await apush(alice, YEARS, body=gettext_lazy("Yes"), params={"num": 1})
    expected = {"en": [("1 year", "Yes")], "de": [("1 Jahr", "Ja")]}
    for language, items in expected.items():
        async with speaking(alice, language) as client:
            await client.hello(cursor=cursor)
            await until(lambda client=client: client.items)
            assert [(item["title"], item["body"]) for item in client.items] == items
        for path in ("inbox", "poll"):
            assert await sync_to_async(get)(alice, path, language, cursor=cursor) == items
