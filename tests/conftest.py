"""What all tests share: users of whichever model is chosen."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import translation

from tests.servers import Postgres, Redis, find_program, running

MakeUser = Callable[..., Any]

CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session", autouse=True)
def _remove_database_directory() -> Iterator[None]:
    yield
    if connection.vendor == "sqlite":
        shutil.rmtree(Path(settings.DATABASES["default"]["NAME"]).parent, ignore_errors=True)


@pytest.fixture(autouse=True)
def _language_of_the_settings() -> Iterator[None]:
    yield
    # A request by a test's client leaves that of its reader behind.
    translation.deactivate()


@pytest.fixture
def make_user() -> MakeUser:
    """Return a function that creates a user by name, whatever the user model."""

    def make(name: str, **values: Any) -> Any:
        User = get_user_model()
        key = f"{name}@example.com" if User.USERNAME_FIELD == "email" else name
        create = User._default_manager.create_user
        return create(**{User.USERNAME_FIELD: key}, password="secret", **values)

    return make


@pytest.fixture
def alice(make_user: Any) -> Any:
    return make_user("alice")


@pytest.fixture
def bob(make_user: Any) -> Any:
    return make_user("bob")


@pytest.fixture
def several_writers(transactional_db: None) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time, and locks no rows.")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    with running(Redis()) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with running(Postgres()) as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, closing(launch(playwright.chromium)) as chromium:
        yield chromium


def launch(browser_type: Any, *arguments: str, **options: Any) -> Any:
    """Start the system's Chromium with Playwright."""
    program = find_program("chromium", "chromium-browser", "google-chrome")
    everything = [*CHROMIUM_ARGUMENTS, *arguments]
    return browser_type.launch(executable_path=program, args=everything, **options)
