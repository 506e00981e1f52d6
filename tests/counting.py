"""The example project's application, which also tells how many listeners its hub has."""

from __future__ import annotations

from typing import Any

from demo_site.asgi import application as site

from django_live_notify.live.hub import get_hub


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http" or scope["path"] != "/listeners/":
        await site(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(len(get_hub()._all())).encode()})
