"""An inbox of 200,000 of 2,000,000 rows against one of 100 of 1,000: first page, deep page, counts.

Both inboxes are read by the same calls and have the same shares of everything: who has what, what
is read, how much is tagged. What is compared is a reader's first page and unread count, as a site
asks for them, with all that Python does, and their queries alone; the smaller inbox is the ratio's
1.

A log is filled inside the database. One reader in the middle has a tenth of all rows; the others'
are spread over 1,000 users.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from . import bench

OTHERS = 1_000
TOPICS = 10
SMALL = 1_000

# Of each ten rows: the reader's receipt, another reader's topic, and other readers' receipts.
SHARE = 10

KINDS = ("receipts", "topics", "tags")
STATES = ("most unread", "most read")
PROMISED = ("first page", "unread count")
ALONE = ", its query alone"
TITLES = (
    "first page",
    "unread count",
    "deep page",
    "unread page",
    "unseen count",
    *(f"{title}{ALONE}" for title in PROMISED),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000, help="in the larger log (2000000)")
    parser.add_argument("--content", choices=KINDS, help="what the reader has (all, in turns)")
    bench.add_options(parser)
    options = parser.parse_args()
    kinds = [options.database] if options.database else list(bench.DATABASES)
    found: dict[str, list[bench.Series]] = {}
    with bench.site({f"{kind}_{size}": kind for kind in kinds for size in ("small", "large")}):
        for kind in kinds:
            found[kind] = []
            for content in [options.content] if options.content else KINDS:
                for state in STATES:
                    for measured in compare(kind, content, state, options):
                        found[kind].append(measured)
                        if options.json != "-":
                            bench.print_table(measured)
    if options.json:
        bench.write_json(options.json, found)


def compare(kind: str, content: str, state: str, options: Any) -> list[bench.Series]:
    """Measure one content in one state, on PostgreSQL before and after it is analyzed."""
    sizes = {"small": SMALL, "large": options.rows}
    for size, rows in sizes.items():
        with bench.using(f"{kind}_{size}"):
            fill(rows, content, read=state == "most read")
    measured = []
    for analyzed in (False, True) if kind == "postgresql" else (True,):
        if analyzed:
            for size in sizes:
                analyze(f"{kind}_{size}")
        known = "" if kind == "sqlite" else ", analyzed" if analyzed else ", not analyzed"
        readings = {size: reading(f"{kind}_{size}") for size in sizes}
        for title in TITLES:
            variants = {
                f"{sizes[size] // SHARE:,} of {sizes[size]:,}": readings[size][title]
                for size in sizes
            }
            name = f"{kind}: {title}, {content}, {state}{known}"
            measured.append(bench.measure(name, variants, rounds=options.rounds))
    return measured


def fill(rows: int, content: str, *, read: bool) -> None:
    """Make a log of which a tenth is the reader's.

    `content` says what the reader has: receipts alone; receipts, topics and what was said to
    everyone, in equal parts; or receipts of which half are tagged, five to a tag.
    """
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connections
    from django.utils import timezone

    from django_live_notify import EVERYONE
    from django_live_notify.models import Follow, LogState

    alias = bench.Router.alias
    connection = connections[alias]
    call_command("migrate", database=alias, verbosity=0)
    postgresql = connection.vendor == "postgresql"
    tables = ("live_notify_receipt", "live_notify_notification", "live_notify_follow")
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"TRUNCATE {table}" if postgresql else f"DELETE FROM {table}")
        if postgresql:
            # What is not analyzed yet is to stay so for as long as it is measured, and to be so:
            # what was known of the rows before is kept by TRUNCATE.
            for table in tables:
                cursor.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
                cursor.execute("DELETE FROM pg_statistic WHERE starelid = %s::regclass", [table])
    LogState.current()
    yesterday = timezone.now() - timedelta(days=1)
    if not User.objects.exists():
        User.objects.bulk_create(
            User(username=f"user-{i}", date_joined=yesterday) for i in range(OTHERS + 1)
        )
    reader = User.objects.order_by("-pk")[0]
    mixed = content == "topics"
    # Everything but the newest twenty of a thousand; and at most twenty.
    upper = rows - min(rows // 5, 200) if read else 0
    if mixed:
        Follow.objects.bulk_create(
            [
                Follow(
                    user=reader,
                    topic=f"topic-{i}",
                    read_to=upper,
                    read_at=yesterday,
                    seen_to=upper,
                    seen_at=yesterday,
                    changed_at=yesterday,
                )
                for i in range(TOPICS)
            ]
            + [
                Follow(
                    user=reader,
                    topic=EVERYONE.name,
                    read_to=upper,
                    read_at=yesterday,
                    seen_to=upper,
                    seen_at=yesterday,
                    changed_at=yesterday,
                )
            ]
        )
    # Each tenth row is the reader's. Of their own number k, two in three are of topics.
    k = f"(i / {SHARE})"
    own = f"i % {SHARE} = 0"
    topic = (
        f"CASE WHEN {own} THEN CASE {k} % 3 WHEN 1 THEN '*'"
        f" WHEN 2 THEN 'topic-' || ({k} % {TOPICS}) ELSE '' END"
        f" WHEN i % {SHARE} = 1 THEN 'other-' || ({k} % 100) ELSE '' END"
        if mixed
        else "''"
    )
    tag = (
        f"CASE WHEN {k} % 2 = 0 THEN 'tag-' || (i / {10 * SHARE}) || '-' || i % {SHARE} ELSE '' END"
    )
    tag = tag if content == "tags" else "''"
    moment = connection.ops.adapt_datetimefield_value(yesterday)
    # PostgreSQL takes it for a text otherwise.
    then = f"CAST('{moment}' AS timestamptz)" if postgresql else f"'{moment}'"
    numbers = bench.numbers(connection, rows)
    user = f"CASE WHEN {own} THEN {reader.pk} ELSE {reader.pk - OTHERS} + i % {OTHERS} END"
    stamp = f"CASE WHEN i <= {upper} THEN {then} END"
    # Without parameters, a percent sign is one.
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO live_notify_notification (id, kind, level, title, title_translated, body,"
            " body_translated, params, url, icon, actions, target_type, target_id, topic, tag,"
            " created_at) SELECT i, '', 'info', 'Your export is ready', FALSE, '',"
            f" FALSE, '{{}}', '/exports/', '', '[]', '', '', {topic}, {tag}, {then}"
            f" FROM ({numbers}) AS numbers"
        )
        cursor.execute(
            "INSERT INTO live_notify_receipt (recipient_id, notification_id, read_at, seen_at)"
            f" SELECT {user}, i, {stamp}, {stamp} FROM ({numbers}) AS numbers"
            f" WHERE ({topic}) = ''"
        )


def analyze(alias: str) -> None:
    from django.db import connections

    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def reading(alias: str) -> dict[str, Callable[[], object]]:
    """Return what a reader does with their inbox, by its title."""
    from django.contrib.auth.models import User

    from django_live_notify.models import Notification

    reader = User.objects.using(alias).order_by("-pk")[0]
    inbox = Notification.objects.using(alias).for_user(reader)
    middle = Notification.objects.using(alias).newest_id() // 2
    asked: dict[str, Callable[[], object]] = {
        "first page": lambda: inbox.unarchived().page(),
        "deep page": lambda: inbox.unarchived().page(before=middle),
        "unread page": lambda: inbox.unread().page(),
        "unread count": lambda: inbox.unread().count_capped(),
        "unseen count": lambda: inbox.unseen().count_capped(),
    }
    alone = {f"{title}{ALONE}": repeating(alias, asked[title]) for title in PROMISED}
    return {**asked, **alone}


def repeating(alias: str, ask: Callable[[], object]) -> Callable[[], object]:
    """Return what executes once more the statements that were executed, and nothing else."""
    from django.db import connections

    statements: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append((sql, params))
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(note):
        ask()

    def repeat() -> None:
        with connections[alias].cursor() as cursor:
            for sql, params in statements:
                cursor.execute(sql, params)
                cursor.fetchall()

    return repeat


if __name__ == "__main__":
    main()
