"""Each check is silent on a good site and speaks, by its id, on a bad one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connection
from django.test import override_settings

CORE = "channels_redis.core.RedisChannelLayer"


only_mysql = pytest.mark.skipif(
    "connection.vendor != 'mysql'", reason="Other databases know neither choice."
)


def ids(**settings: Any) -> list[str]:
    with override_settings(**settings):
        return [message.id or "" for message in run_checks(tags=["live_notify"])]


def test_a_good_site_is_told_nothing() -> None:
    assert ids() == []


@pytest.mark.parametrize("name", ["SWEEP_INTERVAL", "COMMIT_WINDOW", "HEARTBEAT", "POLL_INTERVAL"])
@pytest.mark.parametrize("value", [0, -1, "3", None, True, float("nan")])
def test_seconds_are_positive_numbers(name: str, value: Any) -> None:
    assert ids(**{f"LIVE_NOTIFY_{name}": value}) == ["live_notify.E001"]


@pytest.mark.parametrize("value", [0, 501, 1.5, "200", True])
def test_the_replay_limit_is_within_what_a_client_remembers(value: Any) -> None:
    assert ids(LIVE_NOTIFY_REPLAY_LIMIT=value) == ["live_notify.E002"]


@pytest.mark.parametrize("name", ["AUTHENTICATE", "CAN_JOIN", "ON_MESSAGE"])
@pytest.mark.parametrize("value", ["nowhere.at.all", "no_dots", 7])
def test_functions_are_found_and_callable(name: str, value: Any) -> None:
    assert ids(**{f"LIVE_NOTIFY_{name}": value}) == ["live_notify.E003"]


def test_a_function_may_be_given_as_such_or_by_its_path() -> None:
    assert ids(LIVE_NOTIFY_ON_MESSAGE=print, LIVE_NOTIFY_CAN_JOIN="builtins.print") == []


@pytest.mark.parametrize("value", [[], {"frames": 1}, {"frame": 0}, {"frame": "16"}])
def test_limits_are_known_and_positive(value: Any) -> None:
    assert ids(LIVE_NOTIFY_LIMITS=value) == ["live_notify.E004"]


@pytest.mark.parametrize(
    "value",
    [
        30,
        timedelta(days=30),
        {},
        {"age": 30},
        {"age": timedelta(0)},
        {"keep": 0},
        {"keep": True},
        {"keep": 1.5},
        {"read_only": True},
        {"keep": 1, "read_only": 1},
        {"keep": 1, "days": 30},
    ],
)
def test_the_retention_says_what_is_kept(value: Any) -> None:
    assert ids(LIVE_NOTIFY_RETENTION=value) == ["live_notify.E009"]


def test_a_retention_may_be_by_age_and_by_number() -> None:
    good = [{"age": timedelta(days=90)}, {"keep": 200}]
    for value in [None, *good, {**good[0], **good[1], "read_only": True}]:
        assert ids(LIVE_NOTIFY_RETENTION=value) == []


def test_the_channel_layer_exists() -> None:
    assert ids(LIVE_NOTIFY_CHANNEL_LAYER="other") == ["live_notify.E005"]


def test_a_layer_in_memory_is_for_development() -> None:
    layers = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert ids(CHANNEL_LAYERS=layers, DEBUG=False) == ["live_notify.W001"]
    assert ids(CHANNEL_LAYERS=layers, DEBUG=True) == []


def test_redis_may_be_silent_for_longer_than_the_layer_waits() -> None:
    def layers(host: Any) -> Any:
        return {"default": {"BACKEND": CORE, "CONFIG": {"hosts": [host]}}}

    url = "redis://localhost"
    assert ids(CHANNEL_LAYERS=layers(url)) == ["live_notify.W002"]
    assert ids(CHANNEL_LAYERS=layers({"address": url, "socket_timeout": 5})) == ["live_notify.W002"]
    assert ids(CHANNEL_LAYERS=layers({"address": url, "socket_timeout": 15})) == []


def test_the_urls_are_included() -> None:
    assert ids(ROOT_URLCONF="django.contrib.auth.urls") == ["live_notify.E006"]


def test_daphne_comes_before_staticfiles() -> None:
    late = ["django.contrib.staticfiles", "daphne", "django_live_notify"]
    early = ["daphne", "django.contrib.staticfiles", "django_live_notify"]
    assert ids_with_apps(late) == ["live_notify.E007"]
    assert ids_with_apps(early) == []
    assert ids_with_apps(early, ASGI_APPLICATION=None) == ["live_notify.E008"]


def test_readers_are_authenticated() -> None:
    assert ids(MIDDLEWARE=[]) == ["live_notify.W003"]
    assert ids(MIDDLEWARE=[], LIVE_NOTIFY_AUTHENTICATE=print) == []


def test_templates_know_the_request() -> None:
    engine = {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
    assert ids(TEMPLATES=[engine]) == ["live_notify.W005"]


def test_a_misspelt_setting_is_noticed() -> None:
    with override_settings(LIVE_NOTIFY_HEARTBEATS=5):
        (message,) = run_checks(tags=["live_notify"])
    assert message.id == "live_notify.W004"
    assert message.hint == "Did you mean LIVE_NOTIFY_HEARTBEAT?"


def ids_with_apps(apps: list[str], **values: Any) -> list[str]:
    """Run the checks with another INSTALLED_APPS, which Django would otherwise load."""
    from django_live_notify.checks import check_installation

    class Site:
        INSTALLED_APPS = apps

    with override_settings(**values):
        from django.conf import settings

        original = settings.INSTALLED_APPS
        settings.INSTALLED_APPS = Site.INSTALLED_APPS
        try:
            return [message.id or "" for message in check_installation(None)]
        finally:
            settings.INSTALLED_APPS = original


@only_mysql
@pytest.mark.parametrize("level", ["repeatable read", "Serializable", None])
def test_transactions_that_lock_more_than_they_need_are_told(level: str | None) -> None:
    options = connection.settings_dict["OPTIONS"]
    options["isolation_level"] = level
    try:
        assert ids() == ["live_notify.W006"]
        options["isolation_level"] = "READ COMMITTED"
        assert ids() == []
    finally:
        del options["isolation_level"]


@only_mysql
@pytest.mark.parametrize(
    ("change", "back", "check"),
    [
        ("ENGINE=Aria", "ENGINE=InnoDB", "live_notify.E010"),
        (
            "MODIFY title varchar(255) CHARACTER SET latin1 NOT NULL",
            "MODIFY title varchar(255) CHARACTER SET utf8mb4 NOT NULL",
            "live_notify.W007",
        ),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_tables_that_lose_transactions_or_characters_are_told(
    change: str, back: str, check: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE live_notify_notification {change}")
        try:
            assert [message.id for message in run_checks(databases=["default"])] == [check]
            assert ids() == [], "no query without being told which database"
        finally:
            cursor.execute(f"ALTER TABLE live_notify_notification {back}")
    assert run_checks(databases=["default"]) == []
