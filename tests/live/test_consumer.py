"""The socket: handshake, commands, and the doors that are closed."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied, ValidationError
from django.test import Client as HttpClient
from django.test.utils import isolate_apps
from django.utils import timezone

from django_live_notify import EVERYONE, Topic, aemit, apush, consumers
from django_live_notify.live import hub, listener
from django_live_notify.models import Notification
from tests.live.client import Client, binary, log_in, story, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fast_sweep")]


# Who gets in


@story
async def test_ready_says_who_and_how(alice: Any) -> None:
    await apush(alice, "one")
    async with Client(alice.http) as client:
        ready = await client.hello(user=str(alice.pk))
        assert client.subprotocol == "live-notify.v1"
        assert ready["version"] == 1
        assert ready["user"] == str(alice.pk)
        assert ready["unread"] == 1
        assert ready["heartbeat"] == 25


@story
async def test_without_a_session_nobody_gets_in(transactional_db: None) -> None:
    nul = 'sessionid="\\000' + "a" * 32 + '"'
    for cookies in (None, "sessionid=invented", "sessionid=", "rubbish", nul):
        async with Client(cookies=cookies) as client:
            await client.send({"type": "hello", "cursor": None})
            bye = await client.receive("bye")
            assert (bye["code"], bye["retry"]) == (4510, False)
            assert await client.receive_close() == 4510


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "https://testserver", "junk:["]
)
@story
async def test_a_cookie_from_a_foreign_or_missing_origin_is_ignored(
    alice: Any, origin: str | None
) -> None:
    async with Client(alice.http, origin=origin) as client:
        await client.send({"type": "hello", "cursor": None})
        assert await client.receive_close() == 4510


@story
async def test_trusted_origins_are_those_of_csrf(alice: Any, settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.friend.example"]
    async with Client(alice.http, origin="https://www.friend.example") as client:
        await client.hello()
    async with Client(alice.http, origin="https://friend.example.evil") as client:
        await client.send({"type": "hello"})
        assert await client.receive_close() == 4510


@story
async def test_somebody_elses_page_is_told_to_stop(alice: Any, bob: Any) -> None:
    async with Client(alice.http) as client:
        await client.send({"type": "hello", "cursor": None, "user": str(bob.pk)})
        assert await client.receive_close() == 4511


@story
async def test_a_deactivated_user_does_not_get_in(alice: Any) -> None:
    if "is_active" not in {field.name for field in alice._meta.get_fields()}:
        pytest.skip("Nobody is inactive in this user model.")
    alice.is_active = False
    await sync_to_async(alice.save)()
    async with Client(alice.http) as client:
        await client.send({"type": "hello", "cursor": None})
        assert await client.receive_close() == 4510


@story
async def test_a_changed_password_ends_other_sessions(alice: Any) -> None:
    alice.set_password("new")
    await sync_to_async(alice.save)()
    async with Client(alice.http) as client:
        await client.send({"type": "hello", "cursor": None})
        assert await client.receive_close() == 4510


@story
async def test_a_token_gets_in_where_the_site_says_so(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_AUTHENTICATE = lambda request, token: alice if token == "t" else None
    async with Client(origin="weapp://mini") as client:
        ready = await client.hello(token="t")
        assert ready["user"] == str(alice.pk)
    async with Client(origin=None) as client:
        await client.send({"type": "hello", "token": "wrong"})
        assert await client.receive_close() == 4510


@story
async def test_another_version_is_refused_after_the_accept(alice: Any) -> None:
    async with Client(alice.http, subprotocols=["live-notify.v9", "chat"]) as client:
        # Browsers fail a connection without one of those that they offered, and tell no code.
        assert client.subprotocol == "live-notify.v9"
        assert await client.receive_close() == 4500


@story
async def test_no_subprotocol_is_accepted_that_a_server_may_have_decoded(alice: Any) -> None:
    for offered, accepted in ((["a b", "c\r\n", "v9"], "v9"), (["live%2Dnotify.v1"], None)):
        async with Client(alice.http, subprotocols=offered) as client:
            assert client.subprotocol == accepted
            assert await client.receive_close() == 4500


@story
async def test_who_says_no_hello_is_closed(alice: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(consumers, "HELLO_TIMEOUT", 0.05)
    async with Client(alice.http) as client:
        assert await client.receive_close() == 4408


@story
async def test_who_was_logged_out_is_not_listened_to_any_more(alice: Any, settings: Any) -> None:
    heard: list[str] = []
    settings.LIVE_NOTIFY_ON_MESSAGE = lambda user, name, data: heard.append(name)
    said = await apush(alice, "one")
    assert said is not None
    async with Client(alice.http) as client:
        await client.hello()
        await sync_to_async(alice.http.logout)()
        assert await client.receive_close() == 4511
        await client.send({"type": "message", "name": "hello", "ref": 1})
        await client.send({"type": "read", "ids": [said.pk], "ref": 2})
    await hub.get_hub().stop()
    assert heard == []
    assert await sync_to_async(Notification.objects.for_user(alice).count_unread)() == 1


@story
async def test_a_logout_closes_the_sockets_of_that_session_only(alice: Any) -> None:
    elsewhere: HttpClient = await sync_to_async(log_in)(alice)
    async with Client(alice.http) as here, Client(elsewhere) as there:
        await here.hello()
        await there.hello()
        await sync_to_async(alice.http.logout)()
        assert await here.receive_close() == 4511
        await there.roundtrip()
        assert there.closed is None


@story
async def test_a_session_that_ended_otherwise_is_found_by_the_check(
    alice: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(hub, "CHECK_SESSIONS_EVERY", 0.1)
    async with Client(alice.http) as client:
        await client.hello()
        await sync_to_async(alice.http.session.flush)()
        assert await client.receive_close() == 4401


@story
async def test_a_user_deactivated_meanwhile_is_found_by_the_check(
    alice: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(hub, "CHECK_SESSIONS_EVERY", 0.1)
    async with Client(alice.http) as client:
        await client.hello()
        await sync_to_async(alice.delete)()
        assert await client.receive_close() == 4401


# Broken input


@pytest.mark.parametrize(
    ("junk", "code"),
    [
        ("junk", "invalid"),
        ("[1]", "invalid"),
        ('{"type": "nonsense"}', "unknown_type"),
        ('{"type": "__class__"}', "unknown_type"),
        ('{"type": "hello"}', "unknown_type"),
        (b"\x00\x01", "invalid"),
        ('{"type": "read"}', "invalid"),
        ('{"type": "read", "ids": [1], "up_to": 2}', "invalid"),
        ('{"type": "read", "ids": "all"}', "invalid"),
        ('{"type": "read", "ids": [true]}', "invalid"),
        ('{"type": "read", "ids": [1.5]}', "invalid"),
        ('{"type": "read", "up_to": 9223372036854775808}', "invalid"),
        ('{"type": "message"}', "forbidden"),
        ('{"type": "join", "topic": "x"}', "forbidden"),
        ('{"type": "join"}', "invalid"),
        ('{"type": "join", "topic": "a\\u0000"}', "invalid"),
        ('{"type": "message", "name": "x", "data": 1e999}', "invalid"),
        ('{"type": "message", "name": "x", "data": "' + "x" * 20_000 + '"}', "too_large"),
    ],
)
@story
async def test_junk_is_answered_and_the_connection_goes_on(
    alice: Any, caplog: Any, junk: Any, code: str
) -> None:
    async with Client(alice.http) as client:
        await client.hello()
        await client.send(junk)
        await client.receive("error", code=code)
        await apush(alice, "still here")
        await client.receive_titles("still here")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@story
async def test_before_hello_nothing_is_done(alice: Any) -> None:
    await apush(alice, "one")
    async with Client(alice.http) as client:
        await client.send({"type": "read", "up_to": 1_000_000, "ref": 1})
        await client.receive("error", ref=1, code="invalid")
        assert (await client.hello())["unread"] == 1


@story
async def test_who_sends_nothing_but_junk_is_closed(alice: Any) -> None:
    async with Client(alice.http) as client:
        await client.hello()
        for _ in range(consumers.MAX_BROKEN_FRAMES + 1):
            await client.send("junk")
        assert await client.receive_close() == 4501


@pytest.mark.parametrize("cursor", [7, "x", {}, "1.x.y", "1..5", None])
@pytest.mark.parametrize("since", [7, "x", "2026-13-01", "0001-01-01T00:00:30Z", None])
@story
async def test_a_broken_hello_is_a_first_visit(alice: Any, cursor: Any, since: Any) -> None:
    async with Client(alice.http) as client:
        ready = await client.hello(cursor=cursor, since=since, join={"a": 1}, ref=[1][0])
        assert ready["cursor"]


# Commands


@story
async def test_states_are_changed_for_all_connections_of_the_reader(alice: Any, bob: Any) -> None:
    said = await apush([alice, bob], "one")
    assert said is not None
    async with Client(alice.http) as one, Client(alice.http) as two, Client(bob.http) as other:
        for client in (one, two, other):
            await client.hello()
        for action in ("seen", "read", "unread", "archive", "unarchive"):
            await one.send({"type": action, "ids": [said.pk], "ref": action})
            await one.receive("ok", ref=action)
            await two.receive("state", action=action, ids=[said.pk])
        await two.receive("unread", unread=1)
        await other.roundtrip()
        assert other.of_type("state") == []


@story
async def test_everything_up_to_an_id_is_read_at_once(alice: Any) -> None:
    await apush(alice, "one")
    said = await apush(EVERYONE, "two")
    assert said is not None
    async with Client(alice.http) as one, Client(alice.http) as two:
        await one.hello()
        await two.hello()
        await one.send({"type": "read", "up_to": said.pk, "ref": 1})
        await one.receive("ok", ref=1)
        await two.receive("state", action="read", ids=[said.pk - 1, said.pk])
        await two.receive("unread", unread=0)


@story
async def test_nobody_changes_what_is_not_theirs(alice: Any, bob: Any) -> None:
    said = await apush(bob, "for bob")
    assert said is not None
    async with Client(alice.http) as client:
        await client.hello()
        await client.send({"type": "read", "ids": [said.pk], "ref": 1})
        await client.receive("ok", ref=1)

    def unread() -> int:
        return Notification.objects.for_user(bob).unread().count()

    assert await sync_to_async(unread)() == 1


@story
async def test_messages_reach_the_site_and_its_answer_comes_back(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_ON_MESSAGE = on_message
    async with Client(alice.http) as client:
        await client.hello()
        await client.send({"type": "message", "name": "echo", "data": [1], "ref": "a"})
        answer = await client.receive("ok", ref="a")
        assert answer["data"] == {"echo": [1], "user": alice.get_username()}
        await client.send({"type": "message", "name": "slow", "ref": 2})
        assert (await client.receive("ok", ref=2))["data"] == "awaited"


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("forbidden", "forbidden", "not you"),
        ("invalid", "invalid", "not this"),
        ("broken", "failed", "The server could not do this."),
        ("unspeakable", "failed", "The server could not do this."),
    ],
)
@story
async def test_what_the_site_refuses_is_an_error_and_no_traceback(
    alice: Any, settings: Any, caplog: Any, name: str, code: str, message: str
) -> None:
    settings.LIVE_NOTIFY_ON_MESSAGE = on_message
    async with Client(alice.http) as client:
        await client.hello()
        await client.send({"type": "message", "name": name, "ref": 1})
        error = await client.receive("error", ref=1)
        assert (error["code"], error["message"]) == (code, message)
        await client.roundtrip()
    assert "secret" not in str(client.frames)


@story
async def test_a_message_that_cannot_be_stored_does_not_reach_the_site(
    alice: Any, settings: Any
) -> None:
    heard: list[Any] = []
    settings.LIVE_NOTIFY_ON_MESSAGE = lambda user, name, data: heard.append(data)
    async with Client(alice.http) as client:
        await client.hello()
        for ref, data in enumerate(("a\x00", ["\x00"], {"\x00": 1})):
            await client.send({"type": "message", "name": "n", "data": data, "ref": ref})
            error = await client.receive("error", ref=ref, code="invalid")
            assert "NUL" in error["message"]
    assert heard == []


@story
async def test_commands_are_carried_out_in_their_order(alice: Any, settings: Any) -> None:
    heard: list[Any] = []
    settings.LIVE_NOTIFY_ON_MESSAGE = lambda user, name, data: heard.append(data)
    async with Client(alice.http) as client:
        await client.send({"type": "hello", "cursor": None})
        for number in range(20):
            await client.send({"type": "message", "name": "n", "data": number, "ref": number})
        await client.receive("ok", ref=19)
    assert heard == list(range(20))


@story
async def test_a_client_that_sends_faster_than_it_is_served_is_told(
    alice: Any, settings: Any
) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"commands": 1}
    settings.LIVE_NOTIFY_ON_MESSAGE = on_message
    async with Client(alice.http) as client:
        await client.hello()
        for number in range(10):
            await client.send({"type": "message", "name": "echo", "ref": number})
        await client.receive("error", code="busy")


# Binary data


@story
async def test_binary_data_goes_to_the_site_and_comes_back(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_ON_MESSAGE = lambda user, name, data: data[::-1]
    async with Client(alice.http) as client:
        await client.hello()
        await client.send(binary({"type": "message", "name": "image", "ref": 1}, b"\x00\xff\x80"))
        answer = await client.receive("ok", ref=1)
    assert answer == {"type": "ok", "ref": 1, "data": b"\x80\xff\x00"}


@story
async def test_too_much_binary_data_is_refused_both_ways(
    alice: Any, settings: Any, caplog: Any
) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"binary": 100}
    settings.LIVE_NOTIFY_ON_MESSAGE = lambda user, name, data: data + b"!"
    async with Client(alice.http) as client:
        await client.hello()
        await client.send(binary({"type": "message", "name": "image", "ref": 1}, bytes(101)))
        await client.receive("error", ref=1, code="too_large")
        await client.send(binary({"type": "message", "name": "image", "ref": 2}, bytes(100)))
        await client.receive("error", ref=2, code="failed")
        await client.send(binary({"type": "message", "name": "image", "ref": 3}, bytes(99)))
        await client.receive("ok", ref=3)
    assert "returned more bytes" in caplog.text


# What comes with the close


@story
async def test_states_that_come_with_the_close_are_changed_in_their_order(
    alice: Any, settings: Any, monkeypatch: Any
) -> None:
    began, may_go_on = threading.Event(), threading.Event()
    settings.LIVE_NOTIFY_ON_MESSAGE = lambda user, name, data: heard.append(data)
    heard: list[Any] = []
    changed: list[str] = []
    change = consumers.inbox.change

    def slow_change(user: Any, wanted: Any) -> Any:
        began.set()
        assert may_go_on.wait(10)
        left = change(user, wanted)
        changed.append(wanted.action)
        return left

    monkeypatch.setattr(consumers.inbox, "change", slow_change)
    said = await apush(alice, "one")
    assert said is not None
    async with Client(alice.http) as client:
        await client.hello()
        await client.send({"type": "read", "ids": [said.pk]})
        await until(began.is_set, "the first change")
        await client.send({"type": "unread", "ids": [said.pk]})
        await client.send({"type": "message", "name": "n"})
        await client.send({"type": "read", "ids": "all"})
        await client.send({"type": "join", "topic": "x"})
        await client.send({"type": "seen", "up_to": said.pk})
    may_go_on.set()
    await until(lambda: len(changed) >= 3, "the changes")
    assert (changed, heard) == (["read", "unread", "seen"], [])


@story
async def test_a_message_that_hangs_does_not_keep_states_from_being_changed(
    alice: Any, settings: Any, monkeypatch: Any
) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def hang(user: Any, name: str, data: Any) -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    settings.LIVE_NOTIFY_ON_MESSAGE = hang
    changed: list[Any] = []
    monkeypatch.setattr(consumers.inbox, "change", lambda user, wanted: changed.append(wanted))
    async with Client(alice.http) as client:
        await client.hello()
        await client.send({"type": "message", "name": "n"})
        await asked.wait()
        await client.send({"type": "read", "up_to": 1})
    await until(lambda: changed, "the change")
    assert ended.is_set()


@story
async def test_a_state_that_cannot_be_changed_after_the_close_is_given_up(
    alice: Any, monkeypatch: Any, caplog: Any
) -> None:
    may_go_on = threading.Event()

    def hang(user: Any, wanted: Any) -> None:
        may_go_on.wait(10)

    monkeypatch.setattr(consumers, "FINISH_TIMEOUT", 0.1)
    monkeypatch.setattr(consumers.inbox, "change", hang)
    async with Client(alice.http) as client:
        await client.hello()
        await client.send({"type": "read", "up_to": 1})
        await client.send({"type": "read", "up_to": 2})
    await until(lambda: "took too long" in caplog.text, "the warning")
    may_go_on.set()


# Rights that are taken


@story
async def test_one_topic_that_is_no_more_keeps_nobody_out(
    alice: Any, settings: Any, caplog: Any
) -> None:
    settings.LIVE_NOTIFY_CAN_JOIN = lambda user, topic: {"open": True}[topic]
    async with Client(alice.http) as client:
        await client.hello(join=["deleted", "open"])
        await aemit(Topic("deleted"), "hidden")
        await aemit(Topic("open"), "heard")
        await client.receive("emitted", name="heard")
        assert len(client.of_type("emitted")) == 1
    assert "LIVE_NOTIFY_CAN_JOIN failed" in caplog.text


@story
async def test_joined_topics_are_asked_for_again(
    alice: Any, settings: Any, monkeypatch: Any, caplog: Any
) -> None:
    taken: set[str] = set()
    asked: list[tuple[str, Any]] = []

    def can_join(user: Any, topic: str) -> bool:
        asked.append((topic, user.last_login))
        if topic in taken and topic == "deleted":
            raise LookupError(topic)
        return topic not in taken

    settings.LIVE_NOTIFY_CAN_JOIN = can_join
    monkeypatch.setattr(hub, "CHECK_SESSIONS_EVERY", 0.1)
    topics = ["taken", "deleted", "kept"]
    async with Client(alice.http) as client:
        await client.hello(join=topics[:2])
        await client.send({"type": "join", "topic": "kept", "ref": 1})
        await client.receive("ok", ref=1)
        # A field that any user has, and no key.
        now = timezone.now()
        await type(alice)._default_manager.filter(pk=alice.pk).aupdate(last_login=now)
        (joined,) = hub.get_hub()._all()
        taken.update(topics[:2])
        await until(lambda: joined.topics == {"kept"}, "the review")
        asked.clear()
        await until(lambda: ("kept", now) in asked, "the next review")
        # Those that are left are not asked for once more.
        assert {topic for topic, _ in asked} == {"kept"}
        for topic in topics:
            await aemit(Topic(topic), topic)
        await client.receive("emitted", name="kept")
        assert [frame["name"] for frame in client.of_type("emitted")] == ["kept"]
    assert "LIVE_NOTIFY_CAN_JOIN failed" in caplog.text


@story
async def test_a_topic_that_the_site_says_nothing_about_is_left(
    alice: Any, settings: Any, monkeypatch: Any
) -> None:
    hanging = False

    async def can_join(user: Any, topic: str) -> bool:
        if hanging and topic == "slow":
            await asyncio.Event().wait()
        return True

    settings.LIVE_NOTIFY_CAN_JOIN = can_join
    monkeypatch.setattr(hub, "CHECK_SESSIONS_EVERY", 0.1)
    monkeypatch.setattr(listener, "REVIEW_TIMEOUT", 0.1)
    async with Client(alice.http) as client:
        await client.hello(join=["slow", "quick"])
        (joined,) = hub.get_hub()._all()
        hanging = True
        await until(lambda: joined.topics == {"quick"}, "the review")


@story
async def test_messages_come_from_the_user_as_he_is_now(
    alice: Any, settings: Any, monkeypatch: Any
) -> None:
    async def tell_rights(user: Any, name: str, data: Any) -> Any:
        return [await sync_to_async(user.has_perm)("auth.add_group"), type(user).__name__]

    settings.LIVE_NOTIFY_ON_MESSAGE = tell_rights
    with isolate_apps("tests.clashing"):

        class Customer(type(alice)):
            class Meta:
                app_label = "clashing"
                proxy = True

    alice.is_superuser = True
    await sync_to_async(alice.save)()
    customer = await sync_to_async(Customer.objects.get)(pk=alice.pk)
    settings.LIVE_NOTIFY_AUTHENTICATE = lambda request, token: customer
    monkeypatch.setattr(hub, "CHECK_SESSIONS_EVERY", 0.1)
    async with Client(origin=None) as client, Client(alice.http) as other:
        await client.hello(token="t")
        await other.hello()
        await client.send({"type": "message", "name": "may", "ref": 1})
        assert (await client.receive("ok", ref=1))["data"] == [True, "Customer"]
        alice.is_superuser = False
        await sync_to_async(alice.save)()
        listeners = hub.get_hub()._all()
        await until(lambda: not any(one.user.is_superuser for one in listeners), "the check")
        await client.send({"type": "message", "name": "may", "ref": 2})
        assert (await client.receive("ok", ref=2))["data"] == [False, "Customer"]
        await other.send({"type": "message", "name": "may", "ref": 2})
        assert (await other.receive("ok", ref=2))["data"] == [False, type(alice).__name__]
        assert not any(user.is_superuser for user in hub.get_hub()._readers().values())


# Beats and slow clients


@story
async def test_the_server_beats_and_a_silent_client_is_closed(
    alice: Any, settings: Any, monkeypatch: Any
) -> None:
    settings.LIVE_NOTIFY_HEARTBEAT = 0.1
    monkeypatch.setattr(hub, "GRACE", 0.2)
    monkeypatch.setattr(listener, "GRACE", 0.2)
    async with Client(alice.http) as lively, Client(alice.http, answers_pings=False) as silent:
        await lively.hello()
        await silent.hello()
        assert await silent.receive_close() == 4001
        beats = len(lively.of_type("ping"))
        await until(lambda: len(lively.of_type("ping")) > beats + 3, "more beats")
        assert lively.closed is None


@story
async def test_a_client_that_takes_no_frames_is_closed_and_resumes(
    alice: Any, settings: Any, monkeypatch: Any
) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"backlog_frames": 4}
    monkeypatch.setattr(hub, "GRACE", 0.1)
    monkeypatch.setattr(listener, "GRACE", 0.1)
    titles = [str(number) for number in range(12)]
    async with Client(alice.http, answers_pings=False) as client:
        cursor = (await client.hello())["cursor"]
        for title in titles:
            await apush(alice, title)
        assert await client.receive_close() in (4001, 4002)
    async with Client(alice.http) as client:
        await client.hello(cursor=cursor)
        await client.receive_titles(*titles)


# The path


@pytest.mark.parametrize("path", ["/", "/live-notify/", "/live-notify/poll/", "/nowhere/"])
@story
async def test_other_sockets_are_refused(transactional_db: None, path: str) -> None:
    async with Client(path=path) as client:
        assert client.closed is not None


def on_message(user: Any, name: str, data: Any) -> Any:
    if name == "slow":
        return "awaited"
    if name == "forbidden":
        raise PermissionDenied("not you")
    if name == "invalid":
        raise ValidationError("not this")
    if name == "broken":
        raise RuntimeError("secret")
    if name == "unspeakable":
        return object()
    return {"echo": data, "user": user.get_username()}
