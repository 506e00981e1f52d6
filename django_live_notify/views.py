"""The JSON inbox, changes of state, and the poll: all scoped to the reader.

Plain synchronous views: they work under WSGI and ASGI, and hold no worker.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import get_language
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_GET, require_POST

from .conf import conf
from .inbox import change as change_inbox
from .inbox import parse_change
from .live import log, protocol
from .live.protocol import REASONS, CommandError, Cursor, Verdict
from .models import LogState, Notification

View = Callable[..., HttpResponse]

PAGE_SIZE = 20
MAX_PAGE_SIZE = 100


def _for_readers(view: View) -> View:
    """Answer only who is signed in, as whom the page expects, and answer errors as JSON."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return _refuse(Verdict.NOT_LOGGED_IN)
        expected = request.GET.get("user")
        if expected is not None and expected != protocol.user_key(request.user):
            return _refuse(Verdict.LOGGED_OUT)
        try:
            return view(request, *args, **kwargs)
        except CommandError as error:
            return JsonResponse({"code": error.code, "message": error.message}, status=400)

    return never_cache(wrapped)


def _non_atomic(view: View) -> View:
    """Keep a view out of `ATOMIC_REQUESTS` on every alias: it reads what others commit."""
    for alias in settings.DATABASES:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


@require_GET
@_for_readers
def inbox(request: HttpRequest) -> HttpResponse:
    """Return a page of the inbox, newest first."""
    # The log itself: a page that was reset would miss for good what a replica does not have yet.
    said = Notification.objects.using(log.alias())
    reader = said.for_user(request.user)
    rows = reader.archived() if _flag(request, "archived") else reader.unarchived()
    if _flag(request, "unread"):
        rows = rows.unread()
    if kind := request.GET.get("kind"):
        rows = rows.filter(kind=kind)
    limit = min(_number(request, "limit") or PAGE_SIZE, MAX_PAGE_SIZE)
    cursor = Cursor(LogState.current().epoch, said.floor())
    page, following = rows.page(before=_number(request, "before"), limit=limit)
    return JsonResponse(
        {
            "items": [protocol.item_of(row) for row in page],
            "next": following,
            "unread": reader.unread().count_capped(),
            "cursor": str(cursor),
        }
    )


@require_POST
@csrf_protect
@_for_readers
def change(request: HttpRequest, action: str) -> HttpResponse:
    """Change the state of the reader's notifications, named by ids or up to one."""
    if len(request.body) > conf.LIMITS["frame"]:
        raise CommandError("too_large", "The body is too large.")
    try:
        keys = json.loads(request.body)
    except (ValueError, RecursionError):
        raise CommandError("invalid", "The body must be JSON.") from None
    change_inbox(request.user, parse_change(action, keys))
    inbox = Notification.objects.using(log.alias()).for_user(request.user)
    return JsonResponse({"unread": inbox.unread().count_capped()})


@_non_atomic
@require_GET
@_for_readers
def poll(request: HttpRequest) -> HttpResponse:
    """Return what a client has missed, at once."""
    cursor = Cursor.parse(request.GET.get("cursor"))
    since = protocol.parse_time(request.GET.get("since"))
    time = protocol.now()
    # Nothing is remembered between two polls, so the cursor stays below what may still be in an
    # open transaction; what is above it comes again, and the client knows what it has handled.
    reached = Notification.objects.using(log.alias()).floor()
    language = get_language() or settings.LANGUAGE_CODE
    seen = protocol.parse_id(request.GET.get("seen"))
    found = log.resume(request.user, cursor, since, language, seen=seen)
    return JsonResponse(
        {
            "items": found.items,
            "states": found.frames,
            "unread": found.unread,
            "reset": found.reset,
            "cursor": str(Cursor(found.epoch, reached)),
            "time": time,
            "next": conf.POLL_INTERVAL,
        }
    )


def socket(request: HttpRequest) -> HttpResponse:
    """Say that this path is a WebSocket's; with_live_notify() serves it."""
    return HttpResponse(
        "This is a WebSocket.\n",
        status=426,
        content_type="text/plain",
        headers={"Upgrade": "websocket"},
    )


def _refuse(verdict: Verdict) -> HttpResponse:
    return JsonResponse({"code": int(verdict), "message": REASONS[verdict]}, status=403)


def _number(request: HttpRequest, name: str) -> int | None:
    text = request.GET.get(name)
    if text is None or text == "":
        return None
    number = protocol.parse_id(text)
    if number is None:
        raise CommandError("invalid", f"{name} must be a positive number.")
    return number


def _flag(request: HttpRequest, name: str) -> bool:
    return request.GET.get(name, "") in ("1", "true")
