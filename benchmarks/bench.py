"""What the benchmarks share: databases of their own, measuring in turns, and a table."""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any, ClassVar
from urllib.parse import urlsplit

import django
from django.conf import settings

from tests.servers import Postgres, running

DATABASES = ("postgresql", "sqlite")

# Shorter than this, a sample is mostly the clock.
SHORTEST_SAMPLE = 0.001


class Router:
    """Everything is in one database at a time, so that databases can be measured in turns."""

    alias: ClassVar[str] = "default"

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return Router.alias

    db_for_write = db_for_read


@contextmanager
def using(alias: str) -> Iterator[None]:
    """Let the models be in another database as long as the block lasts."""
    before, Router.alias = Router.alias, alias
    try:
        yield
    finally:
        Router.alias = before


@contextmanager
def site(
    databases: Mapping[str, str], *, durable: Collection[str] = (), **more: Any
) -> Iterator[None]:
    """Set Django up with databases of their own, alias → kind, as long as the block lasts.

    Those named `durable` are as they come: a commit waits for the disk. All others do not, which
    would cost all variants the same. Once a process: Django cannot be set up a second time.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="live-notify-benchmark-")))
        servers = {
            waits: stack.enter_context(running(Postgres(durable=waits)))
            for waits in {
                alias in durable for alias, kind in databases.items() if kind == "postgresql"
            }
        }
        settings.configure(
            **{
                "SECRET_KEY": "benchmarks",
                "USE_TZ": True,
                "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
                "INSTALLED_APPS": [
                    "django.contrib.auth",
                    "django.contrib.contenttypes",
                    "django_live_notify",
                ],
                "DATABASES": {
                    "default": {},
                    **{
                        alias: _postgresql(servers[alias in durable].create_database(alias))
                        if kind == "postgresql"
                        else _sqlite(directory / f"{alias}.sqlite3", durable=alias in durable)
                        for alias, kind in databases.items()
                    },
                },
                "DATABASE_ROUTERS": [Router()],
                **more,
            }
        )
        django.setup()
        from django.db import connections

        # Before the server stops, and the files go.
        stack.callback(connections.close_all)
        yield


def _postgresql(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username,
        "HOST": parts.hostname,
        "PORT": parts.port,
    }


def _sqlite(path: Path, *, durable: bool) -> dict[str, Any]:
    options = {
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
    }
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {} if durable else options,
    }


@dataclass
class Series:
    """Variants of one thing; the first one is what the others are compared with."""

    title: str
    # Name → seconds a call, one sample a round.
    samples: dict[str, list[float]] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Return name, median, quartiles, and ratio with quartiles, of each variant."""
        base = next(iter(self.samples.values()))
        for name, samples in self.samples.items():
            low, _, high = quantiles(samples, n=4)
            # Round by round: what slows a round down slows all its variants down.
            ratios = [sample / first for sample, first in zip(samples, base, strict=True)]
            lowest, _, highest = quantiles(ratios, n=4)
            yield (
                name,
                _tell(median(samples)),
                f"{_tell(low)} – {_tell(high)}",
                "1" if samples is base else f"{median(ratios):.2f} ({lowest:.2f} – {highest:.2f})",
            )


def measure(
    title: str,
    variants: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    reset: Callable[[], object] = lambda: None,
) -> Series:
    """Time variants in turns, in another order each round; a reset after each is not timed."""
    calls = {name: _count_calls(run, reset) for name, run in variants.items()}
    series = Series(title, {name: [] for name in variants})
    for _ in range(rounds):
        for name in random.sample(list(variants), len(variants)):
            began = time.perf_counter()
            for _ in range(calls[name]):
                variants[name]()
            series.samples[name].append((time.perf_counter() - began) / calls[name])
            reset()
    return series


def _count_calls(run: Callable[[], object], reset: Callable[[], object]) -> int:
    """Return how many calls make a sample; caches are warm afterwards."""
    run()
    reset()
    began = time.perf_counter()
    run()
    calls = max(1, round(SHORTEST_SAMPLE / max(time.perf_counter() - began, 1e-7)))
    reset()
    return calls


def print_table(series: Series) -> None:
    heads = ("", "median", "quartiles", "ratio (quartiles)")
    rows = [heads, *series.rows()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    print(f"\n{series.title}")
    for name, *numbers in rows:
        cells = [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True)]
        print("  ".join([name.ljust(widths[0]), *cells]), flush=True)


def fill_users(alias: str, number: int) -> None:
    """Make users inside the database, who joined long ago."""
    from django.db import connections

    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email,"
            " is_staff, is_active, date_joined) SELECT '', FALSE, 'user-' || i, '', '', '',"
            f" FALSE, TRUE, '2020-01-01 00:00:00' FROM ({numbers(connection, number)}) AS numbers"
        )
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def numbers(connection: Any, last: int) -> str:
    """Return a query of the numbers i from 1 to the last."""
    if connection.vendor == "postgresql":
        return f"SELECT i FROM generate_series(1, {last}) AS i"
    return (
        "WITH RECURSIVE g(i) AS"
        f" (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < {last}) SELECT i FROM g"
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--database", choices=DATABASES, help="the one to measure (both)")
    parser.add_argument("--rounds", type=int, default=30, help="samples of each variant (30)")
    parser.add_argument(
        "--json", metavar="FILE", help="write all samples; -: print no tables but this"
    )


def write_json(target: str, found: Mapping[str, list[Series]]) -> None:
    """Write the samples, by database, to a file; `-` stands for the output."""
    content = {
        "python": platform.python_version(),
        "django": django.get_version(),
        "seconds": {
            database: {series.title: series.samples for series in measured}
            for database, measured in found.items()
        },
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        Path(target).write_text(text, encoding="utf-8")


def _tell(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-4 else f"{seconds * 1e6:.2f} µs"
