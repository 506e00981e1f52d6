"""The inbox: what a reader has, in which state, and the verbs that change it.

An inbox is what a reader has receipts for, what was said in the topics that they follow, and what
was said to everyone since they joined. Every verb works on the rows that the queryset has, for the
one reader of `for_user()`, and tells `signals.state_changed` after the commit.

`ScheduledQuerySet` is for what is in nobody's inbox yet.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib.auth import get_user_model
from django.db import models, router, transaction
from django.db.models.functions import Coalesce
from django.utils import timezone

from . import signals
from .audiences import BATCH_SIZE, EVERYONE, joined_at
from .conf import conf
from .walking import MAX_ID, Stretch, Walk, walk
from .writing import writing

if TYPE_CHECKING:
    from .models import Notification
    from .models import Scheduled as Scheduled  # what a queryset below is of

# An unread count stops here: "99+" says enough, and counting costs by the row.
COUNT_LIMIT = 100

# Rows that counts by kind look at: ten kinds of a hundred.
COUNTED = 10 * COUNT_LIMIT

ACTIONS = ("read", "unread", "seen", "archive", "unarchive")

# What an action changes something for.
_NOT_YET: dict[str, models.Q] = {
    "read": models.Q(read_at=None),
    "unread": ~models.Q(read_at=None),
    "seen": models.Q(seen_at=None),
    "archive": models.Q(archived_at=None),
    "unarchive": ~models.Q(archived_at=None),
}

# What has watermarks as well.
_STAMPS = {"read": "read_at", "seen": "seen_at"}


class Counts(NamedTuple):
    """What of one kind is news to a reader."""

    unread: int = 0
    unseen: int = 0


class NotificationQuerySet(models.QuerySet["Notification"]):
    """Notifications; after `for_user()` those of one reader, with their state."""

    _reader: Any = None
    _fields: tuple[Any, ...] | None  # Django's own: those of values()
    # The conditions that make it an inbox, and part of one: a walk has its own words for them.
    _addressing: tuple[Any, ...] = ()
    _conditions: tuple[Any, ...] = ()
    _states: frozenset[str] = frozenset()

    def _clone(self) -> NotificationQuerySet:
        clone: NotificationQuerySet = super()._clone()  # type: ignore[misc]
        clone._reader = self._reader
        clone._addressing = self._addressing
        clone._conditions = self._conditions
        clone._states = self._states
        return clone

    # What a reader has

    def for_user(self, user: Any) -> NotificationQuerySet:
        """Return a user's inbox, annotated with its state: `seen_at`, `read_at` … `muted`, `acted`.

        Left out is what was retracted, what has expired, and what a newer one with the same tag
        replaced. Raises TypeError for what is no saved user, and for another's inbox.
        """
        _check_reader(user, "for_user()")
        if self._reader is not None:
            raise TypeError("This is somebody's inbox already: call for_user() once.")
        inbox = self.addressed_to(user)
        inbox._addressing = inbox._added_to(self)
        inbox = inbox.filter(is_shown_to(user))
        inbox._conditions = inbox._added_to(self)
        inbox = inbox._annotate_state(user)
        inbox._reader = user
        return inbox

    def current(self) -> NotificationQuerySet:
        """Return what was neither retracted nor has expired."""
        lasting = models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now())
        return self.filter(lasting, retracted_at=None)

    def unread(self) -> NotificationQuerySet:
        """Return what the reader neither read nor archived."""
        return self._narrow("unread", read_at=None, archived_at=None)

    def unseen(self) -> NotificationQuerySet:
        """Return what the reader was not shown yet and did not archive."""
        return self._narrow("unseen", seen_at=None, archived_at=None)

    def archived(self) -> NotificationQuerySet:
        """Return what the reader archived."""
        return self._narrow("archived", archived_at__isnull=False)

    def unarchived(self) -> NotificationQuerySet:
        """Return what the reader did not archive."""
        return self._narrow("unarchived", archived_at=None)

    def unmuted(self) -> NotificationQuerySet:
        """Return what is in no topic that the reader has muted just now."""
        return self._of_reader().filter(muted=False)

    def newest_first(self) -> NotificationQuerySet:
        """Order by the place in the log, newest first."""
        return self.order_by("-pk")

    def page(
        self, *, before: int | None = None, limit: int = 20
    ) -> tuple[list[Notification], int | None]:
        """Return a page, newest first, and the `before` of the next one (None: there is none).

        Pages are cut by id, so what arrives meanwhile shifts nothing. Raises ValueError for a limit
        that is not positive.
        """
        if limit < 1:
            raise ValueError(f"limit must be positive, not {limit!r}.")
        deferring = self.query.deferred_loading != (frozenset(), True)
        rows = self if deferring else self.select_related("actor")
        found = list(rows.walk(below=before, limit=limit + 1))
        page = found[:limit]
        return page, page[-1].pk if len(found) > limit else None

    def count_capped(self) -> int:
        """Count, but only up to 100."""
        found = self._walk(Stretch(limit=COUNT_LIMIT), disjoint=True)
        if found is None:
            rows = self if self.query.is_sliced or self.query.combinator else self.order_by()
            return rows[:COUNT_LIMIT].count()
        return found.count(self.db)

    def count_unread(self) -> int:
        """Count what is unread, but only up to 100, and nothing in a muted topic."""
        return self.unread().unmuted().count_capped()

    def count_unseen(self) -> int:
        """Count what is unseen, but only up to 100, and nothing in a muted topic."""
        return self.unseen().unmuted().count_capped()

    def counts_by_kind(self) -> dict[str, Counts]:
        """Count like `count_unread()` and `count_unseen()`, by kind, in one query.

        The newest 1,000 that are either are looked at, whatever the history.
        """
        # What was read was seen, so that all of it is unread.
        rows: Any = self.unread().unmuted().walk(limit=COUNTED)
        counts: dict[str, Counts] = {}
        for kind, read_at, seen_at in rows.values_list("kind", "read_at", "seen_at"):
            unread, unseen = counts.get(kind, Counts())
            counts[kind] = Counts(
                min(unread + (read_at is None), COUNT_LIMIT),
                min(unseen + (seen_at is None), COUNT_LIMIT),
            )
        return counts

    def newest_id(self) -> int:
        """Return the highest id there is, or 0."""
        return self.order_by("-pk").values_list("pk", flat=True).first() or 0

    def floor(self) -> int:
        """Return the newest id that is older than the commit window, or 0.

        What is missing below it was pruned, rolled back, or is later than the window allows: nobody
        needs to wait for it.
        """
        from .models import LogState

        before = timezone.now() - timedelta(seconds=conf.COMMIT_WINDOW)
        # A cursor below what was pruned would be a reset, each time, as long as nothing is older.
        return max(self.filter(created_at__lte=before).newest_id(), LogState.current().pruned_to)

    # What a reader does

    def mark_read(self) -> int:
        """Mark as read, and thereby as seen; return how many were not."""
        return self.change("read")

    def mark_unread(self) -> int:
        """Mark as unread again; return how many were read."""
        return self.change("unread")

    def mark_seen(self) -> int:
        """Mark as seen; return how many were not."""
        return self.change("seen")

    def archive(self) -> int:
        """Put away; return how many were not."""
        return self.change("archive")

    def unarchive(self) -> int:
        """Take back what was archived; return how many were."""
        return self.change("unarchive")

    def change(self, action: str) -> int:
        """Do one of `ACTIONS`, which the methods above name; return how many were changed.

        Raises ValueError for what is none of them.
        """
        _check_action(action)
        using = router.db_for_write(self.model)
        now = timezone.now()
        with writing(using):
            rows = self._of_reader().using(using)._filterable().filter(_NOT_YET[action])
            if ids := rows._write_state(action, using, now):
                _tell(self._reader.pk, action, ids, None, now, using)
        return len(ids)

    def take_action(self, name: str) -> int:
        """Note that the reader takes an action, and has read it; return on how many.

        Where one was taken, it stays: of several at once, the first is the one. It is only noted;
        `LIVE_NOTIFY_ON_ACTION` is not called.
        """
        using = router.db_for_write(self.model)
        now = timezone.now()
        rows = self._of_reader().using(using)
        with writing(using):
            free = _receipts(self._reader, using).filter(acted_at=None)
            taken = [
                pk
                for pk in rows._make_receipts(using)
                if free.filter(notification_id=pk).update(
                    action=name, acted_at=now, **_updates("read", now)
                )
            ]
            if taken:
                _tell(self._reader.pk, "read", taken, None, now, using)
                _tell(self._reader.pk, "action", taken, None, now, using, name=name)
        return len(taken)

    def mark_all(self, user: Any, action: str, *, up_to: int) -> None:
        """Do one of `ACTIONS` to a user's whole inbox up to an id: what is above it stays as it is.

        For topics and everyone, "read" and "seen" move a watermark, however much there is; receipts
        are updated by one statement. The watermark stays below what may still be in an open
        transaction: a late commit is not swallowed. The other three go through the inbox in
        batches, oldest first. Outside of `transaction.atomic()` each batch is committed, and told,
        by itself: after an error, what was done before it stays.

        Raises TypeError on a part of the notifications, since watermarks know no parts, and for
        what is no saved user or no id; ValueError for what is none of `ACTIONS`.
        """
        above: int | None = 0
        while above is not None:
            above = self.mark_batch(user, action, above=above, up_to=up_to)

    def mark_batch(self, user: Any, action: str, *, above: int = 0, up_to: int) -> int | None:
        """Do the next part of `mark_all()`, in a transaction of its own.

        Returns the id above which the rest is, for the next call, or None once nothing is left.
        Raises what `mark_all()` raises.
        """
        _check_action(action)
        _check_reader(user, "mark_all()")
        if not isinstance(up_to, int):
            raise TypeError(f"up_to must be the id of a notification, not {up_to!r:.100}.")
        if self.query.where or not self._takes_filters:
            raise TypeError("mark_all() is for all: use the verbs of for_user(user).filter(…).")
        using = router.db_for_write(self.model)
        now = timezone.now()
        with writing(using):
            if action in _STAMPS and not above:
                above = min(up_to, self.using(using).floor())
                if above:
                    _move_watermarks(user, action, above, now, using)
                    _tell(user.pk, action, None, above, now, using)
            # By their ids: what is committed in between is not among them, for other pages neither.
            # In batches, also since MariaDB ends a recursion after a thousand steps.
            inbox = self.using(using).for_user(user).filter(_NOT_YET[action])
            batch = inbox.walk(
                above=above, below=up_to + 1, newest_first=False, limit=BATCH_SIZE // 2
            )
            if ids := batch._write_state(action, using, now):
                _tell(user.pk, action, ids, None, now, using)
        return ids[-1] if ids else None

    def retract(self) -> int:
        """Take back, for all readers, and tell `signals.retracted`; return how many."""
        using = router.db_for_write(self.model)
        with writing(using):
            chosen = self.using(using)._filterable().filter(retracted_at=None)
            # A filter by receipts may find a row several times.
            ids = list(dict.fromkeys(chosen.order_by().values_list("pk", flat=True)))
            now = timezone.now()
            rows = self.model._default_manager.using(using)
            for start in range(0, len(ids), BATCH_SIZE):
                rows.filter(pk__in=ids[start : start + BATCH_SIZE]).update(
                    retracted_at=now, changed_at=now
                )
            if ids:

                def tell() -> None:
                    if is_late(now):
                        _stamp(rows, ids, "pk__in", now=timezone.now())
                    signals.retracted.send_robust(sender=self.model, ids=ids)

                transaction.on_commit(tell, using=using, robust=True)
        return len(ids)

    # How it is done

    def walk(
        self,
        *,
        above: int = 0,
        below: int | None = None,
        newest_first: bool = True,
        limit: int | None = None,
    ) -> NotificationQuerySet:
        """Return the first rows between two ids, in order: cheap however large the inbox is."""
        top = MAX_ID if below is None else min(below, MAX_ID)
        stretch = Stretch(above, top, newest_first, limit)
        found = self._walk(stretch)
        if found is None:
            rows = self._filterable().filter(pk__gt=stretch.above, pk__lt=stretch.below)
        else:
            rows = self._without(self._conditions).filter(pk__in=found)
        rows = rows.order_by("-pk" if newest_first else "pk")
        rows.query.standard_ordering = True
        return rows[:limit]

    def by_row(self) -> NotificationQuerySet:
        """Return the same, for queries that have few rows: each is asked whether it is in."""
        if not self._has(self._addressing):
            return self
        return self._without(self._addressing).filter(is_addressed_to(self._of_reader()._reader))

    def _walk(self, stretch: Stretch, *, disjoint: bool = False) -> Walk | None:
        """Return the ids of a stretch, or None for what is no inbox, or no part of one any more."""
        if self._reader is None or not self._takes_filters or not self._has(self._conditions):
            return None
        rows = self._without(self._conditions).filter(is_shown_to(self._reader))
        # What reverse() set would reverse each part of the walk.
        rows.query.standard_ordering = True
        return walk(rows, self._reader, self._states, stretch, disjoint=disjoint)

    def _narrow(self, state: str, **conditions: Any) -> NotificationQuerySet:
        rows: NotificationQuerySet = self._of_reader().filter(**conditions)
        rows._conditions = (*self._conditions, *rows._added_to(self))
        rows._states = self._states | {state}
        return rows

    def _added_to(self, rows: NotificationQuerySet) -> tuple[Any, ...]:
        return tuple(self.query.where.children[len(rows.query.where.children) :])

    def _has(self, conditions: tuple[Any, ...]) -> bool:
        mine = {id(child) for child in self.query.where.children}
        return bool(conditions) and all(id(condition) in mine for condition in conditions)

    def _without(self, conditions: tuple[Any, ...]) -> NotificationQuerySet:
        rows = self._clone()
        left_out = {id(condition) for condition in conditions}
        where = rows.query.where
        where.children = [child for child in where.children if id(child) not in left_out]
        return rows

    def _stamp_late(self) -> None:
        """Tell sweeps of what was committed so late that they may have given its ids up."""
        from .models import Follow, Receipt

        now = timezone.now()
        for pk in self.values_list("pk", flat=True):
            # Who has read everything meanwhile has not read this: their watermark is beyond it.
            beyond = Follow.objects.filter(topic=EVERYONE.name).filter(
                models.Q(read_to__gte=pk) | models.Q(seen_to__gte=pk)
            )
            Receipt.objects.using(self.db).filter(
                notification_id=pk, recipient_id__in=beyond.values("user_id")
            ).update(changed_at=now)
        self.update(changed_at=now)

    def _of_reader(self) -> Any:  # with annotations, which types do not tell
        if self._reader is None:
            raise TypeError("This needs a reader: call for_user(user) before it.")
        return self

    def addressed_to(self, user: Any) -> NotificationQuerySet:
        """Return what was said to a user, retracted, expired and replaced or not."""
        from .models import Receipt

        receipts = Receipt.objects.filter(recipient_id=user.pk)
        written = receipts.filter(excluded_at=None).values("notification_id")
        said = (
            self.model._default_manager.filter(_is_followed_by(user))
            .exclude(models.Exists(receipts.filter(notification_id=models.OuterRef("pk"))))
            .values("pk")
        )
        # A union rather than an OR: each half has its index.
        return self.filter(pk__in=written.union(said, all=True))

    def _annotate_state(self, user: Any) -> NotificationQuerySet:
        from .models import Follow

        def state(name: str, watermark: str) -> models.Case:
            passed = Follow.objects.filter(
                user_id=user.pk,
                topic=models.OuterRef("topic"),
                **{f"{watermark}__gte": models.OuterRef("pk")},
            )
            return models.Case(
                models.When(receipt__id__isnull=False, then=models.F(f"receipt__{name}")),
                default=models.Subquery(
                    passed.values(name)[:1], output_field=models.DateTimeField()
                ),
                output_field=models.DateTimeField(),
            )

        own = models.Q(receipts__recipient_id=user.pk)
        return self.annotate(receipt=models.FilteredRelation("receipts", condition=own)).annotate(
            seen_at=state("seen_at", "seen_to"),
            read_at=state("read_at", "read_to"),
            archived_at=models.F("receipt__archived_at"),
            muted=models.ExpressionWrapper(
                models.Q(topic__in=_muted_topics(user)), output_field=models.BooleanField()
            ),
            acted=models.F("receipt__action"),
        )

    @property
    def _takes_filters(self) -> bool:
        """Whether a filter leaves rows out and changes nothing else.

        Of a slice, of a union, or of the first of each (by DISTINCT ON or a window), others would
        move up into the place of those; values are no rows.
        """
        query = self.query
        others_move_up = query.is_sliced or query.combinator or query.distinct_fields
        return not (others_move_up or query.where.contains_over_clause or self._fields is not None)

    def _filterable(self) -> NotificationQuerySet:
        """Return the same rows as a queryset that takes filters."""
        if self._takes_filters:
            return self
        rows = self.model._default_manager.using(self.db)
        rows = rows if self._reader is None else rows.for_user(self._reader)
        return rows.filter(pk__in=list(self.values_list("pk", flat=True)))

    def _write_state(self, action: str, using: str, now: datetime) -> list[int]:
        """Write the state of the rows to receipts; return their ids."""
        ids = self._make_receipts(using)
        receipts = _receipts(self._reader, using)
        for start in range(0, len(ids), BATCH_SIZE):
            batch = receipts.filter(notification_id__in=ids[start : start + BATCH_SIZE])
            batch.update(**_updates(action, now))
        return ids

    def _make_receipts(self, using: str) -> list[int]:
        """Make the receipts, which topics do not have until they are touched; return the ids."""
        from .models import Receipt

        state: Any = self
        # A filter by receipts may find a row several times.
        rows = list(dict.fromkeys(state.values_list("pk", "topic", "seen_at", "read_at")))
        key = self._reader.pk
        for start in range(0, len(rows), BATCH_SIZE):
            Receipt.objects.using(using).bulk_create(
                [
                    Receipt(recipient_id=key, notification_id=pk, seen_at=seen_at, read_at=read_at)
                    for pk, topic, seen_at, read_at in rows[start : start + BATCH_SIZE]
                    if topic
                ],
                ignore_conflicts=True,
            )
        return [pk for pk, *_ in rows]


class ScheduledQuerySet(models.QuerySet["Scheduled"]):
    """What is said later, was, or cannot be."""

    def pending(self) -> ScheduledQuerySet:
        """Return what is still to come."""
        return self.filter(published_at=None, cancelled_at=None, failed_at=None)

    def due(self) -> ScheduledQuerySet:
        """Return what is still to come and should have been said by now."""
        return self.pending().filter(publish_at__lte=timezone.now())

    def failed(self) -> ScheduledQuerySet:
        """Return what could not be said; each has its `error`."""
        return self.filter(failed_at__isnull=False)

    def cancel(self) -> int:
        """Let these never be said; return how many of them were still to come."""
        from .models import Notification

        rows = self.using(router.db_for_write(Notification)).pending()
        return rows.order_by().update(cancelled_at=timezone.now())

    def retry(self) -> int:
        """Let those that failed be tried again, as soon as they are due; return how many."""
        from .models import Notification

        rows = self.using(router.db_for_write(Notification)).failed()
        return rows.order_by().update(failed_at=None, error="")


def is_addressed_to(user: Any) -> Any:
    """Return what asks of a row whether it addresses a user, for queries that have few rows."""
    from .models import Receipt

    own = Receipt.objects.filter(recipient_id=user.pk, notification_id=models.OuterRef("pk"))
    written = _whether(models.Q(excluded_at=None))
    # Not EXISTS, of which PostgreSQL may make a hash of all that the reader has.
    return Coalesce(
        models.Subquery(own.values_list(written)[:1], output_field=models.BooleanField()),
        _whether(_is_followed_by(user)),
    )


def is_shown_to(user: Any) -> Any:
    """Return what asks of a row that addresses a user whether they are to see it.

    One expression, of which planners know nothing and assume no harm: a database without
    statistics takes "retracted_at IS NULL" for rare, and reads a whole inbox to find some.
    """
    from .models import Notification

    newer = Notification._default_manager.filter(
        is_addressed_to(user), tag=models.OuterRef("tag"), pk__gt=models.OuterRef("pk")
    )
    # The condition of the index, without which it is of no use.
    replaced: Any = ~models.Q(tag="") & models.Q(models.Exists(newer.exclude(tag="")))
    return models.Case(
        models.When(retracted_at__isnull=False, then=False),
        models.When(expires_at__lte=timezone.now(), then=False),
        models.When(replaced, then=False),
        default=True,
        output_field=models.BooleanField(),
    )


def _check_action(action: Any) -> None:
    if action not in ACTIONS:
        raise ValueError(f"Unknown action {action!r:.100}: expected one of {', '.join(ACTIONS)}.")


def _check_reader(user: Any, name: str) -> None:
    if not isinstance(user, get_user_model()) or user.pk is None:
        raise TypeError(f"{name} needs a saved user, not {user!r:.100}.")


def _whether(condition: Any) -> models.Case:
    return models.Case(
        models.When(condition, then=True), default=False, output_field=models.BooleanField()
    )


def _is_followed_by(user: Any) -> models.Q | models.expressions.Combinable:
    from .models import Follow

    follows = Follow.objects.filter(user_id=user.pk, topic=models.OuterRef("topic"))
    covering = follows.filter(
        models.Q(until=None) | models.Q(until__gte=models.OuterRef("pk")),
        since__lt=models.OuterRef("pk"),
    )
    joined = joined_at(user)
    everyone: Any
    if joined is not None:
        everyone = models.Q(topic=EVERYONE.name, created_at__gte=joined)
    else:
        earlier = follows.filter(since__gte=models.OuterRef("pk"))
        everyone = models.Q(topic=EVERYONE.name) & ~models.Exists(earlier)
    followed: Any = ~models.Q(topic__in=["", EVERYONE.name]) & models.Exists(covering)
    return everyone | followed


def _muted_topics(user: Any) -> models.QuerySet[Any]:
    from .models import Follow

    muted = Follow.objects.filter(user_id=user.pk, muted_until__gt=timezone.now())
    return muted.values("topic")


def _receipts(reader: Any, using: str) -> models.QuerySet[Any]:
    from .models import Receipt

    return Receipt.objects.using(using).filter(recipient_id=reader.pk)


def is_late(written: datetime) -> bool:
    """Say whether a write of that time, committed now, needs to be stamped again.

    Sweeps look one window back. Half of it is theirs to notice a commit; later, they might not.
    """
    return timezone.now() - written > timedelta(seconds=conf.COMMIT_WINDOW / 2)


def _updates(action: str, now: datetime) -> dict[str, Any]:
    changes: dict[str, dict[str, Any]] = {
        "read": {"read_at": Coalesce("read_at", now), "seen_at": Coalesce("seen_at", now)},
        "unread": {"read_at": None},
        "seen": {"seen_at": Coalesce("seen_at", now)},
        "archive": {"archived_at": Coalesce("archived_at", now)},
        "unarchive": {"archived_at": None},
    }
    return {**changes[action], "changed_at": now}


def _move_watermarks(user: Any, action: str, floor: int, now: datetime, using: str) -> None:
    from .models import Follow, Receipt

    receipts = Receipt.objects.using(using).filter(recipient_id=user.pk, notification_id__lte=floor)
    receipts = receipts.filter(excluded_at=None)
    follows = Follow.objects.using(using).filter(user_id=user.pk)
    marks = ("read", "seen") if action == "read" else ("seen",)
    # The row for everyone is there from now on; the sweep of other processes reads it.
    if not follows.filter(topic=EVERYONE.name).exists():
        Follow.objects.using(using).bulk_create(
            [Follow(user_id=user.pk, topic=EVERYONE.name)], ignore_conflicts=True
        )
    follows.filter(topic=EVERYONE.name).update(changed_at=now)
    for mark in marks:
        moved = {f"{mark}_to": floor, f"{mark}_at": now, "changed_at": now}
        follows.filter(**{f"{mark}_to__lt": floor}).update(**moved)
    updates = _updates(action, now)
    del updates["changed_at"]
    receipts.filter(**{_STAMPS[action]: None}).update(**updates)


def _stamp(rows: models.QuerySet[Any], ids: list[int], lookup: str, *, now: datetime) -> None:
    for start in range(0, len(ids), BATCH_SIZE):
        rows.filter(**{lookup: ids[start : start + BATCH_SIZE]}).update(changed_at=now)


def _tell(
    reader: Any,
    action: str,
    ids: list[int] | None,
    up_to: int | None,
    now: datetime,
    using: str,
    **details: str,
) -> None:
    from .models import Follow, Notification, Receipt

    # A nested function: Django's robust on_commit fails to log what a partial raises.
    def tell() -> None:
        changed_at = now
        if is_late(now):
            changed_at = timezone.now()
            if ids is not None:
                receipts = Receipt.objects.using(using).filter(recipient_id=reader)
                _stamp(receipts, ids, "notification_id__in", now=changed_at)
            else:
                marks = Follow.objects.using(using).filter(user_id=reader, topic=EVERYONE.name)
                marks.update(changed_at=changed_at)
        signals.state_changed.send_robust(
            sender=Notification,
            reader=reader,
            action=action,
            ids=ids,
            up_to=up_to,
            changed_at=changed_at,
            **details,
        )

    transaction.on_commit(tell, using=using, robust=True)
