"""From push() to a client of the same process: once, in order, also after a break."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction
from django.test.signals import update_connections_time_zone
from django.utils import timezone

from django_live_notify import (
    EVERYONE,
    Topic,
    aemit,
    afollow,
    apush,
    aschedule,
    follow,
    push,
    scheduling,
    signals,
)
from django_live_notify.live import hub, log, protocol, publisher
from django_live_notify.models import LogState, Notification, Receipt, Scheduled
from tests.live.client import Client, story, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fast_sweep")]

LONG_AGO = timezone.now() - timedelta(hours=1)


@pytest.fixture
def no_hints() -> Any:
    """Let nobody be told, as when another process pushes and there is no channel layer."""
    for signal in (signals.pushed, signals.state_changed, signals.retracted):
        signal.disconnect(dispatch_uid="live_notify")
    yield
    publisher.connect()


@story
async def test_a_push_arrives_with_its_content(alice: Any, bob: Any) -> None:
    async with Client(alice.http) as client:
        await client.hello()
        await apush(alice, "Ready", body="b", url="/x/", level="success", data={"n": 1}, actor=bob)
        await client.receive_titles("Ready")
        item = client.items[0]
        assert item["level"] == "success"
        assert item["url"] == "/x/"
        assert item["data"] == {"n": 1}
        assert item["actor"] == {"id": key_of(bob), "name": bob.get_username()}
        assert item["read"] is False
        await client.receive("unread", unread=1)


@story
async def test_a_push_arrives_in_every_connection_of_its_reader_and_in_no_other(
    alice: Any, bob: Any
) -> None:
    async with Client(alice.http) as one, Client(alice.http) as two, Client(bob.http) as other:
        for client in (one, two, other):
            await client.hello()
        await apush(alice, "for alice")
        await one.receive_titles("for alice")
        await two.receive_titles("for alice")
        await other.roundtrip()
        assert other.items == []


@story
async def test_every_kind_of_audience_is_reached(alice: Any) -> None:
    group = await sync_to_async(Group.objects.create)(name="staff")
    await sync_to_async(lambda: alice.groups.add(group))()
    async with Client(alice.http) as client:
        await client.hello()
        await afollow(alice, Topic("news"))
        await apush([alice], "list")
        await apush(get_user_model()._default_manager.all(), "queryset")
        await apush(group, "group")
        await apush(Topic("news"), "topic")
        await apush(EVERYONE, "everyone")
        await client.receive_titles("list", "queryset", "group", "topic", "everyone")


@story
async def test_what_no_hint_brings_the_sweep_brings(alice: Any, no_hints: Any) -> None:
    async with Client(alice.http) as client:
        await client.hello()
        await apush(alice, "one")
        await apush(EVERYONE, "two")
        await client.receive_titles("one", "two")
        await client.receive("unread", unread=2)


@story
async def test_a_channel_layer_in_memory_is_no_hindrance(alice: Any, settings: Any) -> None:
    memory = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    settings.CHANNEL_LAYERS = {"default": memory}
    async with Client(alice.http) as client:
        await client.hello()
        await apush(alice, "one")
        await apush(EVERYONE, "two")
        await aemit(alice, "typing")
        await client.receive_titles("one", "two")
        await client.receive("emitted", name="typing")


@story
async def test_an_event_with_bytes_arrives_as_bytes(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_CAN_JOIN = lambda user, topic: True
    async with Client(alice.http) as client:
        await client.hello(join=["board"])
        await aemit(alice, "image", b"\x00\xff")
        await aemit(Topic("board"), "stroke", b"\x80")
        assert (await client.receive("emitted", name="image"))["data"] == b"\x00\xff"
        assert (await client.receive("emitted", name="stroke"))["data"] == b"\x80"


@story
async def test_an_event_says_whether_it_came_only_because_the_connection_joined(
    alice: Any, bob: Any, settings: Any
) -> None:
    settings.LIVE_NOTIFY_CAN_JOIN = lambda user, topic: True
    await afollow(alice, Topic("room"))
    async with Client(alice.http) as follower, Client(bob.http) as member:
        await follower.hello(join=["room"])
        await member.hello(join=["room"])
        await aemit(Topic("room"), "typing")
        await aemit(EVERYONE, "reload")
        for client, joined in ((follower, None), (member, True)):
            assert (await client.receive("emitted", name="typing")).get("joined") is joined
            assert "joined" not in await client.receive("emitted", name="reload")


@story
async def test_a_channel_layer_that_does_not_exist_costs_nothing_but_speed(
    alice: Any, settings: Any, no_hints: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "nowhere.Layer"}}
    async with Client(alice.http) as client:
        await client.hello()
        await apush(alice, "one")
        await client.receive_titles("one")
        for number in range(2):
            await aemit(alice, "still", number)
            await client.receive("emitted", data=number)


@story
async def test_a_hint_and_the_sweep_say_it_once(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_COMMIT_WINDOW = 1
    async with Client(alice.http) as client:
        ready = await client.hello()
        await apush(alice, "once")
        await client.receive_titles("once")
        newest = await sync_to_async(Notification.objects.newest_id)()
        cursor = ready["cursor"].rpartition(".")[0] + f".{newest}"

        async def swept() -> bool:
            await client.roundtrip()
            return bool(client.of_type("pong")[-1]["cursor"] == cursor)

        while not await swept():
            pass
        assert client.titles == ["once"]


@story
async def test_a_rolled_back_push_is_never_said(alice: Any) -> None:
    def roll_back() -> None:
        with transaction.atomic():
            push(alice, "never")
            transaction.set_rollback(True)

    async with Client(alice.http) as client:
        await client.hello()
        await sync_to_async(roll_back)()
        await apush(alice, "after")
        await client.receive_titles("after")


@story
async def test_a_push_in_a_transaction_is_said_when_it_commits(alice: Any) -> None:
    async with Client(alice.http) as client:
        await client.hello()
        commit = await push_without_commit(alice, "late")
        await client.roundtrip()
        assert client.items == []
        await commit()
        await client.receive_titles("late")


@story
async def test_a_commit_out_of_id_order_is_not_lost(alice: Any, no_hints: Any) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time, so commits are in the order of ids.")
    async with Client(alice.http) as client:
        await client.hello()
        commit = await push_without_commit(alice, "first id")
        await apush(alice, "second id")
        await client.receive_titles("second id")
        await commit()
        await client.receive_titles("second id", "first id")


@pytest.mark.parametrize("in_order", [True, False], ids=["in order", "out of order"])
@pytest.mark.parametrize("to", ["user", "queryset", "topic", "everyone"])
@story
async def test_of_two_transactions_with_a_tag_the_higher_id_is_left(
    alice: Any, to: str, in_order: bool
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time, so commits are in the order of ids.")
    await afollow(alice, Topic("news"))
    audience = {
        "user": alice,
        "queryset": get_user_model()._default_manager.all(),
        "topic": Topic("news"),
        "everyone": EVERYONE,
    }[to]
    async with Client(alice.http) as client:
        ready = await client.hello()
        commits = [
            await push_without_commit(audience, title, tag="t") for title in ("first", "second")
        ]
        for commit in commits if in_order else reversed(commits):
            await commit()
        await client.receive_titles("first", "second")
        # By these, a client lets go of the first one, whichever comes first.
        ids = {item["title"]: item["id"] for item in client.items}
        assert [item["tag"] for item in client.items] == ["t", "t"]
        assert ids["first"] < ids["second"]
        await client.receive("unread", unread=1)

    def left() -> list[str]:
        return [row.title for row in Notification.objects.for_user(alice)]

    assert await sync_to_async(left)() == ["second"]
    async with Client(alice.http) as client:
        assert (await client.hello(cursor=ready["cursor"]))["unread"] == 1
        await client.receive_titles("second")


@story
async def test_a_commit_beyond_the_window_is_said_live(alice: Any, settings: Any) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time, so commits are in the order of ids.")
    settings.LIVE_NOTIFY_COMMIT_WINDOW = 0.3
    async with Client(alice.http) as client:
        await client.hello()
        commit = await push_without_commit(alice, "too late")
        later = await apush(alice, "in time")
        assert later is not None

        async def settled() -> bool:
            await client.roundtrip()
            return client.of_type("pong")[-1]["cursor"].endswith(f".{later.pk}")

        while not await settled():
            pass
        await commit()
        await client.receive_titles("in time", "too late")


@story
async def test_who_reconnects_receives_exactly_the_rest(alice: Any) -> None:
    http = alice.http
    async with Client(http) as client:
        cursor = (await client.hello())["cursor"]
    await apush(alice, "one")
    await apush(EVERYONE, "two")
    async with Client(http) as client:
        ready = await client.hello(cursor=cursor)
        assert ready["unread"] == 2 and "cursor" not in ready
        await client.receive_titles("one", "two")
        replay = client.of_type("notifications")[0]
        assert replay["replay"] is True
        cursor = replay["cursor"]
    async with Client(http) as client:
        await client.hello(cursor=cursor)
        await apush(alice, "three")
        await until(lambda: "three" in client.titles)
        live = [f for f in client.of_type("notifications") if not f["replay"]]
        assert [item["title"] for frame in live for item in frame["items"]] == ["three"]


@story
async def test_a_first_visit_receives_what_came_since_the_page_was_rendered(alice: Any) -> None:
    old = await apush(alice, "old")
    assert old is not None
    rows = Notification.objects.filter(pk=old.pk)
    await sync_to_async(rows.update)(created_at=timezone.now() - timedelta(hours=1))
    rendered = timezone.now().isoformat()
    await apush(alice, "new")
    async with Client(alice.http) as client:
        ready = await client.hello(since=rendered)
        assert ready["unread"] == 2
        await client.receive_titles("new")


@story
async def test_a_foreign_cursor_means_reset(alice: Any) -> None:
    await apush(alice, "one")
    async with Client(alice.http) as client:
        ready = await client.hello(cursor="1.deadbeef.0")
        assert ready["reset"] is True and ready["unread"] == 1
        await client.roundtrip()
        assert client.items == []


@story
async def test_a_cursor_ahead_of_the_log_means_reset(alice: Any) -> None:
    http = alice.http
    async with Client(http) as client:
        epoch = (await client.hello())["cursor"].split(".")[1]
    async with Client(http) as client:
        assert (await client.hello(cursor=f"1.{epoch}.{2**63 - 1}"))["reset"] is True
        await apush(alice, "live all the same")
        await client.receive_titles("live all the same")


@story
async def test_a_pruned_log_means_reset(alice: Any) -> None:
    http = alice.http
    async with Client(http) as client:
        cursor = (await client.hello())["cursor"]
    await apush(alice, "one")
    # In a process that knew the log before, a sweep would end all connections.
    await hub.get_hub().stop()
    await sync_to_async(LogState.objects.update)(pruned_to=1_000_000)
    async with Client(http) as client:
        assert (await client.hello(cursor=cursor))["reset"] is True


@story
async def test_too_much_to_replay_means_reset_and_no_part_of_it(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_REPLAY_LIMIT = 2
    http = alice.http
    async with Client(http) as client:
        cursor = (await client.hello())["cursor"]
    for title in ("one", "two", "three"):
        await apush(alice, title)
    async with Client(http) as client:
        assert (await client.hello(cursor=cursor))["reset"] is True
        await client.roundtrip()
        assert client.items == []


@story
async def test_another_log_sends_everybody_to_a_new_start(alice: Any) -> None:
    async with Client(alice.http) as client:
        await client.hello()
        await sync_to_async(LogState.objects.update)(epoch="another")
        assert await client.receive_close() == 4000
    async with Client(alice.http) as client:
        assert (await client.hello())["cursor"].startswith("1.another.")


@story
async def test_a_log_that_came_from_a_backup_is_noticed_by_ids_that_come_again(
    alice: Any, settings: Any
) -> None:
    # The ids of earlier tests are holes, which hold up what is settled for so long.
    settings.LIVE_NOTIFY_COMMIT_WINDOW = 0.2
    backup = await apush(alice, "in the backup")
    async with Client(alice.http) as client:
        cursor = (await client.hello())["cursor"]
        await apush(alice, "lost")
        lost = await apush(alice, "lost as well")
        assert backup is not None and lost is not None
        await client.receive_titles("lost", "lost as well")
        while not client.frames[-1].get("cursor", "").endswith(f".{lost.pk}"):
            await client.roundtrip()
        epoch = (await LogState.objects.aget()).epoch
        await sync_to_async(restore)(backup.pk)
        await apush(alice, "said after the restoration")
        assert await client.receive_close() == 4000
    assert (await LogState.objects.aget()).epoch != epoch
    async with Client(alice.http) as client:
        assert (await client.hello(cursor=cursor))["reset"] is True


@story
async def test_a_deleted_row_is_no_reason_to_start_afresh(alice: Any) -> None:
    async with Client(alice.http) as client:
        await client.hello()
        first = await apush(alice, "first")
        assert first is not None
        await client.receive_titles("first")
        await client.roundtrip()
        await Notification.objects.filter(pk=first.pk).adelete()
        await apush(alice, "second")
        await client.receive_titles("first", "second")
        await apush(alice, "third")
        await client.receive_titles("first", "second", "third")
        assert client.closed is None


def restore(newest: int) -> None:
    """Do what a restored backup does: rows are gone, and their ids are given out again."""
    Notification.objects.filter(pk__gt=newest).delete()
    table = Notification._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("UPDATE sqlite_sequence SET seq = %s WHERE name = %s", [newest, table])
        elif connection.vendor == "mysql":
            cursor.execute(f"ALTER TABLE {table} AUTO_INCREMENT = %s", [newest + 1])
        else:
            cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [table, newest])


@story
async def test_a_connection_does_not_last_for_ever(
    alice: Any, monkeypatch: Any, settings: Any
) -> None:
    settings.LIVE_NOTIFY_HEARTBEAT = 0.1
    monkeypatch.setattr(hub, "MAX_AGE", 1.0)
    async with Client(alice.http) as client:
        await client.hello()
        bye = await client.receive("bye")
        assert (bye["code"], bye["retry"]) == (4003, True)
        assert await client.receive_close() == 4003


@story
async def test_what_was_retracted_leaves_the_screen(alice: Any) -> None:
    async with Client(alice.http) as client:
        await client.hello()
        said = await apush(alice, "oops")
        assert said is not None
        await client.receive_titles("oops")
        await sync_to_async(said.retract)()
        await client.receive("retracted", ids=[said.pk])
        await client.receive("unread", unread=0)


@pytest.mark.parametrize("by", ["tag", "target", "slice"])
@story
async def test_a_queryset_is_retracted_for_all_who_have_it(alice: Any, bob: Any, by: str) -> None:
    await afollow(alice, Topic("news"))
    target = await Group.objects.acreate(name="target")
    said = [
        await apush(to, "oops", tag="oops", target=target)
        for to in (EVERYONE, [alice, bob], Topic("news"))
    ]
    ids = [row.pk for row in said if row is not None]
    await apush(EVERYONE, "stays", tag="other")
    rows = {
        "tag": Notification.objects.filter(tag="oops"),
        "target": Notification.objects.filter(target_type="auth.group", target_id=str(target.pk)),
        "slice": Notification.objects.order_by("pk")[:3],
    }[by]
    async with Client(alice.http) as one, Client(bob.http) as two:
        for client in (one, two):
            await client.hello()
        await target.adelete()
        assert await sync_to_async(rows.retract)() == 3
        await one.receive("retracted", ids=ids)
        await two.receive("retracted", ids=ids[:2])
        for client in (one, two):
            await client.receive("unread", unread=1)


@story
async def test_changes_without_hints_arrive_by_the_sweep_once(alice: Any, no_hints: Any) -> None:
    said = await apush(alice, "one")
    assert said is not None
    async with Client(alice.http) as client:
        await client.hello()
        mine = Notification.objects.for_user(alice)
        await sync_to_async(mine.mark_read)()
        await client.receive("state", action="read", ids=[said.pk])
        await client.receive("unread", unread=0)
        await apush(alice, "two")
        await until(lambda: "two" in client.titles)
        assert len(client.of_type("state")) == len({str(f) for f in client.of_type("state")})


@pytest.mark.parametrize("keys", ["ids", "up_to"])
@pytest.mark.parametrize("window", [60, 0.2])
@story
async def test_a_hint_that_comes_after_later_changes_were_told_changes_nothing(
    alice: Any, settings: Any, no_hints: Any, keys: str, window: float
) -> None:
    settings.LIVE_NOTIFY_COMMIT_WINDOW = window
    said = await apush(alice, "one")
    assert said is not None
    # Old enough for a watermark.
    yesterday = timezone.now() - timedelta(days=1)
    await Notification.objects.aupdate(created_at=yesterday)
    mine = Notification.objects.for_user(alice)
    async with Client(alice.http) as client:
        await client.hello()
        old = {"ids": [said.pk]} if keys == "ids" else {"up_to": said.pk}
        frame = {"type": "state", "action": "read", **old}
        hint = {"kind": "state", "to": [str(alice.pk)], "frame": frame, "at": protocol.now()}
        # A sweep tells of it, and of the watermark, which is moved twice.
        await sync_to_async(Notification.objects.mark_all)(alice, "read", up_to=said.pk)
        await client.receive("state", action="read")
        await sync_to_async(mine.mark_unread)()
        await client.receive("state", action="unread", ids=[said.pk])
        # As long as sweeps remember, and beyond.
        told = protocol.format_time(timezone.now() + timedelta(seconds=min(window, 1)))

        async def swept() -> bool:
            await client.roundtrip()
            return bool(client.of_type("pong")[-1]["time"] > told)

        while not await swept():
            pass
        hub.tell_all(hint)
        await client.roundtrip()
        assert [state["action"] for state in client.of_type("state")][-1] != "read"


@story
async def test_what_was_read_while_away_is_told_on_return(alice: Any) -> None:
    http = alice.http
    said = await apush(alice, "one")
    assert said is not None
    async with Client(http) as client:
        ready = await client.hello()
    await sync_to_async(Notification.objects.for_user(alice).mark_read)()
    async with Client(http) as client:
        await client.hello(cursor=ready["cursor"], since=ready["time"])
        await client.receive("state", action="read", ids=[said.pk])


@story
async def test_everything_that_was_read_is_told_without_a_hint_too(
    alice: Any, no_hints: Any
) -> None:
    old = await apush(alice, "older than the window")
    assert old is not None
    await Notification.objects.filter(pk=old.pk).aupdate(created_at=LONG_AGO)
    new = await apush(alice, "younger")
    assert new is not None
    async with Client(alice.http) as client:
        await client.hello()
        await sync_to_async(Notification.objects.mark_all)(alice, "read", up_to=new.pk)
        await client.receive("state", action="read", up_to=old.pk)
        await client.receive("state", action="read", ids=[new.pk])


@story
async def test_a_lost_hint_of_a_change_is_made_up_for_though_the_next_one_came(
    alice: Any, no_hints: Any
) -> None:
    said = await apush(alice, "one")
    assert said is not None
    async with Client(alice.http) as client:
        await client.hello()
        await sync_to_async(Notification.objects.for_user(alice).mark_read)()
        publisher.connect()
        await sync_to_async(Notification.objects.for_user(alice).archive)()
        await client.receive("state", action="archive", ids=[said.pk])
        await client.receive("state", action="read", ids=[said.pk])


@story
async def test_a_watermark_does_not_overrule_what_was_marked_unread_below_it(
    alice: Any, no_hints: Any
) -> None:
    one, two = await apush(alice, "one"), await apush(alice, "two")
    assert one is not None and two is not None
    everything = Notification.objects.all()
    await everything.aupdate(created_at=LONG_AGO)
    await sync_to_async(everything.mark_all)(alice, "read", up_to=two.pk)
    mine = everything.for_user(alice).filter(pk=one.pk)
    await sync_to_async(mine.mark_unread)()
    # So that the sweep does not tell it for its own sake.
    await Receipt.objects.aupdate(changed_at=LONG_AGO)
    async with Client(alice.http) as client:
        await client.hello()
        await sync_to_async(everything.mark_all)(alice, "seen", up_to=two.pk)
        await client.receive("state", action="read", up_to=two.pk)
        await client.receive("state", action="unread", ids=[one.pk])


@story
async def test_a_replay_that_fits_into_no_backlog_is_a_reset(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"backlog_bytes": 100_000}
    async with Client(alice.http) as client:
        cursor = (await client.hello())["cursor"]
    for number in range(4):
        await apush(alice, f"big {number}", body="b" * 20_000)
    async with Client(alice.http) as client:
        assert (await client.hello(cursor=cursor))["reset"] is True
        await apush(alice, "as large as the backlog", body="b" * 64 * 1024, data=["d" * 16_000] * 1)
        await client.receive_titles("as large as the backlog")


@story
async def test_an_actor_without_a_name_keeps_nothing_from_anybody(
    alice: Any, bob: Any, no_hints: Any, monkeypatch: Any
) -> None:
    def get_full_name(user: Any) -> str:
        raise LookupError("no profile")

    monkeypatch.setattr(get_user_model(), "get_full_name", get_full_name, raising=False)
    async with Client(alice.http) as client:
        await client.hello()
        await apush(alice, "by bob", actor=bob)
        await apush(alice, "by nobody")
        await client.receive_titles("by bob", "by nobody")


@story
async def test_more_readers_than_one_job_counts_are_all_counted(
    alice: Any, bob: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(hub, "RECOUNT_BATCH", 1)
    async with Client(alice.http) as hers, Client(bob.http) as his:
        await hers.hello()
        await his.hello()
        await apush(EVERYONE, "to all")
        await hers.receive("unread", unread=1)
        await his.receive("unread", unread=1)


@story
async def test_a_hub_that_ended_before_it_counted_counts_again(alice: Any) -> None:
    async with Client(alice.http) as client:
        await client.hello()
        hub.get_hub()._mark_dirty([str(alice.pk)])
        await hub.get_hub().stop()
    async with Client(alice.http) as client:
        await client.hello()
        await apush(alice, "news")
        await client.receive("unread", unread=1)


@story
async def test_what_was_archived_is_not_replayed_as_if_it_was_not(alice: Any) -> None:
    async with Client(alice.http) as client:
        ready = await client.hello()
    await apush(alice, "put away elsewhere")
    await sync_to_async(Notification.objects.for_user(alice).archive)()
    async with Client(alice.http) as client:
        await client.hello(cursor=ready["cursor"])
        await client.receive_titles("put away elsewhere")
        assert client.items[0]["archived"] is True


@story
async def test_a_change_in_a_transaction_beyond_the_window_is_told(
    alice: Any, no_hints: Any, settings: Any
) -> None:
    settings.LIVE_NOTIFY_COMMIT_WINDOW = 0.3
    one, two = await apush(alice, "one"), await apush(alice, "two")
    assert one is not None and two is not None

    def change() -> None:
        Notification.objects.for_user(alice).filter(pk=one.pk).mark_read()
        Notification.objects.filter(pk=two.pk).retract()

    async with Client(alice.http) as client:
        await client.hello()
        commit = await do_without_commit(change)
        beyond = protocol.format_time(timezone.now() + timedelta(seconds=0.3))

        async def swept() -> bool:
            await client.roundtrip()
            return bool(client.of_type("pong")[-1]["time"] > beyond)

        while not await swept():
            pass
        await commit()
        await client.receive("state", action="read", ids=[one.pk])
        await client.receive("retracted", ids=[two.pk])


@story
async def test_an_expiry_changes_the_count(alice: Any) -> None:
    async with Client(alice.http) as client:
        await client.hello()
        await apush(alice, "short", expires=timedelta(seconds=1))
        await client.receive("unread", unread=1)
        await client.receive("unread", unread=0)


@pytest.fixture
def no_time_zones(settings: Any) -> Iterator[None]:
    """Set USE_TZ to False, also for the connection of the thread that serves async code."""

    def switch(value: bool) -> None:
        settings.USE_TZ = value
        asyncio.run(sync_to_async(update_connections_time_zone)(setting="USE_TZ"))

    switch(False)
    yield
    switch(True)


@story
async def test_a_site_without_time_zones(alice: Any, no_time_zones: Any, no_hints: Any) -> None:
    http = alice.http
    await sync_to_async(alice.refresh_from_db)()
    async with Client(http) as client:
        ready = await client.hello(since="2026-01-01T00:00:00Z")
        said = await apush(alice, "hello", expires=timedelta(hours=1))
        assert said is not None
        await client.receive_titles("hello")
        assert client.items[0]["created_at"].endswith("Z")
        mine = Notification.objects.for_user(alice)
        await sync_to_async(mine.mark_read)()
        await client.receive("state", action="read", ids=[said.pk])
    async with Client(http) as client:
        await client.hello(cursor=ready["cursor"], since=ready["time"])
        await client.receive("state", action="read", ids=[said.pk])
        await client.receive_titles("hello")


@story
async def test_emitted_events_reach_who_is_there_and_are_not_stored(alice: Any, bob: Any) -> None:
    await sync_to_async(follow)(alice, Topic("thread"))
    async with Client(alice.http) as one, Client(bob.http) as two:
        await one.hello()
        await two.hello()
        await aemit(alice, "typing", {"thread": 7})
        await aemit(Topic("thread"), "reload")
        await aemit(EVERYONE, "all", exclude=bob)
        await one.receive("emitted", name="typing", data={"thread": 7})
        await one.receive("emitted", name="reload", topic="thread")
        await one.receive("emitted", name="all", topic="*")
        await two.roundtrip()
        assert two.of_type("emitted") == []
    assert not await sync_to_async(Notification.objects.exists)()


@story
async def test_who_joined_a_topic_hears_what_is_emitted_to_it(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_CAN_JOIN = lambda user, topic: topic == "room"
    async with Client(alice.http) as client:
        await client.hello(join=["room", "secret"])
        await client.send({"type": "join", "topic": "secret", "ref": 1})
        await client.receive("error", ref=1, code="forbidden")
        await aemit(Topic("secret"), "hidden")
        await aemit(Topic("room"), "heard")
        await client.receive("emitted", name="heard")
        await client.send({"type": "leave", "topic": "room", "ref": 2})
        await client.receive("ok", ref=2)
        await aemit(Topic("room"), "too late")
        await aemit(alice, "last")
        await client.receive("emitted", name="last")
        assert [frame["name"] for frame in client.of_type("emitted")] == ["heard", "last"]


async def push_without_commit(to: Any, title: str, **keys: Any) -> Callable[[], Awaitable[None]]:
    """Push in a transaction of another thread; return what commits it."""
    return await do_without_commit(lambda: push(to, title, **keys))


async def do_without_commit(job: Callable[[], Any]) -> Callable[[], Awaitable[None]]:
    """Do something in a transaction of another thread; return what commits it."""
    done, may_commit = threading.Event(), threading.Event()

    def run() -> None:
        with transaction.atomic():
            job()
            done.set()
            assert may_commit.wait(10)
        connection.close()

    writer = threading.Thread(target=run)
    writer.start()
    await until(done.is_set)

    async def commit() -> None:
        may_commit.set()
        await asyncio.to_thread(writer.join)

    return commit


def key_of(user: Any) -> Any:
    return user.pk if isinstance(user.pk, int) else str(user.pk)


@story
async def test_what_is_scheduled_is_said_when_it_is_due(alice: Any, no_hints: Any) -> None:
    at = timezone.now() + timedelta(seconds=0.5)
    await aschedule(alice, "cancelled", at=at)
    await sync_to_async(Scheduled.objects.all().cancel)()
    await aschedule(alice, "due", at=at)
    await aschedule(EVERYONE, "overdue", at=-timedelta(days=1))
    async with Client(alice.http) as client:
        await client.hello()
        await client.receive("unread", unread=2)
        await client.receive_titles("overdue", "due")
        assert timezone.now() >= at
        assert await Scheduled.objects.filter(published_at__gte=at).acount() == 1


@story
async def test_publishing_that_fails_or_hangs_does_not_hold_up_the_sweep(
    alice: Any, monkeypatch: Any, caplog: Any
) -> None:
    may_end, calls = threading.Event(), []

    def publish(**keys: Any) -> None:
        calls.append(keys)
        if len(calls) > 3:
            assert may_end.wait(10)
        raise OperationalError("no answer")

    monkeypatch.setattr(scheduling, "publish_due", publish)
    async with Client(alice.http) as client:
        await client.hello()
        await until(lambda: len(calls) == 4)
        for signal in (signals.pushed, signals.state_changed):
            signal.disconnect(dispatch_uid="live_notify")
        try:
            await apush(alice, "swept")
            await client.receive_titles("swept")
            assert len(calls) == 4
        finally:
            publisher.connect()
            may_end.set()
    assert caplog.text.count("What is scheduled cannot be published") == 1


@story
async def test_a_count_that_was_made_before_a_page_came_does_not_stay_on_it(
    alice: Any, monkeypatch: Any, settings: Any
) -> None:
    settings.LIVE_NOTIFY_SWEEP_INTERVAL = 600
    counted, may_be_told = threading.Event(), threading.Event()
    count_unread = log.count_unread

    def count_slowly(users: Any) -> Any:
        counts = count_unread(users)
        counted.set()
        assert may_be_told.wait(10)
        return counts

    monkeypatch.setattr(log, "count_unread", count_slowly)
    async with Client(alice.http) as page:
        ready = await page.hello()
        await apush(alice, "one")
        await until(counted.is_set, "the count")
    for signal in (signals.pushed, signals.state_changed):
        signal.disconnect(dispatch_uid="live_notify")
    try:
        await apush(alice, "two")
        async with Client(alice.http) as next_page:
            await next_page.hello(cursor=ready["cursor"])
            await next_page.receive_titles("one", "two")
            may_be_told.set()
            await until(lambda: next_page.of_type("unread"), "the count")
            # What a hint without content does: look into the log.
            hub.tell_all({"kind": "retracted"})
            await until(lambda: next_page.frames[-1] == {"type": "unread", "unread": 2})
    finally:
        publisher.connect()
