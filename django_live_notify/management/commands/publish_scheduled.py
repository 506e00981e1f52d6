"""Publishes what is due, where no server does: from cron, or by hand."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import router
from django.utils import timezone

from ...models import Notification, Scheduled
from ...scheduling import publish_due


class Command(BaseCommand):
    help = (
        "Publishes the scheduled notifications that are due. A server to which somebody is"
        " connected does so by itself; several at once do no harm."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--list", action="store_true", help="List what is still to come, and publish nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["list"]:
            self._list()
            return
        published, failed = publish_due()
        self.stdout.write(f"{published} published, {failed} failed.")
        if failed:
            raise CommandError(f"{failed} failed: the log and the admin tell why.")

    def _list(self) -> None:
        rows = Scheduled.objects.using(router.db_for_write(Notification)).pending()
        for row in rows.order_by("publish_at", "pk").iterator():
            at = timezone.localtime(row.publish_at) if row.publish_at.tzinfo else row.publish_at
            self.stdout.write(f"{row.pk}  {at:%Y-%m-%d %H:%M:%S}  {row.rendered_title}")
