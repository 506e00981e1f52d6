"""What a push costs beside what one would write otherwise.

To 100,000 users: `push()` of a queryset, against a bare `INSERT … SELECT` of the same rows into the
same tables with the same indexes in one transaction, against `bulk_create()` of receipts for the
keys of the users, and against `save()` of each receipt, all in one transaction; the last for 1,000
users, times 100. The tables are emptied before each, outside the time. Then the memory that each
takes, in a process of its own: how far its resident set grows at its highest.

To everyone: `push(EVERYONE)` with 1,000 users in the database and with 1,000,000.

To one user: `push()` from synchronous code, with all that the publisher's thread does to announce
it by Redis until the last one of 500 to 500 users is sent, against two INSERTs in one transaction,
once through Django's `cursor.execute()` and once through its models. Everything else is left out
there: nothing is checked, and nobody is told. Pushes that come so fast are announced together, by
one message for many users; "announced one by one" is what they cost where each has its own. Another
process listens, as far as Redis knows.

That once with databases as they come, PostgreSQL's and Django's defaults, which wait for the disk
at each commit; and once, as everything else, with databases that do not: nothing hides there what
Python takes.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from asgiref.sync import async_to_sync

from tests.servers import Redis, running

from . import bench

FEW, MANY = 1_000, 1_000_000
AUDIENCE = 100_000

# Rows that are saved one by one, and pushes between two looks at the clock. Those to one user are
# so many that the hundredth of a second in which the last hints are gathered is little of it.
SAVED = 1_000
BURST = 50
USERS = 500

BARE = "INSERT … SELECT"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("queryset", "everyone", "user"), help="one of the parts")
    bench.add_options(parser)
    options = parser.parse_args()
    kinds = [options.database] if options.database else list(bench.DATABASES)
    parts = {"queryset": to_queryset, "everyone": to_everyone, "user": to_user}
    sizes = {"queryset": (AUDIENCE,), "everyone": (FEW, MANY), "user": (FEW,)}
    if options.only:
        parts = {options.only: parts[options.only]}
    databases = {
        f"{kind}_{size}": (kind, size) for kind in kinds for part in parts for size in sizes[part]
    }
    if "user" in parts:
        databases |= {f"{kind}_durable": (kind, FEW) for kind in kinds}
    found: dict[str, list[bench.Series]] = {}
    with running(Redis()) as redis, site(databases, redis):
        for kind in kinds:
            found[kind] = []
            for part in parts.values():
                for measured in part(kind, options.rounds):
                    found[kind].append(measured)
                    if options.json != "-":
                        bench.print_table(measured)
            if "queryset" in parts and options.json != "-":
                print_memory(kind)
    if options.json:
        bench.write_json(options.json, found)


@contextmanager
def site(databases: dict[str, tuple[str, int]], redis: Redis) -> Iterator[None]:
    """Set up databases, alias → kind and number of users, and a channel layer."""
    layer = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [redis.url]}}
    with bench.site(
        {alias: kind for alias, (kind, _users) in databases.items()},
        durable=[alias for alias in databases if alias.endswith("_durable")],
        CHANNEL_LAYERS={"default": layer},
    ):
        from django.core.management import call_command

        from django_live_notify.models import LogState

        for alias, (_kind, users) in databases.items():
            with bench.using(alias):
                call_command("migrate", database=alias, verbosity=0)
                LogState.current()
                bench.fill_users(alias, users)
        async_to_sync(listen)()
        yield


async def listen() -> None:
    """Join the group of all hubs, as another process would; what is sent there is not read."""
    from channels.layers import get_channel_layer

    from django_live_notify.live.groups import COMMON

    layer = get_channel_layer()
    await layer.group_add(COMMON, await layer.new_channel())
    await layer.close_pools()


def to_queryset(kind: str, rounds: int) -> Iterator[bench.Series]:
    alias = f"{kind}_{AUDIENCE}"
    with bench.using(alias):
        title = f"{kind}: to a queryset of {AUDIENCE:,}"
        variants = writing(alias)
        measured = bench.measure(title, variants, rounds=rounds, reset=lambda: empty(alias))
        saved = measured.samples.pop("save() each")
        measured.samples["save() each"] = [sample * AUDIENCE / SAVED for sample in saved]
        yield bench.Series(title, {name: measured.samples[name] for name in (BARE, "push()")})
        del measured.samples[BARE]
        yield measured


def writing(alias: str) -> dict[str, Callable[[], object]]:
    """Return the ways to write a notification and receipts for all users."""
    from django.contrib.auth.models import User
    from django.db import connections, transaction

    from django_live_notify import push
    from django_live_notify.models import Receipt

    users = User.objects.filter(is_active=True)

    def bare() -> None:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            number = insert_notification(cursor)
            cursor.execute(
                "INSERT INTO live_notify_receipt (recipient_id, notification_id)"
                " SELECT id, %s FROM auth_user WHERE is_active",
                [number],
            )

    def bulk_create() -> None:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            number = insert_notification(cursor)
            Receipt.objects.bulk_create(
                Receipt(recipient_id=key, notification_id=number)
                for key in users.values_list("pk", flat=True)
            )

    def save() -> None:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            number = insert_notification(cursor)
            for key in users.values_list("pk", flat=True)[:SAVED]:
                Receipt(recipient_id=key, notification_id=number).save()

    return {
        "push()": lambda: push(users, "Deploy at noon"),
        BARE: bare,
        "bulk_create()": bulk_create,
        "save() each": save,
    }


def to_everyone(kind: str, rounds: int) -> Iterator[bench.Series]:
    from django_live_notify import EVERYONE, push

    def pushing(alias: str) -> Callable[[], object]:
        def run() -> None:
            with bench.using(alias):
                for _ in range(BURST):
                    push(EVERYONE, "Maintenance tonight")

        return run

    variants = {f"{size:,} users": pushing(f"{kind}_{size}") for size in (FEW, MANY)}
    yield bench.measure(f"{kind}: to everyone, {BURST} times", variants, rounds=rounds)


def to_user(kind: str, rounds: int) -> Iterator[bench.Series]:
    what = f"to one user, {USERS} times, with Redis"
    for alias, disk in ((f"{kind}_durable", "as it comes"), (f"{kind}_{FEW}", "without a disk")):
        measured = push_to_user(f"{kind} {disk}: {what}", alias, rounds)
        yield measured
        compared = {name: measured.samples[name] for name in ("models", "push()")}
        yield bench.Series(measured.title, compared)


def push_to_user(title: str, alias: str, rounds: int) -> bench.Series:
    from django.contrib.auth.models import User
    from django.db import connections, transaction

    from django_live_notify import push
    from django_live_notify.live import publisher
    from django_live_notify.models import Notification, Receipt

    # As of models without defaults in the database, all of which Django would read back.
    key_alone = mock.patch.object(
        Notification._meta, "db_returning_fields", [Notification._meta.pk]
    )
    with bench.using(alias), key_alone:
        # Each of another user: hints to one share a message anyway.
        users = list(User.objects.order_by("pk")[:USERS])

        def raw(user: User) -> None:
            with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
                number = insert_notification(cursor)
                cursor.execute(
                    "INSERT INTO live_notify_receipt (recipient_id, notification_id)"
                    " VALUES (%s, %s)",
                    [user.pk, number],
                )

        def models(user: User) -> None:
            with transaction.atomic(using=alias):
                said = Notification.objects.create(title="Your export is ready", url="/exports/7/")
                Receipt.objects.create(recipient=user, notification=said)

        def pushed(user: User) -> None:
            push(user, "Your export is ready", url="/exports/7/")

        def burst(run: Callable[[User], None], groups: int) -> Callable[[], object]:
            def runs() -> None:
                with mock.patch.object(publisher, "MAX_GROUPS", groups):
                    for user in users:
                        run(user)
                    assert publisher._get_publisher().flush(60)

            return runs

        few = publisher.MAX_GROUPS
        ways = {
            "cursor.execute()": (raw, few),
            "models": (models, few),
            "push()": (pushed, few),
            "announced one by one": (pushed, USERS),
        }
        return bench.measure(
            title,
            {name: burst(run, groups) for name, (run, groups) in ways.items()},
            rounds=rounds,
            reset=lambda: empty(alias),
        )


def insert_notification(cursor: Any) -> int:
    """Insert a notification as `push()` would, with SQL alone, and return its id."""
    from django.utils import timezone

    cursor.execute(
        "INSERT INTO live_notify_notification (title, url, created_at) VALUES (%s, %s, %s)"
        " RETURNING id",
        ["Your export is ready", "/exports/7/", timezone.now()],
    )
    return int(cursor.fetchone()[0])


def empty(alias: str) -> None:
    from django.db import connections

    connection = connections[alias]
    verb = "TRUNCATE" if connection.vendor == "postgresql" else "DELETE FROM"
    with connection.cursor() as cursor:
        for table in ("live_notify_receipt", "live_notify_notification"):
            cursor.execute(f"{verb} {table}")


def print_memory(kind: str) -> None:
    alias = f"{kind}_{AUDIENCE}"
    print(f"\n{kind}: growth of the resident set, to {AUDIENCE:,}")
    for name in ("push()", "bulk_create()"):
        print(f"{name.ljust(14)} {measure_memory(alias, name):6.1f} MiB", flush=True)


def measure_memory(alias: str, name: str) -> float:
    """Return by how many MiB a fresh process grows at its highest."""
    from django.db import connections

    connections.close_all()
    reading, writing_end = os.pipe()
    with warnings.catch_warnings():
        # Of a process with threads, such as the publisher's: the child starts its own.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        os.close(writing_end)
        with os.fdopen(reading) as answer:
            text = answer.read()
        os.waitpid(child, 0)
        with bench.using(alias):
            empty(alias)
        return float(text)
    try:
        with bench.using(alias):
            run = writing(alias)
            # Imports, connections and caches are not what is measured.
            run["save() each"]()
            # Linux: forget how high it was before.
            Path("/proc/self/clear_refs").write_text("5")
            before = _status("VmRSS")
            run[name]()
            os.write(writing_end, f"{(_status('VmHWM') - before) / 1024}".encode())
    finally:
        os._exit(0)


def _status(name: str) -> int:
    """Return an entry of the process's status in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
