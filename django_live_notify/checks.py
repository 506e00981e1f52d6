"""System checks: every setting, and every known way to install this wrongly.

Only `check_tables` queries a database, and only where Django is told which: by `migrate`, and by
`check --database`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections, router
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from .conf import DEFAULT_LIMITS, MEMORY_LAYER, Conf, Retention

POSITIVE_NUMBERS = ["SWEEP_INTERVAL", "COMMIT_WINDOW", "HEARTBEAT", "POLL_INTERVAL"]
FUNCTIONS = ["AUTHENTICATE", "CAN_JOIN", "ON_MESSAGE", "ON_ACTION"]
CORE_LAYER = "channels_redis.core.RedisChannelLayer"

# RedisChannelLayer waits for messages for so many seconds at a time.
CORE_LAYER_WAITS = 5


def register_checks() -> None:
    """Register the checks of this app."""
    for check in (check_settings, check_channel_layer, check_installation, check_isolation):
        register(check, "live_notify")
    register(check_tables, Tags.database)


def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check the value of each LIVE_NOTIFY_ setting."""
    return [
        *_check_names(),
        *_check_numbers(),
        *_check_functions(),
        *_check_limits(),
        *_check_retention(),
    ]


def check_channel_layer(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check what carries the hints."""
    layers = getattr(settings, "CHANNEL_LAYERS", {})
    alias = getattr(settings, "LIVE_NOTIFY_CHANNEL_LAYER", "default")
    if not isinstance(alias, str) or (alias not in layers and alias != "default"):
        return [
            Error(
                f"LIVE_NOTIFY_CHANNEL_LAYER is {alias!r}, which CHANNEL_LAYERS does not have.",
                hint=f"Expected one of {', '.join(map(repr, layers)) or 'its aliases'}.",
                id="live_notify.E005",
            )
        ]
    layer = layers.get(alias, {})
    backend = layer.get("BACKEND")
    if backend == MEMORY_LAYER and not settings.DEBUG:
        return [
            Warning(
                "The channel layer lives in memory, so it reaches no other process.",
                hint="Notifications reach them by the sweep. Use channels-redis to be faster.",
                id="live_notify.W001",
            )
        ]
    if backend == CORE_LAYER and _redis_major() >= 8:
        return list(_check_socket_timeouts(layer))
    return []


def check_installation(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check what the app needs of the site."""
    messages: list[CheckMessage] = []
    try:
        reverse("live_notify:inbox")
    except NoReverseMatch:
        messages.append(
            Error(
                "The URLs of django_live_notify are not included.",
                hint='Add path("live-notify/", include("django_live_notify.urls")) to'
                f" {getattr(settings, 'ROOT_URLCONF', 'ROOT_URLCONF')}.",
                id="live_notify.E006",
            )
        )
    apps = list(settings.INSTALLED_APPS)
    staticfiles = "django.contrib.staticfiles"
    if "daphne" in apps and staticfiles in apps:
        if apps.index("daphne") > apps.index(staticfiles):
            messages.append(
                Error(
                    "daphne comes after django.contrib.staticfiles in INSTALLED_APPS,"
                    " so runserver speaks no WebSocket.",
                    hint='Put "daphne" first.',
                    id="live_notify.E007",
                )
            )
        if not getattr(settings, "ASGI_APPLICATION", None):
            messages.append(
                Error(
                    "daphne is installed, but ASGI_APPLICATION is not set.",
                    hint='For example ASGI_APPLICATION = "mysite.asgi.application".',
                    id="live_notify.E008",
                )
            )
    by_token = getattr(settings, "LIVE_NOTIFY_AUTHENTICATE", None) is not None
    if not by_token and not _has_middleware("AuthenticationMiddleware"):
        messages.append(
            Warning(
                "AuthenticationMiddleware is not in MIDDLEWARE: views know no reader.",
                hint="Add django.contrib.auth.middleware.AuthenticationMiddleware,"
                " or set LIVE_NOTIFY_AUTHENTICATE, or add one of your own that sets request.user"
                " (and silence this).",
                id="live_notify.W003",
            )
        )
    if not _has_request_in_templates():
        messages.append(
            Warning(
                "No template knows the request, so {% live_notify %} renders nothing.",
                hint="Add django.template.context_processors.request to the context_processors"
                " in TEMPLATES.",
                id="live_notify.W005",
            )
        )
    return messages


def check_isolation(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check the transactions of MySQL and MariaDB, where they are stricter than Django's own."""
    connection = connections[_alias_of_log()]
    options = connection.settings_dict.get("OPTIONS", {})
    level = options.get("isolation_level", "read committed")
    if connection.vendor != "mysql" or (level or "").lower() == "read committed":
        return []
    return [
        Warning(
            f"Transactions of the database {connection.alias!r} are not READ COMMITTED:"
            " a push locks the users whom it selects, and what changes an inbox locks it"
            " for pushes.",
            hint='Leave "isolation_level" out of its OPTIONS: that is Django\'s default.',
            id="live_notify.W006",
        )
    ]


def check_tables(app_configs: Any, *, databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check of what MySQL and MariaDB make tables, or have made them."""
    alias = _alias_of_log()
    if alias not in (databases or ()) or connections[alias].vendor != "mysql":
        return []
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT coalesce((SELECT engine FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name = 'live_notify_notification'),"
            " @@default_storage_engine), coalesce((SELECT character_set_name"
            " FROM information_schema.columns WHERE table_schema = DATABASE()"
            " AND table_name = 'live_notify_notification' AND column_name = 'title'),"
            " @@character_set_database)"
        )
        engine, characters = cursor.fetchone()
    messages: list[CheckMessage] = []
    if engine.lower() != "innodb":
        messages.append(
            Error(
                f"The tables of django_live_notify are of the engine {engine}, whose rows belong"
                " to no transaction: what is rolled back would have been said.",
                hint="Make InnoDB the server's default_storage_engine, and convert the tables"
                " that are there by ALTER TABLE … ENGINE=InnoDB.",
                id="live_notify.E010",
            )
        )
    if characters.lower() != "utf8mb4":
        messages.append(
            Warning(
                f"Titles and bodies are stored as {characters}, which has no emoji and lacks"
                " characters of some languages: pushes with them fail.",
                hint="Convert the tables by ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4, and"
                " the database's default by ALTER DATABASE.",
                id="live_notify.W007",
            )
        )
    return messages


def _alias_of_log() -> str:
    from .models import Notification

    return router.db_for_write(Notification)


def _check_names() -> Iterator[CheckMessage]:
    known = [f"LIVE_NOTIFY_{name}" for name in vars(Conf) if name.isupper()]
    for name in dir(settings):
        if name.startswith("LIVE_NOTIFY_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            yield Warning(
                f"{name} is not a setting of django_live_notify.",
                hint=f"Did you mean {close[0]}?" if close else None,
                id="live_notify.W004",
            )


def _check_numbers() -> Iterator[CheckMessage]:
    for name in POSITIVE_NUMBERS:
        value = getattr(settings, f"LIVE_NOTIFY_{name}", 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            yield Error(
                f"LIVE_NOTIFY_{name} is {value!r}: expected a positive number of seconds.",
                id="live_notify.E001",
            )
    limit = getattr(settings, "LIVE_NOTIFY_REPLAY_LIMIT", 1)
    # The client remembers 1000 handled ids; what is replayed must be among them.
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= 500:
        yield Error(
            f"LIVE_NOTIFY_REPLAY_LIMIT is {limit!r}: expected a whole number from 1 to 500.",
            id="live_notify.E002",
        )


def _check_functions() -> Iterator[CheckMessage]:
    for name in FUNCTIONS:
        value = getattr(settings, f"LIVE_NOTIFY_{name}", None)
        problem = None
        if isinstance(value, str):
            try:
                value = import_string(value)
            except ImportError as error:
                problem = str(error)
        if problem is None and value is not None and not callable(value):
            problem = "It is not callable."
        if problem is not None:
            yield Error(
                f"LIVE_NOTIFY_{name} is no function and no dotted path to one. {problem}",
                id="live_notify.E003",
            )


def _check_limits() -> Iterator[CheckMessage]:
    limits = getattr(settings, "LIVE_NOTIFY_LIMITS", {})
    if not isinstance(limits, dict):
        yield Error("LIVE_NOTIFY_LIMITS is not a dictionary.", id="live_notify.E004")
        return
    for name, value in limits.items():
        if name not in DEFAULT_LIMITS:
            problem = f"is unknown: expected one of {', '.join(DEFAULT_LIMITS)}."
        elif isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            problem = f"is {value!r}: expected a positive whole number."
        else:
            continue
        yield Error(f"LIVE_NOTIFY_LIMITS[{name!r}] {problem}", id="live_notify.E004")


def _check_retention() -> Iterator[CheckMessage]:
    retention = getattr(settings, "LIVE_NOTIFY_RETENTION", None)
    if retention is None:
        return
    known = [field.name for field in fields(Retention)]
    if not isinstance(retention, dict):
        problems = [f" is {retention!r}: expected a dictionary or None."]
    else:
        problems = [
            f"[{name!r}] is unknown: expected one of {', '.join(known)}."
            for name in retention
            if name not in known
        ]
        age, keep = retention.get("age"), retention.get("keep")
        if age is not None and not (isinstance(age, timedelta) and age > timedelta(0)):
            problems.append(f"['age'] is {age!r}: expected a positive timedelta.")
        if keep is not None and (isinstance(keep, bool) or not isinstance(keep, int) or keep < 1):
            problems.append(f"['keep'] is {keep!r}: expected a positive whole number.")
        if not isinstance(read_only := retention.get("read_only", False), bool):
            problems.append(f"['read_only'] is {read_only!r}: expected True or False.")
        if age is None and keep is None:
            problems.append(" has neither 'age' nor 'keep': nothing would be pruned.")
    for problem in problems:
        yield Error(
            f"LIVE_NOTIFY_RETENTION{problem}",
            hint='For example {"age": timedelta(days=90), "keep": 1_000}.',
            id="live_notify.E009",
        )


def _check_socket_timeouts(layer: dict[str, Any]) -> Iterator[CheckMessage]:
    hosts = layer.get("CONFIG", {}).get("hosts", ["redis://localhost"])
    for host in hosts if isinstance(hosts, (list, tuple)) else []:
        timeout = host.get("socket_timeout", 0) if isinstance(host, dict) else 0
        if timeout is not None and timeout <= CORE_LAYER_WAITS:
            yield Warning(
                "redis-py 8 gives up waiting after 5 seconds, just as long as RedisChannelLayer"
                " waits: it fails whenever nothing happens.",
                hint='Write its hosts as {"address": "redis://…", "socket_timeout": 15}.',
                id="live_notify.W002",
            )
            return


def _redis_major() -> int:
    try:
        return int(version("redis").partition(".")[0])
    except (PackageNotFoundError, ValueError):
        return 0


def _has_request_in_templates() -> bool:
    # Other engines put the request into every context by themselves, or are not ours to judge.
    return any(
        engine.get("BACKEND") != "django.template.backends.django.DjangoTemplates"
        or "django.template.context_processors.request"
        in engine.get("OPTIONS", {}).get("context_processors", [])
        for engine in settings.TEMPLATES
    )


def _has_middleware(name: str) -> bool:
    # By the name of the class: sites subclass it.
    return any(str(path).endswith(name) for path in settings.MIDDLEWARE)
