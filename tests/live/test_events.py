"""Event streams: a listener of the hub like a socket, over HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.db import connections
from django.http import HttpResponse
from django.test import Client as HttpClient
from django.utils import timezone

from django_live_notify import EVERYONE, Topic, aemit, apush, holding, views
from django_live_notify.asgi import with_live_notify
from django_live_notify.live import hub, protocol
from django_live_notify.live import listener as listener_module
from django_live_notify.live.hub import get_hub
from django_live_notify.models import LogState, Notification
from tests.live.client import Client, Request, Stream, log_in, story, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fast_sweep")]


# What a client gets


@story
async def test_a_stream_brings_what_a_socket_brings(alice: Any, bob: Any) -> None:
    async with Stream(alice.http) as stream, Client(alice.http) as client:
        for frame in (await stream.ready(), await client.hello()):
            assert (frame["user"], frame["unread"], frame["reset"]) == (str(alice.pk), 0, False)
        said = await apush(alice, "for alice", body="in two\nlines")
        await apush(bob, "for bob")
        await apush(EVERYONE, "for all")
        assert said is not None
        await stream.receive_titles("for alice", "for all")
        await client.receive_titles("for alice", "for all")
        assert stream.items == client.items
        await stream.receive("unread", unread=2)
        await client.send({"type": "read", "ids": [said.pk]})
        await stream.receive("state", action="read", ids=[said.pk])
        await stream.receive("unread", unread=1)
        await sync_to_async(said.retract)()
        await stream.receive("retracted", ids=[said.pk])
        await aemit(alice, "reload", {"list": 7})
        await stream.receive("emitted", name="reload", data={"list": 7})


@story
async def test_a_stream_passes_over_what_is_binary(alice: Any) -> None:
    async with Stream(alice.http) as stream:
        await stream.ready()
        await aemit(alice, "image", b"\xff")
        await aemit(alice, "reload")
        await stream.receive("emitted", name="reload")
        assert len(stream.of_type("emitted")) == 1


@story
async def test_a_stream_is_neither_buffered_nor_cached(alice: Any, settings: Any) -> None:
    settings.MIDDLEWARE = [
        "django.middleware.cache.UpdateCacheMiddleware",
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
        *settings.MIDDLEWARE,
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    for _ in range(2):
        async with Stream(alice.http, headers={"accept-encoding": "gzip"}) as stream:
            await stream.ready()
            assert stream.status == 200
            assert stream.headers["content-type"] == "text/event-stream"
            assert stream.headers["x-accel-buffering"] == "no"
            assert {"no-cache", "no-transform", "no-store"} <= set(
                stream.headers["cache-control"].split(", ")
            )
            about_the_body = {"content-length", "content-encoding", "etag", "x-live-notify-held"}
            assert not about_the_body & set(stream.headers)


@story
async def test_the_id_of_an_event_is_the_cursor_and_the_next_stream_goes_on_from_it(
    alice: Any,
) -> None:
    async with Stream(alice.http) as stream:
        ready = await stream.ready()
        assert stream.last_event_id == ready["cursor"]
        await apush(alice, "one")
        await stream.receive_titles("one")
        # What is not settled has no id yet.
        assert stream.last_event_id == ready["cursor"]
    await apush(alice, "two")
    back = {"last-event-id": ready["cursor"]}
    async with Stream(alice.http, headers=back) as stream:
        await stream.receive_titles("one", "two")
        assert stream.of_type("notifications")[0]["replay"] is True
        assert stream.last_event_id == stream.of_type("notifications")[-1]["cursor"]


@story
async def test_the_last_event_counts_before_the_cursor_of_the_address(alice: Any) -> None:
    async with Stream(alice.http) as stream:
        first = (await stream.ready())["cursor"]
    await apush(alice, "one")
    async with Stream(alice.http, headers={"last-event-id": first}, cursor="1.x.1") as stream:
        assert (await stream.ready())["reset"] is False
        await stream.receive_titles("one")
    # A browser that has not got an id yet, and whatever a proxy makes of the header.
    for header in ("", "junk", "\xe4"):
        async with Stream(alice.http, headers={"last-event-id": header}, cursor=first) as stream:
            await stream.receive_titles("one")


@story
async def test_an_id_never_goes_backwards_where_the_client_knows_better(alice: Any) -> None:
    said = [await apush(alice, title) for title in ("one", "two", "three")]
    assert said[1] is not None and said[2] is not None
    # A hole, as a transaction leaves it: this process cannot know that nothing will come.
    await sync_to_async(Notification.objects.filter(pk=said[1].pk).delete)()
    epoch = (await sync_to_async(LogState.current)()).epoch
    async with Stream(alice.http, cursor=f"1.{epoch}.{said[2].pk}") as stream:
        reached = (await stream.ready())["cursor"]
        assert int(reached.rpartition(".")[2]) < said[1].pk
        assert stream.last_event_id is None


@story
async def test_a_first_visit_gets_what_came_since_the_page_was_rendered(alice: Any) -> None:
    await apush(alice, "old")
    long_ago = timezone.now() - timedelta(hours=1)
    await sync_to_async(Notification.objects.update)(created_at=long_ago)
    rendered = timezone.now().isoformat()
    await apush(alice, "new")
    async with Stream(alice.http, since=rendered) as stream:
        await stream.receive_titles("new")


@story
async def test_a_stream_beats_with_cursors(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_HEARTBEAT = 0.2
    settings.LIVE_NOTIFY_COMMIT_WINDOW = 0.1
    async with Stream(alice.http) as stream:
        await stream.ready()
        said = await apush(alice, "one")
        assert said is not None
        await until(lambda: stream.last_event_id.endswith(f".{said.pk}"), "the beat behind it")
        assert stream.last_event_id == stream.of_type("ping")[-1]["cursor"]


@story
async def test_topics_are_joined_by_the_address_where_the_site_allows_it(
    alice: Any, settings: Any
) -> None:
    settings.LIVE_NOTIFY_CAN_JOIN = lambda user, topic: topic.startswith("room")
    async with Stream(alice.http, join=["room 7", "secret", "x" * 500]) as stream:
        await stream.ready()
        await aemit(Topic("secret"), "no")
        await aemit(Topic("room 7"), "yes")
        await stream.receive("emitted", name="yes", topic="room 7")
        assert len(stream.of_type("emitted")) == 1


# Who gets it


@story
async def test_who_is_not_signed_in_gets_json_and_a_status_that_browsers_do_not_retry(
    alice: Any, bob: Any
) -> None:
    async with Request("events/") as request:
        status, answer = await request.answer()
        assert (status, answer["code"]) == (403, 4510)
        assert request.headers["content-type"] == "application/json"
    async with Request("events/", alice.http, user=bob.pk) as request:
        status, answer = await request.answer()
        assert (status, answer["code"]) == (403, 4511)


@story
async def test_a_logout_ends_the_streams_of_that_session_alone(alice: Any) -> None:
    other: HttpClient = await sync_to_async(log_in)(alice)
    async with Stream(alice.http) as here, Stream(other) as there:
        await here.ready()
        await there.ready()
        await sync_to_async(alice.http.logout)()
        bye = await here.receive("bye")
        assert (bye["code"], bye["retry"]) == (4511, False)
        await until(lambda: here.is_over, "the end of the stream")
        await apush(alice, "still here")
        await there.receive_titles("still here")


@story
async def test_who_is_deactivated_is_found_by_the_check(alice: Any, monkeypatch: Any) -> None:
    if "is_active" not in {field.name for field in alice._meta.get_fields()}:
        pytest.skip("Nobody is inactive in this user model.")
    monkeypatch.setattr(hub, "CHECK_SESSIONS_EVERY", 0.1)
    async with Stream(alice.http) as stream:
        await stream.ready()
        await sync_to_async(type(alice)._default_manager.filter(pk=alice.pk).update)(
            is_active=False
        )
        assert (await stream.receive("bye"))["code"] == 4401
        await until(lambda: stream.is_over, "the end of the stream")


class ByHeader:
    """Middleware of a site that knows its users otherwise than by sessions."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        if name := request.headers.get("X-User"):
            request.user = get_user_model()._default_manager.get(pk=name)
        response: HttpResponse = self.get_response(request)
        return response


