"""Short trials by a new seed each time; `python -m tests.faults --hours 1` makes long ones."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from tests.faults.trial import Stage, Trial

pytestmark = pytest.mark.faults

SECONDS = 25.0


@pytest.mark.parametrize(
    "stage",
    [
        Stage(("uvicorn", "daphne"), "postgresql", "unreliable"),
        Stage(("uvicorn",), "sqlite", "pubsub"),
    ],
    ids=str,
)
def test_nothing_is_lost_and_nothing_is_told_twice(stage: Stage, capsys: Any) -> None:
    seed = os.environ.get("FAULTS_SEED") or str(random.SystemRandom().randrange(10**6))
    result = Trial(stage, seed, SECONDS).run()
    with capsys.disabled():
        print(f"\n{result}")
    assert not result.wrong
