"""`{% live_notify %}`: the client, the bell and the toasts of a page."""

from __future__ import annotations

import json
from typing import Any

from django import template
from django.middleware.csrf import get_token
from django.urls import reverse
from django.utils.translation import gettext

from ..live import protocol

register = template.Library()


@register.inclusion_tag("django_live_notify/live_notify.html", takes_context=True)
def live_notify(context: Any, *, bell: bool = True, toasts: bool = True) -> dict[str, Any]:
    """Render the client for whoever is signed in, and nothing for anybody else.

    Makes no query of its own. Without a request in the context there is nobody: Django renders a
    site's 500.html without one, and raising here would take that page from the site.
    """
    request = context.get("request")
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    return {
        "user_key": protocol.user_key(user),
        # The include's own path: the client appends the names of the endpoints.
        "endpoint": reverse("live_notify:inbox").removesuffix("inbox/"),
        "since": protocol.now(),
        "csrf_token": get_token(request),
        "texts": json.dumps(ui_texts(), ensure_ascii=False),
        "bell": bell,
        "toasts": toasts,
        "nonce": _find_nonce(context, request),
    }


def ui_texts() -> dict[str, str]:
    """Return the texts of live-notify-ui.js in the language that is active."""
    return {
        "notifications": gettext("Notifications"),
        "unread": gettext("%(count)s unread"),
        "mark_all_read": gettext("Mark all as read"),
        "empty": gettext("You’re all caught up"),
        "empty_hint": gettext("New notifications appear here."),
        "loading": gettext("Loading…"),
        "load_older": gettext("Show older"),
        "load_failed": gettext("Notifications could not be loaded."),
        "change_failed": gettext("That did not work. Please try again."),
        "try_again": gettext("Try again"),
        "reconnecting": gettext("Reconnecting…"),
        "stopped": gettext("Disconnected. Reload the page to sign in again."),
        "dismiss": gettext("Dismiss"),
        "archive": gettext("Archive"),
        "more": gettext("and %(count)s more"),
    }


def _find_nonce(context: Any, request: Any) -> str:
    # Django's context processor `csp`, django-csp's middleware, Django's middleware by itself.
    # Lazy nonces are false until they are used, so only None means that there is none.
    for nonce in (
        context.get("csp_nonce"),
        getattr(request, "csp_nonce", None),
        getattr(request, "_csp_nonce", None),
    ):
        if nonce is not None:
            return str(nonce)
    return ""
