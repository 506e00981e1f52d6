"""Joins live delivery to the store's signals."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.auth import get_user_model
from django.db.models.signals import post_save
from django.utils.translation import gettext_lazy as _


class LiveNotifyConfig(AppConfig):
    name = "django_live_notify"
    label = "live_notify"
    verbose_name = _("Notifications")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks
        from .audiences import tells_joining
        from .live import publisher
        from .models import remember_joining

        checks.register_checks()
        publisher.connect()
        if not tells_joining(get_user_model()):
            post_save.connect(
                remember_joining, sender=get_user_model(), dispatch_uid="live_notify_joining"
            )
