"""How a transaction begins that reads before it writes. What it writes is not decided here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.apps import apps
from django.db import connections, transaction


@contextmanager
def writing(using: str) -> Iterator[None]:
    """Open a transaction that may read first and write then, whatever others do meanwhile.

    SQLite lets no reader become a writer once another has written: "database is locked", at once,
    unless its `transaction_mode` is IMMEDIATE. There, what changes nothing is written first; it
    waits for others as long as the database's timeout is.
    """
    connection = connections[using]
    with transaction.atomic(using=using):
        if connection.vendor == "sqlite":
            state = apps.get_model("live_notify", "LogState")
            state._base_manager.using(using).filter(pk=0).update(pruned_to=0)
        yield
