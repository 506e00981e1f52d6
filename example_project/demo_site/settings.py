"""A small site that runs with nothing but Python; DEMO_… variables let it grow (see README.md)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

BASE_DIR = Path(__file__).resolve().parent.parent

# For a demonstration on your own machine; a site keeps its key to itself.
SECRET_KEY = os.environ.get("DEMO_SECRET_KEY", "demo-only")
DEBUG = os.environ.get("DEMO_DEBUG", "1") == "1"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
ALLOWED_HOSTS += os.environ.get("DEMO_ALLOWED_HOSTS", "").split()

INSTALLED_APPS = [
    "daphne",  # before staticfiles: it makes `runserver` speak WebSocket
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_live_notify",
    "pages",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "pages.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

ROOT_URLCONF = "demo_site.urls"
ASGI_APPLICATION = "demo_site.asgi.application"
WSGI_APPLICATION = "demo_site.wsgi.application"

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"

STATIC_URL = "static/"
STATIC_ROOT = os.environ.get("DEMO_STATIC_ROOT", str(BASE_DIR / "staticfiles"))
# Hashed names, as sites use them; `collectstatic` first.
SERVE_COLLECTED = os.environ.get("DEMO_MANIFEST_STATIC") == "1"
if SERVE_COLLECTED:
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
    }


def _database(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": url.removeprefix("sqlite:///"),
            # Several threads write: each takes its turn instead of failing.
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            },
        }
    return {
        "ENGINE": {
            "postgres": "django.db.backends.postgresql",
            "mysql": "django.db.backends.mysql",
        }[parts.scheme],
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname,
        "PORT": parts.port,
    }


DATABASES = {
    "default": _database(
        os.environ.get("DEMO_DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}")
    )
}


def _channel_layer(kind: str, url: str) -> dict[str, Any]:
    if kind == "memory":
        return {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    backend = {
        "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "core": "channels_redis.core.RedisChannelLayer",
    }[kind]
    # redis-py 8 gives up after 5 seconds by default, just as long as this layer waits.
    return {"BACKEND": backend, "CONFIG": {"hosts": [{"address": url, "socket_timeout": 15}]}}


# Without a channel layer one process delivers at once, several within a sweep.
REDIS_URL = os.environ.get("DEMO_REDIS_URL", "")
CHANNEL_LAYER = os.environ.get("DEMO_CHANNEL_LAYER", "pubsub" if REDIS_URL else "none")
if CHANNEL_LAYER != "none":
    CHANNEL_LAYERS = {"default": _channel_layer(CHANNEL_LAYER, REDIS_URL)}

LIVE_NOTIFY_ON_MESSAGE = "pages.live.on_message"
LIVE_NOTIFY_ON_ACTION = "pages.live.on_action"
LIVE_NOTIFY_CAN_JOIN = "pages.live.can_join"
LIVE_NOTIFY_AUTHENTICATE = "pages.tokens.authenticate"
for _name, _value in json.loads(os.environ.get("DEMO_LIVE_NOTIFY", "{}")).items():
    globals()[f"LIVE_NOTIFY_{_name}"] = _value

# The key of a mini-program; without one, its log-in is a demonstration (see wechat/README.md).
WECHAT_API = os.environ.get("DEMO_WECHAT_API", "https://api.weixin.qq.com")
WECHAT_APP_ID = os.environ.get("DEMO_WECHAT_APP_ID", "")
WECHAT_APP_SECRET = os.environ.get("DEMO_WECHAT_APP_SECRET", "")
WECHAT_FIND_USER = "pages.wechat.find_user" if WECHAT_APP_ID else "pages.wechat.find_demo_user"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    # daphne gives the root logger a handler, and Django its own another, so that each warning would
    # be told twice: both go, and everything reaches this one.
    "root": {"handlers": ["console"]},
    "loggers": {"django": {"level": "INFO"}, "django_live_notify": {"level": "INFO"}},
}
