"""Buttons over the socket: one press reaches the site, every page of the reader shows it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.db import close_old_connections
from django.utils.translation import gettext_lazy

from django_live_notify import EVERYONE, Action, apush
from django_live_notify.live.hub import get_hub
from django_live_notify.models import Notification, Receipt
from tests.live.client import Client, story, until

pytestmark = pytest.mark.django_db(transaction=True)

BUTTONS = [Action("approve", "Approve"), Action("reject", "Reject")]


@pytest.fixture(autouse=True)
def close_connections(monkeypatch: Any) -> None:
    """Let threads that call the site close theirs, which Channels' test client prevents."""
    monkeypatch.setattr("channels.testing.application.no_op", close_old_connections)
    # Its patches overlap, so that an earlier test may have left one behind.
    monkeypatch.setattr("channels.db.close_old_connections", close_old_connections)


@pytest.fixture
def calls(settings: Any) -> list[tuple[str, str]]:
    heard: list[tuple[str, str]] = []

    def on_action(user: Any, notification: Notification, name: str) -> None:
        heard.append((user.get_username(), name))

    settings.LIVE_NOTIFY_ON_ACTION = on_action
    return heard


async def ask() -> int:
    said = await apush(EVERYONE, "Really?", actions=BUTTONS)
    assert said is not None
    return int(said.pk)


@story
async def test_the_others_show_it_done(alice: Any, bob: Any, calls: Any) -> None:
    async with Client(alice.http) as one, Client(alice.http) as two, Client(bob.http) as other:
        for client in (one, two, other):
            await client.hello()
        number = await ask()
        await two.receive("notifications")
        await one.send({"type": "action", "id": number, "name": "approve", "ref": 1})
        await one.receive("ok", ref=1)
        for client in (one, two):
            await client.receive("state", action="action", ids=[number], name="approve")
            await client.receive("state", action="read", ids=[number])
            await client.receive("unread", unread=0)
        await two.send({"type": "action", "id": number, "name": "reject", "ref": 2})
        await two.receive("error", ref=2, code="done")
        # As by a client that got no answer.
        await two.send({"type": "action", "id": number, "name": "approve", "ref": 3})
        await two.receive("ok", ref=3)
        await other.roundtrip()
        assert other.of_type("state") == []
    assert calls == [(alice.get_username(), "approve")]


@story
async def test_what_was_done_elsewhere_is_brought_by_the_sweep(
    alice: Any, calls: Any, settings: Any, monkeypatch: Any
) -> None:
    settings.LIVE_NOTIFY_SWEEP_INTERVAL = 0.05
    async with Client(alice.http) as client:
        await client.hello()
        number = await ask()
        await client.receive("notifications")
        monkeypatch.setattr(get_hub(), "hinted", lambda hint: None)
        inbox = Notification.objects.for_user(alice)
        assert await sync_to_async(inbox.take_action)("reject") == 1
        await client.receive("state", action="action", ids=[number], name="reject")


@story
async def test_what_was_done_meanwhile_is_brought_by_the_resume(alice: Any, calls: Any) -> None:
    async with Client(alice.http) as client:
        ready = await client.hello()
        number = await ask()
        await client.receive("notifications")
    inbox = Notification.objects.for_user(alice)
    assert await sync_to_async(inbox.take_action)("reject") == 1
    async with Client(alice.http) as client:
        await client.hello(cursor=ready["cursor"], since=ready["time"])
        await client.receive("state", action="action", ids=[number], name="reject")
        (item,) = client.items
        assert (item["acted"], item["read"]) == ("reject", True)


@story
async def test_errors_are_clear_and_close_nothing(alice: Any, settings: Any) -> None:
    def on_action(user: Any, notification: Notification, name: str) -> None:
        if name == "reject":
            raise ValidationError(gettext_lazy("Archive"))
        raise RuntimeError("a bug")

    settings.LIVE_NOTIFY_ON_ACTION = on_action
    number = await ask()
    session = alice.http.cookies["sessionid"].value
    async with Client(cookies=f"sessionid={session}; django_language=de") as client:
        await client.hello()
        for ref, code, keys in (
            (1, "invalid", {"id": number}),
            (2, "not_found", {"id": number + 1, "name": "approve"}),
            (3, "unknown_action", {"id": number, "name": "delete"}),
            (4, "failed", {"id": number, "name": "approve"}),
        ):
            await client.send({"type": "action", "ref": ref, **keys})
            await client.receive("error", ref=ref, code=code)
        await client.send({"type": "action", "ref": 5, "id": number, "name": "reject"})
        await client.receive("error", ref=5, code="invalid", message="Archivieren")
    receipts = Receipt.objects.exclude(acted_at=None)
    assert not await receipts.aexists()


@story
async def test_an_async_function_is_in_the_same_transaction(alice: Any, settings: Any) -> None:
    async def on_action(user: Any, notification: Notification, name: str) -> None:
        await asyncio.sleep(0)
        await Notification.objects.acreate(title="from the site")
        if name == "reject":
            raise ValidationError("No.")

    settings.LIVE_NOTIFY_ON_ACTION = on_action
    number = await ask()
    async with Client(alice.http) as client:
        await client.hello()
        await client.send({"type": "action", "id": number, "name": "reject", "ref": 1})
        await client.receive("error", ref=1, message="No.")
        made = Notification.objects.filter(title="from the site")
        assert await made.acount() == 0
        await client.send({"type": "action", "id": number, "name": "approve", "ref": 2})
        await client.receive("ok", ref=2)
        assert await made.acount() == 1


@story
async def test_a_click_that_comes_with_the_close_is_carried_out(alice: Any, settings: Any) -> None:
    began, may_go_on = threading.Event(), threading.Event()
    heard: list[str] = []

    def on_action(user: Any, notification: Notification, name: str) -> None:
        began.set()
        assert may_go_on.wait(10)
        heard.append(name)

    settings.LIVE_NOTIFY_ON_ACTION = on_action
    first, second = await ask(), await ask()
    async with Client(alice.http) as client:
        await client.hello()
        await client.send({"type": "action", "id": first, "name": "approve"})
        await until(began.is_set, "the first action")
        await client.send({"type": "action", "id": second, "name": "reject"})
    may_go_on.set()
    await until(lambda: heard == ["approve", "reject"], "both actions")
    taken = Receipt.objects.exclude(acted_at=None)
    async for receipt in taken:
        assert receipt.action == {first: "approve", second: "reject"}[receipt.notification_id]
