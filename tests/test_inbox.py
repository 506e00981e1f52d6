"""The inbox: what a reader has, and the verbs that change it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from django.db import OperationalError, connection, models
from django.db.models import functions
from django.test import TestCase
from django.utils import timezone

from django_live_notify import (
    EVERYONE,
    Topic,
    follow,
    mute,
    push,
    pushing,
    querysets,
    signals,
    unmute,
)
from django_live_notify.audiences import Audience
from django_live_notify.models import Follow, Notification, Receipt
from django_live_notify.querysets import ACTIONS

pytestmark = pytest.mark.django_db


@pytest.fixture
def mixed(alice: Any) -> list[int]:
    """One to a user, one to a topic, one to everyone: their ids."""
    follow(alice, Topic("news"))
    said = [push(alice, "user"), push(Topic("news"), "topic"), push(EVERYONE, "everyone")]
    return [row.pk for row in said if row]


def inbox(user: Any) -> Any:
    return Notification.objects.for_user(user)


def titles(rows: Any) -> list[str]:
    return sorted(row.title for row in rows)


def test_a_reader_is_needed(alice: Any) -> None:
    for verb in ("mark_read", "unread", "archive", "archived"):
        with pytest.raises(TypeError, match="for_user"):
            getattr(Notification.objects.all(), verb)()
    for nobody in (AnonymousUser(), None, "alice"):
        with pytest.raises(TypeError, match="saved user"):
            Notification.objects.for_user(nobody)


def test_what_is_wrong_in_a_call_raises_at_once(alice: Any, mixed: list[int]) -> None:
    everything = Notification.objects
    for change in (inbox(alice).change, lambda action: everything.mark_all(alice, action, up_to=1)):
        with pytest.raises(ValueError, match="Unknown action 'reed': expected one of read, unread"):
            change("reed")
    for nobody in (AnonymousUser(), alice.pk, Group(pk=1), None):
        with pytest.raises(TypeError, match=r"mark_all\(\) needs a saved user"):
            everything.mark_all(nobody, "read", up_to=mixed[2])
    for no_id in (None, str(mixed[2]), mixed):
        with pytest.raises(TypeError, match="up_to must be the id of a notification"):
            everything.mark_all(alice, "read", up_to=no_id)
    for limit in (0, -1):
        with pytest.raises(ValueError, match="limit must be positive"):
            inbox(alice).page(limit=limit)
    assert inbox(alice).unread().count() == 3


def test_every_verb_works_on_every_kind_and_returns_how_many(alice: Any, mixed: list[int]) -> None:
    assert inbox(alice).mark_seen() == 3
    assert inbox(alice).unseen().count() == 0 and inbox(alice).unread().count() == 3
    assert inbox(alice).mark_read() == 3
    assert inbox(alice).mark_read() == 0
    assert inbox(alice).unread().count() == 0
    assert inbox(alice).filter(topic="*").mark_unread() == 1
    assert titles(inbox(alice).unread()) == ["everyone"]
    assert inbox(alice).archive() == 3
    assert inbox(alice).unread().count() == 0
    assert titles(inbox(alice).archived()) == ["everyone", "topic", "user"]
    assert inbox(alice).unarchive() == 3
    assert titles(inbox(alice).unread()) == ["everyone"]


def test_an_instance_has_the_same_verbs_for_a_user(alice: Any, bob: Any, mixed: list[int]) -> None:
    for said in Notification.objects.all():
        assert said.mark_seen(alice) is True and said.mark_seen(alice) is False
        assert said.mark_read(alice) is True and said.mark_read(alice) is False
        assert said.mark_unread(alice) is True and said.mark_unread(alice) is False
        assert said.archive(alice) is True and said.archive(alice) is False
        assert said.unarchive(alice) is True and said.unarchive(alice) is False
        assert said.mark_read(bob) is (said.topic == "*"), "not what is not his"
        with pytest.raises(TypeError, match="saved user"):
            said.mark_read(AnonymousUser())
    assert titles(inbox(alice).unread()) == ["everyone", "topic", "user"]


@pytest.mark.parametrize("action", ACTIONS)
def test_everything_up_to_an_id_is_changed_and_nothing_above(
    alice: Any, mixed: list[int], action: str
) -> None:
    undone = {"unread": "read", "unarchive": "archive"}.get(action)
    if undone:
        inbox(alice).change(undone)
    Notification.objects.mark_all(alice, action, up_to=mixed[1])
    states = inbox(alice).order_by("pk").values_list("seen_at", "read_at", "archived_at")
    place = {"seen": 0, "read": 1, "unread": 1}.get(action, 2)
    assert [row[place] is not None for row in states] == (
        [False, False, True] if undone else [True, True, False]
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("action", ["unread", "archive", "unarchive"])
def test_an_error_leaves_what_was_done_to_a_huge_inbox_before_it(
    alice: Any, monkeypatch: Any, action: str
) -> None:
    # Two at a time.
    monkeypatch.setattr(querysets, "BATCH_SIZE", 4)
    said = [push(to, "x") for to in (alice, EVERYONE) * 4]
    ids = [row.pk for row in said if row is not None]
    if undone := {"unread": "read", "unarchive": "archive"}.get(action):
        inbox(alice).change(undone)
    told: list[list[int]] = []
    updates: list[str] = []

    def fail(execute: Any, sql: str, *arguments: Any) -> Any:
        updates.extend([sql] if sql.startswith("UPDATE") and "_receipt" in sql else [])
        if len(updates) == 3:
            raise OperationalError("The connection is gone.")
        return execute(sql, *arguments)

    def hear(ids: list[int], **keys: Any) -> None:
        told.append(ids)

    def changed() -> list[int]:
        field = "read_at" if action == "unread" else "archived_at"
        rows = inbox(alice).order_by("pk").filter(**{f"{field}__isnull": undone is not None})
        return [row.pk for row in rows]

    signals.state_changed.connect(hear)
    try:
        with connection.execute_wrapper(fail), pytest.raises(OperationalError):
            Notification.objects.mark_all(alice, action, up_to=ids[6])
        assert changed() == ids[:4] and told == [ids[:2], ids[2:4]]
        Notification.objects.mark_all(alice, action, up_to=ids[6])
        assert changed() == ids[:7] and told[2:] == [ids[4:6], ids[6:7]]
    finally:
        signals.state_changed.disconnect(hear)


def test_slices_and_unions_have_the_same_verbs(alice: Any, mixed: list[int]) -> None:
    newest = inbox(alice).newest_first()
    assert newest[:2].mark_read() == 2 and newest[:2].mark_read() == 0
    assert titles(inbox(alice).unread()) == ["user"]
    first, others = inbox(alice).filter(pk=mixed[0]), inbox(alice).exclude(pk=mixed[0])
    assert first.union(others).archive() == 3
    assert newest[:0].unarchive() == 0 and inbox(alice).archived().count() == 3
    assert Notification.objects.order_by("pk")[:2].retract() == 2
    assert titles(inbox(alice)) == ["everyone"]


PLACE = models.Window(functions.RowNumber(), partition_by="kind", order_by="-pk")

# From notifications to the newest of each of two kinds.
NEWEST = {
    "window": lambda rows: rows.annotate(place=PLACE).filter(place=1),
    "distinct on": lambda rows: rows.order_by("kind", "-pk").distinct("kind"),
}


@pytest.fixture(params=NEWEST)
def newest(request: Any, alice: Any) -> Any:
    """Return what chooses "3" of kind-1 and "2" of kind-0, of four."""
    if request.param == "distinct on" and not connection.features.can_distinct_on_fields:
        pytest.skip("This database has no DISTINCT ON.")
    for number in range(4):
        push(alice, f"{number}", kind=f"kind-{number % 2}")
    return NEWEST[request.param]


def test_the_newest_of_each_are_changed_and_no_others_in_their_place(
    alice: Any, newest: Any
) -> None:
    chosen = newest(inbox(alice))
    assert chosen.mark_read() == 2 and chosen.mark_read() == 0
    assert titles(inbox(alice).unread()) == ["0", "1"]
    assert chosen.archive() == 2 and titles(inbox(alice).archived()) == ["2", "3"]


def test_the_newest_of_each_are_retracted_and_no_others_in_their_place(
    alice: Any, newest: Any
) -> None:
    chosen = newest(Notification.objects.all())
    assert chosen.retract() == 2 and chosen.retract() == 0
    assert titles(inbox(alice)) == ["0", "1"]


def test_the_newest_of_each_are_paged_and_no_others_in_their_place(alice: Any, newest: Any) -> None:
    chosen = newest(inbox(alice))
    page, following = chosen.page(limit=1)
    assert [row.title for row in page] == ["3"]
    page, following = chosen.page(before=following, limit=1)
    assert [row.title for row in page] == ["2"] and following is None
    assert chosen.count_capped() == 2


def test_values_are_changed_as_the_rows_that_they_are_of(alice: Any, mixed: list[int]) -> None:
    values = inbox(alice).order_by("pk").values("kind")
    assert values.mark_read() == 3 and values[:1].mark_unread() == 1
    assert titles(inbox(alice).unread()) == ["user"]
    assert Notification.objects.filter(title="user").values_list("title", flat=True).retract() == 1
    assert titles(inbox(alice)) == ["everyone", "topic"]


def test_what_a_filter_finds_several_times_counts_once(alice: Any, bob: Any) -> None:
    told: list[list[int]] = []

    def hear(ids: list[int], **keys: Any) -> None:
        told.append(ids)

    said = push([alice, bob], "both")
    assert said is not None
    unread = {"receipts__read_at": None}
    assert inbox(alice).filter(**unread).archive() == 1
    signals.retracted.connect(hear)
    try:
        with TestCase.captureOnCommitCallbacks(execute=True):
            assert Notification.objects.filter(**unread).retract() == 1
    finally:
        signals.retracted.disconnect(hear)
    assert told == [[said.pk]]


def test_reading_is_seeing(alice: Any, mixed: list[int]) -> None:
    inbox(alice).mark_read()
    assert inbox(alice).unseen().count() == 0


def test_what_one_reader_does_is_not_done_by_another(
    alice: Any, bob: Any, mixed: list[int]
) -> None:
    push([alice, bob], "both")
    inbox(alice).mark_read()
    assert titles(inbox(bob).unread()) in (["both"], ["both", "everyone"])
    assert Notification.objects.for_user(bob).filter(pk=mixed[0]).mark_read() == 0
    assert not Receipt.objects.filter(recipient=bob, notification_id=mixed[0]).exists()


def test_everything_up_to_an_id_is_read_by_a_watermark(alice: Any, mixed: list[int]) -> None:
    Notification.objects.update(created_at=timezone.now() - timedelta(minutes=5))
    _let_join_early(alice)
    Notification.objects.mark_all(alice, "read", up_to=mixed[1])
    assert titles(inbox(alice).unread()) == ["everyone"]
    assert Receipt.objects.count() == 1, "no receipt was needed for the topic"
    assert set(Follow.objects.values_list("read_to", flat=True)) == {mixed[1]}
    Notification.objects.mark_all(alice, "read", up_to=mixed[2])
    assert inbox(alice).unread().count() == 0
    assert inbox(alice).unseen().count() == 0


def test_the_watermark_stays_below_what_may_still_commit(alice: Any, mixed: list[int]) -> None:
    Notification.objects.mark_all(alice, "read", up_to=mixed[2])
    assert inbox(alice).unread().count() == 0
    assert max(Follow.objects.values_list("read_to", flat=True)) < mixed[0]


def test_a_watermark_reaches_no_further_than_the_log(alice: Any, mixed: list[int]) -> None:
    Notification.objects.mark_all(alice, "read", up_to=2**62)
    push(EVERYONE, "later")
    assert titles(inbox(alice).unread()) == ["later"]


def test_a_commit_beyond_the_window_stays_unread_for_who_has_read_everything_meanwhile(
    alice: Any, bob: Any, django_capture_on_commit_callbacks: Any
) -> None:
    newer = push(alice, "newer")
    assert newer is not None
    # An id that a transaction got, which is open for longer than the window.
    number, began = newer.pk + 1, timezone.now() - timedelta(hours=1)
    latest = Notification.objects.create(pk=number + 1, title="latest", created_at=began)
    Notification.objects.filter(pk=newer.pk).update(created_at=began)
    Notification.objects.mark_all(alice, "read", up_to=latest.pk)
    late = Notification(pk=number, title="late", created_at=began)
    with django_capture_on_commit_callbacks(execute=True):
        pushing.store(late, Audience.of([alice, bob]), "default")
    assert titles(inbox(alice).unread()) == ["late"]
    # An exception from her watermark, which sweeps would tell without it; he has none.
    assert [receipt.recipient for receipt in late.receipts.exclude(changed_at=None)] == [alice]


def test_what_arrives_meanwhile_is_not_swallowed(alice: Any, mixed: list[int]) -> None:
    later = push(EVERYONE, "later")
    assert later is not None
    Notification.objects.mark_all(alice, "read", up_to=mixed[2])
    assert titles(inbox(alice).unread()) == ["later"]


def test_one_may_be_unread_below_the_watermark(alice: Any, mixed: list[int]) -> None:
    Notification.objects.update(created_at=timezone.now() - timedelta(minutes=5))
    _let_join_early(alice)
    Notification.objects.mark_all(alice, "read", up_to=mixed[2])
    assert inbox(alice).filter(pk=mixed[1]).mark_unread() == 1
    assert titles(inbox(alice).unread()) == ["topic"]
    assert inbox(alice).filter(pk=mixed[2]).archive() == 1
    assert titles(inbox(alice).unread()) == ["topic"], "archiving keeps it read"


def test_muting_a_topic_changes_no_time_at_which_it_was_read(alice: Any, mixed: list[int]) -> None:
    Notification.objects.update(created_at=timezone.now() - timedelta(minutes=5))
    before = timezone.now()
    Notification.objects.mark_all(alice, "seen", up_to=mixed[2])
    between = timezone.now()
    Notification.objects.mark_all(alice, "read", up_to=mixed[2])
    after = timezone.now()
    assert mute(alice, Topic("news"), until=timedelta(1)) and unmute(alice, Topic("news"))
    row = inbox(alice).get(pk=mixed[1])
    assert before < row.seen_at < between < row.read_at < after
    inbox(alice).filter(pk=mixed[1]).archive()
    assert inbox(alice).get(pk=mixed[1]).read_at == row.read_at


def test_pages_are_cut_by_id(alice: Any) -> None:
    for number in range(5):
        push(alice, str(number))
    first, following = inbox(alice).page(limit=2)
    assert [row.title for row in first] == ["4", "3"]
    push(alice, "new")
    second, following = inbox(alice).page(before=following, limit=2)
    assert [row.title for row in second] == ["2", "1"]
    last, end = inbox(alice).page(before=following, limit=2)
    assert [row.title for row in last] == ["0"] and end is None


def test_a_page_costs_one_query_whatever_its_length(
    alice: Any, bob: Any, django_assert_num_queries: Any
) -> None:
    for number in range(30):
        push(alice, str(number), actor=bob)
    for limit in (1, 25):
        with django_assert_num_queries(1):
            page, _ = inbox(alice).page(limit=limit)
            assert [row.actor.get_username() for row in page] == [bob.get_username()] * limit


def test_everything_is_marked_however_much_was_said_at_once(alice: Any) -> None:
    # MariaDB ends a recursion after a thousand steps, and says so to nobody.
    Notification.objects.bulk_create(
        Notification(title=str(number), topic=EVERYONE.name) for number in range(2_500)
    )
    Notification.objects.mark_all(alice, "read", up_to=Notification.objects.newest_id())
    assert not inbox(alice).unread().exists()


def test_counts_stop_at_a_hundred(alice: Any) -> None:
    Notification.objects.bulk_create(Notification(title="x", topic="*") for _ in range(105))
    assert inbox(alice).unread().count_capped() == 100


def test_counts_by_kind_cost_one_query_and_stop_at_a_hundred(
    alice: Any, mixed: list[int], django_assert_num_queries: Any
) -> None:
    rows = [Notification(title="x", topic="*", kind="many") for _ in range(105)]
    Notification.objects.bulk_create(rows)
    push(alice, "one", kind="read")
    push(alice, "two", kind="archived")
    inbox(alice).filter(kind="read").mark_read()
    inbox(alice).filter(kind="archived").archive()
    inbox(alice).filter(kind="many")[:10].mark_seen()
    inbox(alice).filter(kind="").mark_seen()
    with django_assert_num_queries(1):
        counts = inbox(alice).counts_by_kind()
    assert counts == {"many": (100, 95), "": (3, 0)}
    assert counts["many"].unread == 100 and counts["many"].unseen == 95
    assert inbox(alice).filter(kind="").counts_by_kind() == {"": (3, 0)}
    with pytest.raises(TypeError, match="for_user"):
        Notification.objects.counts_by_kind()


def test_a_topic_that_is_followed_twice_over_counts_once(alice: Any) -> None:
    # Two requests to follow at once, with something said in between.
    Follow.objects.bulk_create(Follow(user=alice, topic="news", since=since) for since in (0, 1))
    Notification.objects.bulk_create(
        Notification(pk=number, title=str(number), topic="news") for number in (1, 2, 3)
    )
    assert inbox(alice).unread().count_capped() == 3
    assert [row.title for row in inbox(alice).page(limit=3)[0]] == ["3", "2", "1"]


def test_what_was_retracted_is_gone_for_all(alice: Any, bob: Any) -> None:
    push([alice, bob], "oops", tag="t")
    push(EVERYONE, "stays")
    assert Notification.objects.filter(tag="t").retract() == 1
    assert titles(inbox(alice)) == titles(inbox(bob)) == ["stays"]
    assert Notification.objects.filter(tag="t").retract() == 0


def test_what_is_about_an_object_is_retracted_by_it(alice: Any) -> None:
    one, two = (Group.objects.create(name=name) for name in "ab")
    for target in (one, one, two, None):
        push(alice, target.name if target else "none", target=target)
    about = Notification.objects.filter(target_type="auth.group", target_id=str(one.pk))
    one.delete()
    assert about.retract() == 2
    assert titles(inbox(alice)) == ["b", "none"]


def _let_join_early(user: Any) -> None:
    if hasattr(user, "date_joined"):
        user.date_joined = timezone.now() - timedelta(days=1)
        user.save()


# Querysets of all kinds


@pytest.fixture
def said(alice: Any) -> None:
    follow(alice, Topic("news"))
    for number in range(12):
        push([alice, Topic("news"), EVERYONE][number % 3], f"{number}", kind=f"kind-{number % 2}")


def test_an_inbox_in_reverse_is_paged_from_the_newest_all_the_same(said: None, alice: Any) -> None:
    inbox = Notification.objects.for_user(alice)
    for reversed_inbox in (inbox.order_by("title").reverse(), inbox.order_by("pk").reverse()):
        seen: list[int] = []
        before = None
        while True:
            page, before = reversed_inbox.page(before=before, limit=5)
            seen += [row.pk for row in page]
            if before is None:
                break
        assert seen == sorted(inbox.values_list("pk", flat=True), reverse=True)
        assert reversed_inbox.count_capped() == reversed_inbox.unread().count_capped() == 12


@pytest.mark.django_db(transaction=True)
def test_parameters_that_the_server_binds_change_nothing(
    alice: Any, bob: Any, monkeypatch: Any, request: Any
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("Only PostgreSQL lets a site choose.")
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "server_side_binding", True)
    connection.close()
    request.addfinalizer(connection.close)
    follow(alice, Topic("news"))
    for to in (alice, [alice, bob], Topic("news"), EVERYONE):
        push(to, "hello", data={"a": 1}, params={"n": 1})
    newest = [row.pk for row in inbox(alice).page()[0]]
    assert len(newest) == inbox(alice).count() == inbox(alice).count_unread() == 4
    assert [row.pk for row in inbox(alice).walk(newest_first=False)] == newest[::-1]
    assert not inbox(alice).walk(above=2**40)


def test_what_is_no_plain_part_of_an_inbox_is_counted_as_it_is(said: None, alice: Any) -> None:
    inbox = Notification.objects.for_user(alice)
    of_kinds = models.Window(models.Count("pk"), partition_by="kind")
    for rows in (
        inbox.values("kind").distinct(),
        inbox.values("kind").annotate(number=models.Count("pk")),
        inbox.annotate(number=of_kinds).filter(number__gt=3),
        inbox.filter(kind="kind-0").union(inbox.filter(title="1")),
        inbox.newest_first()[:3],
    ):
        assert rows.count_capped() == len(rows)


def test_a_page_may_leave_fields_out(said: None, alice: Any) -> None:
    inbox = Notification.objects.for_user(alice)
    for rows in (inbox.only("title"), inbox.defer("actor")):
        assert [row.title for row in rows.page(limit=2)[0]] == ["11", "10"]


def test_an_inbox_has_one_reader(alice: Any, bob: Any) -> None:
    with pytest.raises(TypeError, match="already"):
        Notification.objects.for_user(alice).for_user(bob)


def test_a_part_of_the_notifications_is_not_marked_by_a_watermark(said: None, alice: Any) -> None:
    last = Notification.objects.newest_id()
    everything = Notification.objects.all()
    for part in (everything.filter(kind="kind-0"), everything[:3], everything.distinct("kind")):
        with pytest.raises(TypeError, match="for_user"):
            part.mark_all(alice, "read", up_to=last)
    assert Notification.objects.for_user(alice).count_unread() == 12
