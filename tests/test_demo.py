"""The first README command: with Python alone to a running site, and cleanly back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.servers import EXAMPLE, find_free_port

pytestmark = pytest.mark.packaging


def start(directory: Path, port: int) -> subprocess.Popen[str]:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("DJANGO_", "PYTHONPATH"))},
        "DEMO_VENV": str(directory / "venv"),
        "DEMO_DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}",
    }
    return subprocess.Popen(
        [sys.executable, str(EXAMPLE / "demo.py"), "--port", str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/login/", timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_starts_and_ends_cleanly_and_starts_again(
    how: signal.Signals, tmp_path_factory: Any
) -> None:
    # Both share a directory: the second finds what the first installed.
    directory = tmp_path_factory.getbasetemp() / "demo"
    directory.mkdir(exist_ok=True)
    port = find_free_port()
    demo = start(directory, port)
    # The installation takes a minute; nothing takes four.
    too_long = threading.Timer(240, demo.kill)
    too_long.start()
    try:
        assert demo.stdout is not None
        lines: list[str] = []
        while "Ctrl-C ends it." not in "".join(lines[-1:]) and demo.poll() is None:
            lines.append(demo.stdout.readline())
        assert answers(port), "".join(lines)
        demo.send_signal(how)
        rest, _ = demo.communicate(timeout=30)
    finally:
        too_long.cancel()
        demo.kill()
        demo.wait()
    output = "".join(lines) + rest
    assert demo.returncode == 0, output
    assert f"http://127.0.0.1:{port}/" in output and "alice / alice" in output
    assert "Traceback" not in output
    assert not answers(port)


def test_a_busy_port_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with start(tmp_path, taken.getsockname()[1]) as demo:
            output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "cannot be used" in output and "--port" in output and "Traceback" not in output
    assert not (tmp_path / "venv").exists()
