"""What the hub reads from the log: plain functions that query, for its own threads.

They use the alias that notifications are written to, in autocommit: never a replica, and never a
view's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter, itemgetter
from typing import Any

from django.db import models, router
from django.utils import timezone, translation

from ..audiences import BATCH_SIZE, EVERYONE, joined_at
from ..conf import conf
from ..models import Follow, LogState, Notification, Receipt
from ..querysets import is_addressed_to
from . import protocol
from .protocol import Cursor, Touched

# Ids in the state frames of one resume; a client that missed more loads its inbox anew.
MAX_CHANGES = 3_000

# A replay of what the client mostly knows may be this many times the limit, and at most what a
# client remembers of a reset: it would tell the rest as new.
KNOWN_FACTOR = 5
MAX_KNOWN = 900

# Users by their key on the wire.
Readers = Mapping[str, Any]

# A receipt's state, a muted topic, or a reader's watermarks: see `protocol.states()`.
State = dict[str, Any]

# Which of a reader's rows changed, and when: ("receipt", key, id), ("follow", key, 0),
# ("mute", key, topic) …
Change = tuple[str, str, int | str]


@dataclass
class Said:
    """A notification that addresses readers of this process, by their keys."""

    packed: dict[str, Any]
    readers: dict[str, Touched]


@dataclass
class Sweep:
    """What one look at the log found."""

    epoch: str
    # A cursor below it may have missed what is gone.
    pruned_to: int = 0
    # When the row of the landmark's id was made; where there is none, the newest row.
    landmark: datetime | None = None
    newest: tuple[int, datetime] | None = None
    # The new ids, and the last of them with the time of its creation.
    ids: list[int] = field(default_factory=list)
    last: tuple[int, datetime] | None = None
    said: list[Said] = field(default_factory=list)
    late: list[Said] = field(default_factory=list)
    retracted: dict[str, list[int]] = field(default_factory=dict)
    states: list[tuple[Change, State]] = field(default_factory=list)
    dirty: set[str] = field(default_factory=set)
    changes: dict[Change, datetime] = field(default_factory=dict)


@dataclass
class Resume:
    """What brings a client up to date."""

    epoch: str
    reset: bool
    unread: int = 0
    # What is above the cursor, oldest first.
    items: list[dict[str, Any]] = field(default_factory=list)
    # What changed below it, and what was committed too late for it: frames to send after it.
    frames: list[dict[str, Any]] = field(default_factory=list)
    # The ids of all notifications in them.
    ids: set[int] = field(default_factory=set)
    # Ids that a client which starts afresh finds in its first page.
    there: list[int] = field(default_factory=list)


def alias() -> str:
    """Return the database alias of the log."""
    return router.db_for_write(Notification)


def start() -> tuple[str, int, int, list[int]]:
    """Return the epoch, how far it was pruned, the newest id older than the window, those above."""
    rows = Notification.objects.using(alias())
    floor = rows.floor()
    above = rows.filter(pk__gt=floor).values_list("pk", flat=True)
    log = LogState.current()
    return log.epoch, log.pruned_to, max(floor, log.pruned_to), list(above)


def sweep(
    spans: list[tuple[int, int | None]],
    unseen: Callable[[Iterable[int]], list[int]],
    since: datetime,
    get_readers: Callable[[], Readers],
    known: Mapping[Change, datetime],
    landmark: int = 0,
) -> Sweep:
    """Read what is new in the spans of ids, and what changed since a time.

    `unseen` picks what is new from the ids in the spans: where there are many holes, spans also
    cover what is between them.
    """
    log = LogState.current()
    found = Sweep(log.epoch, log.pruned_to)
    notifications = Notification.objects.using(alias())
    times = notifications.values_list("pk", "created_at")
    at_landmark = times.filter(pk=landmark).first() if landmark else None
    if at_landmark is not None:
        found.landmark = at_landmark[1]
    else:
        found.newest = times.order_by("-pk").first()
    found.ids = unseen(_inside(notifications, spans).order_by().values_list("pk", flat=True))
    rows = [
        row
        for start in range(0, len(found.ids), BATCH_SIZE)
        for row in notifications.filter(pk__in=found.ids[start : start + BATCH_SIZE])
        .order_by("pk")
        .values_list("pk", "topic", "created_at")
    ]
    if rows:
        found.last = (rows[-1][0], rows[-1][2])
    # Asked for only now: whoever comes later reads what these rows were read from.
    readers = get_readers()
    found.said = _load(_address(rows, readers))
    _find_changed_notifications(found, since, readers, known)
    _find_changed_states(found, since, readers, known)
    return found


def resume(
    user: Any,
    cursor: Cursor | None,
    since: datetime | None,
    language: str,
    spans: list[tuple[int, int | None]] | None = None,
    seen: int | None = None,
) -> Resume:
    """Read what a client has missed: rows above its cursor, changes since it was last heard.

    `spans` are those of the hub to which the client's listener belongs, if there is one. `seen` is
    the highest id that the client has handled, which may be above its cursor.
    """
    log = LogState.current()
    rows = Notification.objects.using(alias())
    inbox = rows.for_user(user)
    # Read before the rows: what is committed in between is news, not history.
    there = list(_inside(rows, spans).values_list("pk", flat=True)) if spans else []
    found = Resume(log.epoch, cursor is not None and not _is_known(cursor, log, rows))
    if not found.reset:
        _replay(found, user, inbox, cursor, since, language, seen)
    if found.reset or cursor is None:
        # A client that starts afresh loads a page of what is there: the sweep, which may be behind,
        # must not bring it again as news. What was committed late it brings all the same: whether
        # that was there before the client cannot be told until it is stamped.
        found.there = there
    found.unread = inbox.count_unread()
    return found


def _replay(
    found: Resume,
    user: Any,
    inbox: Any,
    cursor: Cursor | None,
    since: datetime | None,
    language: str,
    seen: int | None,
) -> None:
    """Read what was missed; where it is too much, all of it is left out.

    What is not above `seen` does not count as missed. It is sent all the same, since something may
    have been committed late; what it knows, the client drops.
    """
    limit = most = conf.REPLAY_LIMIT
    known = 0
    if cursor is not None and seen is not None and seen > cursor.id:
        known, most = seen, max(limit, min(KNOWN_FACTOR * limit, MAX_KNOWN))
    changed_since = since - timedelta(seconds=conf.COMMIT_WINDOW) if since else None
    missed = _find_missed(inbox.select_related("actor"), cursor, changed_since, most + 1)
    late: list[Any] = []
    states: list[dict[str, Any]] = []
    if changed_since is not None:
        changed = inbox.by_row().filter(changed_at__gte=changed_since).order_by("changed_at")
        late = sorted(changed.select_related("actor")[: limit + 1], key=attrgetter("pk"))
        states = list(_find_missed_states(user, changed_since))
    if cursor is not None and cursor.id < _pruned_to(user):
        # Asked for after the rows, which may have been pruned while they were read.
        found.reset = True
        return
    new = sum(row.pk > known for row in missed)
    if max(new, len(late)) > limit or len(missed) > most or sum(map(_size, states)) > MAX_CHANGES:
        found.reset = True
        return
    replayed = {row.pk for row in missed}
    with translation.override(language):
        replay = [protocol.item_of(row) for row in missed]
        items = [protocol.item_of(row) for row in late if row.pk not in replayed]
    # All of it has to fit into what may wait for a client, beside what comes meanwhile.
    if (
        sum(len(protocol.encode(item)) for item in (*replay, *items))
        > conf.LIMITS["backlog_bytes"] / 2
    ):
        found.reset = True
        return
    found.items = replay
    found.frames = [*protocol.notifications(items, replay=False), *states]
    found.ids = {*replayed, *(item["id"] for item in items)}


def _size(frame: dict[str, Any]) -> int:
    return len(frame.get("ids", ()))


def count_unread(users: Readers) -> dict[str, int]:
    """Return each reader's unread notifications, up to 100."""
    inboxes = Notification.objects.using(alias())
    return {key: inboxes.for_user(user).count_unread() for key, user in users.items()}


