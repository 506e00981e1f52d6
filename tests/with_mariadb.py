"""Run a command with a MariaDB of its own: TEST_DATABASE_URL names a database in it."""

from __future__ import annotations

import sys

from tests.servers import MariaDB, call_with

if __name__ == "__main__":
    sys.exit(call_with(MariaDB(), sys.argv[1:]))
