#!/usr/bin/env python3
"""Set up and run the example project: `python3 example_project/demo.py [--port 8000]`.

Needs Python alone. Makes a virtual environment beside this file, installs the package into it,
prepares the database and the demo users, and serves until Ctrl-C.
"""

import argparse
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
START_TIMEOUT = 60  # seconds


def main():
    arguments = parse_arguments()
    if sys.version_info < (3, 10):
        sys.exit("This needs Python 3.10 or newer; this is %d.%d." % sys.version_info[:2])
    refuse_busy_port(arguments.host, arguments.port)
    python = prepare_environment(Path(os.environ.get("DEMO_VENV", HERE / ".venv")))
    manage(python, "migrate", "--verbosity", "0")
    manage(python, "create_demo_users")
    return serve(python, arguments.host, arguments.port)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    arguments = parser.parse_args()
    if not 0 < arguments.port < 65536:
        parser.error("--port must be between 1 and 65535.")
    return arguments


def refuse_busy_port(host, port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            sys.exit(
                f"Port {port} on {host} cannot be used ({error.strerror})."
                f" Choose another: --port {port + 1 if port < 65535 else 8000}"
            )


def prepare_environment(directory):
    """Return the Python of a virtual environment in which the package is installed."""
    python = directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    mark = directory / "installed"
    # What the installation depends on: when none of it has changed, there is nothing to do.
    sources = [ROOT / "setup.cfg", ROOT / "pyproject.toml"]
    state = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    state += f"\n{sys.version_info[:2]}\n{ROOT}"
    if mark.exists() and mark.read_text() == state and works(python):
        return python
    print("Setting up, this takes a minute the first time …", flush=True)
    run(
        [sys.executable, "-m", "venv", "--clear", str(directory)],
        "The virtual environment could not be made. On Debian and Ubuntu: apt install python3-venv",
    )
    run(
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        + ["--editable", f"{ROOT}[daphne,redis]", "psycopg[binary]"],
        "The packages could not be installed. Is there a connection to the package index?",
    )
    mark.write_text(state)
    return python


def works(python):
    return python.exists() and not subprocess.call(
        [str(python), "-c", "import django_live_notify, channels, daphne"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def run(command, failure):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout.rstrip()}\n\n{failure}")


def manage(python, *arguments):
    if subprocess.call([str(python), str(HERE / "manage.py"), *arguments]):
        sys.exit(f"“manage.py {arguments[0]}” failed.")


def serve(python, host, port):
    """Run the server until it is interrupted."""
    command = [str(python), "-m", "daphne", "--bind", host, "--port", str(port)]
    command += ["--verbosity", "0", "demo_site.asgi:application"]
    # A group of its own: Ctrl-C is for this process, which ends the server in its turn.
    server = subprocess.Popen(command, cwd=HERE, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address = f"http://{host}:{port}/"
    try:
        wait_for(address, server)
        print(
            f"\nThe example runs at {address}\n\n"
            "  Sign in as   alice / alice   in one browser\n"
            "         and   bob / bob       in another (or a private window);\n"
            "  the admin is admin / admin.\n\n"
            "Ctrl-C ends it.",
            flush=True,
        )
        return server.wait()
    except KeyboardInterrupt:
        print("\nGood-bye.")
        return 0
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def wait_for(address, server):
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit("The server has ended; see above.")
        try:
            urllib.request.urlopen(address + "login/", timeout=5).close()
            return
        except urllib.error.HTTPError:
            sys.exit("The server answers with an error; see above.")
        except OSError:
            time.sleep(0.1)
    sys.exit("The server did not answer in time.")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nInterrupted.")
