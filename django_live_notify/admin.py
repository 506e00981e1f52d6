"""The log in Django's admin: look, compose, retract; cancel what is scheduled, or try it again.

Django's own permissions: add to compose, delete to retract or to cancel, change to try again what
failed, and `notify_everyone`.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import router
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .audiences import EVERYONE
from .forms import ComposeForm
from .models import Notification, Receipt, Scheduled


@admin.register(Notification)
class NotificationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["rendered_title", "level", "audience", "actor", "created_at", "condition"]
    list_filter = ["level", "created_at", "kind"]
    list_select_related = ["actor"]
    search_fields = ["title", "body"]
    ordering = ["-pk"]
    actions = ["retract"]
    fieldsets = [
        (None, {"fields": ["rendered_title", "rendered_body", "level", "kind", "url", "data"]}),
        (_("Readers"), {"fields": ["audience", "actor", "tag"]}),
        (_("Times"), {"fields": ["created_at", "expires_at", "retracted_at"]}),
    ]
    compose_fieldsets = [
        (None, {"fields": ["audience", "users", "groups"]}),
        (None, {"fields": ["title", "body", "level", "url", "expires_at"]}),
    ]

    @admin.display(description=_("title"), ordering="title")
    def rendered_title(self, notification: Notification) -> str:
        return notification.rendered_title

    @admin.display(description=_("body"))
    def rendered_body(self, notification: Notification) -> str:
        return notification.rendered_body

    @admin.display(description=_("to"))
    def audience(self, notification: Any) -> str:
        if notification.topic:
            return _name_topic(notification.topic)
        return _count_users(notification.receipt_count)

    @admin.display(description=_("state"))
    def condition(self, notification: Notification) -> str:
        if notification.retracted_at is not None:
            return gettext("retracted")
        if notification.expires_at is not None and notification.expires_at <= timezone.now():
            return gettext("expired")
        return gettext("current")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Notification]:
        rows = super().get_queryset(request).using(router.db_for_write(Notification))
        receipts = Receipt.objects.filter(notification=OuterRef("pk")).order_by()
        count = receipts.values("notification").annotate(count=Count("pk")).values("count")
        # A subquery counts for the rows of the page alone.
        return rows.annotate(receipt_count=Coalesce(Subquery(count), 0))

    # Composing

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if change:
            return super().get_form(request, obj, change=change, **kwargs)

        class BoundComposeForm(ComposeForm):
            def __init__(form, *args: Any, **values: Any) -> None:
                super().__init__(
                    *args,
                    actor=request.user,
                    admin_site=self.admin_site,
                    may_notify_everyone=request.user.has_perm("live_notify.notify_everyone"),
                    **values,
                )

        return forms.modelform_factory(
            Notification,
            form=BoundComposeForm,
            formfield_callback=lambda field, **options: self.formfield_for_dbfield(
                field, request, **options
            ),
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fieldsets if obj else self.compose_fieldsets

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        return form.notification

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Nothing is left to save: the form has pushed."""

    # What is said stays as it was said

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_retract_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("live_notify.delete_notification")

    @admin.action(description=_("Retract the selected notifications"), permissions=["retract"])
    def retract(self, request: HttpRequest, queryset: Any) -> None:
        count = queryset.retract()
        text = ngettext(
            "%(count)d notification was retracted.",
            "%(count)d notifications were retracted.",
            count,
        )
        self.message_user(request, text % {"count": count}, messages.SUCCESS)


@admin.register(Scheduled)
class ScheduledAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["rendered_title", "to", "publish_at", "condition"]
    list_filter = ["publish_at"]
    ordering = ["-publish_at", "-pk"]
    actions = ["cancel", "retry"]
    fieldsets = [
        (None, {"fields": ["rendered_title", "rendered_body", "to", "notification"]}),
        (_("Times"), {"fields": ["publish_at", "published_at", "cancelled_at", "failed_at"]}),
        (None, {"fields": ["error"]}),
    ]

    @admin.display(description=_("title"))
    def rendered_title(self, scheduled: Scheduled) -> str:
        return scheduled.rendered_title

    @admin.display(description=_("body"))
    def rendered_body(self, scheduled: Scheduled) -> str:
        return scheduled.rendered_body

    @admin.display(description=_("to"))
    def to(self, scheduled: Scheduled) -> str:
        rule = scheduled.audience
        parts = []
        if topic := rule.get("topic"):
            parts.append(_name_topic(topic))
        if count := len(rule.get("keys", [])):
            parts.append(_count_users(count))
        if count := len(rule.get("groups", [])):
            text = ngettext("members of %(count)d group", "members of %(count)d groups", count)
            parts.append(text % {"count": count})
        return ", ".join(parts)

    @admin.display(description=_("state"))
    def condition(self, scheduled: Scheduled) -> str:
        if scheduled.published_at is not None:
            return gettext("published")
        if scheduled.cancelled_at is not None:
            return gettext("cancelled")
        if scheduled.failed_at is not None:
            return gettext("failed: %(error)s") % {"error": scheduled.error}
        return gettext("to come")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Scheduled]:
        return super().get_queryset(request).using(router.db_for_write(Notification))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("live_notify.delete_scheduled")

    @admin.action(
        description=_("Cancel the selected scheduled notifications"), permissions=["cancel"]
    )
    def cancel(self, request: HttpRequest, queryset: Any) -> None:
        count = queryset.cancel()
        text = ngettext(
            "%(count)d scheduled notification was cancelled.",
            "%(count)d scheduled notifications were cancelled.",
            count,
        )
        self.message_user(request, text % {"count": count}, messages.SUCCESS)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("live_notify.change_scheduled")

    @admin.action(
        description=_("Try the selected scheduled notifications again"), permissions=["retry"]
    )
    def retry(self, request: HttpRequest, queryset: Any) -> None:
        count = queryset.retry()
        text = ngettext(
            "%(count)d scheduled notification will be tried again.",
            "%(count)d scheduled notifications will be tried again.",
            count,
        )
        self.message_user(request, text % {"count": count}, messages.SUCCESS)


def _name_topic(topic: str) -> str:
    if topic == EVERYONE.name:
        return gettext("everyone")
    return gettext("followers of %(topic)s") % {"topic": topic}


def _count_users(count: int) -> str:
    return ngettext("%(count)d user", "%(count)d users", count) % {"count": count}
