"""Real servers for the tests: on free ports, in directories of their own, gone afterwards.

None of them touches a server that is already running, and none outlives the tests, even killed.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "example_project"

# Seconds for a server to answer; CI machines start PostgreSQL slowly.
DEADLINE = 30.0

# A proxy of the environment cannot reach what listens on this machine alone.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

# Below those that systems give to outgoing connections.
PORTS = range(20_000, 32_000)

# What a site's shell would have.
SHELL_NAMES = (
    "from django.contrib.auth.models import User\n"
    "from django_live_notify import *\n"
    "from django_live_notify.models import Notification\n"
    "alice, bob = (User.objects.get(username=name) for name in ('alice', 'bob'))\n"
)

# What dies with its parent dies with the thread that started it, so one thread starts everything.
_starter = ThreadPoolExecutor(1, "starter")

# Not the seed of a test: processes that run the same one would try the same ports.
_random = random.SystemRandom()
_held: list[socket.socket] = []


def find_free_port() -> int:
    """Return a port of the loopback interface that nobody listens on.

    It is kept for as long as this process runs: a server starts later, and may stop in between.
    """
    while True:
        port = _random.choice(PORTS)
        # No two processes of tests hold the same number as a port of UDP, which nobody here uses.
        held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            held.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            held.close()
            continue
        _held.append(held)
        return port


def wait_until(
    condition: Callable[[], Any], what: str | Callable[[], str], timeout: float = DEADLINE
) -> Any:
    """Wait until a condition holds and return its value; raise after the deadline.

    A function tells what was waited for as it is at the deadline.
    """
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"Waited {timeout:.0f} s in vain for {told}.")
        time.sleep(0.02)
    return value


def accepts(port: int) -> bool:
    """Say whether somebody listens on a port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process(ABC):
    """A server as a process: started, ready, stopped."""

    name = "server"

    # Seconds in which it ends when it is told to.
    patience = 15.0

    def __init__(self) -> None:
        self.port = find_free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"live-notify-{self.name}-"))
        self.log = self.directory / "log"
        self.last_words = ""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = _starter.submit(
                subprocess.Popen,
                self.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
                **self.options(),
            ).result()
        wait_until(self._is_up, lambda: f"{self.name} on port {self.port}; its log:\n{self.tail()}")

    @abstractmethod
    def command(self) -> list[str]: ...

    def options(self) -> dict[str, Any]:
        return {}

    def is_ready(self) -> bool:
        return accepts(self.port)

    def tail(self) -> str:
        """Return the end of the log, also when the server and its directory are gone."""
        if self.log.exists():
            return self.log.read_text(errors="replace")[-4000:]
        return self.last_words

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End the process and wait for it."""
        if self.process is None:
            return
        process, self.process = self.process, None
        if process.poll() is None:
            os.killpg(process.pid, how)
            try:
                process.wait(self.patience)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop the process in its tracks: its connections stay open, and nothing answers."""
        self.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send_signal(signal.SIGCONT)

    def send_signal(self, number: int) -> None:
        """Send a signal to the process and to those that it started."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def close(self) -> None:
        if self.process is not None:
            self.thaw()
        self.stop()
        self.last_words = self.tail()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended at its start:\n{self.tail()}")
        return self.is_ready()


class Redis(Process):
    """A Redis of its own, without persistence: a restart is a restart with nothing in it."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        program = find_program("redis-server")
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        return [program, *options, "--dir", str(self.directory)]


