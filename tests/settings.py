"""Settings of the site in which the tests run.

TEST_DATABASE_URL chooses PostgreSQL (postgres://user@host:port/name) or MariaDB (mysql://…), and
SQLite otherwise; TEST_USER_MODEL chooses the user model: int, uuid or email.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SECRET_KEY = "tests"
ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
ASGI_APPLICATION = "tests.asgi.application"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

AUTH_USER_MODEL = {
    "int": "auth.User",
    "uuid": "users_uuid.User",
    "email": "users_email.User",
}[os.environ.get("TEST_USER_MODEL", "int")]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_live_notify",
    "tests.clashing",
    # Only the one that is chosen: two would clash in the reverse names of their permissions.
    *(["tests.users_uuid"] if AUTH_USER_MODEL == "users_uuid.User" else []),
    *(["tests.users_email"] if AUTH_USER_MODEL == "users_email.User" else []),
]

# The test apps have no migrations; what refers to their users must not have any either, nor what
# their users refer to.
if AUTH_USER_MODEL != "auth.User":
    unmigrated = ("admin", "auth", "contenttypes", "live_notify", "clashing")
    MIGRATION_MODULES = dict.fromkeys(unmigrated)

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
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


def _database() -> dict[str, Any]:
    url = os.environ.get("TEST_DATABASE_URL")
    if url:
        parts = urlsplit(url)
        return {
            "ENGINE": {
                "postgres": "django.db.backends.postgresql",
                "mysql": "django.db.backends.mysql",
            }[parts.scheme],
            "NAME": parts.path.lstrip("/"),
            "USER": parts.username,
            "PASSWORD": parts.password or "",
            "HOST": parts.hostname,
            "PORT": parts.port,
        }
    # A file, since threads cannot share a database in memory; two runs must not share the file.
    directory = Path(tempfile.gettempdir()) / f"live-notify-tests-{os.getpid()}"
    directory.mkdir(exist_ok=True)
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(directory / "db.sqlite3"),
        "TEST": {"NAME": str(directory / "test.sqlite3")},
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
        },
    }


DATABASES = {
    "default": _database(),
    # One with users of its own, for audiences that are not where the log is.
    "another": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
        "TEST": {"MIGRATE": False},
    },
    # The replica of a site whose router reads from one; it cannot be read, so whoever does, fails.
    "replica": {"ENGINE": "django.db.backends.dummy"},
}
