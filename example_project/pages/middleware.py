"""A strict Content Security Policy: everything on these pages comes from the site itself."""

from __future__ import annotations

import os
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

POLICY = os.environ.get(
    "DEMO_POLICY",
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
)


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    return middleware
