"""Signed tokens for clients without cookies: made at a log-in, and read from sockets and requests.

A token ends with its age, and at once when the user's password changes, as sessions do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponse

MAX_AGE = 7 * 24 * 3600  # seconds


def make_token(user: User) -> str:
    """Return a token that stands for a user for MAX_AGE seconds."""
    return _signer(user).sign(str(user.pk))


def read_token(token: Any) -> User | None:
    """Return the active user for whom a token stands, or None for anything else."""
    if not isinstance(token, str):
        return None
    pk = token.partition(":")[0]
    if not (pk.isascii() and pk.isdigit() and len(pk) < 19):
        return None
    user = User.objects.filter(pk=pk, is_active=True).first()
    if user is None:
        return None
    try:
        _signer(user).unsign(token, max_age=MAX_AGE)
    except BadSignature:
        return None
    return user


def authenticate(request: HttpRequest, token: Any) -> User | None:
    """Return the user of a socket's `hello`: the site's LIVE_NOTIFY_AUTHENTICATE."""
    return read_token(token)


def bearer_tokens(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Sign in, for one request, whoever has a token in the header `Authorization`."""

    def middleware(request: HttpRequest) -> HttpResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer":
            user = read_token(token)
            if user is not None:
                request.user = user
        return get_response(request)

    return middleware


def _signer(user: User) -> TimestampSigner:
    return TimestampSigner(salt=f"pages.tokens{user.get_session_auth_hash()}")
