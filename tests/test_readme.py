"""The README: its examples run, its tables are complete."""

from __future__ import annotations

import re
import textwrap
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core import signing
from django.core.exceptions import ValidationError
from django.test import RequestFactory
from django.utils import timezone

from django_live_notify import api
from django_live_notify.conf import DEFAULT_LIMITS, Conf, conf
from django_live_notify.models import Notification, Scheduled
from tests.servers import ROOT

pytestmark = pytest.mark.django_db

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = [textwrap.dedent(code) for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL)]


def find_example(words: str) -> str:
    (found,) = (code for code in EXAMPLES if words in code)
    return found


def test_the_complete_example(make_user: Any) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    names: dict[str, Any] = {}
    exec(find_example("# views.py"), names)
    if get_user_model().USERNAME_FIELD != "username":
        pytest.skip("The example looks users up by their names.")
    request = RequestFactory().get("/")
    request.user = alice
    assert names["greet"](request, "bob").status_code == 200
    assert Notification.objects.for_user(bob).get().title == "alice says hello"


def test_the_examples_of_pushing_and_of_the_inbox(make_user: Any) -> None:
    User = get_user_model()
    user, group = make_user("alice"), Group.objects.create(name="crew")
    fields = {field.name for field in User._meta.get_fields()}
    code = find_example("push(EVERYONE")
    if "is_staff" not in fields:
        code = code.replace("is_staff=True", "is_superuser=True")
    names: dict[str, Any] = {
        "User": User,
        "user": user,
        "group": group,
        "request": SimpleNamespace(user=make_user("bob")),
        "ticket": group,
    }
    exec(code, names)
    titles = {row.rendered_title for row in Notification.objects.for_user(user)}
    assert {"Your export is ready", "Maintenance tonight", "Bob replied", "Order paid"} <= titles
    assert "Import: 80 %" in titles and "Import: 40 %" not in titles
    exec(find_example("inbox = "), names)
    assert len(names["items"]) == len(titles)


def test_the_example_of_scheduling(make_user: Any) -> None:
    names: dict[str, Any] = {
        "user": make_user("alice"),
        "group": Group.objects.create(name="crew"),
        "trial_ends": timezone.now() + timedelta(days=14),
    }
    exec(find_example("schedule(user"), names)
    assert [row.rendered_title for row in Scheduled.objects.pending()] == ["Stand-up"]


def test_the_examples_of_buttons(make_user: Any) -> None:
    class Leave:
        """A model of a site, as far as the example uses it."""

        answered_by: Any = None
        objects: Any

    class Manager:
        def filter(self, pk: int, answered_by: None) -> Manager:
            assert pk == 7
            return self

        def update(self, **values: Any) -> int:
            if Leave.answered_by is not None:
                return 0
            Leave.answered_by = values["answered_by"]
            return 1

    Leave.objects = Manager()
    alice, bob, carol = (make_user(name) for name in ("alice", "bob", "carol"))
    names: dict[str, Any] = {
        "managers": [bob, carol],
        "request": SimpleNamespace(user=alice),
        "leave": SimpleNamespace(pk=7),
        "Leave": Leave,
    }
    exec(find_example("actions=["), names)
    exec(find_example("def on_action"), names)
    said = Notification.objects.for_user(bob).get()
    assert [action["name"] for action in said.actions] == ["approve", "reject"]
    names["on_action"](bob, said, "approve")
    with pytest.raises(ValidationError):
        names["on_action"](carol, said, "reject")


def test_the_example_of_messages() -> None:
    names: dict[str, Any] = {}
    exec(find_example("def on_message"), names)
    user = SimpleNamespace(is_active=True)
    assert names["on_message"](user, "vote", {"choice": 2}) == {"choice": 2}
    with pytest.raises(ValidationError):
        names["on_message"](user, "other", None)


def test_the_example_of_tokens(make_user: Any) -> None:
    user, names = make_user("alice"), dict[str, Any]()
    exec(find_example("def authenticate"), names)
    token = signing.dumps(str(user.pk), salt="live-notify")
    assert names["authenticate"](None, token) == user
    for other in (token + "x", signing.dumps(str(user.pk)), str(user.pk), "x"):
        assert names["authenticate"](None, other) is None


def test_the_example_of_testing() -> None:
    names: dict[str, Any] = {"User": get_user_model()}
    exec(find_example("class ExportTests"), names)
    case = names["ExportTests"]("test_the_owner_is_told")
    case.test_the_owner_is_told()


def test_every_example_is_run_or_is_a_step_of_the_installation() -> None:
    run = ["# views.py", "push(EVERYONE", "inbox = ", "schedule(user"]
    run += ["actions=[", "def on_action", "def on_message", "def authenticate", "class ExportTests"]
    steps = [code for code in EXAMPLES if not any(words in code for words in run)]
    assert len(steps) == 5
    for code in steps:
        compile(code, "README.md", "exec")
        assert re.match(r"# (settings|urls|asgi)\.py\n", code)


def test_the_table_of_settings_is_complete_and_tells_the_defaults() -> None:
    table = dict(re.findall(r"^\| `LIVE_NOTIFY_(\w+)` \| `(.+?)` \|", README, re.MULTILINE))
    assert list(table) == [name for name in vars(Conf) if name.isupper()]
    for name, default in table.items():
        if name != "LIMITS":
            assert eval(default) == getattr(conf, name)
    assert all(f"`{name}`" in README for name in DEFAULT_LIMITS)


def test_the_table_of_arguments_is_complete() -> None:
    section = README[README.index("| argument |") : README.index("The inbox is a queryset")]
    told = {
        name
        for cell in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", cell)
    }
    code = api.schedule.__code__
    assert told == set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
