"""What reading an inbox asks for: by indexes however much there is, in as many queries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, models
from django.db.models.functions import Cast, Concat
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_live_notify import EVERYONE, Topic, follow, push
from django_live_notify.live import log
from django_live_notify.live.protocol import Cursor
from django_live_notify.models import Follow, LogState, Notification
from tests.queries import LARGE, copy_row, count_effort, explain, find_scans, make_users, recorded

pytestmark = pytest.mark.django_db

ROWS = 50_000
OTHERS = 100

# Some ten rows for each that a page or a count has; the reader has a hundred times as many.
LIMIT = {"postgresql": 1_000, "sqlite": 25_000, "mysql": 20_000}[connection.vendor]

# Of each ten rows: one is the reader's own, one of a topic of theirs, one everyone's, one of a
# topic of others, and the rest others' own. Half of the reader's own have a tag.
OWN, THEIRS, TOPIC, EVERYONES = 0, 1, 2, 3


@pytest.fixture(params=["analyzed", "not analyzed"])
def reader(request: Any) -> Any:
    """Make a large log, and return a reader of a third of it, who read most of it."""
    if request.param == "analyzed" and connection.vendor == "mysql":
        pytest.skip("InnoDB analyzes what has grown; told to do so, it commits the test.")
    reader, *others = make_users(OTHERS)
    if connection.vendor == "postgresql":
        # What was rolled back is in the files all the same, and so are ANALYZE's numbers of rows.
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {', '.join(LARGE)}, live_notify_follow")
    LogState.current()
    long_ago = timezone.now() - timedelta(hours=1)
    for position in range(10):
        template = Notification.objects.create(
            pk=position + 10,
            title="old",
            body="x" * 200,
            topic={THEIRS: "theirs", TOPIC: "news", EVERYONES: EVERYONE.name}.get(position, ""),
            tag="import" if position == OWN else "",
            created_at=long_ago,
        )
        copy_row(template, range(position + 20, ROWS, 10))
    read_to = ROWS - ROWS // 100
    table = get_user_model()._meta.db_table
    key = get_user_model()._meta.pk.column
    # Each tag has five rows of one reader.
    number = Cast(models.F("pk") - models.F("pk") % 100, models.CharField())
    some = models.When(tag="import", then=Concat(models.Value("import-"), number))
    tagged = Notification.objects.annotate(rest=models.F("pk") % 20).filter(rest=0)
    tagged.update(tag=models.Case(some, default=models.Value("")))
    Notification.objects.filter(tag="import").update(tag="")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO live_notify_receipt (recipient_id, notification_id, read_at, seen_at)"
            f" SELECT u.{key}, n.id, CASE WHEN n.id <= %s THEN n.created_at END,"
            " CASE WHEN n.id <= %s THEN n.created_at END"
            f" FROM live_notify_notification n JOIN {table} u ON u.{key} = %s"
            " WHERE n.topic = '' AND n.id %% 10 = %s",
            [read_to, read_to, _db(reader), OWN],
        )
        numbered = f"SELECT {key}, row_number() OVER (ORDER BY {key}) AS i FROM {table}"
        cursor.execute(
            "INSERT INTO live_notify_receipt (recipient_id, notification_id)"
            f" SELECT u.{key}, n.id FROM live_notify_notification n"
            f" JOIN ({numbered}) u ON u.i = 1 + n.id %% %s"
            f" WHERE n.topic = '' AND n.id %% 10 > %s AND u.{key} <> %s",
            [OTHERS, EVERYONES, _db(reader)],
        )
        Follow.objects.filter(user=reader).delete()
        marks = {"read_to": read_to, "read_at": long_ago, "seen_to": read_to, "seen_at": long_ago}
        marks["changed_at"] = long_ago
        Follow.objects.bulk_create(
            Follow(user=user, topic=topic, **marks)
            for user, topic in [
                (reader, "news"),
                (reader, EVERYONE.name),
                *((other, topic) for other in others for topic in ("theirs", "theirs too")),
            ]
        )
        if request.param == "analyzed":
            cursor.execute("ANALYZE")
    return reader


def _db(user: Any) -> Any:
    return user._meta.pk.get_db_prep_value(user.pk, connection)


def test_whatever_a_reader_asks_for_is_found_by_an_index(reader: Any, settings: Any) -> None:
    # What a client has missed is a page of so many; a planner takes hundreds for a large part.
    settings.LIVE_NOTIFY_REPLAY_LIMIT = 20
    inbox = Notification.objects.for_user(reader)
    epoch = LogState.current().epoch
    now = timezone.now()
    last = inbox.newest_id()
    asked: dict[str, Callable[[], Any]] = {
        "first page": lambda: inbox.unarchived().page()[0],
        "deep page": lambda: inbox.unarchived().page(before=ROWS // 2)[0],
        "unread page": lambda: inbox.unread().page()[0],
        "page of a kind": lambda: inbox.filter(kind="").page()[0],
        "unread count": lambda: inbox.unread().count_capped(),
        "unseen count": lambda: inbox.unseen().count_capped(),
        "resume": lambda: log.resume(reader, Cursor(epoch, last - 50), now, "en").items,
        "first visit": lambda: log.resume(reader, None, now, "en").unread,
        "counts by kind": lambda: inbox.counts_by_kind(),
        "some": lambda: inbox.by_row().filter(pk__in=[last, last - 1, last - 2]),
        "up to an id": lambda: Notification.objects.mark_all(reader, "seen", up_to=last) or [1],
    }
    for name, ask in asked.items():
        with recorded() as statements:
            found = ask()
            assert found if isinstance(found, int) else len(found), name
        for sql, params in statements:
            if sql.startswith(("SELECT", "WITH")):
                assert not find_scans(sql, params), (name, explain(sql, params))
                # MariaDB goes through what is newer than a deep page, along indexes.
                if not (name == "deep page" and connection.vendor == "mysql"):
                    assert count_effort(sql, params) < LIMIT, (name, explain(sql, params))


@pytest.mark.skipif(connection.vendor != "postgresql", reason="Others do not compile queries.")
@pytest.mark.parametrize("reader", ["analyzed"], indirect=True)
def test_nothing_is_compiled_however_many_topics_are_followed(reader: Any) -> None:
    """Compiling one of these takes a second, and running it a few milliseconds."""
    Follow.objects.bulk_create(Follow(user=reader, topic=f"topic-{i}") for i in range(1_000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE live_notify_follow")
        cursor.execute("SHOW jit_above_cost")
        limit = float(cursor.fetchone()[0])
    inbox = Notification.objects.for_user(reader)
    epoch = LogState.current().epoch
    last = inbox.newest_id()
    with recorded() as statements:
        inbox.unarchived().page()
        inbox.unread().page(before=ROWS // 2)
        inbox.unread().count_capped()
        inbox.unseen().count_capped()
        log.resume(reader, Cursor(epoch, last - 50), timezone.now(), "en")
        log.count_unread({str(reader.pk): reader})
    for sql, params in statements:
        assert _estimated_cost(sql, params) < limit, explain(sql, params)


def _estimated_cost(sql: str, params: Any) -> float:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
        return float(cursor.fetchone()[0][0]["Plan"]["Total Cost"])


LENGTHS = (1, 20, 100)


@pytest.fixture
def said(alice: Any, bob: Any) -> None:
    """Say to alice as much as the longest page has, in every way, with all that it may refer to."""
    follow(alice, Topic("news"))
    audiences = [alice, Topic("news"), EVERYONE]
    for number in range(max(LENGTHS) + 1):
        push(
            audiences[number % 3],
            _("%(who)s replied"),
            params={"who": number},
            body=_("To %(who)s"),
            actor=bob,
            target=bob,
            tag=f"tag-{number // 2}" if number % 2 else "",
            expires=timedelta(days=1),
        )
    LogState.current()


def test_a_page_is_one_query_whatever_its_length(
    said: None, alice: Any, django_assert_num_queries: Any
) -> None:
    for length in LENGTHS:
        with django_assert_num_queries(1):
            page, following = Notification.objects.for_user(alice).page(limit=length)
            told = [(row.rendered_title, row.actor.pk, row.target_id, row.read_at) for row in page]
        assert len(told) == length and following


def test_the_inbox_asks_as_much_whatever_its_length(
    said: None, alice: Any, django_assert_num_queries: Any
) -> None:
    client = _signed_in(alice)
    # Session, user, log, floor, log, page, count.
    for length in LENGTHS:
        with django_assert_num_queries(7):
            answer = client.get(reverse("live_notify:inbox"), {"limit": length}).json()
        assert len(answer["items"]) == length


def test_a_resume_asks_as_much_whatever_was_missed(
    said: None, alice: Any, django_assert_num_queries: Any
) -> None:
    ids = list(Notification.objects.order_by("-pk").values_list("pk", flat=True))
    epoch = LogState.current().epoch
    for length in LENGTHS:
        # Log, newest id, page, late rows, watermarks, receipts, retracted, what was pruned, count.
        with django_assert_num_queries(9):
            cursor = Cursor(epoch, ids[length])
            found = log.resume(alice, cursor, timezone.now(), "en")
        assert len(found.items) == length


def test_a_poll_asks_as_much_whatever_was_missed(
    said: None, alice: Any, django_assert_num_queries: Any
) -> None:
    client = _signed_in(alice)
    ids = list(Notification.objects.order_by("-pk").values_list("pk", flat=True))
    epoch = LogState.current().epoch
    for length in LENGTHS:
        cursor = str(Cursor(epoch, ids[length]))
        # Session, user, floor (2), and those of a resume without a time.
        with django_assert_num_queries(9):
            answer = client.get(reverse("live_notify:poll"), {"cursor": cursor}).json()
        assert len(answer["items"]) == length


def _signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client
