"""What is in the distributions, and that the wheel works where nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

from tests.servers import ROOT

pytestmark = pytest.mark.packaging

PACKAGE = ROOT / "django_live_notify"

IMPORT_LOADS_NO_DJANGO = (
    "import sys, django_live_notify;"
    "assert not [name for name in sys.modules if name.partition('.')[0] == 'django']"
)


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The wheel and the sdist; the wheel is built from the sdist."""
    target = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(target), str(ROOT)],
        check=True,
        capture_output=True,
    )
    yield next(target.glob("*.whl")), next(target.glob("*.tar.gz"))


def in_repository(pattern: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(
    distributions: tuple[Path, Path],
) -> None:
    names = set(zipfile.ZipFile(distributions[0]).namelist())
    ours = {name for name in names if ".dist-info/" not in name}
    assert ours == in_repository("*")
    for pattern in ("*.js", "*.d.ts", "*.html", "migrations/0*.py", "*.mo", "py.typed"):
        assert in_repository(pattern) and in_repository(pattern) <= names


def test_the_wheel_requires_django_and_channels_only(distributions: tuple[Path, Path]) -> None:
    wheel = zipfile.ZipFile(distributions[0])
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(wheel.read(name).decode())
    required = [text for text in metadata.get_all("Requires-Dist") or [] if "extra ==" not in text]
    assert sorted(text.lower().split(">")[0].strip() for text in required) == ["channels", "django"]
    assert set(metadata.get_all("Provides-Extra") or []) == {"daphne", "dev", "redis", "test"}
    assert metadata["Requires-Python"] == ">=3.10"
    assert "BSD-3-Clause" in (metadata["License-Expression"], metadata["License"])


def test_the_sdist_has_all_that_is_needed_to_build_and_test(
    distributions: tuple[Path, Path],
) -> None:
    with tarfile.open(distributions[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert in_repository("*") <= names
    for name in (
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "tox.ini",
        "tests/run.py",
        "tests/js/live-notify.test.js",
        "example_project/demo.py",
        "example_project/pages/templates/pages/home.html",
        "example_project/pages/static/pages/site.css",
    ):
        assert name in names, name
    assert not [name for name in names if ".venv" in name or "sqlite3" in name or ".pyc" in name]


def test_the_wheel_installs_and_its_check_passes_in_a_new_site(
    distributions: tuple[Path, Path], tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"

    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("DJANGO_SETTINGS_MODULE", "PYTHONPATH")
    }

    def run(*command: str) -> None:
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run(str(python), "-m", "pip", "install", "--quiet", str(distributions[0]))
    run(str(python), "-c", IMPORT_LOADS_NO_DJANGO)
    run(str(python), "-m", "django", "startproject", "mysite", ".")
    settings, urls = tmp_path / "mysite" / "settings.py", tmp_path / "mysite" / "urls.py"
    apps = "INSTALLED_APPS = ["
    settings.write_text(settings.read_text().replace(apps, f'{apps}\n    "django_live_notify",'))
    urls.write_text(
        "from django.urls import include, path\n"
        'urlpatterns = [path("live-notify/", include("django_live_notify.urls"))]\n'
    )
    run(str(python), "manage.py", "migrate", "--verbosity", "0")
    run(str(python), "manage.py", "check", "--fail-level", "WARNING")
    run(
        str(python),
        "manage.py",
        "shell",
        "-c",
        "from django.contrib.auth.models import User; from django_live_notify import push;"
        "assert push(User.objects.create(username='x'), 'hello').pk",
    )
