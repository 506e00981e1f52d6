"""Retention: what is removed from the log, and in which order, so that nobody notices.

By age, by the number that each reader keeps, and what belongs to nobody any more. Small batches,
each with transactions of its own; rows that somebody else has locked are left for the next time,
so pruning waits for nobody and deadlocks with nobody. It may be killed, and two may run at once.

What was removed by age without regard to readers is told by `LogState.pruned_to`; what was removed
unread beyond the number by `Follow.pruned_to`. Both move before the rows go, and only up: a cursor
below them is reset. Whoever reads rows above a cursor looks at them afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from django.contrib.auth import get_user_model
from django.db import OperationalError, connections, models, router
from django.db.models.functions import Greatest
from django.utils import timezone

from .audiences import EVERYONE
from .conf import conf
from .models import Follow, LogState, Notification, Receipt, Scheduled
from .writing import writing

__all__ = ["Pruned", "Pruning", "prune"]

# Rows that one transaction removes.
BATCH_SIZE = 1_000

# Batches whose rows are looked through at a time: reading them locks nothing.
LOOK_AHEAD = 10

# Readers whose newest receipts are looked at in one step, each along the index.
READERS = 25

M = TypeVar("M", bound=models.Model)

# From a position to the next one: the same again, one that is further on, or the end.
Pass = Callable[[Any], Any]
START, END = object(), object()


@dataclass
class Pruned:
    """How many rows were removed."""

    notifications: int = 0
    receipts: int = 0
    follows: int = 0
    scheduled: int = 0


def prune(
    *,
    older_than: timedelta | None,
    keep: int | None = None,
    read_only: bool = False,
    batch_size: int = BATCH_SIZE,
) -> Pruned:
    """Remove what is older, what a reader has beyond the newest `keep`, and what is nobody's.

    With `older_than`, notifications of that age go with their receipts, and what was scheduled and
    is over for so long. With `keep`, so many of what was said to a reader by name (as a user, in a
    queryset or a Group) are kept; what was said to a topic or to everyone is one row for all and
    goes by age alone. With `read_only`, both spare what a reader has neither read nor archived,
    and what was said to a topic or to everyone and was neither retracted nor has expired. Receipts
    and follows of users who are gone are removed in any case.

    What may still be on its way to open pages stays. Returns how many rows were removed. Raises
    ValueError for limits that are not positive.
    """
    pruning = Pruning(older_than=older_than, keep=keep, read_only=read_only, batch_size=batch_size)
    while pruning.step():
        pass
    return pruning.removed


@dataclass
class Pruning:
    """One pruning, of which each `step()` is a batch of its own. See `prune()`."""

    older_than: timedelta | None
    keep: int | None = None
    read_only: bool = False
    batch_size: int = BATCH_SIZE
    removed: Pruned = field(default_factory=Pruned)

    def __post_init__(self) -> None:
        if self.older_than is not None and self.older_than <= timedelta(0):
            raise ValueError(f"older_than must be positive, not {self.older_than!r}.")
        if self.keep is not None and self.keep < 1:
            raise ValueError(f"keep must be positive, not {self.keep!r}.")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be positive, not {self.batch_size!r}.")
        now = timezone.now()
        # A process notices a hole with one sweep, gives it up with one a window later, and tells
        # what changed meanwhile: what is younger may be news to somebody.
        margin = timedelta(seconds=2 * (conf.COMMIT_WINDOW + conf.SWEEP_INTERVAL))
        self._quiet = now - margin
        self._cutoff = min(now - self.older_than, self._quiet) if self.older_than else None
        self._using = router.db_for_write(Notification)
        self._position: Any = START
        self._passes: list[Pass] = []
        if self._cutoff is not None:
            by_age = [self._prune_read, self._prune_gone] if self.read_only else [self._prune_old]
            self._passes += by_age
        if self.keep is not None:
            self._passes.append(self._prune_surplus)
        self._passes += [self._prune_receipts, self._prune_follows, self._prune_unaddressed]
        if self._cutoff is not None:
            self._passes.append(self._prune_scheduled)

    def step(self) -> bool:
        """Do the next batch and return whether there may be more; one that failed is repeated."""
        if self._passes:
            position = self._passes[0](self._position)
            self._position = START if position is END else position
            if position is END:
                del self._passes[0]
        return bool(self._passes)

    def count(self) -> Pruned:
        """Count what would be removed, and remove nothing; not exactly where `keep` is given."""
        old, going = self._notifications.none(), models.Q(pk__in=[])
        if self._cutoff is not None and self.read_only:
            old, going = self._notifications.filter(self._gone()), self._of_gone() | self._is_read()
        elif self._cutoff is not None:
            old = self._notifications.filter(self._old())
            going = models.Q(notification_id__in=old.values("pk"))
        going = models.Q(pk__in=self._receipts.filter(going | self._orphaned()).values("pk"))
        receipts = self._receipts.filter(going).count()
        after: Any = START
        while self.keep is not None and (readers := self._readers_with_surplus(after)):
            for after, boundary in readers:
                if boundary is not None:
                    receipts += self._surplus_of(after, boundary).exclude(going).count()
        unaddressed = self._unaddressed(staying=self._receipts.exclude(going))
        return Pruned(
            old.count() + unaddressed.exclude(pk__in=old.values("pk")).count(),
            receipts,
            self._orphaned_follows().count(),
            self._finished().count() if self._cutoff is not None else 0,
        )

    # By age

    def _prune_old(self, after: Any) -> Any:
        """Remove what is old with its receipts, along the log, until nothing is old."""
        start = 0 if after is START else after
        upper = self._look_ahead(self._notifications, start)
        inside = self._notifications.filter(pk__gt=start, pk__lte=upper)
        old = inside.filter(self._old())
        chosen = self._first(old)
        if not chosen:
            return upper if inside.filter(created_at__lte=self._cutoff).exists() else END
        state = LogState.current()
        with writing(self._using):
            ids = self._lock(old, chosen)
            if ids:
                LogState.objects.using(self._using).filter(pk=state.pk).update(
                    pruned_to=Greatest("pruned_to", ids[-1])
                )
                # Gone for all readers at once, whatever becomes of their receipts, without whose
                # state it would be unread again.
                self._notifications.filter(pk__in=ids, retracted_at=None).update(
                    retracted_at=timezone.now()
                )
        return chosen[-1] if self._remove_with_receipts(ids) else start

    def _old(self) -> models.Q:
        # Without it, an older one of the same tag that stays would be shown again.
        older = self._notifications.filter(
            ~self._settled() | models.Q(created_at__gt=self._cutoff),
            tag=models.OuterRef("tag"),
            pk__lt=models.OuterRef("pk"),
        ).exclude(tag="")
        return (
            self._settled()
            & models.Q(created_at__lte=self._cutoff)
            & (models.Q(tag="") | ~models.Q(models.Exists(older)))
        )

    def _settled(self) -> models.Q:
        """What did not change lately: others are being told what did."""
        return models.Q(changed_at=None) | models.Q(changed_at__lte=self._quiet)

    # By age, what was read

    def _prune_read(self, after: Any) -> Any:
        """Remove what each reader has read, along the receipts."""
        # Again after a batch: what was replaced and is gone now had kept what replaced it.
        return self._prune_along(self._receipts, self._is_read(), after, again_from=1)

    def _is_read(self) -> models.Q:
        done = ~models.Q(read_at=None) | ~models.Q(archived_at=None)
        return self._removable(done) & models.Q(notification__created_at__lte=self._cutoff)

    def _prune_gone(self, after: Any) -> Any:
        """Remove what was retracted or has expired, along the log, until nothing is old."""
        start = 0 if after is START else after
        upper = self._look_ahead(self._notifications, start)
        inside = self._notifications.filter(pk__gt=start, pk__lte=upper)
        if ids := self._first(inside.filter(self._gone())):
            return ids[-1] if self._remove_with_receipts(ids) else start
        return upper if inside.filter(created_at__lte=self._cutoff).exists() else END

    def _gone(self) -> models.Q:
        """What is in no inbox for so long, and replaces nothing that is still there."""
        gone = models.Q(retracted_at__lte=self._cutoff) | models.Q(expires_at__lte=self._cutoff)
        older = self._notifications.filter(
            tag=models.OuterRef("tag"), pk__lt=models.OuterRef("pk")
        ).exclude(gone | models.Q(tag=""))
        free = models.Q(tag="") | ~models.Q(models.Exists(older))
        return gone & self._settled() & free & models.Q(pk__lt=self._notifications.newest_id())

    def _of_gone(self) -> models.Q:
        gone = self._notifications.filter(self._gone(), pk=models.OuterRef("notification_id"))
        return models.Q(models.Exists(gone))

    # By number

    def _prune_surplus(self, after: Any) -> Any:
        """Remove what readers have beyond what they keep, some readers at a time."""
        readers = self._readers_with_surplus(after)
        total = 0
        for reader, boundary in readers:
            if boundary is not None:
                # What nobody sees any more does not use up what is kept: then it is more than that.
                if self._remove(self._replaced_of(reader)):
                    return after
                while removed := self._remove_surplus(reader, boundary):
                    total += removed
                    if total >= self.batch_size:
                        return after
            after = reader
        return after if readers else END

    def _readers_with_surplus(self, after: Any) -> list[tuple[Any, int | None]]:
        """Return the next readers, each with the newest id that is not kept."""
        users = self._users.order_by("pk")
        if after is not START:
            users = users.filter(pk__gt=after)
        assert self.keep is not None
        lasting = models.Q(notification__expires_at=None) | models.Q(
            notification__expires_at__gt=timezone.now()
        )
        mine = self._receipts.filter(
            lasting,
            recipient_id=models.OuterRef("pk"),
            notification__topic="",
            notification__retracted_at=None,
        )
        beyond = mine.order_by("-notification_id").values("notification_id")
        boundary = models.Subquery(beyond[self.keep : self.keep + 1])
        return list(users.values_list("pk", boundary)[:READERS])

    def _replaced_of(self, reader: Any) -> models.QuerySet[Receipt]:
        return self._receipts.filter(
            self._replaced(),
            self._settled(),
            recipient_id=reader,
            notification__topic="",
            notification__created_at__lte=self._quiet,
        )

    def _surplus_of(self, reader: Any, boundary: int) -> models.QuerySet[Receipt]:
        done = models.Q()
        if self.read_only:
            done = ~models.Q(read_at=None) | ~models.Q(archived_at=None)
        return self._receipts.filter(
            self._removable(done),
            recipient_id=reader,
            notification_id__lte=boundary,
            notification__created_at__lte=self._quiet,
        )

    def _remove_surplus(self, reader: Any, boundary: int) -> int:
        surplus = self._surplus_of(reader, boundary)
        if self.read_only:
            return self._remove(surplus)
        chosen = self._receipts.filter(pk__in=self._first(surplus))
        unread = chosen.filter(read_at=None, archived_at=None, notification__retracted_at=None)
        mark = unread.aggregate(newest=models.Max("notification_id"))["newest"] or 0
        if mark and not self._move_mark(reader, mark):
            return 0
        # What was marked as unread since then is not behind the mark.
        told = models.Q(notification_id__lte=mark) | ~models.Q(read_at=None, archived_at=None)
        return self._remove(chosen.filter(told))

    def _move_mark(self, reader: Any, mark: int) -> bool:
        """Tell the reader's cursors below that they missed something, and the sweep to count.

        Returns False where somebody else has locked it: marking all as read does so.
        """
        marks = self._follows.filter(user_id=reader, topic=EVERYONE.name)
        if not marks.exists():
            self._follows.bulk_create(
                [Follow(user_id=reader, topic=EVERYONE.name)], ignore_conflicts=True
            )
        with writing(self._using):
            ids = self._lock(marks, self._first(marks))
            self._follows.filter(pk__in=ids).update(
                pruned_to=Greatest("pruned_to", mark), changed_at=timezone.now()
            )
        return bool(ids)

    # What a reader's receipt may go for

    def _removable(self, done: models.Q) -> models.Q:
        """What may go of what was said to readers by name: what is done with, or was replaced.

        What replaced something that is still there stays: it would be shown again.
        """
        older = self._receipts_of_tag(notification_id__lt=models.OuterRef("notification_id"))
        topics = self._notifications.filter(
            tag=models.OuterRef("notification__tag"), pk__lt=models.OuterRef("notification_id")
        ).exclude(models.Q(tag="") | models.Q(topic=""))
        replaces = models.Q(models.Exists(older)) | models.Q(models.Exists(topics))
        free = models.Q(notification__tag="") | ~replaces
        return (
            models.Q(notification__topic="") & self._settled() & (self._replaced() | (done & free))
        )

    def _replaced(self) -> models.Q:
        newer = self._receipts_of_tag(
            notification_id__gt=models.OuterRef("notification_id"), excluded_at=None
        )
        return ~models.Q(notification__tag="") & models.Q(models.Exists(newer))

    def _receipts_of_tag(self, **conditions: Any) -> models.QuerySet[Receipt]:
        return self._receipts.filter(
            recipient_id=models.OuterRef("recipient_id"),
            notification__tag=models.OuterRef("notification__tag"),
            **conditions,
        ).exclude(notification__tag="")

    # What is nobody's

    def _prune_receipts(self, after: Any) -> Any:
        return self._prune_along(self._receipts, self._orphaned(), after)

    def _orphaned(self) -> models.Q:
        said = self._notifications.filter(pk=models.OuterRef("notification_id"))
        reader = self._users.filter(pk=models.OuterRef("recipient_id"))
        return ~models.Q(models.Exists(said)) | ~models.Q(models.Exists(reader))

    def _prune_follows(self, after: Any) -> Any:
        follower = self._users.filter(pk=models.OuterRef("user_id"))
        return self._prune_along(self._follows, ~models.Q(models.Exists(follower)), after)

    def _orphaned_follows(self) -> models.QuerySet[Follow]:
        follower = self._users.filter(pk=models.OuterRef("user_id"))
        return self._follows.exclude(models.Exists(follower))

    def _prune_unaddressed(self, after: Any) -> Any:
        """Remove what has lost its last receipt."""
        rows = self._unaddressed()
        return self._prune_along(rows, models.Q(), after, walked=self._notifications)

    def _unaddressed(self, staying: Any = None) -> Any:
        # Never the newest: a log that becomes shorter looks like one that was restored.
        return self._notifications.filter(
            self._without_receipts(staying),
            self._settled(),
            topic="",
            created_at__lte=self._quiet,
            pk__lt=self._notifications.newest_id(),
        )

    def _without_receipts(self, staying: Any = None) -> models.Q:
        receipts = self._receipts if staying is None else staying
        receipts = receipts.filter(notification_id=models.OuterRef("pk"))
        return ~models.Q(models.Exists(receipts))

    def _prune_scheduled(self, after: Any) -> Any:
        return after if self._remove(self._finished()) == self.batch_size else END

    def _finished(self) -> models.QuerySet[Scheduled]:
        """What was scheduled and was said, was cancelled or failed so long ago."""
        over = models.Q()
        for name in ("published_at", "cancelled_at", "failed_at"):
            over |= models.Q(**{f"{name}__lte": self._cutoff})
        return Scheduled.objects.using(self._using).filter(over)

    # How it is done

    @property
    def _notifications(self) -> Any:
        return Notification.objects.using(self._using)

    @property
    def _receipts(self) -> models.QuerySet[Receipt]:
        return Receipt.objects.using(self._using)

    @property
    def _follows(self) -> models.QuerySet[Follow]:
        return Follow.objects.using(self._using)

    @property
    def _users(self) -> models.QuerySet[Any]:
        return get_user_model()._base_manager.using(self._using)

    def _look_ahead(self, rows: Any, start: int) -> int:
        """Return the id up to which the next rows are looked through; `start` where none is."""
        ids = rows.filter(pk__gt=start).order_by("pk").values_list("pk", flat=True)
        rank = LOOK_AHEAD * self.batch_size - 1
        far: int | None = ids[rank : rank + 1].first() or ids.last()
        return far or start

    def _prune_along(
        self,
        rows: Any,
        condition: models.Q,
        after: Any,
        *,
        walked: Any | None = None,
        again_from: int | None = None,
    ) -> Any:
        """Remove what meets a condition among the next rows, by a position in all of them."""
        start = 0 if after is START else after
        upper = self._look_ahead(rows if walked is None else walked, start)
        if upper == start:
            return END
        removed = self._remove(rows.filter(condition, pk__gt=start, pk__lte=upper))
        return start if removed >= (again_from or self.batch_size) else upper

    def _remove_with_receipts(self, ids: list[int]) -> bool:
        """Remove notifications whose receipts fit into a batch; False where they do not yet."""
        if self._remove(self._receipts.filter(notification_id__in=ids)) == self.batch_size:
            return False
        self._remove(self._notifications.filter(self._without_receipts(), pk__in=ids))
        return True

    def _first(self, rows: Any) -> list[int]:
        return list(rows.order_by("pk").values_list("pk", flat=True)[: self.batch_size])

    def _lock(self, rows: Any, ids: list[int]) -> list[int]:
        """Return those that are still meant, and that nobody else has locked, ascending."""
        features = connections[self._using].features
        rows = rows.filter(pk__in=ids).select_for_update(
            skip_locked=features.has_select_for_update_skip_locked,
            of=("self",) if features.has_select_for_update_of else (),
        )
        return sorted(rows.order_by().values_list("pk", flat=True))

    def _remove(self, rows: models.QuerySet[M]) -> int:
        """Remove a batch of rows and return how many went."""
        # Asked for outside of the transaction, which SQLite would let nobody else write beside.
        if not (chosen := self._first(rows)):
            return 0
        try:
            with _patience_restored(self._using), writing(self._using):
                ids = self._lock(rows, chosen)
                _lose_patience(self._using)
                _, removed = rows.model._base_manager.using(self._using).filter(pk__in=ids).delete()
        except OperationalError as error:
            if not _is_of_lock(error):
                raise
            return 0
        for model, name in _COUNTS.items():
            setattr(
                self.removed,
                name,
                getattr(self.removed, name) + removed.get(model._meta.label, 0),
            )
        return len(ids)


# MySQL and MariaDB: ER_LOCK_WAIT_TIMEOUT.
_LOCKED = 1205


def _lose_patience(using: str) -> None:
    """Let MariaDB refuse at once to wait for rows that its DELETE meets beside what was chosen.

    In a table of a few thousand rows it finds some by reading all of them, and would wait for those
    of open transactions, which may wait for what was locked here.
    """
    if connections[using].vendor == "mysql":
        with connections[using].cursor() as cursor:
            cursor.execute("SET innodb_lock_wait_timeout = 0")


@contextmanager
def _patience_restored(using: str) -> Iterator[None]:
    if connections[using].vendor != "mysql":
        yield
        return
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT @@innodb_lock_wait_timeout")
        before = cursor.fetchone()
    try:
        yield
    finally:
        with connections[using].cursor() as cursor:
            cursor.execute("SET innodb_lock_wait_timeout = %s", before)


def _is_of_lock(error: OperationalError) -> bool:
    return bool(error.args) and error.args[0] == _LOCKED


_COUNTS: dict[type[models.Model], str] = {
    Notification: "notifications",
    Receipt: "receipts",
    Follow: "follows",
    Scheduled: "scheduled",
}
