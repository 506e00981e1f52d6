from __future__ import annotations

from django.core.asgi import get_asgi_application

from django_live_notify.asgi import with_live_notify

application = with_live_notify(get_asgi_application())
