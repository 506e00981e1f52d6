"""Buttons: what a notification may carry, and that a reader's choice reaches the site once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connections
from django.test import Client, override_settings
from django.utils import timezone
from django.utils.translation import gettext_lazy

from django_live_notify import EVERYONE, Action, Topic, follow, push, schedule
from django_live_notify.models import Notification, Receipt, Scheduled
from django_live_notify.scheduling import publish_due

pytestmark = pytest.mark.django_db

BUTTONS = [Action("approve", "Approve"), Action("reject", "Reject")]


@pytest.fixture
def calls(settings: Any) -> list[tuple[str, int, str]]:
    """What reached the site, as (user, notification, name)."""
    heard: list[tuple[str, int, str]] = []

    def on_action(user: Any, notification: Notification, name: str) -> None:
        heard.append((user.get_username(), notification.pk, name))

    settings.LIVE_NOTIFY_ON_ACTION = on_action
    return heard


def sign_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def post(client: Client, body: Any) -> Any:
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return client.post("/live-notify/action/", text, content_type="application/json")


def item(client: Client) -> dict[str, Any]:
    (found,) = client.get("/live-notify/inbox/").json()["items"]
    return dict(found)


def refusal(response: Any) -> tuple[str, str]:
    assert response.status_code == 400, response.content
    answer = response.json()
    return answer["code"], answer["message"]


# What is said


def test_buttons_are_told_in_the_language_of_the_reader(alice: Any) -> None:
    actions = [Action("read", gettext_lazy("Archive")), Action("who", "Ask %(who)s")]
    push(alice, "Really?", actions=actions, params={"who": "Bob"})
    client = sign_in(alice)
    told = client.get("/live-notify/inbox/", headers={"Accept-Language": "de"}).json()["items"][0]
    assert told["actions"] == [
        {"name": "read", "label": "Archivieren"},
        {"name": "who", "label": "Ask Bob"},
    ]
    assert told["acted"] == ""


@pytest.mark.parametrize(
    "actions, error",
    [
        (["approve"], TypeError),
        (Action("a", "A"), TypeError),
        ("approve", TypeError),
        (3, TypeError),
        ([Action("", "A")], ValueError),
        ([Action("a", " ")], ValueError),
        ([Action("a", 5)], TypeError),
        ([Action("a", "x" * 101)], ValueError),
        ([Action("a", gettext_lazy("Ask %(who)s"))], ValueError),
        ([Action("a", "A"), Action("a", "B")], ValueError),
        ([Action(str(n), "A") for n in range(6)], ValueError),
    ],
)
def test_wrong_buttons_are_refused_at_once(actions: Any, error: Any, alice: Any) -> None:
    with pytest.raises(error):
        push(alice, "Really?", actions=actions)
    with pytest.raises(error):
        schedule(alice, "Really?", at=timedelta(hours=1), actions=actions)
    assert not Notification.objects.exists() and not Scheduled.objects.exists()


def test_scheduled_buttons_are_those_that_were_given(alice: Any) -> None:
    actions = [*BUTTONS, Action("later", gettext_lazy("Archive"))]
    schedule(alice, "Really?", at=timezone.now(), actions=actions)
    assert publish_due().published == 1
    client = sign_in(alice)
    told = client.get("/live-notify/inbox/", headers={"Accept-Language": "de"}).json()["items"][0]
    assert [one["label"] for one in told["actions"]] == ["Approve", "Reject", "Archivieren"]


# What is done


@pytest.mark.parametrize("to", ["alice", "topic", "everyone"])
def test_a_click_reaches_the_site_with_user_notification_and_name(
    to: str, alice: Any, calls: Any
) -> None:
    follow(alice, Topic("news"))
    audience = {"alice": alice, "topic": Topic("news"), "everyone": EVERYONE}[to]
    said = push(audience, "Really?", actions=BUTTONS)
    assert said is not None
    client = sign_in(alice)
    answer = post(client, {"id": said.pk, "name": "approve"})
    assert (answer.status_code, answer.json()) == (200, {"unread": 0})
    assert calls == [(alice.get_username(), said.pk, "approve")]
    told = item(client)
    assert (told["acted"], told["read"]) == ("approve", True)
    receipt = Receipt.objects.get(recipient=alice)
    assert receipt.action == "approve" and receipt.acted_at == receipt.read_at is not None


def test_where_one_is_done_another_is_not(alice: Any, calls: Any) -> None:
    said = push(alice, "Really?", actions=BUTTONS)
    assert said is not None
    client = sign_in(alice)
    post(client, {"id": said.pk, "name": "approve"})
    code, message = refusal(post(client, {"id": said.pk, "name": "reject"}))
    assert (code, message) == ("done", "An action was taken already.")
    assert len(calls) == 1 and item(client)["acted"] == "approve"


@pytest.mark.parametrize("retracted", [False, True], ids=["there", "retracted by the site"])
def test_what_is_done_is_not_done_again_for_whoever_got_no_answer(
    retracted: bool, alice: Any, bob: Any, calls: Any
) -> None:
    said = push([alice, bob], "Really?", actions=BUTTONS)
    assert said is not None
    client = sign_in(alice)
    answers = [post(client, {"id": said.pk, "name": "approve"})]
    if retracted:
        said.retract()
    answers.append(post(client, {"id": said.pk, "name": "approve"}))
    assert [(one.status_code, one.json()) for one in answers] == [(200, {"unread": 0})] * 2
    assert calls == [(alice.get_username(), said.pk, "approve")]
    refused = refusal(post(client, {"id": said.pk, "name": "reject"}))
    assert refused[0] == ("not_found" if retracted else "done")
    if retracted:
        assert refusal(post(sign_in(bob), {"id": said.pk, "name": "approve"}))[0] == "not_found"


@pytest.mark.django_db(transaction=True)
def test_of_many_clicks_at_once_one_reaches_the_site(alice: Any, calls: Any) -> None:
    said = push(EVERYONE, "Really?", actions=BUTTONS)
    assert said is not None
    tabs = [sign_in(alice) for _ in range(6)]

    def click(number: int) -> tuple[str, int]:
        try:
            name = BUTTONS[number % 2].name
            return name, int(post(tabs[number], {"id": said.pk, "name": name}).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(tabs)) as pool:
        answers = list(pool.map(click, range(len(tabs))))
    ((_, _, done),) = calls
    assert item(tabs[0])["acted"] == done
    # Who wanted the same is told that it is done.
    assert answers == [(name, 200 if name == done else 400) for name, _ in answers]


def test_each_reader_has_their_own(alice: Any, bob: Any, calls: Any) -> None:
    said = push([alice, bob], "Really?", actions=BUTTONS)
    assert said is not None
    for user, name in ((alice, "approve"), (bob, "reject")):
        assert post(sign_in(user), {"id": said.pk, "name": name}).status_code == 200
    assert [name for _, _, name in calls] == ["approve", "reject"]
    assert item(sign_in(alice))["acted"] == "approve"


def test_what_the_site_refuses_is_told_and_was_never_done(
    alice: Any, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    def on_action(user: Any, notification: Notification, name: str) -> None:
        push(user, "never said")
        if name == "approve":
            raise ValidationError(gettext_lazy("Archive"))
        raise PermissionDenied("Not you.")

    settings.LIVE_NOTIFY_ON_ACTION = on_action
    said = push(alice, "Really?", actions=BUTTONS)
    assert said is not None
    client = sign_in(alice)
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
    with django_capture_on_commit_callbacks() as callbacks:
        answer = post(client, {"id": said.pk, "name": "approve"})
        assert refusal(answer) == ("invalid", "Archivieren")
        answer = post(client, {"id": said.pk, "name": "reject"})
        assert refusal(answer) == ("forbidden", "Not you.")
    assert callbacks == [] and (item(client)["acted"], item(client)["read"]) == ("", False)


@pytest.mark.django_db(transaction=True)
def test_a_crash_of_the_site_leaves_the_button_to_be_pressed_again(
    alice: Any, settings: Any
) -> None:
    def crash(user: Any, notification: Notification, name: str) -> None:
        push(user, "never said")
        raise RuntimeError("a bug")

    settings.LIVE_NOTIFY_ON_ACTION = crash
    said = push(alice, "Really?", actions=BUTTONS)
    assert said is not None
    client = sign_in(alice)
    client.raise_request_exception = False
    assert post(client, {"id": said.pk, "name": "approve"}).status_code == 500
    assert item(client)["acted"] == ""
    settings.LIVE_NOTIFY_ON_ACTION = lambda user, notification, name: None
    assert post(client, {"id": said.pk, "name": "approve"}).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_an_async_function_is_in_the_same_transaction(alice: Any, settings: Any) -> None:
    async def on_action(user: Any, notification: Notification, name: str) -> None:
        await Notification.objects.acreate(title="never said")
        raise ValidationError("No.")

    settings.LIVE_NOTIFY_ON_ACTION = on_action
    said = push(alice, "Really?", actions=BUTTONS)
    assert said is not None
    answer = post(sign_in(alice), {"id": said.pk, "name": "approve"})
    assert refusal(answer) == ("invalid", "No.")
    assert list(Notification.objects.values_list("title", flat=True)) == ["Really?"]


def test_what_is_not_there_cannot_be_done(alice: Any, bob: Any, calls: Any) -> None:
    theirs = push(bob, "for bob", actions=BUTTONS)
    mine = push(alice, "Really?", actions=BUTTONS)
    gone = push(alice, "oops", actions=BUTTONS)
    over = push(alice, "over", actions=BUTTONS, expires=timedelta(hours=1))
    assert theirs and mine and gone and over
    gone.retract()
    Notification.objects.filter(pk=over.pk).update(expires_at=timezone.now())
    client = sign_in(alice)
    for number in (theirs.pk, gone.pk, over.pk, 2**63 - 1):
        answer = post(client, {"id": number, "name": "approve"})
        assert refusal(answer)[0] == "not_found"
    answer = post(client, {"id": mine.pk, "name": "delete"})
    assert refusal(answer)[0] == "unknown_action"
    assert calls == []


@pytest.mark.parametrize(
    "body",
    [{}, [], "x", {"id": 1}, {"name": "a"}, {"id": "1", "name": "a"}, {"id": True, "name": "a"}]
    + [{"id": 0, "name": "a"}, {"id": 1, "name": 5}, {"id": 1, "name": ""}, {"id": 2**63}]
    + [{"id": 1, "name": "x" * 101}, {"id": 1.5, "name": "a"}, {"id": 1, "name": "a\x00"}],
)
def test_what_says_nothing_clear_is_a_400_in_json(body: Any, alice: Any, calls: Any) -> None:
    assert refusal(post(sign_in(alice), body))[0] == "invalid"


def test_a_site_without_the_setting_takes_no_actions(alice: Any) -> None:
    said = push(alice, "Really?", actions=BUTTONS)
    assert said is not None
    answer = post(sign_in(alice), {"id": said.pk, "name": "approve"})
    assert refusal(answer) == ("forbidden", "This site takes no actions.")


def test_nobody_but_the_reader_may_and_only_by_post(alice: Any, calls: Any) -> None:
    assert post(Client(), {"id": 1, "name": "approve"}).status_code == 403
    assert sign_in(alice).get("/live-notify/action/").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)
    assert post(strict, {"id": 1, "name": "approve"}).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_a_refusal_is_no_success_under_atomic_requests(alice: Any, settings: Any) -> None:
    def on_action(user: Any, notification: Notification, name: str) -> None:
        raise ValidationError("No.")

    settings.LIVE_NOTIFY_ON_ACTION = on_action
    said = push(alice, "Really?", actions=BUTTONS)
    assert said is not None
    client = sign_in(alice)
    with override_settings():
        connections["default"].settings_dict["ATOMIC_REQUESTS"] = True
        try:
            answer = post(client, {"id": said.pk, "name": "approve"})
        finally:
            connections["default"].settings_dict["ATOMIC_REQUESTS"] = False
    assert refusal(answer) == ("invalid", "No.")
    assert item(client)["acted"] == ""


def test_a_page_that_polls_is_told(alice: Any, calls: Any) -> None:
    said = push(alice, "Really?", actions=BUTTONS)
    assert said is not None
    client = sign_in(alice)
    place = client.get("/live-notify/poll/").json()
    post(client, {"id": said.pk, "name": "reject"})
    query = {"cursor": place["cursor"], "since": place["time"]}
    states = client.get("/live-notify/poll/", query).json()["states"]
    wanted = {"type": "state", "action": "action", "ids": [said.pk], "name": "reject"}
    assert wanted in states
