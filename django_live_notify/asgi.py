"""`with_live_notify(application)`: the last line of a site's `asgi.py`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.urls import Resolver404, resolve
from django.utils import translation

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger("django_live_notify")


def with_live_notify(application: Application) -> Application:
    """Serve the socket where the site's URLconf includes `django_live_notify.urls`.

    Every other scope goes to `application`. Event streams and polls that one of our views began are
    held here afterwards. Sockets that nobody knows are refused where it is Django's own handler,
    which has none. Lifespan is supported, whether it does or not.
    """
    # Later than settings: an asgi.py may call this before or after get_asgi_application().
    from . import holding
    from .consumers import LiveNotifyConsumer

    consumer = LiveNotifyConsumer.as_asgi()

    async def live_notify(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and _is_ours(scope):
            await consumer(scope, receive, send)
        elif scope["type"] == "websocket" and isinstance(application, ASGIHandler):
            await receive()
            await send({"type": "websocket.close"})
        elif scope["type"] == "http":
            await holding.serve(application, scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(application, scope, receive, send)
        else:
            await application(scope, receive, send)

    return live_notify


def _is_ours(scope: Scope) -> bool:
    path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
    # Prefixes of i18n_patterns() are resolved in the language that they name.
    with translation.override(
        translation.get_language_from_path(path) or translation.get_language()
    ):
        try:
            match = resolve(path)
        except Resolver404:
            return False
    return match.url_name == "socket" and "live_notify" in match.app_names


async def _live(application: Application, scope: Scope, receive: Receive, send: Send) -> None:
    """Carry a lifespan through to the application if it knows how, and end the hub with it."""
    from .live.hub import get_hub

    answered = False

    async def receive_and_stop() -> MutableMapping[str, Any]:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await get_hub().stop()
        return message

    async def send_and_note(message: MutableMapping[str, Any]) -> None:
        nonlocal answered
        answered = True
        await send(message)

    if not isinstance(application, ASGIHandler):
        try:
            await application(scope, receive_and_stop, send_and_note)
        except Exception as error:
            if answered:
                raise
            # Most applications raise at the type of the scope, as a ProtocolTypeRouter does.
            logger.debug("The application has no lifespan: %r", error)
        else:
            return
    if not answered:
        await _live_alone(receive_and_stop, send)


async def _live_alone(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