class Postgres(Process):
    """A PostgreSQL of its own; it refuses to run as root, so root lends it another user."""

    name = "postgres"

    # It writes everything down first, beside whatever else the machine is doing.
    patience = 90.0

    def __init__(self, *, durable: bool = False) -> None:
        super().__init__()
        self.durable = durable
        self.data = self.directory / "data"
        self.data.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.directory, "nobody")
            shutil.chown(self.data, "nobody")
        subprocess.run(
            [_find_postgres("initdb"), "-D", str(self.data), "-U", "tests", "-A", "trust"]
            + ["-E", "UTF8", "--no-sync", "--no-instructions"],
            check=True,
            stdout=subprocess.DEVNULL,
            **self.options(),
        )

    @property
    def url(self) -> str:
        return f"postgres://tests@127.0.0.1:{self.port}/postgres"

    def command(self) -> list[str]:
        options = {"listen_addresses": "127.0.0.1", "max_connections": "200"}
        if not self.durable:
            # A commit waits for no disk: a server that dies loses nothing, a machine might.
            options["fsync"] = "off"
        settings = [part for item in options.items() for part in ("-c", "=".join(item))]
        program = _find_postgres("postgres")
        place = ["-D", str(self.data), "-p", str(self.port), "-k", str(self.directory)]
        return [program, *place, *settings]

    def options(self) -> dict[str, Any]:
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        return {"env": environment, "cwd": str(self.directory)} | (
            {"user": "nobody"} if os.geteuid() == 0 else {}
        )

    def stop(self, how: int = signal.SIGINT) -> None:
        """End the server without waiting for its clients, which SIGTERM would do."""
        super().stop(how)

    def kill(self) -> None:
        """Crash: what was committed is recovered at the next start."""
        self.stop(signal.SIGQUIT)

    def send_signal(self, number: int) -> None:
        assert self.process is not None
        # The server for each connection leads a process group of its own.
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = children.read_text().split() if children.exists() else []
        for pid in [self.process.pid, *map(int, found)]:
            # One that has just ended is no reason to leave the others frozen.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def is_ready(self) -> bool:
        check = [_find_postgres("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return accepts(self.port) and subprocess.call(check) == 0

    def create_database(self, name: str) -> str:
        """Create a database and return its address."""
        place = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "tests"]
        subprocess.run([_find_postgres("createdb"), *place, name], check=True)
        return f"postgres://tests@127.0.0.1:{self.port}/{name}"


class Nginx(Process):
    """nginx in front of a server on another port, with what a site has in its location."""

    name = "nginx"

    def __init__(self, target: Process, *directives: str) -> None:
        super().__init__()
        self.target = target
        self.directives = directives

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        (self.directory / "nginx.conf").write_text(self._configuration())
        super().start()

    def command(self) -> list[str]:
        # As root it would give its work to a user who cannot read the directory.
        directives = "daemon off; master_process off;"
        place = ["-p", str(self.directory), "-c", "nginx.conf", "-e", "stderr"]
        return [find_program("nginx"), *place, "-g", directives]

    def _configuration(self) -> str:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{kind}_temp_path {self.directory}/{kind};" for kind in kinds)
        directives = " ".join(f"{directive};" for directive in self.directives)
        return f"""
            pid {self.directory}/pid;
            events {{}}
            http {{
                access_log off;
                {temporary}
                server {{
                    listen 127.0.0.1:{self.port};
                    location / {{
                        proxy_pass http://127.0.0.1:{self.target.port};
                        proxy_set_header Host $http_host;
                        {directives}
                    }}
                }}
            }}
        """


class MariaDB(Process):
    """A MariaDB of its own; it refuses to run as root, so root lends it another user."""

    name = "mariadb"

    # As for PostgreSQL.
    patience = 90.0

    def __init__(self) -> None:
        super().__init__()
        self.data = self.directory / "data"
        if os.geteuid() == 0:
            shutil.chown(self.directory, "nobody")
        done = subprocess.run(
            [find_program("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}"]
            + ["--auth-root-authentication-method=normal", "--skip-test-db"],
            capture_output=True,
            text=True,
            **self.options(),
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def command(self) -> list[str]:
        options = {
            "datadir": self.data,
            "port": self.port,
            "bind-address": "127.0.0.1",
            "socket": self.directory / "socket",
            "character-set-server": "utf8mb4",
            # What is committed survives a crash of the server, which is all that tests do to it.
            "innodb-flush-log-at-trx-commit": 2,
        }
        settings = [f"--{name}={value}" for name, value in options.items()]
        return [find_program("mariadbd", "/usr/sbin/mariadbd"), "--no-defaults", *settings]

    def options(self) -> dict[str, Any]:
        return {"cwd": str(self.directory)} | ({"user": "nobody"} if os.geteuid() == 0 else {})

    def is_ready(self) -> bool:
        return accepts(self.port) and self._execute("SELECT 1").returncode == 0

    def create_database(self, name: str) -> str:
        """Create a database and return its address."""
        done = self._execute(f"CREATE DATABASE `{name}`")
        assert done.returncode == 0, done.stderr
        return f"mysql://root@127.0.0.1:{self.port}/{name}"

    def _execute(self, sql: str) -> subprocess.CompletedProcess[str]:
        place = ["--host=127.0.0.1", f"--port={self.port}", "--user=root", "--skip-ssl"]
        command = [find_program("mariadb"), "--no-defaults", *place, "--execute", sql]
        return subprocess.run(command, capture_output=True, text=True)


class Site(Process):
    """The example project under a server of the given kind."""

    name = "site"

    def __init__(
        self,
        server: str = "daphne",
        *,
        database_url: str | None = None,
        redis_url: str | None = None,
        layer: str | None = None,
        settings: str = "{}",
        environment: dict[str, str] | None = None,
        application: str = "demo_site.asgi:application",
    ) -> None:
        super().__init__()
        self.server = server
        self.application = application
        self.database_url = database_url or f"sqlite:///{self.directory / 'db.sqlite3'}"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DJANGO_", "DEMO_"))},
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "demo_site.settings",
            "DEMO_DATABASE_URL": self.database_url,
            "DEMO_LIVE_NOTIFY": settings,
            **({"DEMO_REDIS_URL": redis_url} if redis_url else {}),
            **({"DEMO_CHANNEL_LAYER": layer} if layer else {}),
            **(environment or {}),
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Migrate the database and create the demo users."""
        self.manage("migrate", "--verbosity", "0")
        self.manage("create_demo_users")

    def command(self) -> list[str]:
        port = str(self.port)
        return {
            "daphne": [sys.executable, "-m", "daphne", "-p", port, "-v", "0", self.application],
            "uvicorn": [sys.executable, "-m", "uvicorn", "--port", port, "--no-access-log"]
            + [self.application],
            "gunicorn": [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"]
            + ["--threads", "4", "demo_site.wsgi:application"],
            "runserver": [sys.executable, "manage.py", "runserver", "--noreload", port],
        }[self.server]

    def options(self) -> dict[str, Any]:
        return {"cwd": str(EXAMPLE), "env": self.environment}

    def is_ready(self) -> bool:
        try:
            DIRECT.open(f"{self.url}/login/", timeout=5).close()
        except (urllib.error.URLError, OSError):
            return False
        return True

    def manage(self, *arguments: str) -> str:
        """Run a command of manage.py in a process of its own and return what it prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            capture_output=True,
            text=True,
            # An interpreter and Django start in it, beside whatever else the machine does.
            timeout=3 * DEADLINE,
            **self.options(),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def at(self, port: int) -> Site:
        """Return the same site as it is reached through another port."""
        distant = copy.copy(self)
        distant.port = port
        return distant

    def count_threads(self) -> int:
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("Threads:")[2].split()[0])

    def count_listeners(self) -> int:
        """Return how many listeners there are, where `tests.counting` is the application."""
        with DIRECT.open(f"{self.url}/listeners/", timeout=DEADLINE) as response:
            return int(response.read())

    def measure_memory(self) -> int:
        """Return the bytes of memory that the process holds."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def shell(self, code: str) -> str:
        """Run Python in another process, with the names that a site's shell would have."""
        return self.manage("shell", "-c", SHELL_NAMES + code)


@contextmanager
def running(server: Process) -> Iterator[Any]:
    """Run a server as long as the block lasts."""
    try:
        if isinstance(server, Site):
            server.prepare()
        server.start()
        yield server
    finally:
        server.close()


def call_with(server: Postgres | MariaDB, command: list[str]) -> int:
    """Run a command beside a server: TEST_DATABASE_URL names a database in it."""
    with running(server):
        environment = {**os.environ, "TEST_DATABASE_URL": server.create_database("live_notify")}
        return subprocess.call(command, env=environment)


def find_program(*names: str) -> str:
    """Return the path of the first of these programs that is there."""
    # Users other than root do not have all of them in their path.
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    for name in names:
        if path := shutil.which(name, path=places):
            return path
    raise AssertionError(f"None of {', '.join(names)} is installed; tests/run.py installs them.")


def find_node() -> str:
    """Return the path of Node.js: that of the environment before that of the system."""
    beside = Path(sys.executable).parent / "node"
    return str(beside) if beside.exists() else find_program("node")


def install_libraries() -> None:
    """Let npm fetch what package.json names."""
    beside = Path(find_node()).with_name("npm")
    npm = str(beside) if beside.exists() else "npm"
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
    subprocess.run([npm, "install", *options], cwd=ROOT, check=True, capture_output=True)


def _find_postgres(name: str) -> str:
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return str(places[0]) if places else find_program(name)


def _die_with_parent() -> None:
    # Linux: be killed when the tests are, however they end.
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
