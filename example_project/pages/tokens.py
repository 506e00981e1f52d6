"""Signed tokens for clients without cookies: made at a log-in, and read from sockets and requests.

A token ends with its age, and at once when the user's password changes, as sessions do.
"""

from __future__ import annotations

from django.contrib.auth.models import User
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest

MAX_AGE = 7 * 24 * 3600  # seconds


def make_token(user: User) -> str:
    """Return a token that stands for a user for MAX_AGE seconds."""
    return _signer(user).sign(str(user.pk))


def authenticate(request: HttpRequest, token: str) -> User | None:
    """Return the active user for whom a token stands: the site's LIVE_NOTIFY_AUTHENTICATE."""
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


def _signer(user: User) -> TimestampSigner:
    return TimestampSigner(salt=f"pages.tokens{user.get_session_auth_hash()}")
