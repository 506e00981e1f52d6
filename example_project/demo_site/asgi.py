from __future__ import annotations

import os

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_site.settings")

application = get_asgi_application()
if not settings.SERVE_COLLECTED:
    # Static files by Django itself, so that the example needs no web server; a site has one.
    application = ASGIStaticFilesHandler(application)

from pages.lab import watch  # noqa: E402

from django_live_notify.asgi import with_live_notify  # noqa: E402

# `watch` is for the page Lab, which shows both ends of its sockets.
application = watch(with_live_notify(application))
