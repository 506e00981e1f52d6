"""What a sweep and the horizon cost as the log grows, and with 60,000 holes."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from . import bench

HOLES = 60_000
USERS = 1_000

# Ids that are there behind the range of holes.
BEHIND = 1_000

# A window and a bit, as the hub looks back.
LOOK_BACK = timedelta(seconds=65)

WINDOW = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="in the largest log (1000000)")
    parser.add_argument("--readers", type=int, default=200, help="who are online (200)")
    parser.add_argument(
        "--no-analyze", dest="analyze", action="store_false", help="let databases guess"
    )
    bench.add_options(parser)
    options = parser.parse_args()
    kinds = [options.database] if options.database else list(bench.DATABASES)
    sizes = sorted({1_000, 100_000, options.rows})
    # The logs with holes have as many rows as the one without.
    size = 2 * HOLES
    logs = {
        **{f"{rows}": (rows, "i") for rows in sizes},
        "whole": (size, "i"),
        "range": (size, f"i + CASE WHEN i > {size - BEHIND} THEN {HOLES} ELSE 0 END"),
        "alternating": (
            size,
            f"CASE WHEN i > {size - HOLES} THEN 2 * i - {size - HOLES} ELSE i END",
        ),
    }
    found: dict[str, list[bench.Series]] = {}
    with bench.site({f"{kind}_{name}": kind for kind in kinds for name in logs}):
        for kind in kinds:
            for name, (rows, number) in logs.items():
                with bench.using(f"{kind}_{name}"):
                    fill(rows, number, analyze=options.analyze)
            found[kind] = []
            for title, variants in series(kind, sizes, size, options.readers):
                measured = bench.measure(f"{kind}: {title}", variants, rounds=options.rounds)
                found[kind].append(measured)
                if options.json != "-":
                    bench.print_table(measured)
    if options.json:
        bench.write_json(options.json, found)


def fill(rows: int, number: str, *, analyze: bool) -> None:
    """Make a log whose ids are an expression of i, from 1 to the number of rows.

    Each row has one reader; half of the receipts, and a tenth of the rows, changed yesterday.
    """
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connections
    from django.utils import timezone

    from django_live_notify import EVERYONE
    from django_live_notify.models import Follow, LogState

    alias = bench.Router.alias
    call_command("migrate", database=alias, verbosity=0)
    LogState.current()
    yesterday = timezone.now() - timedelta(days=1)
    users = User.objects.bulk_create(
        User(username=f"user-{i}", date_joined=yesterday) for i in range(USERS)
    )
    Follow.objects.bulk_create(
        Follow(user=user, topic=EVERYONE.name, read_to=1, read_at=yesterday, changed_at=yesterday)
        for user in users
    )
    connection = connections[alias]
    postgresql = connection.vendor == "postgresql"
    moment = connection.ops.adapt_datetimefield_value(yesterday)
    # In an expression, PostgreSQL takes it for a text.
    then = "CAST(%s AS timestamptz)" if postgresql else "%s"
    numbers = (
        f"SELECT i, {number} AS n FROM generate_series(1, {rows}) AS i"
        if postgresql
        else "WITH RECURSIVE g(i) AS "
        f"(SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < {rows}) SELECT i, {number} AS n FROM g"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO live_notify_notification (id, kind, level, title, title_translated, body,"
            " body_translated, params, url, icon, actions, target_type, target_id, topic, tag,"
            " created_at, changed_at) SELECT n, '', 'info', 'Your export is ready', FALSE, '',"
            " FALSE, '{}', '/exports/', '', '[]', '', '', '', '',"
            f" %s, CASE WHEN i %% 10 = 0 THEN {then} END FROM ({numbers}) AS numbers",
            [moment, moment],
        )
        cursor.execute(
            "INSERT INTO live_notify_receipt (recipient_id, notification_id, read_at, changed_at)"
            f" SELECT 1 + i %% {USERS}, n,"
            f" CASE WHEN i %% 2 = 0 THEN {then} END,"
            f" CASE WHEN i %% 2 = 0 THEN {then} END FROM ({numbers}) AS numbers",
            [moment, moment],
        )
        if analyze:
            # On PostgreSQL with the map of what is visible, which autovacuum would make.
            cursor.execute("VACUUM ANALYZE" if postgresql else "ANALYZE")


def series(
    kind: str, sizes: list[int], size: int, readers: int
) -> list[tuple[str, dict[str, Callable[[], object]]]]:
    """Return what is compared: a title, and what to run by its name."""
    from django_live_notify.live.horizon import MAX_SPANS

    top = size + HOLES
    holes = {
        "no holes": ("whole", at(size)),
        f"{HOLES:,} holes, one range": ("range", knowing(kind, "range", size - BEHIND)),
        f"{MAX_SPANS} holes between rows": (
            "alternating",
            knowing(kind, "alternating", top - 2 * MAX_SPANS),
        ),
        f"{HOLES:,} holes between rows": (
            "alternating",
            knowing(kind, "alternating", size - HOLES),
        ),
    }
    return [
        (
            f"a sweep, {readers} readers, nothing new",
            {f"{rows:,} rows": sweeping(kind, f"{rows}", at(rows), readers) for rows in sizes},
        ),
        (
            f"a sweep, {readers} readers, 10 new rows",
            {f"{rows:,} rows": sweeping(kind, f"{rows}", at(rows - 10), readers) for rows in sizes},
        ),
        (
            f"a sweep, {readers} readers, nothing new, {size:,} rows",
            {
                name: sweeping(kind, alias, horizon, readers)
                for name, (alias, horizon) in holes.items()
            },
        ),
        (
            "Horizon.record, one new id",
            {name: recording(horizon) for name, (_alias, horizon) in holes.items()},
        ),
    ]


def at(number: int) -> Any:
    """Return a horizon that knows everything up to an id."""
    from django_live_notify.live.horizon import Horizon

    return Horizon(number, WINDOW)


def knowing(kind: str, name: str, start: int) -> Any:
    """Return a horizon that has seen the rows of a log above an id."""
    from django_live_notify.models import Notification

    horizon = at(start)
    with bench.using(f"{kind}_{name}"):
        above = Notification.objects.filter(pk__gt=start).values_list("pk", flat=True)
        horizon.record(above, began=0, now=0)
    return horizon


def sweeping(kind: str, name: str, horizon: Any, readers: int) -> Callable[[], object]:
    """Return a sweep such as the hub's, of one who goes no further than before."""
    from django.contrib.auth.models import User
    from django.utils import timezone

    from django_live_notify.live import log

    alias = f"{kind}_{name}"
    since: datetime = timezone.now() - LOOK_BACK
    # Those to whom the newest rows are addressed are among them.
    users = {str(user.pk): user for user in User.objects.using(alias).order_by("-pk")[:readers]}

    def sweep() -> None:
        with bench.using(alias):
            log.sweep(horizon.spans(), horizon.unseen, since, lambda: users, {})

    return sweep


def recording(horizon: Any) -> Callable[[], object]:
    """Return what records the next id each time it is called."""
    ids = itertools.count(horizon.highest + 1)
    return lambda: horizon.record([next(ids)], began=0, now=0)


if __name__ == "__main__":
    main()
