from __future__ import annotations

from django.apps import AppConfig


class PagesConfig(AppConfig):
    name = "pages"
    # The default of Django 6; with it, every supported Django makes the same migration.
    default_auto_field = "django.db.models.BigAutoField"
