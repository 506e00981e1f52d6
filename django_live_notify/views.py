"""The paths over HTTP, in JSON and scoped to the reader: inbox, changes, messages, poll, events.

Plain synchronous views: they work under WSGI and ASGI, and hold no worker. What is to be held open
they leave to `holding.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, RawPostDataException
from django.utils.translation import get_language
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_GET, require_POST

from . import holding
from .acting import act, parse_act
from .conf import conf
from .content import check_name
from .inbox import Change, call_and_wait, parse_change, parse_message, refusal
from .inbox import change as change_inbox
from .live import log, protocol, sessions
from .live.protocol import REASONS, CommandError, Cursor, Verdict
from .models import LogState, Notification
from .querysets import NotificationQuerySet

View = Callable[..., HttpResponse]

PAGE_SIZE = 20
MAX_PAGE_SIZE = 100

# Kinds or levels that one page may be of.
MAX_NAMES = 50


def _for_readers(view: View) -> View:
    """Answer only a reader, as whom the page expects, and answer errors as JSON.

    Who comes by a cookie has to show that a page of the site sent them, as forms have to. Who comes
    by a token need not, since no other page knows it; a cookie beside it counts for nothing.
    """

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        # Without sessions there is none.
        user = getattr(request, "user", None)
        if user is None or not user.is_authenticated:
            return _refuse(Verdict.NOT_LOGGED_IN)
        expected = request.GET.get("user")
        if expected is not None and expected != protocol.user_key(user):
            return _refuse(Verdict.LOGGED_OUT)
        try:
            return view(request, *args, **kwargs)
        except CommandError as error:
            return JsonResponse({"code": error.code, "message": error.message}, status=400)

    protected = csrf_protect(answer)

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        token = sessions.token_of(request)
        if token is None:
            return protected(request, *args, **kwargs)
        request.user = _find_user(request, token)
        return answer(request, *args, **kwargs)

    # It answers whoever is not signed in by itself, and not by a page to sign in.
    return never_cache(csrf_exempt(login_not_required(wrapped)))


def _find_user(request: HttpRequest, token: str) -> Any:
    function = conf.AUTHENTICATE
    if function is None or not sessions.is_token(token):
        return AnonymousUser()
    try:
        user = call_and_wait(function, request, token)
    except PermissionDenied:
        return AnonymousUser()
    return user if sessions.may_enter(user) else AnonymousUser()


def _non_atomic(view: View) -> View:
    """Keep a view out of `ATOMIC_REQUESTS` on every alias: it reads what others commit."""
    for alias in settings.DATABASES:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


@require_GET
@_for_readers
def inbox(request: HttpRequest) -> HttpResponse:
    """Return a page of the inbox, newest first, of what the parameters choose."""
    # The log itself: a page that was reset would miss for good what a replica does not have yet.
    said = Notification.objects.using(log.alias())
    reader = said.for_user(request.user)
    rows = _filter(reader, request)
    limit = min(_number(request, "limit") or PAGE_SIZE, MAX_PAGE_SIZE)
    cursor = Cursor(LogState.current().epoch, said.floor())
    page, following = rows.page(before=_number(request, "before"), limit=limit)
    answer: dict[str, Any] = {
        "items": [protocol.item_of(row) for row in page],
        "next": following,
        "unread": reader.count_unread(),
        "cursor": str(cursor),
    }
    if _flag(request, "counts"):
        kinds = reader.counts_by_kind()
        answer["unseen"] = reader.count_unseen()
        answer["kinds"] = {kind: counts._asdict() for kind, counts in kinds.items()}
    return JsonResponse(answer)


def _filter(reader: NotificationQuerySet, request: HttpRequest) -> NotificationQuerySet:
    rows = reader.archived() if _flag(request, "archived") else reader.unarchived()
    if _flag(request, "unread"):
        rows = rows.unread()
    if _flag(request, "unseen"):
        rows = rows.unseen()
    if kinds := _names(request, "kind"):
        rows = rows.filter(kind__in=kinds)
    if levels := _names(request, "level"):
        if unknown := set(levels) - set(Notification.Level.values):
            expected = ", ".join(Notification.Level.values)
            raise CommandError("invalid", f"level must be one of {expected}, not {unknown.pop()}.")
        rows = rows.filter(level__in=levels)
    return rows


@require_POST
@_for_readers
def change(request: HttpRequest, action: str) -> HttpResponse:
    """Change the state of the reader's notifications, named by ids or up to one."""
    left: Change | None = parse_change(action, _read_json(request))
    while left is not None:
        left = change_inbox(request.user, left)
    inbox = Notification.objects.using(log.alias()).for_user(request.user)
    return JsonResponse({"unread": inbox.count_unread()})


