#!/usr/bin/env python3
"""Run all tests: `python3 tests/run.py`, or in under two minutes `python3 tests/run.py --quick`.

Sets up what they need: tox in an environment of its own, and from the system's packages Redis,
PostgreSQL, MariaDB (with what its driver is compiled with), Chromium and nginx where they are
missing and may be installed. `--quick` runs what needs no servers and no browser, with this
interpreter alone; other arguments go to pytest.
"""

import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-tests"
RESULTS = ROOT / ".tox-run"

# Debian package: programs, or files, of which one has to be there.
PROGRAMS = {
    "redis-server": ["redis-server"],
    "postgresql": ["postgres", "/usr/lib/postgresql/*/bin/postgres"],
    "mariadb-server-core": ["mariadbd", "/usr/sbin/mariadbd"],
    "mariadb-client-core": ["mariadb"],
    # mysqlclient comes as its source; PyMySQL would not, but Django does not support it.
    "libmariadb-dev": ["mariadb_config"],
    "pkg-config": ["pkg-config"],
    "gcc": ["cc", "gcc"],
    "libc6-dev": ["/usr/include/stdio.h"],
    # Of the interpreter that runs this, and tox: others than the system's bring their own.
    "python3-dev": [os.path.join(sysconfig.get_path("include"), "Python.h")],
    "chromium": ["chromium", "chromium-browser", "google-chrome"],
    "nginx": ["nginx", "/usr/sbin/nginx"],
}

SUPPORTED = [(3, minor) for minor in range(10, 15)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="this interpreter, no servers")
    arguments, rest = parser.parse_known_args()
    if sys.version_info[:2] not in SUPPORTED:
        return reexecute_with_supported_python()
    return run_quick(rest) if arguments.quick else run_all(rest)


def run_quick(rest):
    python = prepare_environment("quick", ["--editable", f"{ROOT}[test]"])
    marks = "not servers and not browser and not faults and not packaging"
    return subprocess.call([python, "-m", "pytest", "-n", "auto", "-m", marks, *rest], cwd=ROOT)


def run_all(rest):
    missing = install_programs()
    if missing:
        sys.exit(f"Please install {' '.join(missing)} and run this again.")
    python = prepare_environment("tox", ["tox>=4.20", "tox-uv"])
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir()
    command = [python, "-m", "tox", "run", "--result-json", str(RESULTS / "tox.json")]
    started = time.monotonic()
    code = subprocess.call(
        [*command, *(["--", *rest] if rest else [])], cwd=ROOT, env=with_interpreters()
    )
    summarize(time.monotonic() - started)
    return code


def prepare_environment(name, packages):
    """Return the Python of a virtual environment with these packages, made when it is missing."""
    directory = VENV / name
    python = directory / "bin" / "python"
    mark = directory / "installed"
    # What they depend on; nothing is installed again as long as it is the same.
    state = repr((sys.version, packages, (ROOT / "setup.cfg").read_text()))
    if python.exists() and mark.exists() and mark.read_text() == state:
        return str(python)
    print(f"Setting up {directory.relative_to(ROOT)} …", flush=True)
    call([sys.executable, "-m", "venv", "--clear", str(directory)], "python3-venv is missing.")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    call([*pip, *packages], "The packages could not be installed.")
    mark.write_text(state)
    return str(python)


def install_programs():
    """Install the system's packages that are missing; return those that could not be."""
    missing = find_missing()
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        print(f"Installing {' '.join(missing)} …", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
            subprocess.call(
                ["apt-get", "--quiet", "--quiet", *command],
                env=environment,
                stdout=subprocess.DEVNULL,
            )
        missing = find_missing()
    return missing


def find_missing():
    return [
        package
        for package, programs in PROGRAMS.items()
        if not any(shutil.which(program) or glob.glob(program) for program in programs)
    ]


def find_interpreters():
    """Return the directories of the Pythons that pyenv has, newest first, one a version."""
    found = {}
    for path in Path("~/.pyenv/versions").expanduser().glob("3.*/bin"):
        version = tuple(int(part) for part in path.parent.name.split(".")[:2] if part.isdigit())
        if version in SUPPORTED:
            found[version] = str(path)
    return [found[version] for version in sorted(found, reverse=True)]


def with_interpreters():
    """Return the environment in which tox finds all interpreters that there are."""
    environment = dict(os.environ)
    # Behind the present path: `python3` stays what it is.
    environment["PATH"] = os.pathsep.join([environment.get("PATH", ""), *find_interpreters()])
    environment.pop("PYENV_VERSION", None)
    # Interpreters are the machine's; none is fetched.
    environment["UV_PYTHON_DOWNLOADS"] = "never"
    return environment


def reexecute_with_supported_python():
    for major, minor in reversed(SUPPORTED):
        python = find_python(major, minor)
        if python:
            return subprocess.call([python, __file__, *sys.argv[1:]])
    sys.exit("This needs Python %d.%d or newer." % SUPPORTED[0])


def summarize(seconds):
    """Print each environment with its result, and the sum of all tests."""
    path = RESULTS / "tox.json"
    environments = json.loads(path.read_text()).get("testenvs", {}) if path.exists() else {}
    print("\n" + "=" * 60)
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    for name, environment in environments.items():
        if name.startswith("."):
            continue
        result = environment.get("result", {})
        counts = count_tests(RESULTS / f"{name}.xml")
        for key, value in (counts or {}).items():
            totals[key] += value
        verdict = "passed" if result.get("success") else "FAILED"
        if result.get("skipped"):
            verdict = "skipped"
        detail = "" if counts is None else ", ".join(f"{n} {key}" for key, n in counts.items())
        print(f"{name:<20} {verdict:<8} {result.get('duration', 0):6.0f} s   {detail}")
    named = [f"{major}.{minor}" for major, minor in SUPPORTED if not find_python(major, minor)]
    if named:
        print(f"Skipped, since these interpreters are not there: Python {', '.join(named)}.")
    print(f"{seconds / 60:.1f} minutes")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**totals))


def count_tests(path):
    if not path.exists():
        return None
    root = ElementTree.parse(path).getroot()
    cases = list(root.iter("testcase"))
    failed = sum(1 for case in cases if has(case, "failure") or has(case, "error"))
    skipped = sum(1 for case in cases if has(case, "skipped"))
    return {"passed": len(cases) - failed - skipped, "failed": failed, "skipped": skipped}


def has(case, name):
    return case.find(name) is not None


def find_python(major, minor):
    """Return a Python of this version that runs: pyenv has shims for some that do not."""
    for directory in with_interpreters()["PATH"].split(os.pathsep):
        python = shutil.which(f"python{major}.{minor}", path=directory)
        if python and not subprocess.call(
            [python, "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ):
            return python
    return None


def call(command, failure):
    if subprocess.call(command):
        sys.exit(failure)


if __name__ == "__main__":
    sys.exit(main())
