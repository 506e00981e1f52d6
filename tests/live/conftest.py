"""Two users who are signed in, and what the hub does meanwhile.

`alice.http` is a test client with a session of hers.
"""

from __future__ import annotations

from typing import Any

import pytest

from django_live_notify.live.hub import Hub
from tests.live.client import log_in


@pytest.fixture
def alice(transactional_db: None, make_user: Any) -> Any:
    user = make_user("alice")
    user.http = log_in(user)
    return user


@pytest.fixture
def bob(transactional_db: None, make_user: Any) -> Any:
    user = make_user("bob")
    user.http = log_in(user)
    return user


@pytest.fixture
def fast_sweep(settings: Any) -> None:
    settings.LIVE_NOTIFY_SWEEP_INTERVAL = 0.05


@pytest.fixture
def looks(monkeypatch: Any) -> list[Any]:
    """Note each look at the log that is over."""
    done: list[Any] = []
    look = Hub.look

    async def look_and_note(*args: Any, **kwargs: Any) -> Any:
        found = await look(*args, **kwargs)
        done.append(found)
        return found

    monkeypatch.setattr(Hub, "look", look_and_note)
    return done