def find_followers(topic: str, readers: Readers) -> set[str]:
    """Return which readers follow a topic now."""
    follows = Follow.objects.using(alias()).filter(topic=topic, until=None)
    return {
        key
        for batch in _batches(readers)
        for (pk,) in follows.filter(user_id__in=_pks(batch)).values_list("user_id")
        if (key := str(pk)) in readers
    }


def _inside(rows: Any, spans: list[tuple[int, int | None]]) -> Any:
    ranges = models.Q()
    for first, last in spans:
        ranges |= models.Q(pk__gte=first) if last is None else models.Q(pk__range=(first, last))
    # Where it begins is said apart: for many ranges, SQLite reads the whole table otherwise.
    return rows.filter(ranges, pk__gte=spans[0][0])


def _is_known(cursor: Cursor, log: LogState, rows: Any) -> bool:
    """Say whether a cursor is of this log, of a part that is still there."""
    # A cursor ahead of the log comes from before it was restored from a backup.
    return cursor.epoch == log.epoch and (
        log.pruned_to <= cursor.id <= max(rows.newest_id(), log.pruned_to)
    )


def _pruned_to(user: Any) -> int:
    """Return the id below which something is gone that a user may not have been told."""
    marks = Follow.objects.filter(user_id=user.pk, topic=EVERYONE.name).order_by("-pruned_to")
    state = LogState.objects.using(alias()).values_list(
        "pruned_to", models.Subquery(marks.values("pruned_to")[:1])
    )
    return max((mark or 0 for row in state for mark in row), default=0)


