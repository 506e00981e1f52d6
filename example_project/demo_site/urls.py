from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("pages.urls")),
    path("live-notify/", include("django_live_notify.urls")),
    path("admin/", admin.site.urls),
]
