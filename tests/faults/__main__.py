"""Trials for as long as wanted: `python -m tests.faults --hours 2`; with --seed the same again."""

from __future__ import annotations

import argparse
import random
import sys
import time
from itertools import count

from tests.faults.trial import Stage, Trial

# Each with what the others do not have.
STAGES = [
    Stage(("uvicorn", "daphne"), "postgresql", "unreliable"),
    Stage(("uvicorn",), "sqlite", "pubsub"),
    Stage(("daphne", "daphne"), "postgresql", "core"),
    Stage(("uvicorn", "uvicorn"), "sqlite", "core"),
    Stage(("daphne",), "sqlite", "none"),
    Stage(("uvicorn", "uvicorn"), "postgresql", "pubsub"),
    Stage(("uvicorn", "daphne"), "postgresql", "core", replay_limit=15),
    Stage(("uvicorn",), "sqlite", "unreliable", replay_limit=15),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=0.5, help="for how long (default: 0.5)")
    parser.add_argument("--seconds", type=float, default=60, help="faults a trial (default: 60)")
    parser.add_argument("--seed", default=str(random.randrange(10**6)))
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.hours * 3600
    results = []
    for number in count():
        if time.monotonic() > end:
            break
        stage = STAGES[number % len(STAGES)]
        result = Trial(stage, f"{arguments.seed}.{number}", arguments.seconds).run()
        results.append(result)
        print(result, flush=True)
    wrong = sum(len(result.wrong) for result in results)
    print(
        f"\nseed {arguments.seed}: {len(results)} trials,"
        f" {sum(result.notifications for result in results)} notifications,"
        f" {sum(result.told for result in results)} told to pages,"
        f" {sum(sum(result.faults.values()) for result in results)} faults,"
        f" {wrong} wrong"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
