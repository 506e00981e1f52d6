"""Prunes the log, where no server does: from cron, or by hand."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...conf import Retention, conf
from ...pruning import BATCH_SIZE, Pruned, Pruning

# Dates reach no further back; what one statement may name.
MAX_DAYS = 100_000
MAX_KEEP = 1_000_000
MAX_BATCH_SIZE = 10_000


class Command(BaseCommand):
    help = (
        "Removes old notifications, and what belongs to nobody any more. Without --days and --keep,"
        " LIVE_NOTIFY_RETENTION says what is removed. It may be interrupted, and several at once do"
        " no harm."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days", type=_up_to(MAX_DAYS), metavar="N", help="Remove what is older than N days."
        )
        parser.add_argument(
            "--keep", type=_up_to(MAX_KEEP), metavar="N", help="Keep the newest N of each reader."
        )
        parser.add_argument(
            "--read", action="store_true", help="Remove only what was read or archived."
        )
        parser.add_argument(
            "--batch-size",
            type=_up_to(MAX_BATCH_SIZE),
            default=BATCH_SIZE,
            metavar="N",
            help="Remove at most N rows in a transaction (%(default)s).",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Count what would go, and remove nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        retention = _choose(options["days"], options["keep"], options["read"])
        pruning = Pruning(
            older_than=retention.age,
            keep=retention.keep,
            read_only=retention.read_only,
            batch_size=options["batch_size"],
        )
        if options["dry_run"]:
            self._tell("Would remove about", pruning.count())
            return
        try:
            while pruning.step():
                pass
        finally:
            # What was removed is gone, also where it was interrupted.
            self._tell("Removed", pruning.removed)

    def _tell(self, what: str, counts: Pruned) -> None:
        self.stdout.write(
            f"{what} {counts.notifications} notifications, {counts.receipts} receipts,"
            f" {counts.follows} follows, {counts.scheduled} scheduled."
        )


def _choose(days: int | None, keep: int | None, read_only: bool) -> Retention:
    if days is not None or keep is not None:
        age = None if days is None else timedelta(days=days)
        return Retention(age=age, keep=keep, read_only=read_only)
    if (retention := conf.RETENTION) is None:
        raise CommandError(
            "LIVE_NOTIFY_RETENTION is not set, so nothing says what is to go."
            " Give --days or --keep, or set it."
        )
    return Retention(retention.age, retention.keep, retention.read_only or read_only)


def _up_to(limit: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= limit):
            raise ArgumentTypeError(f"{text!r} is no whole number from 1 to {limit}.")
        return int(text)

    return parse
