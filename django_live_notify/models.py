"""The log: what was said, to whom, and what became of it.

A push is one `Notification`; ids are places in the log. State is a timestamp, never a boolean.
Foreign keys to users have no database constraint: with it, a user who is deleted or locked while a
push is open would fail or stall the caller's transaction at its commit.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .audiences import EVERYONE, TOPIC_LENGTH
from .content import KEY_LENGTH, NAME_LENGTH, TITLE_LENGTH, URL_LENGTH, render
from .querysets import NotificationQuerySet, ScheduledQuerySet
from .schema import NameField, PartialIndex


def _new_epoch() -> str:
    return secrets.token_hex(4)


class Notification(models.Model):
    """What was said: one row a push, whatever the number of its readers."""

    class Level(models.TextChoices):
        INFO = "info", _("info")
        SUCCESS = "success", _("success")
        WARNING = "warning", _("warning")
        ERROR = "error", _("error")

    kind = NameField(_("kind"), max_length=NAME_LENGTH, blank=True, default="", db_default="")
    level = models.CharField(
        _("level"), max_length=10, choices=Level.choices, default=Level.INFO, db_default="info"
    )
    # A lazy text is stored as its message id and translated for each reader.
    title = models.CharField(_("title"), max_length=TITLE_LENGTH)
    title_translated = models.BooleanField(default=False, db_default=False, editable=False)
    body = models.TextField(_("body"), blank=True, default="", db_default="")
    body_translated = models.BooleanField(default=False, db_default=False, editable=False)
    params = models.JSONField(_("parameters"), blank=True, default=dict, db_default={})
    url = models.CharField(_("link"), max_length=URL_LENGTH, blank=True, default="", db_default="")
    icon = models.CharField(_("icon"), max_length=URL_LENGTH, blank=True, default="", db_default="")
    data = models.JSONField(_("data"), null=True, blank=True)
    actions = models.JSONField(_("actions"), blank=True, default=list, db_default=[])
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("actor"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_constraint=False,
    )
    # A label such as "shop.order" rather than a content type: nothing to join, nothing to lock.
    target_type = NameField(max_length=NAME_LENGTH * 2 + 1, blank=True, default="", db_default="")
    target_id = NameField(max_length=NAME_LENGTH, blank=True, default="", db_default="")
    # "" where the readers have receipts from the start, "*" for everyone.
    topic = NameField(_("topic"), max_length=TOPIC_LENGTH, blank=True, default="", db_default="")
    tag = NameField(_("tag"), max_length=NAME_LENGTH, blank=True, default="", db_default="")
    idempotency_key = NameField(
        max_length=KEY_LENGTH, unique=True, null=True, blank=True, default=None
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    retracted_at = models.DateTimeField(_("retracted at"), null=True, blank=True)
    # Set by what happens after the insert, and by a commit that came too late for the sweep.
    changed_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        permissions = [("notify_everyone", "Can notify everyone")]
        indexes = [
            PartialIndex(
                fields=["topic", "id"], name="live_notify_topic", where=~models.Q(topic="")
            ),
            PartialIndex(fields=["tag", "id"], name="live_notify_tag", where=~models.Q(tag="")),
            PartialIndex(
                fields=["target_type", "target_id"],
                name="live_notify_target",
                where=~models.Q(target_type=""),
            ),
            PartialIndex(
                fields=["changed_at"],
                name="live_notify_changed",
                where=models.Q(changed_at__isnull=False),
            ),
            PartialIndex(
                fields=["expires_at"],
                name="live_notify_expires",
                where=models.Q(expires_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.rendered_title

    @property
    def rendered_title(self) -> str:
        """The title in the language that is active, with its parameters."""
        return render(self.title, translated=self.title_translated, params=self.params)

    @property
    def rendered_body(self) -> str:
        """The body in the language that is active, with its parameters."""
        return render(self.body, translated=self.body_translated, params=self.params)

    def mark_read(self, user: Any) -> bool:
        """Mark as read by a user, and thereby as seen; False if it was, or is not theirs."""
        return self._change(user, "read")

    def mark_unread(self, user: Any) -> bool:
        """Mark as unread by a user again; False if it was, or is not theirs."""
        return self._change(user, "unread")

    def mark_seen(self, user: Any) -> bool:
        """Mark as seen by a user; False if it was, or is not theirs."""
        return self._change(user, "seen")

    def archive(self, user: Any) -> bool:
        """Put away for a user; False if it was, or is not theirs."""
        return self._change(user, "archive")

    def unarchive(self, user: Any) -> bool:
        """Take back what a user archived; False if it was not archived, or is not theirs."""
        return self._change(user, "unarchive")

    def _change(self, user: Any, action: str) -> bool:
        return bool(type(self).objects.for_user(user).filter(pk=self.pk).change(action))

    def retract(self) -> bool:
        """Take it off every screen and out of every inbox; False if that was done before."""
        return bool(type(self).objects.filter(pk=self.pk).retract())


class Receipt(models.Model):
    """One reader's state for one notification."""

    recipient = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="live_notify_receipts",
        db_constraint=False,
        # The unique constraint below begins with it.
        db_index=False,
    )
    notification = models.ForeignKey(
        Notification, on_delete=models.CASCADE, related_name="receipts", db_constraint=False
    )
    seen_at = models.DateTimeField(null=True, blank=True)
    read_at = models.DateTimeField(null=True, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    # The one action that this reader took, by its name; both or none.
    action = models.CharField(max_length=NAME_LENGTH, null=True, blank=True)
    acted_at = models.DateTimeField(null=True, blank=True)
    # Set where a push to a topic or to everyone left this user out.
    excluded_at = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["recipient", "notification"], name="live_notify_one_receipt"
            )
        ]
        indexes = [
            PartialIndex(
                fields=["recipient", "notification"],
                name="live_notify_unread",
                where=models.Q(read_at=None, archived_at=None, excluded_at=None),
                elsewhere=["recipient", "read_at", "archived_at", "excluded_at", "notification"],
            ),
            # By reader first: what changed lately is few of all, but many of the log's past.
            PartialIndex(
                fields=["recipient", "changed_at"],
                name="live_notify_receipt_changed",
                where=models.Q(changed_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.recipient_id} ← {self.notification_id}"


class Follow(models.Model):
    """A user's interest in a topic from one id to another, and how far they read it.

    Following again after unfollowing is a row of its own, so that what was there stays.
    The row for everyone ("*") holds the watermarks of what is said to everyone; it is made when
    there is something to hold.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="+",
        db_constraint=False,
        # The unique constraint below begins with it.
        db_index=False,
    )
    topic = NameField(max_length=TOPIC_LENGTH)
    # Ids: what is said after `since`, up to `until`, is theirs.
    since = models.BigIntegerField(default=0)
    until = models.BigIntegerField(null=True, blank=True)
    # Ids: everything up to here counts as read, or seen, unless a receipt says otherwise.
    read_to = models.BigIntegerField(default=0)
    seen_to = models.BigIntegerField(default=0)
    # When these two were moved last: what has no receipt counts as read, or seen, then.
    read_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)
    # In the row for everyone, an id: up to here there was something unread that was pruned.
    pruned_to = models.BigIntegerField(default=0, editable=False)
    # Until then, what is said to the topic arrives silently and is not counted; in all rows of it.
    muted_until = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "topic", "since"], name="live_notify_one_follow"
            )
        ]
        indexes = [
            models.Index(fields=["topic", "user"], name="live_notify_followers"),
            PartialIndex(
                fields=["changed_at"],
                name="live_notify_follow_changed",
                where=models.Q(changed_at__isnull=False),
            ),
            PartialIndex(
                fields=["muted_until"],
                name="live_notify_muted",
                where=models.Q(muted_until__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} → {self.topic}"


class Scheduled(models.Model):
    """A push that is to be made later, and what became of it."""

    # {"keys": […], "groups": [pk, …]} or {"topic": name}, and {"excluded": [key, …]}.
    audience = models.JSONField(_("to"))
    # The arguments of push(), as scheduling.py packs them.
    content = models.JSONField()
    publish_at = models.DateTimeField(_("due"))
    # At most one of these three.
    published_at = models.DateTimeField(_("published at"), null=True, blank=True)
    cancelled_at = models.DateTimeField(_("cancelled at"), null=True, blank=True)
    failed_at = models.DateTimeField(_("failed at"), null=True, blank=True)
    error = models.TextField(_("error"), blank=True, default="")
    # None as well where nobody was left to be told, and once it was pruned.
    notification = models.ForeignKey(
        Notification,
        verbose_name=_("notification"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_constraint=False,
    )

    objects = ScheduledQuerySet.as_manager()

    class Meta:
        verbose_name = _("scheduled notification")
        verbose_name_plural = _("scheduled notifications")
        indexes = [
            PartialIndex(
                fields=["publish_at"],
                name="live_notify_due",
                where=models.Q(published_at=None, cancelled_at=None, failed_at=None),
                elsewhere=["published_at", "cancelled_at", "failed_at", "publish_at"],
            )
        ]

    def __str__(self) -> str:
        return self.rendered_title

    @property
    def rendered_title(self) -> str:
        """The title in the language that is active, with its parameters."""
        return self._render("title")

    @property
    def rendered_body(self) -> str:
        """The body in the language that is active, with its parameters."""
        return self._render("body")

    def cancel(self) -> bool:
        """Let it never be said; False if it was published or cancelled before, or has failed."""
        return bool(type(self).objects.filter(pk=self.pk).cancel())

    def retry(self) -> bool:
        """Let it be tried again, as soon as it is due; False if it has not failed."""
        return bool(type(self).objects.filter(pk=self.pk).retry())

    def _render(self, name: str) -> str:
        # What another version kept may fail to be published, and is listed all the same.
        kept = self.content
        translated = kept.get(f"{name}_translated", False)
        return render(kept.get(name, ""), translated=translated, params=kept.get("params", {}))


class LogState(models.Model):
    """One row: which log this is, and how far it was pruned."""

    epoch = models.CharField(max_length=16, default=_new_epoch)
    # An id: a cursor below it may have missed what is gone. Moved by pruning by age alone.
    pruned_to = models.BigIntegerField(default=0)
    # When a process last set out to prune by the setting.
    pruned_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.epoch

    @classmethod
    def current(cls) -> LogState:
        """Return the row, which is made when it is not there: tests flush what migrations made."""
        state, _created = cls.objects.using(router.db_for_write(Notification)).get_or_create(pk=1)
        return state

    @classmethod
    def claim_pruning(cls, every: timedelta) -> bool:
        """Say whether it is time to prune, to one of all processes that ask."""
        now = timezone.now()
        due = models.Q(pruned_at=None) | models.Q(pruned_at__lte=now - every)
        state = cls.current()
        rows = cls.objects.using(state._state.db).filter(due, pk=state.pk)
        return bool(rows.update(pruned_at=now))

    @classmethod
    def renew(cls) -> None:
        """Declare the log to be another one than before: all clients load their inbox anew.

        For a database that was restored from a backup, in which ids are given out a second time.
        """
        cls.current()._renew()

    def _renew(self) -> None:
        # Only one of many processes that notice it at once.
        same = type(self).objects.using(self._state.db).filter(pk=self.pk, epoch=self.epoch)
        same.update(epoch=_new_epoch(), pruned_to=0)


def remember_joining(sender: Any, instance: Any, created: bool, raw: bool, **kwargs: Any) -> None:
    """Note where the log was when a user joined, for a user model that does not tell when."""
    if created and not raw:
        using = router.db_for_write(Notification)
        newest = Notification.objects.using(using).newest_id()
        Follow.objects.using(using).create(user_id=instance.pk, topic=EVERYONE.name, since=newest)
