"""Logging in from a WeChat mini-program: a code of `wx.login()` against a token.

Whom a code stands for is said by the function that WECHAT_FIND_USER names.
"""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from .management.commands.create_demo_users import DEMO_USERS
from .tokens import MAX_AGE, make_token

logger = logging.getLogger(__name__)

TIMEOUT = 5  # seconds; the mini-program waits for ten
MAX_CODE_LENGTH = 200

# What WeChat answers for a code that is wrong or used up, and for a user whom it blocks. Everything
# else is a fault of the site or of WeChat: (-1) it is busy, (40013, 40125) the key is wrong …
REFUSALS = {40029, 40163, 40226}


class Unavailable(Exception):
    """Nobody can say now whom a code stands for."""


@csrf_exempt  # It reads no cookie and sets none.
@require_POST
def log_in(request: HttpRequest) -> HttpResponse:
    """Answer {"code": …} by {"token", "user", "expires_in"} (seconds), or by {"message"}."""
    code = _read_code(request)
    if code is None:
        return _refuse(400, 'Expected {"code": "…"}.')
    try:
        user = import_string(settings.WECHAT_FIND_USER)(code)
    except Unavailable as error:
        return _refuse(503, str(error))
    if user is None or not user.is_active:
        return _refuse(403, "This code stands for nobody.")
    return JsonResponse({"token": make_token(user), "user": str(user.pk), "expires_in": MAX_AGE})


def find_demo_user(code: str) -> User | None:
    """FOR THE DEMONSTRATION ALONE: return whoever the code says, without asking WeChat.

    `demo:alice` is alice. It knows the demo users only, whose passwords are no secret either, and
    nobody where DEBUG is off.
    """
    name = code.removeprefix("demo:")
    if not settings.DEBUG or name == code or name not in DEMO_USERS:
        return None
    return User.objects.filter(username=name).first()


def find_user(code: str) -> User | None:
    """Ask WeChat for whom the code stands, and return that user, who is made the first time.

    Raises Unavailable where WeChat does not answer, or knows nothing of this mini-program.
    """
    query = urlencode(
        {
            "appid": settings.WECHAT_APP_ID,
            "secret": settings.WECHAT_APP_SECRET,
            "js_code": code,
            "grant_type": "authorization_code",
        }
    )
    answer = _fetch(f"{settings.WECHAT_API}/sns/jscode2session?{query}")
    openid = answer.get("openid")
    if not openid:
        # Not the message, which may repeat what was asked.
        logger.warning("WeChat refused a code (%s).", answer.get("errcode"))
        if answer.get("errcode") in REFUSALS:
            return None
        raise Unavailable("WeChat cannot say now who you are.")
    # A site that has users already keeps the openid beside them instead.
    user, _ = User.objects.get_or_create(
        username=f"wechat-{openid}", defaults={"password": make_password(None)}
    )
    return user


def _read_code(request: HttpRequest) -> str | None:
    try:
        code = json.loads(request.body)["code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return code if isinstance(code, str) and 0 < len(code) <= MAX_CODE_LENGTH else None


def _fetch(url: str) -> dict[str, Any]:
    try:
        with urlopen(url, timeout=TIMEOUT) as response:
            answer = json.load(response)
    except (OSError, ValueError) as error:
        # Not the error itself: it may name the address, which has the secret.
        logger.warning("WeChat did not answer (%s).", type(error).__name__)
        raise Unavailable("WeChat cannot be reached.") from None
    if not isinstance(answer, dict):
        raise Unavailable("WeChat cannot be understood.")
    return answer


def _refuse(status: int, message: str) -> HttpResponse:
    return JsonResponse({"message": message}, status=status)
