"""Short trials by a new seed each time; `python -m tests.faults --hours 1` makes long ones."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.faults.trial import DATABASE, NETWORK, REDIS, WORKER, Fault, Stage, Trial, Victim

pytestmark = pytest.mark.faults

SECONDS = 20.0

STAGES = [
    Stage(("uvicorn", "daphne"), "postgresql", "unreliable"),
    Stage(("uvicorn",), "sqlite", "pubsub", replay_limit=15),
]


def test_nothing_is_lost_and_nothing_is_told_twice(capsys: Any) -> None:
    seed = os.environ.get("FAULTS_SEED") or str(random.SystemRandom().randrange(10**6))
    # Beside each other: much of it is waiting.
    with ThreadPoolExecutor() as threads:
        results = list(threads.map(lambda stage: Trial(stage, seed, SECONDS).run(), STAGES))
    with capsys.disabled():
        for result in results:
            print(f"\n{result}")
    assert [result.wrong for result in results] == [[], []]
    assert all(count for result in results for count in result.faults.values())


@pytest.mark.parametrize(
    "faults",
    [WORKER, NETWORK, REDIS, DATABASE],
    ids=["worker", "network", "redis", "database"],
)
def test_every_fault_has_its_turn_in_a_short_trial(faults: dict[str, Fault]) -> None:
    for seed in range(100):
        schedule = Victim(None, faults).draw(random.Random(seed), SECONDS)
        assert {name for _, name, _ in schedule} == set(faults)
        assert sum(pause + length for pause, _, length in schedule) < SECONDS + 0.001