@story
async def test_whom_the_sites_middleware_signs_in_is_listened_for(
    alice: Any, settings: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(hub, "CHECK_SESSIONS_EVERY", 0.1)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.ByHeader"]
    async with Stream(headers={"x-user": str(alice.pk)}) as stream:
        assert (await stream.ready())["user"] == str(alice.pk)
        await apush(alice, "one")
        await stream.receive_titles("one")
        await type(alice)._default_manager.filter(pk=alice.pk).adelete()
        assert (await stream.receive("bye"))["code"] == 4401


@story
async def test_who_acts_as_another_user_does_so_for_as_long_as_their_own_session(
    alice: Any, bob: Any, settings: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(hub, "CHECK_SESSIONS_EVERY", 0.05)
    settings.LIVE_NOTIFY_HEARTBEAT = 0.1
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.ByHeader"]
    async with Stream(alice.http, headers={"x-user": str(bob.pk)}) as stream:
        assert (await stream.ready())["user"] == str(bob.pk)
        # Several checks later.
        await until(lambda: len(stream.of_type("ping")) > 3, "beats")
        assert not stream.of_type("bye")
        await sync_to_async(alice.http.session.flush)()
        assert (await stream.receive("bye"))["code"] == 4401


class Replacing:
    """Middleware that answers for the view, after it."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        self.get_response(request)
        return HttpResponse('{"closed": true}', status=503)


@story
async def test_a_response_of_middleware_is_not_gone_on_with(alice: Any, settings: Any) -> None:
    settings.MIDDLEWARE = [f"{__name__}.Replacing", *settings.MIDDLEWARE]
    for path in ("events/", "poll/"):
        async with Request(path, alice.http, wait=5) as request:
            assert await request.answer() == (503, {"closed": True})
    assert not get_hub()._all()


# Where it is served


@story
async def test_without_the_line_in_asgi_there_is_none(alice: Any) -> None:
    async with Request("events/", alice.http, application=get_asgi_application()) as request:
        status, answer = await request.answer()
        assert (status, answer["code"]) == (406, "unsupported")


def test_under_wsgi_there_is_none(alice: Any) -> None:
    response = alice.http.get("/live-notify/events/")
    assert (response.status_code, response.json()["code"]) == (406, "unsupported")


def test_it_is_outside_of_the_transactions_of_atomic_requests() -> None:
    # The mark by which Django leaves a view out of ATOMIC_REQUESTS.
    for view in (views.events, views.poll):
        assert view._non_atomic_requests == set(connections)


# What it costs, and how it ends


@story
async def test_a_stream_holds_no_thread(alice: Any) -> None:
    application = with_live_notify(get_asgi_application())
    async with Stream(alice.http, application=application) as first:
        await first.ready()
        await until(lambda: threading.active_count() <= _threads_of_a_hub(), "Django to let go")
        streams = [Stream(alice.http, application=application) for _ in range(5)]
        for stream in streams:
            await stream.__aenter__()
            await stream.ready()
        await until(lambda: threading.active_count() <= _threads_of_a_hub(), "Django to let go")
        for stream in streams:
            await stream.go_away()


def _threads_of_a_hub() -> int:
    own = ("live-notify", "asyncio", "MainThread", "ThreadPoolExecutor")
    return sum(thread.name.startswith(own) for thread in threading.enumerate())


@story
async def test_a_client_that_goes_away_frees_everything(alice: Any) -> None:
    async with Client(alice.http) as client:
        await client.hello()
        before = len(asyncio.all_tasks())
        async with Stream(alice.http) as stream:
            await stream.ready()
            assert len(get_hub()._all()) == 2
        await until(lambda: len(get_hub()._all()) == 1, "the listener to be forgotten")
        await until(lambda: len(asyncio.all_tasks()) <= before, "its tasks to end")


@story
async def test_a_client_that_goes_away_while_django_answers_leaves_nothing(
    alice: Any, settings: Any
) -> None:
    settings.MIDDLEWARE = [f"{__name__}.Slow", *settings.MIDDLEWARE]
    Slow.began.clear()
    Slow.may_go_on.clear()
    request = Stream(alice.http)
    await request.__aenter__()
    await until(Slow.began.is_set, "the request")
    await request._communicator.send_input({"type": "http.disconnect"})
    Slow.may_go_on.set()
    await request.go_away()
    assert request.status == 0 and not get_hub()._all()


@story
async def test_who_leaves_between_the_view_and_the_stream_is_not_waited_for() -> None:
    done: list[str] = []

    class Work:
        async def run(self, *args: Any) -> None:
            done.append("gone on with")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = [(holding.MARK.encode(), b"1")]
        scope[holding.SCOPE_KEY].work = Work()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # Django listens for it until it has closed the response; it comes once.
        assert (await receive())["type"] == "http.disconnect"
        done.append("over")

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    await holding.serve(application, {"type": "http"}, receive, send)
    assert done == ["over"]


class Slow:
    began = threading.Event()
    may_go_on = threading.Event()

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        self.began.set()
        self.may_go_on.wait(10)
        response: HttpResponse = self.get_response(request)
        return response


@story
async def test_a_shutdown_says_bye_and_when_to_come_back(alice: Any) -> None:
    async with Stream(alice.http) as stream:
        await stream.ready()
        assert stream.retry is not None and 1000 <= stream.retry <= 5000
        await get_hub().stop()
        bye = await stream.receive("bye")
        assert (bye["code"], bye["retry"], bye["after"]) == (4000, True, [0, 5])
        await until(lambda: stream.is_over, "the end of the stream")
        assert 0 <= stream.retry <= 5000


@story
async def test_a_stream_does_not_last_for_ever(alice: Any, settings: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(hub, "MAX_AGE", 0.1)
    settings.LIVE_NOTIFY_HEARTBEAT = 0.1
    async with Stream(alice.http) as stream:
        assert (await stream.receive("bye"))["code"] == 4003
        await until(lambda: stream.is_over, "the end of the stream")


@story
async def test_a_stream_that_cannot_be_opened_is_asked_to_come_back(
    alice: Any, monkeypatch: Any
) -> None:
    async def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("no database")

    monkeypatch.setattr(get_hub(), "_start", fail)
    async with Stream(alice.http) as stream:
        bye = await stream.receive("bye")
        # A status other than 200 would keep a browser from coming back.
        assert (stream.status, bye["code"], bye["retry"]) == (200, 4000, True)
        await until(lambda: stream.is_over, "the end of the stream")


def is_settled(said: Any) -> bool:
    horizon = get_hub()._horizon
    return horizon is not None and horizon.settled >= said.pk


@story
async def test_after_as_many_bytes_as_may_wait_the_client_acknowledges_by_coming_back(
    alice: Any, settings: Any
) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"backlog_bytes": 6_000}
    settings.LIVE_NOTIFY_COMMIT_WINDOW = 0.1
    async with Stream(alice.http) as stream:
        cursor = (await stream.ready())["cursor"]
    told: dict[int, str] = {}
    pushed: list[str] = []
    for _ in range(2):
        async with Stream(alice.http, headers={"last-event-id": cursor}) as stream:
            assert (await stream.ready())["reset"] is False
            while not stream.is_over:
                pushed.append(str(len(pushed)))
                said = await apush(alice, pushed[-1])
                await until(lambda said=said: stream.is_over or is_settled(said))
            bye = stream.frames[-1]
            assert (bye["type"], bye["code"], bye["after"]) == ("bye", 4003, [0, 1])
            assert len(stream.body) < 10_000
            told.update({item["id"]: item["title"] for item in stream.items})
            cursor = stream.last_event_id
    async with Stream(alice.http, headers={"last-event-id": cursor}) as stream:
        await until(lambda: pushed[-1] in [*stream.titles, *told.values()], "the rest")
        told.update({item["id"]: item["title"] for item in stream.items})
    assert [told[number] for number in sorted(told)] == pushed


@story
async def test_a_client_that_takes_nothing_is_given_up(
    alice: Any, settings: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(hub, "GRACE", 0.1)
    monkeypatch.setattr(listener_module, "GRACE", 0.1)
    monkeypatch.setattr(holding, "FAREWELL", 0.1)
    settings.LIVE_NOTIFY_HEARTBEAT = 0.2
    stuck = asyncio.Event()
    inner = with_live_notify(get_asgi_application())

    async def jammed(scope: Any, receive: Any, send: Any) -> None:
        async def send_until_stuck(message: Any) -> None:
            if stuck.is_set():
                await asyncio.Event().wait()
            await send(message)

        await inner(scope, receive, send_until_stuck)

    async with Stream(alice.http, application=jammed) as stream:
        await stream.ready()
        stuck.set()
        await until(lambda: not get_hub()._all(), "the listener to be forgotten")
        # The application has ended, too.
        await stream._communicator.wait(timeout=10)


def test_frames_are_events_line_by_line() -> None:
    text = protocol.encode({"type": "emitted", "data": "a\r\nb\u2028c", "name": "x"})
    event = protocol.event(text, "1.e.1", 1.5)
    lines = event.split("\n")
    assert lines[:2] == ["retry: 1500", "id: 1.e.1"] and lines[3:] == ["", ""]
    assert "\r" not in event
    assert json.loads(lines[2].removeprefix("data: "))["data"] == "a\r\nb\u2028c"