def _find_missed(
    inbox: Any, cursor: Cursor | None, since: datetime | None, limit: int
) -> list[Any]:
    """Find what is above a cursor, oldest first."""
    if cursor is not None:
        return list(inbox.walk(above=cursor.id, newest_first=False, limit=limit))
    if since is None:
        return []
    # A first visit: what was said since the page was rendered. The window is taken off since a
    # row gets its time when it is inserted, which may be before the page and seen after it. No
    # index has the times; ids go up with them, so that it is among the newest.
    newest = inbox.walk(limit=limit)
    return [row for row in reversed(newest) if row.created_at >= since]


def _find_missed_states(user: Any, since: datetime) -> Iterator[dict[str, Any]]:
    receipts = _find_receipts([user.pk], since)[: MAX_CHANGES + 1]
    yield from protocol.states([*_find_follows([user.pk], since), *receipts])
    retracted = (
        Notification.objects.using(alias())
        .filter(is_addressed_to(user), changed_at__gte=since, retracted_at__isnull=False)
        .order_by("changed_at")
        .values_list("pk", flat=True)[: MAX_CHANGES + 1]
    )
    if ids := list(retracted):
        yield {"type": "retracted", "ids": ids}


def _find_follows(users: list[Any], since: datetime) -> Iterator[State]:
    """Find topics that were muted, or are not any more, and the watermarks that moved."""
    now = timezone.now()
    ended = models.Q(muted_until__gte=since, muted_until__lte=now)
    rows = Follow.objects.using(alias()).filter(
        models.Q(changed_at__gte=since) | ended,
        models.Q(topic=EVERYONE.name) | models.Q(muted_until__isnull=False),
        user_id__in=users,
    )
    for row in rows.values("user_id", "topic", "changed_at", "read_to", "seen_to", "muted_until"):
        topic, until = row.pop("topic"), row.pop("muted_until")
        if topic == EVERYONE.name:
            yield from _find_mark(row)
            continue
        changed_at = max(row["changed_at"], until) if until <= now else row["changed_at"]
        yield {
            "user_id": row["user_id"],
            "topic": topic,
            "muted_until": until,
            "changed_at": changed_at,
        }


def _find_mark(mark: State) -> Iterator[State]:
    """Find what is not read below a watermark all the same."""
    yield mark
    if mark["read_to"]:
        unread = _states(Receipt.objects.using(alias())).filter(
            recipient_id=mark["user_id"],
            notification_id__lte=mark["read_to"],
            read_at=None,
            archived_at=None,
            excluded_at=None,
        )
        for state in unread.order_by("-notification_id")[:MAX_CHANGES]:
            yield {**state, "changed_at": mark["changed_at"]}


def _find_receipts(users: list[Any], since: datetime) -> models.QuerySet[Receipt, State]:
    changed = Receipt.objects.using(alias()).filter(changed_at__gte=since, recipient_id__in=users)
    return _states(changed).order_by("changed_at")


def _states(receipts: Any) -> models.QuerySet[Receipt, State]:
    fields = ("changed_at", "read_at", "seen_at", "archived_at", "action", "notification_id")
    states: models.QuerySet[Receipt, State] = receipts.values(
        *fields, user_id=models.F("recipient_id")
    )
    return states


def _find_changed_notifications(
    found: Sweep, since: datetime, readers: Readers, known: Mapping[Change, datetime]
) -> None:
    """Find what was retracted, what was committed late, and whose count an expiry changes."""
    now = timezone.now()
    expired = models.Q(expires_at__gte=since, expires_at__lte=now)
    # Ordered here: SQLite reads the whole table, to have it ordered, until it is analyzed.
    rows = sorted(
        Notification.objects.using(alias())
        .filter(models.Q(changed_at__gte=since) | expired)
        .order_by()
        .values_list("pk", "topic", "created_at", "changed_at", "retracted_at", "expires_at"),
        key=itemgetter(0),
    )
    fresh = []
    for row in rows:
        change: Change = ("notification", "", row[0])
        # An expiry to come is no change yet.
        stamp = max((time for time in row[3:] if time is not None and time <= now), default=row[3])
        found.changes[change] = stamp
        if known.get(change) != stamp:
            fresh.append(row)
    addressed = _address([row[:3] for row in fresh], readers)
    for keys in addressed.values():
        found.dirty.update(keys)
    for pk, *_, retracted_at, _expires_at in fresh:
        if retracted_at is not None:
            for key in addressed.get(pk, ()):
                found.retracted.setdefault(key, []).append(pk)
    late = {row[0] for row in fresh if row[3] is not None and row[4] is None}
    found.late = _load({pk: keys for pk, keys in addressed.items() if pk in late})


