"""The tables are the same on every database, as far as anybody can tell who uses them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from django_live_notify import Topic, follow, push, unfollow
from django_live_notify.models import Follow, Notification

pytestmark = pytest.mark.django_db

# What many databases take for the same unless they are told otherwise.
ALIKE = ["Order-1", "order-1", "Order-1 ", "Örder-1", "Order-1\u200b"]


def test_the_database_has_nothing_to_object() -> None:
    assert run_checks(databases=["default"]) == []


@pytest.mark.skipif(
    settings.AUTH_USER_MODEL != "auth.User", reason="Tests of other user models migrate nothing."
)
def test_the_migration_is_what_the_models_are() -> None:
    call_command("makemigrations", "live_notify", "--check", "--dry-run", verbosity=0)


def test_keys_that_look_alike_are_two(alice: Any) -> None:
    said = [push(alice, name, idempotency_key=name) for name in ALIKE]
    assert len({row.pk for row in said if row}) == len(ALIKE)
    again = [push(alice, "again", idempotency_key=name) for name in ALIKE]
    assert again == said


def test_tags_that_look_alike_replace_only_their_own(alice: Any) -> None:
    for name in ALIKE:
        push(alice, name, tag=name)
    push(alice, "last", tag=ALIKE[0])
    titles = [row.title for row in Notification.objects.for_user(alice).order_by("pk")]
    assert titles == [*ALIKE[1:], "last"]


def test_topics_that_look_alike_have_their_own_followers(alice: Any, bob: Any) -> None:
    for name in ALIKE:
        follow(alice, Topic(name))
    follow(bob, Topic(ALIKE[1]))
    assert Follow.objects.filter(user_id=alice.pk, topic__in=ALIKE).count() == len(ALIKE)
    push(Topic(ALIKE[0]), "hello")
    assert Notification.objects.for_user(alice).count() == 1
    assert not Notification.objects.for_user(bob).exists()
    assert unfollow(alice, Topic(ALIKE[0]))
    push(Topic(ALIKE[0]), "to nobody")
    push(Topic(ALIKE[1]), "to both")
    assert Notification.objects.for_user(alice).count() == 2
    assert Notification.objects.for_user(bob).count() == 1


def test_kinds_and_targets_that_look_alike_are_told_apart(alice: Any) -> None:
    for name in ALIKE:
        row = push(alice, name, kind=name)
        Notification.objects.filter(pk=row.pk).update(target_type="shop.order", target_id=name)
    for name in ALIKE:
        assert Notification.objects.for_user(alice).get(kind=name).title == name
        rows = Notification.objects.filter(target_type="shop.order", target_id=name)
        assert rows.retract() == 1


def test_everything_that_can_be_written_is_read_as_it_was(alice: Any) -> None:
    text = "Zażółć gęślą jaźń 🎉 — 数据库 \\ ' \" % _ \n\t\u200b "
    expires = timezone.now() + timedelta(days=1, microseconds=1)
    data = {"text": text, "nested": [None, True, 1.5, 2**53], "": {}}
    said = push(alice, text, body=text, data=data, tag=text, kind=text, expires=expires)
    row = Notification.objects.for_user(alice).get()
    assert (row.title, row.body, row.data, row.tag, row.kind) == (text, text, data, text, text)
    assert (row.expires_at, row.created_at) == (expires, said.created_at), "to the microsecond"


def test_a_notification_may_have_all_that_is_allowed(alice: Any) -> None:
    # The largest of each, in characters of four bytes.
    names = {"kind": "🎉" * 100, "tag": "🎉" * 100, "idempotency_key": "🎉" * 200}
    data = {"text": "x" * (16 * 1024 - 20)}
    url = "/" + "ż" * 1999
    push(alice, "🎉" * 255, body="🎉" * 64 * 1024, url=url, icon=url, data=data, **names)
    row = Notification.objects.for_user(alice).get()
    assert (len(row.body), row.url, row.icon, row.data) == (64 * 1024, url, url, data)
    assert (row.kind, row.tag, row.idempotency_key) == tuple(names.values())


def test_where_there_are_no_partial_indexes_the_condition_is_in_the_index() -> None:
    indexes: dict[str, list[str]] = {}
    for model in ("receipt", "scheduled"):
        with connection.cursor() as cursor:
            found = connection.introspection.get_constraints(cursor, f"live_notify_{model}")
        indexes |= {name: index["columns"] for name, index in found.items()}
    partial = connection.features.supports_partial_indexes
    assert indexes["live_notify_due"] == (
        ["publish_at"] if partial else ["published_at", "cancelled_at", "failed_at", "publish_at"]
    )
    assert indexes["live_notify_unread"] == (
        ["recipient_id", "notification_id"]
        if partial
        else ["recipient_id", "read_at", "archived_at", "excluded_at", "notification_id"]
    )
