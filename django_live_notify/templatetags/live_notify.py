"""`{% live_notify %}`, and a function like it: the client, the bell and the toasts of a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django import template
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import get_language, get_language_bidi, gettext, ngettext

from ..live import protocol

register = template.Library()

# For each category of plurals that browsers know, a number that belongs to it in most languages.
PLURALS = {"zero": 0, "one": 1, "two": 2, "few": 3, "many": 11, "other": 100}


@register.inclusion_tag("django_live_notify/live_notify.html", takes_context=True)
def live_notify(
    context: Any,
    *,
    bell: bool = True,
    toasts: bool = True,
    title: bool = True,
    favicon: bool | str = False,
    sound: bool | str = False,
    desktop: bool = False,
) -> dict[str, Any]:
    """Render the client for whoever is signed in, and nothing for anybody else.

    `title` counts in the title of the page. `favicon` puts a dot on its icon, or shows another icon
    by its address. `sound` plays a tone with a toast, or a file by its address. `desktop` offers
    notifications of the system while no page is looked at.

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
        "lang": get_language() or "",
        "dir": "rtl" if get_language_bidi() else "ltr",
        "texts": json.dumps(ui_texts(), ensure_ascii=False),
        "bell": bell,
        "toasts": toasts,
        "title": title,
        "favicon": _address(favicon),
        "sound": _address(sound),
        "desktop": desktop,
        # For templates of the site that take the place of ours.
        "request": request,
        "nonce": _find_nonce(context, request),
    }


def render_live_notify(request: Any, **options: Any) -> SafeString:
    """Render what the tag renders, for templates that have no tags, such as those of Jinja2.

    The options are those of the tag. The template stays one of Django's: `TEMPLATES` needs their
    engine, with `APP_DIRS`, beside the other one, as the admin does.
    """
    context = live_notify({"request": request}, **options)
    return SafeString(render_to_string("django_live_notify/live_notify.html", context))


def ui_texts() -> dict[str, str | dict[str, str]]:
    """Return the texts of live-notify-ui.js in the language that is active.

    A text that counts is one for all numbers, or has a form for each category of plurals.
    """
    return {
        "notifications": gettext("Notifications"),
        "unread": _counted(lambda n: ngettext("%(count)s unread", "%(count)s unread", n)),
        "unread_mark": gettext("Unread"),
        "mark_all_read": gettext("Mark all as read"),
        "empty": gettext("You’re all caught up"),
        "empty_hint": gettext("New notifications appear here."),
        "loading": gettext("Loading…"),
        "load_older": gettext("Show older"),
        "load_failed": gettext("Notifications could not be loaded."),
        "change_failed": gettext("That did not work. Please try again."),
        "already_done": gettext("This was done already."),
        "done": gettext("Done"),
        "try_again": gettext("Try again"),
        "reconnecting": gettext("Reconnecting…"),
        "stopped": gettext("Disconnected. Reload the page to sign in again."),
        "dismiss": gettext("Dismiss"),
        "archive": gettext("Archive"),
        "more": _counted(lambda n: ngettext("and %(count)s more", "and %(count)s more", n)),
        "ask_desktop": gettext("Show them on the desktop, too"),
        "success": gettext("success"),
        "warning": gettext("warning"),
        "error": gettext("error"),
    }


def _counted(text: Callable[[int], str]) -> str | dict[str, str]:
    forms = {category: text(number) for category, number in PLURALS.items()}
    return forms if len(set(forms.values())) > 1 else forms["other"]


def _address(option: bool | str) -> str | None:
    """Return the value of an attribute that may be left empty, or None for no attribute."""
    if isinstance(option, str):
        return option or None
    return "" if option else None


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
