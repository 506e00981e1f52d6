"""Two users who are signed in: `alice.http` is a test client with a session of hers."""

from __future__ import annotations

from typing import Any

import pytest

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
