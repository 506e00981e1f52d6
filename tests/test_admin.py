"""Staff compose, look and retract in Django's admin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_live_notify import EVERYONE, Topic, push, schedule
from django_live_notify.models import Notification, Scheduled
from django_live_notify.scheduling import publish_due

pytestmark = pytest.mark.django_db

LIST = "admin:live_notify_notification_changelist"
ADD = "admin:live_notify_notification_add"
SCHEDULED = "admin:live_notify_scheduled_changelist"

if not hasattr(get_user_model(), "is_staff"):
    pytest.skip("This user model has no staff.", allow_module_level=True)


@pytest.fixture
def admin(make_user: Any) -> Any:
    return make_user("admin", is_superuser=True, **_staff())


@pytest.fixture
def staff_client(admin: Any) -> Client:
    client = Client()
    client.force_login(admin)
    return client


def _staff() -> dict[str, Any]:
    fields = {field.name for field in get_user_model()._meta.get_fields()}
    return {"is_staff": True} if "is_staff" in fields else {}


def compose(client: Client, **values: Any) -> Any:
    content = {"title": "Hello", "body": "", "level": "info", "url": "", **values}
    content |= {"expires_at_0": "", "expires_at_1": ""}
    return client.post(reverse(ADD), content)


def titles_of(user: Any) -> list[str]:
    return [n.title for n in Notification.objects.for_user(user)]


def test_the_forms_are_shown(staff_client: Client) -> None:
    page = staff_client.get(reverse(ADD))
    assert page.status_code == 200
    assert "everyone" in page.content.decode()


def test_chosen_users_are_notified(staff_client: Client, admin: Any, make_user: Any) -> None:
    bob, carol = make_user("bob"), make_user("carol")
    response = compose(staff_client, audience="users", users=[bob.pk])
    assert response.status_code == 302, response.context["adminform"].form.errors
    assert titles_of(bob) == ["Hello"] and titles_of(carol) == []
    assert Notification.objects.get().actor == admin


def test_groups_are_notified(staff_client: Client, make_user: Any) -> None:
    bob = make_user("bob")
    group = Group.objects.create(name="crew")
    bob.groups.add(group)
    assert compose(staff_client, audience="groups", groups=[group.pk]).status_code == 302
    assert titles_of(bob) == ["Hello"]


def test_everyone_is_notified(staff_client: Client, make_user: Any) -> None:
    bob = make_user("bob")
    assert compose(staff_client, audience="everyone").status_code == 302
    assert titles_of(bob) == ["Hello"]


@pytest.mark.parametrize(
    "values",
    [
        {"audience": "users"},
        {"audience": "groups"},
        {"audience": "everyone", "url": "javascript:alert(1)"},
        {"audience": "everyone", "title": ""},
    ],
)
def test_what_cannot_be_said_is_an_error_of_the_form(
    staff_client: Client, values: dict[str, Any]
) -> None:
    response = compose(staff_client, **values)
    assert response.status_code == 200
    assert response.context["adminform"].form.errors
    assert not Notification.objects.exists()


def test_an_empty_group_is_an_error_of_the_form(staff_client: Client) -> None:
    group = Group.objects.create(name="nobody")
    response = compose(staff_client, audience="groups", groups=[group.pk])
    assert "nothing was sent" in response.content.decode()
    assert not Notification.objects.exists()


def test_only_who_may_notifies_everyone(make_user: Any) -> None:
    if not _staff():
        pytest.skip("Every member of staff is a superuser in this user model.")
    editor = make_user("editor", **_staff())
    permissions = Permission.objects.filter(content_type__app_label="live_notify")
    editor.user_permissions.set(
        permissions.filter(codename__in=["add_notification", "view_notification"])
    )
    client = Client()
    client.force_login(editor)
    response = compose(client, audience="everyone")
    assert response.status_code == 200 and not Notification.objects.exists()
    editor.user_permissions.add(permissions.get(codename="notify_everyone"))
    assert compose(client, audience="everyone").status_code == 302


def test_the_list_says_to_whom_and_in_which_state(
    staff_client: Client, make_user: Any, django_assert_max_num_queries: Any
) -> None:
    bob = make_user("bob")
    push(bob, "one", actor=bob)
    push(Topic("news"), "two")
    said = push(EVERYONE, "three")
    assert said is not None
    said.retract()
    for number in range(20):
        push(bob, f"more {number}", actor=bob)
    with django_assert_max_num_queries(12):
        page = staff_client.get(reverse(LIST)).content.decode()
    for text in ("1 user", "followers of news", "everyone", "retracted", "current"):
        assert text in page


def test_what_was_said_cannot_be_changed_or_deleted(staff_client: Client, make_user: Any) -> None:
    said = push(make_user("bob"), "one")
    assert said is not None
    url = reverse("admin:live_notify_notification_change", args=[said.pk])
    assert staff_client.get(url).status_code == 200
    assert staff_client.post(url, {"title": "two"}).status_code == 403
    delete = reverse("admin:live_notify_notification_delete", args=[said.pk])
    assert staff_client.post(delete, {"post": "yes"}).status_code == 403


def test_chosen_ones_are_retracted(staff_client: Client, make_user: Any) -> None:
    bob = make_user("bob")
    said = push(bob, "one")
    assert said is not None
    response = staff_client.post(
        reverse(LIST), {"action": "retract", "_selected_action": [said.pk]}, follow=True
    )
    assert "1 notification was retracted." in response.content.decode()
    assert titles_of(bob) == []


# What is scheduled


def test_the_list_of_what_is_scheduled_says_to_whom_and_what_became_of_it(
    staff_client: Client, make_user: Any, django_assert_max_num_queries: Any
) -> None:
    bob, group = make_user("bob"), Group.objects.create(name="crew")
    past, later = -timedelta(hours=1), timedelta(hours=1)
    schedule(Topic("news"), "one", at=past)
    schedule(group, "two", at=past)
    group.delete()
    publish_due()
    schedule([bob, Group.objects.create(name="other")], "three", at=later)
    cancelled = schedule(EVERYONE, "four", at=later)
    assert cancelled is not None and cancelled.cancel()
    for number in range(20):
        schedule(bob, f"more {number}", at=later)
    with django_assert_max_num_queries(12):
        page = staff_client.get(reverse(SCHEDULED)).content.decode()
    for text in ("followers of news", "1 user, members of 1 group", "everyone"):
        assert text in page
    for text in ("published", "cancelled", "to come", "failed: ValueError: The group was deleted"):
        assert text in page


@pytest.mark.parametrize("content", [{}, {"title": "of another version"}])
def test_what_nobody_understands_any_more_is_listed_with_its_error(
    staff_client: Client, make_user: Any, content: dict[str, Any], capsys: Any
) -> None:
    scheduled = schedule(make_user("bob"), "one", at=timedelta(0))
    assert scheduled is not None
    Scheduled.objects.update(content=content)
    call_command("publish_scheduled", "--list")
    assert content.get("title", "") in capsys.readouterr().out
    publish_due()
    url = reverse("admin:live_notify_scheduled_change", args=[scheduled.pk])
    for page in (staff_client.get(reverse(SCHEDULED)), staff_client.get(url)):
        text = page.content.decode()
        assert "KeyError: &#x27;expires&#x27;" in text
        assert content.get("title", "") in text


def test_what_is_scheduled_is_looked_at_and_not_changed(
    staff_client: Client, make_user: Any
) -> None:
    scheduled = schedule(make_user("bob"), "one", at=timedelta(0))
    assert scheduled is not None
    publish_due()
    url = reverse("admin:live_notify_scheduled_change", args=[scheduled.pk])
    assert "one" in staff_client.get(url).content.decode()
    assert staff_client.post(url, {"error": "two"}).status_code == 403
    assert staff_client.get(reverse("admin:live_notify_scheduled_add")).status_code == 403
    delete = reverse("admin:live_notify_scheduled_delete", args=[scheduled.pk])
    assert staff_client.post(delete, {"post": "yes"}).status_code == 403


def test_chosen_ones_that_are_still_to_come_are_cancelled(
    staff_client: Client, make_user: Any
) -> None:
    bob = make_user("bob")
    schedule(bob, "said", at=timedelta(0))
    publish_due()
    schedule(bob, "to come", at=timedelta(0))
    keys = list(Scheduled.objects.values_list("pk", flat=True))
    response = staff_client.post(
        reverse(SCHEDULED), {"action": "cancel", "_selected_action": keys}, follow=True
    )
    assert "1 scheduled notification was cancelled." in response.content.decode()
    publish_due()
    assert titles_of(bob) == ["said"]


def test_only_who_may_delete_cancels(make_user: Any) -> None:
    if not _staff():
        pytest.skip("Every member of staff is a superuser in this user model.")
    editor = make_user("editor", **_staff())
    permissions = Permission.objects.filter(content_type__app_label="live_notify")
    editor.user_permissions.set(permissions.filter(codename="view_scheduled"))
    schedule(editor, "to come", at=timedelta(hours=1))
    client = Client()
    client.force_login(editor)
    choice = {"action": "cancel", "_selected_action": [Scheduled.objects.get().pk]}
    client.post(reverse(SCHEDULED), choice)
    assert Scheduled.objects.pending().exists()
    editor.user_permissions.add(permissions.get(codename="delete_scheduled"))
    client.post(reverse(SCHEDULED), choice)
    assert not Scheduled.objects.pending().exists()


def test_chosen_ones_that_failed_are_tried_again(staff_client: Client, make_user: Any) -> None:
    bob, group = make_user("bob"), Group.objects.create(name="crew")
    schedule(group, "failed", at=timedelta(0))
    schedule(bob, "to come", at=timedelta(hours=1))
    key = group.pk
    group.delete()
    publish_due()
    Group.objects.create(pk=key, name="crew again").user_set.add(bob)
    keys = list(Scheduled.objects.values_list("pk", flat=True))
    response = staff_client.post(
        reverse(SCHEDULED), {"action": "retry", "_selected_action": keys}, follow=True
    )
    assert "1 scheduled notification will be tried again." in response.content.decode()
    publish_due()
    assert titles_of(bob) == ["failed"]


def test_only_who_may_change_tries_again(make_user: Any) -> None:
    if not _staff():
        pytest.skip("Every member of staff is a superuser in this user model.")
    editor = make_user("editor", **_staff())
    permissions = Permission.objects.filter(content_type__app_label="live_notify")
    editor.user_permissions.set(permissions.filter(codename="view_scheduled"))
    schedule(editor, "failed", at=timedelta(0))
    Scheduled.objects.update(failed_at=timezone.now())
    client = Client()
    client.force_login(editor)
    choice = {"action": "retry", "_selected_action": [Scheduled.objects.get().pk]}
    client.post(reverse(SCHEDULED), choice)
    assert Scheduled.objects.failed().exists()
    editor.user_permissions.add(permissions.get(codename="change_scheduled"))
    client.post(reverse(SCHEDULED), choice)
    assert not Scheduled.objects.failed().exists()
