"""The log in Django's admin: look at what was said, compose, retract.

Django's own permissions: add to compose, delete to retract, and `notify_everyone`.
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
from .models import Notification, Receipt


@admin.register(Notification)
class NotificationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["rendered_title", "level", "audience", "actor", "created_at", "condition"]
    list_filter = ["level", "created_at", "kind"]
    list_select_related = ["actor"]
    search_fields = ["title", "body"]
    date_hierarchy = "created_at"
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
        if notification.topic == EVERYONE.name:
            return gettext("everyone")
        if notification.topic:
            return gettext("followers of %(topic)s") % {"topic": notification.topic}
        count = notification.receipt_count
        return ngettext("%(count)d user", "%(count)d users", count) % {"count": count}

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
