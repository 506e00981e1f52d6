from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.static import serve

urlpatterns = [
    path("", include("pages.urls")),
    path("live-notify/", include("django_live_notify.urls")),
    path("admin/", admin.site.urls),
]

if settings.SERVE_COLLECTED:
    collected = {"document_root": settings.STATIC_ROOT}
    urlpatterns.append(path(f"{settings.STATIC_URL.lstrip('/')}<path:path>", serve, collected))