def _find_changed_states(
    found: Sweep, since: datetime, readers: Readers, known: Mapping[Change, datetime]
) -> None:
    for batch in _batches(readers):
        users = _pks(batch)
        for state in (*_find_follows(users, since), *_find_receipts(users, since)):
            key = str(state["user_id"])
            change: Change = ("follow", key, 0)
            if "notification_id" in state:
                change = ("receipt", key, state["notification_id"])
            elif "muted_until" in state:
                change = ("mute", key, state["topic"])
            found.changes[change] = state["changed_at"]
            if known.get(change) != state["changed_at"]:
                found.states.append((change, state))
                found.dirty.add(key)


def _load(addressed: Mapping[int, dict[str, Touched]]) -> list[Said]:
    """Load the content of what addresses somebody here, oldest first."""
    ids = sorted(pk for pk, keys in addressed.items() if keys)
    said = []
    for start in range(0, len(ids), BATCH_SIZE):
        rows = Notification.objects.using(alias()).current()
        rows = rows.filter(pk__in=ids[start : start + BATCH_SIZE]).select_related("actor")
        said += [Said(protocol.pack(row), addressed[row.pk]) for row in rows.order_by("pk")]
    return said


def _address(
    rows: list[tuple[int, str, datetime]], readers: Readers
) -> dict[int, dict[str, Touched]]:
    """Find which readers rows address, by their id, topic and time."""
    addressed: dict[int, dict[str, Touched]] = {pk: {} for pk, *_ in rows}
    if not rows or not readers:
        return addressed
    topics: dict[str, list[tuple[int, datetime]]] = {}
    for pk, topic, created_at in rows:
        if topic:
            topics.setdefault(topic, []).append((pk, created_at))
    excluded: set[tuple[int, str]] = set()
    for batch in _batches(readers):
        _add_followers(addressed, topics, batch)
        for start in range(0, len(rows), BATCH_SIZE):
            _add_recipients(addressed, excluded, rows[start : start + BATCH_SIZE], batch)
    for pk, key in excluded:
        addressed[pk].pop(key, None)
    return addressed


def _add_recipients(
    addressed: dict[int, dict[str, Touched]],
    excluded: set[tuple[int, str]],
    rows: list[tuple[int, str, datetime]],
    readers: Mapping[str, Any],
) -> None:
    receipts = Receipt.objects.using(alias()).filter(
        notification_id__in=[pk for pk, *_ in rows], recipient_id__in=_pks(readers)
    )
    states = ("seen_at", "read_at", "archived_at", "action")
    for pk, recipient, excluded_at, *state in receipts.values_list(
        "notification_id", "recipient_id", "excluded_at", *states
    ):
        if excluded_at is not None:
            excluded.add((pk, str(recipient)))
        else:
            followed = addressed[pk].get(str(recipient), Touched())
            addressed[pk][str(recipient)] = Touched.of(*state, muted=followed.muted)


def _add_followers(
    addressed: dict[int, dict[str, Touched]],
    topics: Mapping[str, list[tuple[int, datetime]]],
    readers: Mapping[str, Any],
) -> None:
    if not topics:
        return
    follows = Follow.objects.using(alias()).filter(
        topic__in=list(topics), user_id__in=_pks(readers)
    )
    everyone: dict[str, Follow] = {}
    now = timezone.now()
    muted = {(f.user_id, f.topic) for f in follows if f.muted_until and f.muted_until > now}
    for follow in follows:
        key = str(follow.user_id)
        if follow.topic == EVERYONE.name:
            everyone[key] = follow
            continue
        for pk, _created_at in topics[follow.topic]:
            if follow.since < pk and (follow.until is None or pk <= follow.until):
                touched = Touched(
                    pk <= follow.seen_to,
                    pk <= follow.read_to,
                    muted=(follow.user_id, follow.topic) in muted,
                )
                addressed[pk].setdefault(key, touched)
    nothing = Follow()
    for pk, created_at in topics.get(EVERYONE.name, ()):
        for key, user in readers.items():
            mark = everyone.get(key, nothing)
            joined = joined_at(user)
            was_there = pk > mark.since if joined is None else created_at >= joined
            if was_there:
                addressed[pk].setdefault(key, Touched(pk <= mark.seen_to, pk <= mark.read_to))


def _pks(readers: Readers) -> list[Any]:
    return [user.pk for user in readers.values()]


def _batches(readers: Readers) -> Iterable[dict[str, Any]]:
    entries = list(readers.items())
    for start in range(0, len(entries), BATCH_SIZE):
        yield dict(entries[start : start + BATCH_SIZE])
