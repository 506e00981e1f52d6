"""Whatever was said to whom: an inbox has what a plain reading of the rules gives, however read.

Small worlds at random, each compared with a model that knows neither SQL nor indexes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_live_notify import EVERYONE
from django_live_notify.audiences import joined_at
from django_live_notify.models import Follow, Notification, Receipt
from django_live_notify.querysets import NotificationQuerySet

pytestmark = pytest.mark.django_db

NOW = timezone.now()
JOINED = NOW - timedelta(days=1)
SIZE = 12
STATES = ("unread", "unseen", "archived", "unarchived")

ids = st.integers(0, SIZE)
times = st.sampled_from([None, NOW])


@dataclass(frozen=True)
class Said:
    """A notification, and the receipts of the reader and of somebody else."""

    topic: str
    tag: str
    before_joining: bool
    expires: int
    retracted: bool
    mine: tuple[Any, ...] | None
    theirs: bool


@dataclass(frozen=True)
class Following:
    """A row of the reader's follows."""

    topic: str
    since: int
    until: int | None
    read_to: int
    seen_to: int


# Seen, read, archived, excluded: whatever is read was seen.
receipts = st.tuples(times, times, times, st.sampled_from([None, None, None, NOW])).map(
    lambda state: (state[0] or state[1], *state[1:])
)
said = st.builds(
    Said,
    topic=st.sampled_from(["", "", EVERYONE.name, "a", "b"]),
    tag=st.sampled_from(["", "", "x", "y"]),
    before_joining=st.sampled_from([False, False, True]),
    expires=st.sampled_from([0, 0, -1, 1]),
    retracted=st.sampled_from([False, False, False, True]),
    mine=st.none() | receipts,
    theirs=st.booleans(),
)
followings = st.builds(
    Following,
    topic=st.sampled_from([EVERYONE.name, "a", "b"]),
    since=ids,
    until=st.none() | ids,
    read_to=ids,
    seen_to=ids,
)


@dataclass
class World:
    rows: dict[int, Said]
    follows: list[Following]
    tells_joining: bool

    def inbox(self) -> list[int]:
        """Return what the reader has, newest first."""
        return [number for number in sorted(self.rows, reverse=True) if self.is_shown(number)]

    def is_shown(self, number: int) -> bool:
        row = self.rows[number]
        if row.retracted or row.expires < 0 or not self.is_addressed(number):
            return False
        return not row.tag or not any(
            later > number and self.rows[later].tag == row.tag and self.is_addressed(later)
            for later in self.rows
        )

    def is_addressed(self, number: int) -> bool:
        row = self.rows[number]
        if row.mine is not None:
            return row.mine[3] is None
        mine = [follow for follow in self.follows if follow.topic == row.topic]
        if row.topic == EVERYONE.name:
            if self.tells_joining:
                return not row.before_joining
            return all(follow.since < number for follow in mine)
        return any(
            follow.since < number and (follow.until is None or number <= follow.until)
            for follow in mine
        )

    def is_in(self, state: str, number: int) -> bool:
        row = self.rows[number]
        if row.mine is not None:
            seen, read, archived, _excluded = row.mine
        else:
            mine = [follow for follow in self.follows if follow.topic == row.topic]
            seen = any(number <= max(follow.read_to, follow.seen_to) for follow in mine) or None
            read = any(number <= follow.read_to for follow in mine) or None
            archived = None
        return {
            "unread": not read and not archived,
            "unseen": not seen and not archived,
            "archived": bool(archived),
            "unarchived": not archived,
        }[state]


@st.composite
def worlds(draw: Any) -> tuple[dict[int, Said], list[Following]]:
    rows = dict(enumerate(draw(st.lists(said, max_size=SIZE)), start=1))
    follows = draw(st.lists(followings, max_size=4, unique_by=lambda row: (row.topic, row.since)))
    return rows, follows


def make(rows: dict[int, Said], follows: list[Following]) -> tuple[Any, World]:
    User = get_user_model()
    reader, other = (
        User._default_manager.create(**{User.USERNAME_FIELD: name}) for name in ("me", "other")
    )
    if joined_at(reader) is not None:
        reader.date_joined = JOINED
        reader.save()
    # Of saving a user whose model does not tell when they joined.
    Follow.objects.all().delete()
    Notification.objects.bulk_create(
        Notification(
            pk=number,
            title=str(number),
            topic=row.topic,
            tag=row.tag,
            created_at=JOINED - timedelta(hours=1) if row.before_joining else NOW,
            expires_at=NOW + row.expires * timedelta(hours=1) if row.expires else None,
            retracted_at=NOW if row.retracted else None,
        )
        for number, row in rows.items()
    )
    Receipt.objects.bulk_create(
        Receipt(
            recipient_id=reader.pk,
            notification_id=number,
            **dict(
                zip(("seen_at", "read_at", "archived_at", "excluded_at"), row.mine, strict=True)
            ),
        )
        for number, row in rows.items()
        if row.mine is not None
    )
    Receipt.objects.bulk_create(
        Receipt(recipient_id=other.pk, notification_id=number)
        for number, row in rows.items()
        if row.theirs
    )
    Follow.objects.bulk_create(
        Follow(
            user_id=reader.pk,
            topic=follow.topic,
            since=follow.since,
            until=follow.until,
            read_to=follow.read_to,
            seen_to=max(follow.read_to, follow.seen_to),
            read_at=NOW,
            seen_at=NOW,
        )
        for follow in follows
    )
    return reader, World(rows, follows, joined_at(reader) is not None)


def numbers(rows: Any) -> list[int]:
    return [row.pk for row in rows]


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    worlds(),
    st.sets(st.sampled_from(STATES), max_size=2),
    st.integers(1, 4),
    ids,
    ids,
    st.booleans(),
)
def test_an_inbox_has_what_the_rules_say_however_it_is_read(
    world: Any, states: set[str], limit: int, above: int, below: int, newest_first: bool
) -> None:
    with transaction.atomic():
        reader, model = make(*world)
        inbox: NotificationQuerySet = Notification.objects.for_user(reader)
        expected = model.inbox()
        for state in sorted(states):
            inbox = getattr(inbox, state)()
            expected = [number for number in expected if model.is_in(state, number)]
        assert numbers(inbox.newest_first()) == expected
        assert numbers(inbox.by_row().newest_first()) == expected
        assert inbox.count_capped() == inbox.count() == len(expected)
        # Page by page, and from anywhere.
        found: list[int] = []
        before = None
        while True:
            page, before = inbox.page(before=before, limit=limit)
            found += numbers(page)
            if before is None:
                break
        assert found == expected
        between = [number for number in expected if above < number < below]
        if not newest_first:
            between.reverse()
        part = inbox.walk(above=above, below=below, newest_first=newest_first, limit=limit)
        assert numbers(part) == between[:limit]
        whole = inbox.walk(above=above, below=below, newest_first=newest_first)
        assert numbers(whole) == between
        # What a site filters by, before and after.
        tagged = [number for number in expected if model.rows[number].tag == "x"]
        assert numbers(inbox.filter(tag="x").page(limit=SIZE)[0]) == tagged
        assert inbox.exclude(tag="x").count_capped() == len(expected) - len(tagged)
        assert inbox.filter(pk__in=[]).count_capped() == 0
        transaction.set_rollback(True)
