"""Run a command with a PostgreSQL of its own: TEST_DATABASE_URL names a database in it."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.servers import Postgres, running

if __name__ == "__main__":
    with running(Postgres()) as server:
        url = server.create_database("live_notify")
        environment = {**os.environ, "TEST_DATABASE_URL": url}
        sys.exit(subprocess.call(sys.argv[1:], env=environment))
