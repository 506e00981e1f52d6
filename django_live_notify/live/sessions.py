"""Who is at the other end of a connection: at its start, and as long as it lasts.

A cookie counts only with an Origin that Django's own CSRF rule would accept, since browsers send it
along for any page. A token, where one is given, counts alone. Nothing here writes a session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from io import BytesIO
from typing import Any

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.core.exceptions import ValidationError
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import get_language_from_request

from ..audiences import BATCH_SIZE
from ..conf import conf

_HTTP_SCHEMES = {"ws": "http", "wss": "https"}


@dataclass(frozen=True)
class Session:
    """What a connection's right rests on. `key` is "" where it rests on a token."""

    key: str
    user_pk: Any
    auth_hash: str

    @property
    def digest(self) -> str:
        return digest(self.key)


def digest(session_key: str) -> str:
    """Return what hints carry in place of a session key, which is a secret."""
    return blake2b(session_key.encode(), digest_size=16, person=b"live_notify").hexdigest()


def make_request(scope: Mapping[str, Any]) -> ASGIRequest:
    """Return a WebSocket's handshake as the GET request that it was."""
    scheme = scope.get("scheme", "ws")
    http = {**scope, "type": "http", "method": "GET", "scheme": _HTTP_SCHEMES.get(scheme, scheme)}
    return ASGIRequest(http, BytesIO())


def origin_allowed(request: HttpRequest) -> bool:
    """Say whether Django would accept an unsafe request with this Origin."""
    if "HTTP_ORIGIN" not in request.META:
        return False
    # Django's rule is this method; a copy of it would not follow when it changes.
    middleware = CsrfViewMiddleware(lambda request: HttpResponse())
    return bool(middleware._origin_verified(request))  # type: ignore[attr-defined]


def language_of(request: HttpRequest) -> str:
    """Return the language in which the site would answer this request."""
    chosen = any(str(path).endswith("LocaleMiddleware") for path in settings.MIDDLEWARE)
    return get_language_from_request(request) if chosen else settings.LANGUAGE_CODE


def authenticate(scope: Mapping[str, Any], request: HttpRequest) -> tuple[Any, Session] | None:
    """Return the user and session that a connection's cookie stands for."""
    if not origin_allowed(request):
        return None
    store: Any = scope.get("session")
    if store is None:
        key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        # A quoted cookie may hold a NUL, with which PostgreSQL refuses to compare.
        if not key or "\x00" in key:
            return None
        store = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = _load_user(store)
    if user is None:
        return None
    return user, Session(store.session_key or "", user.pk, store.get(HASH_SESSION_KEY, ""))


def token_of(request: HttpRequest) -> str | None:
    """Return the token of a request, where the site has LIVE_NOTIFY_AUTHENTICATE to read it."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    is_ours = scheme.lower() == "bearer" and conf.AUTHENTICATE is not None
    return token.strip() if is_ours else None


def is_token(token: Any) -> bool:
    """Say whether it is a text that a site may look up: an empty one may be anybody's."""
    return isinstance(token, str) and token != "" and "\x00" not in token


def may_enter(user: Any) -> bool:
    """Say whether what the site found for a token is a user who may come in."""
    return user is not None and user.is_authenticated and getattr(user, "is_active", True)


def session_of(user: Any) -> Session:
    """Return what the right of a user who came by a token rests on."""
    return Session("", user.pk, user.get_session_auth_hash() if _has_hash(user) else "")


def session_of_request(request: HttpRequest, user: Any) -> Session:
    """Return what the right of a user rests on who was found by a token or by middleware."""
    right = session_of(user)
    store = getattr(request, "session", None)
    if store is None or token_of(request) is not None or SESSION_KEY not in store:
        return right
    # Somebody who acts as another user does so within the session.
    own = store[SESSION_KEY] == user._meta.pk.value_to_string(user)
    auth_hash = store.get(HASH_SESSION_KEY, "") if own else right.auth_hash
    return Session(store.session_key or "", user.pk, auth_hash)


def look_again(held: Iterable[tuple[Session, Any]]) -> dict[Session, Any]:
    """Return the users anew of those sessions whose user and password are still what they were.

    Each comes as the model that it was, which may be a proxy of the site's.
    """
    models = {session: user.__class__ for session, user in held}
    users: dict[tuple[Any, Any], Any] = {}
    for model in set(models.values()):
        wanted = {session.user_pk for session in models if models[session] is model}
        for batch in _batches(wanted):
            found = model._base_manager.in_bulk(batch)
            users.update({(model, pk): user for pk, user in found.items()})
    alive = _find_alive({session.key for session in models if session.key})
    valid = {}
    for session, model in models.items():
        user = users.get((model, session.user_pk))
        if (not session.key or session.key in alive) and _is_valid(user, session.auth_hash):
            valid[session] = user
    return valid


def _load_user(store: Any) -> Any:
    """Read the user of a session as `django.contrib.auth.get_user()` does, but only read.

    Django's function may rotate the session's key, which no WebSocket can tell the browser.
    """
    path = store.get(BACKEND_SESSION_KEY)
    if path not in settings.AUTHENTICATION_BACKENDS:
        return None
    try:
        user_pk = get_user_model()._meta.pk.to_python(store.get(SESSION_KEY))
    except ValidationError:
        return None
    user = load_backend(path).get_user(user_pk)
    return user if _is_valid(user, store.get(HASH_SESSION_KEY, "")) else None


def _is_valid(user: Any, auth_hash: str) -> bool:
    if user is None or not getattr(user, "is_active", True):
        return False
    if not _has_hash(user):
        return True
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(auth_hash, valid) for valid in hashes)


def _has_hash(user: Any) -> bool:
    return hasattr(user, "get_session_auth_hash")


def _find_alive(keys: set[str]) -> set[str]:
    engine = import_module(settings.SESSION_ENGINE)
    store = engine.SessionStore
    if hasattr(store, "get_model_class"):
        model = store.get_model_class()
        rows = model.objects.filter(expire_date__gt=timezone.now())
        found: set[str] = set()
        for batch in _batches(keys):
            found.update(rows.filter(pk__in=batch).values_list("pk", flat=True))
        return found
    if engine.__name__.endswith("signed_cookies"):
        return keys  # They live in the browser alone.
    return {key for key in keys if store(key).exists(key)}


def _batches(values: set[Any]) -> Iterable[list[Any]]:
    listed = list(values)
    return (listed[i : i + BATCH_SIZE] for i in range(0, len(listed), BATCH_SIZE))
