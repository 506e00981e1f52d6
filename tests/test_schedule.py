"""schedule(): what is kept, when it is said, that it is said once, and what becomes of the rest."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group
from django.core.management import CommandError, call_command
from django.db import DataError, OperationalError, connection, transaction
from django.db.models.signals import post_save
from django.utils import timezone
from django.utils.translation import (
    gettext_lazy,
    ngettext_lazy,
    npgettext_lazy,
    override,
    pgettext_lazy,
)

from django_live_notify import (
    EVERYONE,
    Topic,
    api,
    aschedule,
    follow,
    push,
    pushing,
    schedule,
    scheduling,
    signals,
)
from django_live_notify.models import Notification, Receipt, Scheduled
from django_live_notify.scheduling import Published, publish_due
from tests.servers import ROOT

pytestmark = pytest.mark.django_db

NOW = timedelta(0)
LATER = timedelta(hours=1)

# Seconds; far above what anything here takes.
DEADLINE = 20.0


def users(*chosen: Any) -> Any:
    rows = get_user_model()._default_manager.all()
    return rows.filter(pk__in=[user.pk for user in chosen]) if chosen else rows


def inbox(user: Any) -> list[str]:
    return [row.rendered_title for row in Notification.objects.for_user(user).order_by("pk")]


def keep(to: Any, title: Any = "hello", *, at: Any = NOW, **keys: Any) -> Scheduled:
    scheduled = schedule(to, title, at=at, **keys)
    assert scheduled is not None
    return scheduled


def together(*jobs: Callable[[], Any]) -> list[Any]:
    """Do jobs at the same time, each with a connection of its own; return their results."""
    barrier = threading.Barrier(len(jobs))
    results: list[Any] = [None] * len(jobs)

    def run(index: int, job: Callable[[], Any]) -> None:
        try:
            barrier.wait(DEADLINE)
            results[index] = job()
        except Exception as error:
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=entry) for entry in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    return results


@pytest.fixture
def refusing() -> Iterator[Callable[[str, BaseException | None], None]]:
    """Let what has a title not be saved, or (None) again: `refusing("title", error)`."""
    errors: dict[str, BaseException | None] = {}

    def refuse(instance: Any, **keys: Any) -> None:
        if error := errors.get(instance.title):
            raise error

    def arrange(title: str, error: BaseException | None) -> None:
        errors[title] = error

    post_save.connect(refuse, sender=Notification)
    yield arrange
    post_save.disconnect(refuse, sender=Notification)


# When


def test_it_is_said_when_it_is_due_and_not_before(alice: Any) -> None:
    scheduled = keep(alice, at=LATER)
    assert publish_due() == Published(0, 0) and inbox(alice) == []
    Scheduled.objects.update(publish_at=timezone.now())
    assert publish_due() == Published(1, 0) and inbox(alice) == ["hello"]
    scheduled.refresh_from_db()
    assert scheduled.published_at is not None
    assert scheduled.notification == Notification.objects.get()
    assert publish_due() == Published(0, 0)


@pytest.mark.parametrize("at", [NOW, -LATER, datetime(2001, 1, 1)])
def test_a_time_in_the_past_is_due_at_once(alice: Any, at: Any) -> None:
    keep(alice, at=timezone.make_aware(at) if isinstance(at, datetime) else at)
    assert publish_due().published == 1 and inbox(alice) == ["hello"]


def test_a_time_is_kept_as_it_was_given(alice: Any) -> None:
    at = timezone.now() + LATER
    assert keep(alice, at=at).publish_at == at
    assert abs(keep(alice, at=LATER).publish_at - at) < timedelta(minutes=1)


def test_a_site_without_time_zones_gives_naive_times(alice: Any, settings: Any) -> None:
    settings.USE_TZ = False
    assert keep(alice, at=datetime(2199, 1, 1)).publish_at == datetime(2199, 1, 1)


def test_the_oldest_comes_first(alice: Any) -> None:
    for minutes in (2, 3, 1):
        keep(alice, str(minutes), at=-timedelta(minutes=minutes))
    publish_due()
    assert inbox(alice) == ["3", "2", "1"]


def test_everything_that_became_due_while_nobody_was_there_is_said(alice: Any) -> None:
    for number in range(30):
        keep(alice, str(number), at=timedelta(minutes=number - 30))
    keep(alice, "later", at=LATER)
    assert publish_due() == Published(30, 0)
    assert inbox(alice) == [str(number) for number in range(30)]


def test_what_there_is_no_time_for_is_left_for_the_next_call(alice: Any) -> None:
    keep(alice)
    assert publish_due(seconds=0) == Published(0, 0)
    assert publish_due(seconds=60) == Published(1, 0)


def test_nothing_due_costs_one_query(alice: Any, django_assert_num_queries: Any) -> None:
    keep(alice, at=LATER)
    with django_assert_num_queries(1):
        publish_due()


# To whom


def test_one_user_costs_one_insert(alice: Any, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        schedule(alice, "hello", at=LATER)


@pytest.mark.parametrize("kind", ["user", "list", "queryset", "sliced", "group", "groups", "mixed"])
def test_each_kind_of_audience(kind: str, alice: Any, bob: Any, make_user: Any) -> None:
    carol = make_user("carol")
    group = Group.objects.create(name="crew")
    alice.groups.add(group)
    to = {
        "user": alice,
        "list": [alice, alice],
        "queryset": users(alice),
        "sliced": users(alice).order_by("pk")[:1],
        "group": group,
        "groups": Group.objects.filter(name="crew"),
        "mixed": [alice, group, users(bob)],
    }
    keep(to[kind])
    assert publish_due() == Published(1, 0)
    assert inbox(alice) == ["hello"] and inbox(carol) == []
    assert inbox(bob) == (["hello"] if kind == "mixed" else [])


def test_a_queryset_is_who_was_in_it_and_a_group_who_is_in_it(alice: Any, bob: Any) -> None:
    group = Group.objects.create(name="crew")
    alice.groups.add(group)
    keep(users().filter(groups=group), "queryset")
    keep(group, "group")
    alice.groups.clear()
    bob.groups.add(group)
    publish_due()
    assert inbox(alice) == ["queryset"] and inbox(bob) == ["group"]


def test_topics_and_everyone_are_who_is_there_when_it_is_said(alice: Any, make_user: Any) -> None:
    keep(EVERYONE, "everyone")
    keep(Topic("news"), "topic")
    bob = make_user("bob")
    follow(bob, Topic("news"))
    publish_due()
    carol = make_user("carol")
    assert inbox(alice) == ["everyone"]
    assert inbox(bob) == ["everyone", "topic"] and inbox(carol) == []


@pytest.mark.parametrize("kind", ["list", "queryset", "group", "everyone", "topic"])
def test_who_is_excluded_is_left_out(kind: str, alice: Any, bob: Any) -> None:
    group = Group.objects.create(name="crew")
    banned = Group.objects.create(name="banned")
    for user in (alice, bob):
        follow(user, Topic("news"))
        user.groups.add(group)
    alice.groups.add(banned)
    to = {
        "list": [alice, bob],
        "queryset": users(),
        "group": group,
        "everyone": EVERYONE,
        "topic": Topic("news"),
    }
    keep(to[kind], "one user", exclude=alice)
    keep(to[kind], "a queryset", exclude=users(alice))
    keep(to[kind], "a group", exclude=banned)
    keep(to[kind], "nobody", exclude=AnonymousUser())
    # Who is excluded was found when it was scheduled.
    bob.groups.add(banned)
    publish_due()
    assert inbox(alice) == ["nobody"]
    assert inbox(bob) == ["one user", "a queryset", "a group", "nobody"]


def test_who_was_excluded_while_inactive_stays_excluded(alice: Any, bob: Any) -> None:
    deactivate(alice)
    keep(EVERYONE, exclude=users(alice))
    users(alice).update(is_active=True)
    publish_due()
    assert inbox(alice) == [] and inbox(bob) == ["hello"]


def test_who_is_inactive_or_deleted_by_then_is_left_out(
    alice: Any, bob: Any, make_user: Any
) -> None:
    carol = make_user("carol")
    keep([alice, bob, carol], exclude=users(bob))
    keep([alice, bob, carol])
    alice.delete()
    deactivate(bob)
    assert publish_due() == Published(2, 0)
    assert inbox(carol) == ["hello", "hello"]
    assert set(Receipt.objects.values_list("recipient_id", flat=True)) == {carol.pk}


def test_nobody_left_is_published_to_nobody(alice: Any) -> None:
    scheduled = keep(alice)
    alice.delete()
    assert publish_due() == Published(1, 0)
    scheduled.refresh_from_db()
    assert scheduled.published_at is not None and scheduled.notification is None
    assert not Notification.objects.exists()


def test_an_empty_audience_is_no_error_and_nothing_is_stored(alice: Any) -> None:
    for to in ([], users().none(), Group.objects.none()):
        assert schedule(to, "hello", at=NOW) is None
    assert schedule(alice, "hello", at=NOW, exclude=alice) is None
    assert not Scheduled.objects.exists()


def test_a_group_that_is_empty_by_now_may_be_filled(alice: Any) -> None:
    group = Group.objects.create(name="crew")
    keep(group)
    alice.groups.add(group)
    publish_due()
    assert inbox(alice) == ["hello"]


def test_one_of_several_groups_may_be_deleted(alice: Any) -> None:
    groups = [Group.objects.create(name=name) for name in "ab"]
    alice.groups.add(*groups)
    keep(groups)
    groups[0].delete()
    assert publish_due() == Published(1, 0) and inbox(alice) == ["hello"]


# What


def test_it_takes_what_push_takes() -> None:
    pushed = inspect.signature(push).parameters
    scheduled = dict(inspect.signature(schedule).parameters)
    at = scheduled.pop("at")
    assert scheduled == dict(pushed)
    assert at.kind is at.KEYWORD_ONLY and at.default is at.empty


def test_everything_arrives_as_push_would_have_said_it(alice: Any, bob: Any) -> None:
    said: dict[str, Any] = {
        "body": "body",
        "url": "/x/?y#z",
        "level": 30,
        "kind": "comment.created",
        "icon": "https://example.com/i.png",
        "data": {"n": [1, None, "\U0001f514"]},
        "params": {"who": "Bob", "n": 3},
        "actor": bob,
        "target": Group.objects.create(name="target"),
        "tag": "t",
        "expires": timezone.now() + 2 * LATER,
    }
    push(alice, "%(who)s: %(n)d", **said)
    keep(alice, "%(who)s: %(n)d", **said)
    publish_due()
    one, two = Notification.objects.order_by("pk").values()
    for name in ("id", "created_at"):
        assert one.pop(name) < two.pop(name)
    assert one == two


def test_the_signal_tells_whom(
    alice: Any, bob: Any, django_capture_on_commit_callbacks: Any
) -> None:
    heard: list[Any] = []

    def note(notification: Any, recipients: Any, **keys: Any) -> None:
        heard.append((notification.title, recipients))

    keep([alice, bob])
    alice.delete()
    signals.pushed.connect(note)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            publish_due()
    finally:
        signals.pushed.disconnect(note)
    assert heard == [("hello", [bob.pk])]


def test_lazy_texts_stay_lazy(alice: Any) -> None:
    with override("de"):
        scheduled = keep(alice, gettext_lazy("Yes"))
        scheduled.refresh_from_db()
        assert str(scheduled) == "Ja"
    assert scheduled.rendered_title == "Yes"


def test_lazy_texts_are_read_in_the_language_of_the_reader(alice: Any) -> None:
    with override("de"):
        keep(alice, gettext_lazy("Yes"), body=pgettext_lazy("boot", "%(n)d left"), params={"n": 2})
        keep(alice, ngettext_lazy("%(num)d year", "%(num)d years", "num"), params={"num": 2})
        keep(alice, npgettext_lazy("boot", "%(n)d seat", "%(n)d seats", 2), params={"n": 2})
    with override("fr"):
        publish_due()
    said, years, seats = Notification.objects.order_by("pk")
    for language, title, plural in (("en", "Yes", "years"), ("de", "Ja", "Jahre")):
        with override(language):
            assert said.rendered_title == title and said.rendered_body == "2 left"
            assert years.rendered_title == f"2 {plural}" and seats.rendered_title == "2 seats"


def test_plain_texts_stay_as_they_are(alice: Any) -> None:
    keep(alice, "yes 100 % %(who)s")
    publish_due()
    assert inbox(alice) == ["yes 100 % %(who)s"]


def test_a_duration_counts_from_the_publication(alice: Any) -> None:
    keep(alice, at=-24 * LATER, expires=LATER)
    publish_due()
    said = Notification.objects.get()
    assert said.expires_at == said.created_at + LATER and inbox(alice) == ["hello"]


def test_what_is_over_when_it_is_published_has_expired(alice: Any) -> None:
    scheduled = keep(alice, expires=timezone.now() + LATER)
    over = timezone.now() - LATER
    scheduled.content["expires_at"] = over.isoformat()
    scheduled.save()
    assert publish_due() == Published(1, 0)
    assert Notification.objects.get().expires_at == over and inbox(alice) == []


def test_an_actor_who_is_gone_is_nobody(alice: Any, bob: Any) -> None:
    keep(alice, actor=bob)
    bob.delete()
    publish_due()
    assert Notification.objects.get().actor is None and inbox(alice) == ["hello"]


def test_a_target_that_is_gone_is_still_what_it_was_about(alice: Any) -> None:
    group = Group.objects.create(name="target")
    key = str(group.pk)
    keep(alice, target=group)
    group.delete()
    publish_due()
    said = Notification.objects.get()
    assert (said.target_type, said.target_id) == ("auth.group", key)


def test_a_key_that_was_used_up_says_nothing_more(alice: Any) -> None:
    one, two = (keep(alice, "paid", idempotency_key="order-7") for _ in range(2))
    assert publish_due() == Published(2, 0)
    assert inbox(alice) == ["paid"]
    for scheduled in (one, two):
        scheduled.refresh_from_db()
        assert scheduled.notification == Notification.objects.get()


def test_a_notification_that_is_removed_leaves_the_schedule(alice: Any) -> None:
    scheduled = keep(alice)
    publish_due()
    Notification.objects.all().delete()
    scheduled.refresh_from_db()
    assert scheduled.notification is None and scheduled.published_at is not None


# What is refused


@pytest.mark.parametrize(
    "keys",
    [
        {"level": "loud"},
        {"url": "javascript:alert(1)"},
        {"icon": "//evil.example"},
        {"data": object()},
        {"title": " "},
        {"title": "x" * 256},
        {"title": gettext_lazy("%(who)s left")},
        {"body": 7},
        {"params": [1]},
        {"actor": "bob"},
        {"target": Group(name="unsaved")},
        {"tag": "x" * 101},
        {"kind": 7},
        {"idempotency_key": ""},
        {"expires": 60},
        {"to": "alice"},
        {"to": AnonymousUser()},
        {"exclude": 7},
    ],
    ids=lambda keys: " ".join(f"{key}={type(value).__name__}" for key, value in keys.items()),
)
def test_what_is_wrong_in_a_call_raises_at_once_what_push_raises(
    alice: Any, keys: dict[str, Any]
) -> None:
    keys = {"to": alice, "title": "hello", **keys}
    with pytest.raises((TypeError, ValueError)) as pushed:
        push(**keys)
    with pytest.raises(pushed.type) as scheduled:
        schedule(**keys, at=LATER)
    assert str(scheduled.value) == str(pushed.value)
    assert not Scheduled.objects.exists()


@pytest.mark.parametrize("at", [None, 60, "2030-01-01", datetime(2030, 1, 1).date()])
def test_what_is_no_time_raises(alice: Any, at: Any) -> None:
    with pytest.raises(TypeError, match="at must be a datetime or a timedelta"):
        schedule(alice, "hello", at=at)


def test_a_time_beyond_all_years_raises(alice: Any) -> None:
    with pytest.raises(ValueError, match="at is 999999999 days away"):
        schedule(alice, "hello", at=timedelta.max)


@pytest.mark.parametrize(("at", "expires"), [(2, 1), (1, 1), (-2, -1)])
def test_what_would_be_over_before_it_is_said_raises(alice: Any, at: int, expires: int) -> None:
    now = timezone.now()
    with pytest.raises(ValueError, match="not in the future"):
        schedule(alice, "hello", at=now + at * LATER, expires=now + expires * LATER)
    with pytest.raises(ValueError, match="not in the future"):
        schedule(alice, "hello", at=at * LATER, expires=NOW)


def test_what_is_rolled_back_was_never_scheduled(alice: Any) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        keep(alice)
        raise ZeroDivisionError
    assert not Scheduled.objects.exists()


# What fails


def test_a_failure_holds_up_nothing_else(alice: Any, caplog: Any) -> None:
    group = Group.objects.create(name="crew")
    keep(alice, "before", at=-4 * LATER)
    without_group = keep(group, "deleted group", at=-3 * LATER)
    broken = keep(alice, "%(who)s left", params={"who": "Bob"}, at=-2 * LATER)
    keep(alice, "after", at=-LATER)
    group.delete()
    broken.content["params"] = {"what": "nothing"}
    broken.save()
    assert publish_due() == Published(2, 2)
    assert inbox(alice) == ["before", "after"]
    for scheduled, words in ((without_group, "group was deleted"), (broken, "parameter 'who'")):
        scheduled.refresh_from_db()
        assert scheduled.failed_at is not None and scheduled.published_at is None
        assert scheduled.error.startswith("ValueError: ") and words in scheduled.error
        assert f"notification {scheduled.pk} cannot be published" in caplog.text
    assert set(Scheduled.objects.failed()) == {without_group, broken}
    assert publish_due() == Published(0, 0), "it is not tried again"


def test_content_that_nobody_understands_fails(alice: Any) -> None:
    scheduled = keep(alice)
    Scheduled.objects.update(content={"title": "of another version"})
    assert publish_due() == Published(0, 1)
    scheduled.refresh_from_db()
    assert scheduled.error == "KeyError: 'expires'"


def test_an_error_is_cut_and_storable(alice: Any, refusing: Any) -> None:
    scheduled = keep(alice)
    refusing("hello", RuntimeError("\x00\ud800" + "x" * 10_000))
    assert publish_due() == Published(0, 1)
    scheduled.refresh_from_db()
    assert scheduled.error.startswith("RuntimeError: ?xxx") and len(scheduled.error) == 500
    assert not Notification.objects.exists() and not Receipt.objects.exists()


def test_values_that_the_database_refuses_fail(alice: Any, refusing: Any) -> None:
    keep(alice, "refused")
    keep(alice, "taken")
    refusing("refused", DataError("value too long"))
    assert publish_due() == Published(1, 1) and inbox(alice) == ["taken"]


def test_an_outage_of_the_database_fails_nothing(alice: Any, refusing: Any) -> None:
    keep(alice, "deadlock")
    keep(alice, "after")
    refusing("deadlock", OperationalError("deadlock detected"))
    with pytest.raises(OperationalError):
        publish_due()
    assert inbox(alice) == ["after"]
    assert [row.rendered_title for row in Scheduled.objects.due()] == ["deadlock"]


@pytest.mark.django_db(transaction=True)
def test_a_lost_connection_ends_it_and_the_next_call_goes_on(alice: Any) -> None:
    class Lost(OperationalError):
        def __init__(self) -> None:
            super().__init__("server closed the connection unexpectedly")

    tried: list[str] = []

    def lose(instance: Any, **keys: Any) -> None:
        tried.append(instance.title)
        connection.close()
        raise Lost

    for title in ("one", "two"):
        keep(alice, title)
    post_save.connect(lose, sender=Notification)
    try:
        with pytest.raises(Lost):
            publish_due()
    finally:
        post_save.disconnect(lose, sender=Notification)
    assert tried == ["one"] and Scheduled.objects.due().count() == 2
    assert publish_due() == Published(2, 0) and inbox(alice) == ["one", "two"]


# Cancelling


def test_what_is_cancelled_is_never_said(alice: Any) -> None:
    scheduled = keep(alice)
    assert scheduled.cancel() is True
    assert scheduled.cancel() is False
    assert publish_due() == Published(0, 0) and inbox(alice) == []
    scheduled.refresh_from_db()
    assert scheduled.cancelled_at is not None and not Scheduled.objects.pending().exists()


def test_what_was_said_or_has_failed_is_not_cancelled(alice: Any, refusing: Any) -> None:
    said, failed = keep(alice, "said"), keep(alice, "failed")
    refusing("failed", ValueError("no"))
    publish_due()
    assert said.cancel() is False and failed.cancel() is False
    assert not Scheduled.objects.exclude(cancelled_at=None).exists()


def test_a_queryset_cancels_what_is_still_to_come(alice: Any) -> None:
    keep(alice, "due")
    keep(alice, "later", at=LATER)
    assert Scheduled.objects.pending().count() == 2 and Scheduled.objects.due().count() == 1
    publish_due()
    assert Scheduled.objects.all().cancel() == 1


# Trying again


def test_what_failed_is_said_when_it_is_tried_again(alice: Any, refusing: Any) -> None:
    failed, other = keep(alice, "failed"), keep(alice, "other")
    refusing("failed", ValueError("no"))
    assert publish_due() == Published(1, 1)
    assert failed.retry() is True and other.retry() is False
    failed.refresh_from_db()
    assert failed.failed_at is None and failed.error == ""
    assert publish_due() == Published(0, 1), "still no"
    refusing("failed", None)
    assert Scheduled.objects.retry() == 1 and failed.retry() is False
    assert publish_due() == Published(1, 0) and inbox(alice) == ["other", "failed"]
    assert Scheduled.objects.retry() == 0 and publish_due() == Published(0, 0)


def test_what_is_tried_again_may_be_cancelled(alice: Any, refusing: Any) -> None:
    scheduled = keep(alice)
    refusing("hello", ValueError("no"))
    publish_due()
    assert scheduled.cancel() is False and scheduled.retry() is True
    assert scheduled.cancel() is True and scheduled.retry() is False
    assert publish_due() == Published(0, 0)


# Many at once


@pytest.mark.django_db(transaction=True)
def test_many_publish_each_once(alice: Any) -> None:
    titles = [str(number) for number in range(20)]
    for title in titles:
        keep(alice, title)
    results = together(*[publish_all] * 4)
    assert sum(results) == len(titles), results
    assert sorted(inbox(alice)) == sorted(titles)
    assert Receipt.objects.count() == len(titles)


@pytest.mark.django_db(transaction=True)
def test_either_it_is_cancelled_or_it_is_said(alice: Any) -> None:
    scheduled = [keep(alice, str(number)) for number in range(20)]

    def cancel_all() -> dict[str, bool]:
        return {row.content["title"]: row.cancel() for row in reversed(scheduled)}

    published, cancelled = together(publish_all, cancel_all)
    said = set(inbox(alice))
    assert {title for title, done in cancelled.items() if not done} == said
    assert published == len(said) == Scheduled.objects.exclude(published_at=None).count()
    assert Scheduled.objects.exclude(cancelled_at=None).count() == len(scheduled) - len(said)


@pytest.mark.django_db(transaction=True)
def test_what_somebody_else_is_publishing_is_not_waited_for(alice: Any) -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("This database locks no rows.")
    keep(alice, "slow")
    keep(alice, "quick")
    with transaction.atomic():
        slow = Scheduled.objects.order_by("pk")[:1].get()
        assert scheduling._claim(slow.pk, "default")
        assert together(publish_due) == [Published(1, 0)]
        transaction.set_rollback(True)
    assert publish_due() == Published(1, 0)
    assert inbox(alice) == ["quick", "slow"]


@pytest.mark.django_db(transaction=True)
def test_what_a_process_was_publishing_when_it_died_another_one_publishes(alice: Any) -> None:
    keep(alice)
    code = """
        import os, sys
        import django
        from django.conf import settings
        settings.DATABASES["default"]["NAME"] = sys.argv[1]
        django.setup()
        from django.db.models.signals import post_save
        from django_live_notify.models import Notification, Receipt
        from django_live_notify.scheduling import publish_due
        post_save.connect(lambda **keys: os._exit(9), sender=Notification, weak=False)
        publish_due()
    """
    arguments = [sys.executable, "-c", textwrap.dedent(code), connection.settings_dict["NAME"]]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    died = subprocess.run(arguments, cwd=ROOT, env=environment, timeout=60, capture_output=True)
    assert died.returncode == 9, died.stderr
    assert inbox(alice) == [] and Scheduled.objects.due().count() == 1
    assert publish_due() == Published(1, 0) and inbox(alice) == ["hello"]


def publish_all() -> int:
    """Publish until nothing is due, as processes do that ask again and again."""
    published = 0
    while Scheduled.objects.due().exists():
        published += publish_due().published
    return published


# The command, and async code


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("publish_scheduled", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_publishes_what_is_due(alice: Any) -> None:
    keep(alice)
    keep(alice, "later", at=LATER)
    assert run() == "1 published, 0 failed.\n"
    assert inbox(alice) == ["hello"]
    assert run() == "0 published, 0 failed.\n"


def test_the_command_fails_where_something_failed(alice: Any, refusing: Any) -> None:
    keep(alice, "failed")
    keep(alice, "said")
    refusing("failed", ValueError("no"))
    with pytest.raises(CommandError, match="1 failed") as caught:
        run()
    assert caught.value.returncode == 1 and inbox(alice) == ["said"]


def test_the_command_lists_what_is_still_to_come(alice: Any) -> None:
    keep(alice, "second", at=2 * LATER)
    first = keep(alice, gettext_lazy("Yes"), at=LATER)
    keep(alice, "cancelled", at=LATER).cancel()
    at = timezone.localtime(first.publish_at)
    lines = run("--list").splitlines()
    assert lines[0] == f"{first.pk}  {at:%Y-%m-%d %H:%M:%S}  Yes"
    assert len(lines) == 2 and lines[1].endswith("second")
    assert inbox(alice) == []


@pytest.mark.django_db(transaction=True)
def test_the_async_twin(alice: Any) -> None:
    scheduled = async_to_sync(aschedule)(alice, "hello", at=NOW)
    assert isinstance(scheduled, Scheduled) and scheduled in Scheduled.objects.due()
    assert aschedule.__doc__ == "See schedule()."


def test_both_say_it_by_the_same_code(alice: Any, monkeypatch: Any) -> None:
    def compose(*arguments: Any, **keys: Any) -> Any:
        raise LookupError("composed")

    keep(alice)
    monkeypatch.setattr(pushing, "compose", compose)
    for call in (lambda: push(alice, "hello"), lambda: api.schedule(alice, "hello", at=NOW)):
        with pytest.raises(LookupError, match="composed"):
            call()
    assert publish_due() == Published(0, 1)


def deactivate(user: Any) -> None:
    fields = {field.name for field in get_user_model()._meta.get_fields()}
    if "is_active" not in fields:
        pytest.skip("Nobody is inactive in this user model.")
    user.is_active = False
    user.save()
