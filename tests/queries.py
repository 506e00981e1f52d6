"""What tests of queries share: large tables, what was asked, and how a database would answer it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection, models
from django.utils import timezone

Statement = tuple[str, Any]

# The tables that grow.
LARGE = ("live_notify_notification", "live_notify_receipt")


def make_users(number: int) -> list[Any]:
    """Create users who joined yesterday, whatever the user model, without their passwords."""
    User = get_user_model()
    users = User._default_manager.bulk_create(
        User(**{User.USERNAME_FIELD: f"user-{i}@example.com"}) for i in range(number)
    )
    if "date_joined" in {field.name for field in User._meta.fields}:
        User._default_manager.update(date_joined=timezone.now() - timedelta(days=1))
    return list(User._default_manager.all()) if users else []


def copy_row(row: models.Model, ids: range) -> None:
    """Copy a row to each of the ids."""
    fields = [field for field in row._meta.concrete_fields if not field.primary_key]
    columns = ", ".join(quoted(field.column) for field in fields)
    table = row._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SET max_recursive_iterations = %s", [len(ids)])
        cursor.execute(
            f"INSERT INTO {table} (id, {columns})"
            " WITH RECURSIVE numbers(n) AS (SELECT CAST(%s AS INTEGER)"
            " UNION ALL SELECT n + %s FROM numbers WHERE n + %s <= %s)"
            f" SELECT n, {columns} FROM {table}, numbers WHERE id = %s",
            [ids[0], ids.step, ids.step, ids[-1], row.pk],
        )


def quoted(name: str) -> str:
    return connection.ops.quote_name(name)


@contextmanager
def recorded() -> Iterator[list[Statement]]:
    """Collect the statements that are executed, with their parameters."""
    statements: list[Statement] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield statements


def explain(sql: str, params: Any) -> list[str]:
    """Return the lines of a query's plan; those of MariaDB in the words of SQLite."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
            return [row[3] for row in cursor.fetchall()]
        cursor.execute(f"EXPLAIN {sql}", params)
        if connection.vendor == "postgresql":
            return [row[0] for row in cursor.fetchall()]
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [
        f"{'SCAN' if row['type'] in ('ALL', 'index') else 'SEARCH'} {row['table']} {row['key']}"
        for row in rows
    ]


def find_scans(sql: str, params: Any) -> list[str]:
    """Return the lines of a query's plan that read all of a table that grows."""
    plan = explain(sql, params)
    if connection.vendor == "postgresql":
        return [line for line in plan for table in LARGE if f"Seq Scan on {table}" in line]
    newest = ["SCAN live_notify_notification"], ["SCAN live_notify_notification PRIMARY"]
    if "ORDER BY 1 DESC LIMIT 1" in sql and plan in newest:
        # Along the key from its end, which is over after a row, or after those of a minute.
        return []
    return [line for line in plan for table in LARGE if line.startswith(f"SCAN {table}")]


def count_effort(sql: str, params: Any) -> int:
    """Run a query and return what it took, which no other load changes.

    On PostgreSQL, the rows read of the tables that grow; on MariaDB, of all tables; on SQLite, the
    steps of its machine, of which a row takes some dozens.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", params)
            return sum(_rows_read(cursor.fetchone()[0][0]["Plan"]))
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            before = _count_reads(cursor)
            cursor.execute(sql, params)
            cursor.fetchall()
            return _count_reads(cursor) - before
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 100

    connection.connection.set_progress_handler(step, 100)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            cursor.fetchall()
    finally:
        connection.connection.set_progress_handler(None, 0)
    return steps


def _count_reads(cursor: Any) -> int:
    cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%%'")
    return sum(int(count) for _name, count in cursor.fetchall())


def _rows_read(node: dict[str, Any]) -> Iterator[int]:
    if node.get("Relation Name") in LARGE:
        rows = node["Actual Rows"] + sum(
            count for name, count in node.items() if name.startswith("Rows Removed by")
        )
        yield round(rows * node["Actual Loops"])
    for inner in node.get("Plans", ()):
        yield from _rows_read(inner)
