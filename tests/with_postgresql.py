"""Run a command with a PostgreSQL of its own: TEST_DATABASE_URL names a database in it."""

from __future__ import annotations

import sys

from tests.servers import Postgres, call_with

if __name__ == "__main__":
    sys.exit(call_with(Postgres(), sys.argv[1:]))