@require_POST
@_for_readers
def message(request: HttpRequest) -> HttpResponse:
    """Hand a message to the site's LIVE_NOTIFY_ON_MESSAGE and return what it returns."""
    said = parse_message(_read_json(request))
    try:
        answer = call_and_wait(said.function, request.user, said.name, said.data)
    except (PermissionDenied, ValidationError) as error:
        raise refusal(error) from None
    if isinstance(answer, bytes):
        raise CommandError("failed", "Only a WebSocket carries bytes.")
    return JsonResponse({"data": answer})


@require_POST
@_for_readers
def action(request: HttpRequest) -> HttpResponse:
    """Carry out a button of one of the reader's notifications."""
    act(request.user, parse_act(_read_json(request)))
    inbox = Notification.objects.using(log.alias()).for_user(request.user)
    return JsonResponse({"unread": inbox.count_unread()})


@_non_atomic
@require_GET
@_for_readers
def poll(request: HttpRequest) -> HttpResponse:
    """Return what a client has missed: at once, or held until there is something to say."""
    wait, known = _seconds(request, "wait"), request.GET.get("known")
    handover = holding.find(request)
    if wait and handover is not None:
        return handover.hold(holding.Poll(_asked(request), wait, known), JsonResponse({}))
    cursor = Cursor.parse(request.GET.get("cursor"))
    since = protocol.parse_time(request.GET.get("since"))
    time = protocol.now()
    # Nothing is remembered between two polls, so the cursor stays below what may still be in an
    # open transaction; what is above it comes again, and the client knows what it has handled.
    reached = Notification.objects.using(log.alias()).floor()
    seen = protocol.parse_id(request.GET.get("seen"))
    found = log.resume(request.user, cursor, since, _language(), seen=seen)
    answer = protocol.polled(found, Cursor(found.epoch, reached), time)
    return JsonResponse({**answer, "next": conf.POLL_INTERVAL})


@_non_atomic
@require_GET
@_for_readers
def events(request: HttpRequest) -> HttpResponse:
    """Send frames as they come, as an event stream, where the server can hold one open."""
    handover = holding.find(request)
    if handover is None:
        # No 501: of what is above 500, Django tells the site's admins.
        return JsonResponse(
            {"code": "unsupported", "message": "Event streams need with_live_notify()."}, status=406
        )
    asked = _asked(request, request.headers.get("Last-Event-ID"))
    return handover.hold(holding.EventStream(asked), holding.event_response())


@login_not_required
def socket(request: HttpRequest) -> HttpResponse:
    """Say that this path is a WebSocket's; with_live_notify() serves it."""
    response = HttpResponse("This is a WebSocket.\n", status=426, content_type="text/plain")
    # A server of WSGI upgrades nothing, and may raise where an application says so.
    if hasattr(request, "scope"):
        response.headers["Upgrade"] = "websocket"
    return response


def _asked(request: HttpRequest, last_event: str | None = None) -> holding.Asked:
    """Return what a request says that a socket's hello would; who comes back names an event."""
    # Not the lazy one, which would keep the request.
    user = copy(request.user)
    return holding.Asked(
        user,
        sessions.session_of_request(request, user),
        _language(),
        Cursor.parse(last_event) or Cursor.parse(request.GET.get("cursor")),
        protocol.parse_time(request.GET.get("since")),
        protocol.parse_id(request.GET.get("seen")),
        request.GET.getlist("join"),
    )


def _language() -> str:
    return get_language() or settings.LANGUAGE_CODE


def _read_json(request: HttpRequest) -> Any:
    try:
        body = request.body
    except RawPostDataException:
        # The check of a form has read it.
        raise CommandError("invalid", "The body must be JSON.") from None
    if len(body) > conf.LIMITS["frame"]:
        raise CommandError("too_large", "The body is too large.")
    return protocol.load(body, "The body")


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


def _seconds(request: HttpRequest, name: str) -> float:
    """Return a number of seconds, none where nothing is given."""
    try:
        seconds = float(request.GET.get(name) or 0)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise CommandError("invalid", f"{name} must be a number of seconds.")
    return seconds


def _flag(request: HttpRequest, name: str) -> bool:
    text = request.GET.get(name, "").lower()
    if text not in ("", "0", "1", "false", "true"):
        raise CommandError("invalid", f"{name} must be 1 or 0.")
    return text in ("1", "true")


def _names(request: HttpRequest, name: str) -> list[str]:
    """Return the values of a parameter that may be given several times."""
    values = [value for value in request.GET.getlist(name) if value]
    if len(values) > MAX_NAMES:
        raise CommandError("too_large", f"At most {MAX_NAMES} values of {name} at a time.")
    try:
        return [check_name(value, name) for value in values]
    except ValueError as error:
        raise CommandError("invalid", str(error)) from None
