"""push(): to whom, what is stored, and what is refused."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group
from django.contrib.messages import constants
from django.db import OperationalError, connection, transaction
from django.db.models.signals import post_save
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.translation import (
    gettext_lazy,
    ngettext_lazy,
    npgettext_lazy,
    override,
    pgettext_lazy,
)

from django_live_notify import (
    EVERYONE,
    Action,
    Topic,
    aemit,
    apush,
    emit,
    follow,
    push,
    schedule,
    signals,
    unfollow,
)
from django_live_notify.audiences import BATCH_SIZE
from django_live_notify.live import protocol
from django_live_notify.models import Notification, Receipt
from django_live_notify.scheduling import publish_due

pytestmark = pytest.mark.django_db

# What a push to users by name takes; PostgreSQL inserts both by one statement.
INSERTS = 1 if connection.vendor == "postgresql" else 2


def users() -> Any:
    return get_user_model()._default_manager.all()


def inbox(user: Any) -> list[str]:
    return [row.title for row in Notification.objects.for_user(user).order_by("pk")]


# To whom


def test_one_user(alice: Any, bob: Any) -> None:
    said = push(alice, "hello")
    assert said is not None and said.pk
    assert inbox(alice) == ["hello"] and inbox(bob) == []


def test_a_lazy_user_of_a_request(alice: Any) -> None:
    push(SimpleLazyObject(lambda: alice), "hello")
    assert inbox(alice) == ["hello"]


def test_users_in_any_iterable_each_once(alice: Any, bob: Any) -> None:
    push((user for user in (alice, bob, alice)), "hello")
    assert inbox(alice) == inbox(bob) == ["hello"]


def test_a_queryset_each_once(alice: Any, bob: Any) -> None:
    push(users() | users(), "hello")
    assert inbox(alice) == inbox(bob) == ["hello"]


def test_a_manager(alice: Any) -> None:
    push(get_user_model()._default_manager, "hello")
    assert inbox(alice) == ["hello"]


def test_a_queryset_joined_to_many_rows_each_once(alice: Any) -> None:
    alice.groups.set([Group.objects.create(name=name) for name in "abc"])
    push(users().filter(groups__name__in="abc"), "hello")
    assert inbox(alice) == ["hello"]


def test_sliced_and_combined_querysets(alice: Any, bob: Any) -> None:
    push(users().order_by("pk")[:1], "sliced")
    push(users().filter(pk=alice.pk).union(users().filter(pk=bob.pk)), "combined")
    assert sorted(inbox(alice) + inbox(bob)) == ["combined", "combined", "sliced"]


def test_a_group_and_a_queryset_of_groups(alice: Any, bob: Any) -> None:
    group = Group.objects.create(name="crew")
    alice.groups.add(group)
    push(group, "to the group")
    push(Group.objects.all(), "to all groups")
    assert inbox(alice) == ["to the group", "to all groups"] and inbox(bob) == []


def test_a_union_of_everything(alice: Any, bob: Any, make_user: Any) -> None:
    carol = make_user("carol")
    group = Group.objects.create(name="crew")
    alice.groups.add(group)
    push([alice, group, users().filter(pk=bob.pk)], "hello")
    assert inbox(alice) == inbox(bob) == ["hello"] and inbox(carol) == []


def test_everyone_who_is_there(alice: Any, make_user: Any) -> None:
    push(EVERYONE, "hello")
    later = make_user("later")
    assert inbox(alice) == ["hello"] and inbox(later) == []
    assert Receipt.objects.count() == 0


def test_a_topic_reaches_who_follows_it(alice: Any, bob: Any) -> None:
    follow(alice, Topic("news"))
    push(Topic("news"), "hello")
    assert inbox(alice) == ["hello"] and inbox(bob) == []
    assert Receipt.objects.count() == 0


def test_a_topic_is_heard_from_following_to_unfollowing(alice: Any) -> None:
    news = Topic("news")
    push(news, "before")
    follow(alice, news)
    push(news, "one")
    assert unfollow(alice, news) is True
    push(news, "between")
    assert unfollow(alice, news) is False
    follow(alice, news)
    follow(alice, news)
    push(news, "two")
    assert inbox(alice) == ["one", "two"]


def test_following_again_at_once_goes_on(alice: Any) -> None:
    news = Topic("news")
    follow(alice, news)
    unfollow(alice, news)
    follow(alice, news)
    push(news, "hello")
    assert inbox(alice) == ["hello"]


@pytest.mark.parametrize("kind", ["list", "queryset", "everyone", "topic"])
def test_who_is_excluded_is_left_out(kind: str, alice: Any, bob: Any) -> None:
    for user in (alice, bob):
        follow(user, Topic("news"))
    to = {"list": [alice, bob], "queryset": users(), "everyone": EVERYONE, "topic": Topic("news")}
    push(to[kind], "one user", exclude=alice)
    push(to[kind], "a queryset", exclude=users().filter(pk=alice.pk))
    push(to[kind], "nobody", exclude=AnonymousUser())
    assert inbox(alice) == ["nobody"]
    assert inbox(bob) == ["one user", "a queryset", "nobody"]


def test_inactive_users_are_left_out(alice: Any, bob: Any) -> None:
    fields = {field.name for field in get_user_model()._meta.get_fields()}
    if "is_active" not in fields:
        pytest.skip("Nobody is inactive in this user model.")
    alice.is_active = False
    alice.save()
    assert push(alice, "one") is None
    push([alice, bob], "list")
    push(users(), "queryset")
    push(users().order_by("pk")[:5], "sliced")
    assert inbox(alice) == [] and inbox(bob) == ["list", "queryset", "sliced"]


def test_an_empty_audience_is_no_error_and_nothing_is_stored(alice: Any) -> None:
    empty = [[], users().none(), Group.objects.create(name="empty"), users().filter(pk=None)]
    for to in empty:
        assert push(to, "hello") is None
    assert push(alice, "hello", exclude=alice) is None
    assert not Notification.objects.exists()


# What is stored


def test_everything_that_was_said(alice: Any, bob: Any) -> None:
    expires = timezone.now() + timedelta(hours=1)
    target = Group.objects.create(name="target")
    said = push(
        alice,
        "title",
        body="body",
        url="/x/?y#z",
        level="warning",
        kind="comment.created",
        icon="https://example.com/i.png",
        data={"n": [1, None], "at": expires},
        actor=bob,
        target=target,
        tag="t",
        expires=expires,
    )
    assert said is not None
    said.refresh_from_db()
    assert (said.title, said.body, said.url, said.level) == ("title", "body", "/x/?y#z", "warning")
    assert (said.kind, said.icon, said.tag) == ("comment.created", "https://example.com/i.png", "t")
    assert said.data["n"] == [1, None] and isinstance(said.data["at"], str)
    assert said.actor == bob and said.expires_at == expires
    assert (said.target_type, said.target_id) == ("auth.group", str(target.pk))


def test_the_returned_notification_has_what_will_be_read_back(alice: Any) -> None:
    said = push(alice, "hello", data={1: (2, 3)})
    assert said is not None and said.data == {"1": [2, 3]}


@pytest.mark.parametrize(
    ("level", "name"),
    [(constants.DEBUG, "info"), (constants.INFO, "info"), (constants.SUCCESS, "success")]
    + [(constants.WARNING, "warning"), (constants.ERROR, "error")]
    + [(Notification.Level.ERROR, "error")],
)
def test_levels_of_messages_are_understood(alice: Any, level: Any, name: str) -> None:
    said = push(alice, "hello", level=level)
    assert said is not None and said.level == name


def test_one_user_costs_two_inserts_and_on_postgresql_one_statement(
    alice: Any, bob: Any, django_assert_num_queries: Any
) -> None:
    # Inside a transaction, as here, there is not even a savepoint.
    with django_assert_num_queries(INSERTS):
        push(alice, "hello")
    with django_assert_num_queries(INSERTS):
        push([alice, bob], "hello")
    assert inbox(alice) == ["hello", "hello"] and inbox(bob) == ["hello"]


def test_everyone_costs_one_insert(alice: Any, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        push(EVERYONE, "hello")


def test_many_users_by_name_are_written_in_batches(django_assert_num_queries: Any) -> None:
    many = [get_user_model()(pk=number) for number in range(1, BATCH_SIZE + 2)]
    for user in many:
        user._state.adding = False
    with django_assert_num_queries(3):
        push(many, "hello")
    assert Receipt.objects.count() == BATCH_SIZE + 1


@pytest.mark.django_db(transaction=True)
def test_what_one_statement_writes_takes_no_transaction_beside_it(
    alice: Any, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        push(EVERYONE, "hello")
    # BEGIN and COMMIT count, too.
    with django_assert_num_queries(1 if INSERTS == 1 else INSERTS + 2):
        push(alice, "hello")
    assert inbox(alice) == ["hello", "hello"]


@pytest.mark.django_db(transaction=True)
def test_who_hears_of_a_push_finds_it_committed(alice: Any, request: Any) -> None:
    found: list[list[str]] = []

    def read() -> None:
        try:
            found.append(inbox(alice))
        finally:
            connection.close()

    def hear(**kwargs: Any) -> None:
        other = threading.Thread(target=read)
        other.start()
        other.join(30)

    signals.pushed.connect(hear)
    request.addfinalizer(lambda: signals.pushed.disconnect(hear))
    push(alice, "one")
    push(EVERYONE, "two")
    push(users(), "three")
    assert found == [["one"], ["one", "two"], ["one", "two", "three"]]


def test_a_queryset_costs_two_inserts(alice: Any, bob: Any, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        push(users(), "hello")


def test_lazy_texts_are_read_in_the_language_of_the_reader(alice: Any) -> None:
    with override("de"):
        push(alice, gettext_lazy("Yes"), body=pgettext_lazy("boot", "not in any catalogue"))
    said = Notification.objects.get()
    assert said.title == "Yes"
    for language, title in (("en", "Yes"), ("de", "Ja"), ("fr", "Oui")):
        with override(language):
            assert said.rendered_title == title
            assert said.rendered_body == "not in any catalogue"


def test_plain_texts_stay_as_they_are(alice: Any) -> None:
    push(alice, "yes 100 % %(who)s")
    with override("de"):
        assert Notification.objects.get().rendered_title == "yes 100 % %(who)s"


def test_parameters_fill_texts(alice: Any) -> None:
    push(alice, "%%s 100 %%%(n)d%%", params={"n": 3})
    assert Notification.objects.get().rendered_title == "%s 100 %3%"
    Notification.objects.all().delete()
    push(alice, gettext_lazy("%(n)d of %(who)s"), params={"n": 3, "who": gettext_lazy("Yes")})
    assert Notification.objects.get().rendered_title == "3 of Yes"


def test_lazy_parameters_are_read_in_the_language_of_the_reader(alice: Any) -> None:
    years = ngettext_lazy("%(num)d year", "%(num)d years", "num")
    params = {
        "answer": gettext_lazy("Yes"),
        "month": pgettext_lazy("alt. month", "May"),
        "nothing": gettext_lazy(""),
        "place": reverse_lazy("live_notify:inbox"),
        "plain": "Yes",
        "num": 2,
    }
    text = "%(answer)s %(month)s %(nothing)s %(place)s %(plain)s"
    with override("fr"):
        push(alice, text, body=years, params=params)
        schedule(alice, text, body=years, params=params, at=timedelta(0))
        publish_due()
    expected = {
        "en": ("Yes May  /live-notify/inbox/ Yes", "2 years"),
        "de": ("Ja Mai  /live-notify/inbox/ Yes", "2 Jahre"),
        "fr": ("Oui Mai  /live-notify/inbox/ Yes", "2 ans"),
    }
    for said in Notification.objects.for_user(alice):
        for language, texts in expected.items():
            with override(language):
                item = protocol.item_of(said)
                assert (said.rendered_title, said.rendered_body) == texts
                assert (item["title"], item["body"]) == texts


def test_a_parameter_of_no_use_is_what_it_is_or_an_error(alice: Any) -> None:
    for odd in ({"\x05": 5}, {"\x05": ["Yes"]}, {"\x05": "Yes", "x": 1}, {"": "Yes"}):
        said = push(alice, "%(odd)s", params={"odd": odd})
        assert said is not None and said.rendered_title == str(odd)
    with pytest.raises(ValueError, match="cannot be formatted"):
        push(alice, "%(odd)s", params={"odd": {"\x05": "a\x1fb"}})


def test_plurals_are_those_of_the_language_of_the_reader(alice: Any) -> None:
    years = ngettext_lazy("%(num)d year", "%(num)d years", "num")
    for number in (1, 3):
        said = push(alice, years, body=years, params={"num": number})
        assert said is not None
        said.refresh_from_db()
        for language, one, many in (("en", "year", "years"), ("de", "Jahr", "Jahre")):
            with override(language):
                expected = f"{number} {one if number == 1 else many}"
                assert said.rendered_title == said.rendered_body == expected


def test_plurals_may_have_a_context_and_a_number_of_their_own(alice: Any) -> None:
    fixed = ngettext_lazy("%(who)s and a friend", "%(who)s and %(n)d friends", 2)
    push(alice, fixed, params={"who": "Bob", "n": 2})
    seats = npgettext_lazy("boot", "%(n)d seat", "%(n)d seats", "n")
    push(alice, seats, params={"n": 1})
    assert [row.rendered_title for row in Notification.objects.order_by("pk")] == [
        "Bob and 2 friends",
        "1 seat",
    ]


def test_what_expired_is_not_in_the_inbox(alice: Any) -> None:
    said = push(alice, "short", expires=timedelta(hours=1))
    assert said is not None and inbox(alice) == ["short"]
    Notification.objects.update(expires_at=timezone.now())
    assert inbox(alice) == []


def test_the_newest_of_a_tag_replaces_the_others_for_each_reader(alice: Any, bob: Any) -> None:
    push([alice, bob], "10 %", tag="import")
    push(alice, "20 %", tag="import")
    push(alice, "other", tag="export")
    assert inbox(alice) == ["20 %", "other"]
    assert inbox(bob) == ["10 %"]
    assert Notification.objects.for_user(alice).unread().count_capped() == 2


def test_a_repeated_key_says_nothing_and_returns_what_was_said(alice: Any) -> None:
    one = push(alice, "paid", idempotency_key="order-7")
    two = push(alice, "paid again", idempotency_key="order-7")
    assert one == two and inbox(alice) == ["paid"]


def test_the_sender_may_be_anonymous(alice: Any) -> None:
    said = push(alice, "hello", actor=AnonymousUser())
    assert said is not None and said.actor is None


def test_a_deleted_actor_leaves_the_notification(alice: Any, bob: Any) -> None:
    push(alice, "hello", actor=bob)
    bob.delete()
    assert Notification.objects.get().actor is None and inbox(alice) == ["hello"]


def test_a_deleted_reader_leaves_nothing_of_theirs(alice: Any, bob: Any) -> None:
    push([alice, bob], "hello")
    alice.delete()
    assert Receipt.objects.count() == 1


# What is refused


@pytest.mark.parametrize(
    ("keys", "error", "words"),
    [
        ({"level": "loud"}, ValueError, "'info', 'success', 'warning', 'error'"),
        ({"level": 7}, ValueError, "Unknown level 7"),
        ({"level": []}, ValueError, "Unknown level"),
        ({"url": "javascript:alert(1)"}, ValueError, "expected a path of this site, or http"),
        ({"url": "java\nscript:alert(1)"}, ValueError, "not allowed"),
        ({"url": "\x01javascript:alert(1)"}, ValueError, "not allowed"),
        ({"url": "//evil.example"}, ValueError, "without // at its start"),
        ({"url": "/\\evil.example"}, ValueError, "without backslashes"),
        ({"url": "\t//evil.example"}, ValueError, "without // at its start"),
        ({"url": "http:evil.example"}, ValueError, "not allowed"),
        ({"url": "data:text/html,x"}, ValueError, "not allowed"),
        ({"url": "http://[bad"}, ValueError, "not allowed"),
        ({"url": 7}, TypeError, "url must be a string"),
        ({"url": "/" + "x" * 2000}, ValueError, "at most 2000"),
        ({"icon": "javascript:alert(1)"}, ValueError, "icon"),
        ({"data": object()}, ValueError, "data is not JSON"),
        ({"data": float("nan")}, ValueError, "data is not JSON"),
        ({"data": {"x": {1, 2}}}, ValueError, "data is not JSON"),
        ({"data": "x" * 16385}, ValueError, "at most 16384"),
        ({"data": "\x00"}, ValueError, "NUL"),
        ({"data": {"\ud800": 1}}, ValueError, "surrogate"),
        ({"title": ""}, ValueError, "title must not be empty"),
        ({"title": "  "}, ValueError, "title must not be empty"),
        ({"title": None}, TypeError, "title must be a string"),
        ({"title": "x" * 256}, ValueError, "at most 255"),
        ({"title": "a\x00b"}, ValueError, "NUL"),
        ({"body": 7}, TypeError, "body must be a string"),
        ({"title": gettext_lazy("%(who)s left")}, ValueError, "needs the parameter 'who'"),
        ({"title": ngettext_lazy("%(n)d", "%(n)d s", "n")}, ValueError, "needs the parameter 'n'"),
        (
            {"title": ngettext_lazy("a", "%(n)d s", "n"), "params": {"n": "3"}},
            ValueError,
            "n must be a whole number",
        ),
        ({"body": ngettext_lazy("a", "b")}, ValueError, "does not say what it counts"),
        ({"body": ngettext_lazy("%(x)s", "b", 1), "params": {"n": 1}}, ValueError, "'x'"),
        ({"title": gettext_lazy("%(n)z"), "params": {"n": 1}}, ValueError, "cannot be formatted"),
        ({"title": "%(who)s left", "params": {"x": 1}}, ValueError, "needs the parameter 'who'"),
        ({"title": "%(n)d left", "params": {"n": "x"}}, ValueError, "cannot be formatted"),
        ({"title": "100 % left %", "params": {"n": 1}}, ValueError, "written %%"),
        ({"title": "Order %s", "params": {"n": 1}}, ValueError, "has no name"),
        ({"body": gettext_lazy("%(n)d of %d %%"), "params": {"n": 1}}, ValueError, "has no name"),
        ({"params": [1]}, TypeError, "params must be a dictionary"),
        ({"actor": "bob"}, TypeError, "actor must be a saved user"),
        ({"target": "bob"}, TypeError, "target must be a saved model"),
        ({"target": Group(name="unsaved")}, TypeError, "target must be a saved model"),
        ({"tag": "x" * 101}, ValueError, "tag has 101 characters"),
        ({"kind": 7}, TypeError, "kind must be a string"),
        ({"idempotency_key": ""}, ValueError, "idempotency_key must not be empty"),
        ({"expires": 60}, TypeError, "a datetime or a timedelta"),
        ({"expires": timedelta(0)}, ValueError, "not in the future"),
    ],
)
def test_what_is_wrong_in_a_call_raises_and_stores_nothing(
    alice: Any, keys: dict[str, Any], error: type[Exception], words: str
) -> None:
    title = keys.pop("title", "hello")
    with pytest.raises(error) as caught:
        push(alice, title, **keys)
    keys["title"] = title
    assert words in str(caught.value)
    assert not Notification.objects.exists()


@pytest.mark.parametrize("to", ["", "alice", 7, None, b"x", {"a": 1}, [None], [["x"]], ["alice"]])
def test_what_is_no_audience_raises(to: Any) -> None:
    with pytest.raises(TypeError, match="Expected a user"):
        push(to, "hello")


def test_querysets_of_something_else_are_no_audience() -> None:
    with pytest.raises(TypeError, match="of Notification"):
        push(Notification.objects.all(), "hello")


def test_topics_do_not_go_into_lists(alice: Any) -> None:
    with pytest.raises(TypeError, match="the last two alone"):
        push([alice, EVERYONE], "hello")


def test_anonymous_and_unsaved_users_raise() -> None:
    with pytest.raises(ValueError, match="anonymous"):
        push(AnonymousUser(), "hello")
    with pytest.raises(ValueError, match="not saved"):
        push(get_user_model()(), "hello")


@pytest.mark.parametrize("name", ["", "  ", "*", "x" * 201, "a\x00"])
def test_names_of_topics_are_checked(name: str) -> None:
    with pytest.raises(ValueError):
        Topic(name)


def test_only_topics_are_followed(alice: Any) -> None:
    with pytest.raises(TypeError, match="Expected a Topic"):
        follow(alice, "news")
    with pytest.raises(ValueError, match="EVERYONE"):
        follow(alice, EVERYONE)
    with pytest.raises(TypeError, match="Expected a saved user"):
        follow(AnonymousUser(), Topic("news"))


# Transactions and signals


@pytest.fixture
def told() -> Any:
    """Collect what the signals tell."""
    heard: list[tuple[str, dict[str, Any]]] = []
    receivers = {}
    for name in ("pushed", "state_changed", "retracted", "emitted"):
        receivers[name] = partial(_note, heard, name)
        getattr(signals, name).connect(receivers[name], weak=False)
    yield heard
    for name, receiver in receivers.items():
        getattr(signals, name).disconnect(receiver)


def _note(heard: list[Any], signal_name: str, /, **keys: Any) -> None:
    heard.append((signal_name, keys))


@pytest.mark.django_db(transaction=True)
def test_signals_are_sent_after_the_commit_and_not_after_a_rollback(alice: Any, told: Any) -> None:
    with transaction.atomic():
        push(alice, "one")
        emit(alice, "typing")
        assert told == []
    assert [name for name, _ in told] == ["pushed", "emitted"]
    assert told[0][1]["recipients"] == [alice.pk]
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        push(alice, "two")
        raise ZeroDivisionError
    assert len(told) == 2 and inbox(alice) == ["one"]


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_raises_harms_nobody(alice: Any, told: Any, caplog: Any) -> None:
    def fail(**keys: Any) -> None:
        raise RuntimeError("receiver")

    signals.pushed.connect(fail)
    try:
        assert push(alice, "hello") is not None
    finally:
        signals.pushed.disconnect(fail)
    assert [name for name, _ in told] == ["pushed"]
    assert "receiver" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_states_and_retractions_are_told(alice: Any, told: Any) -> None:
    said = push(alice, "hello")
    assert said is not None
    Notification.objects.for_user(alice).mark_read()
    said.retract()
    assert said.retract() is False
    names = [name for name, _ in told]
    assert names == ["pushed", "state_changed", "retracted"]
    changed, retracted = told[1][1], told[2][1]
    assert (changed["reader"], changed["action"], changed["ids"]) == (alice.pk, "read", [said.pk])
    assert retracted["ids"] == [said.pk]


@pytest.mark.django_db(transaction=True)
def test_a_reader_deleted_while_a_push_is_open_changes_nothing_for_the_pusher(
    alice: Any, bob: Any
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time.")

    def delete() -> None:
        alice.delete()
        connection.close()

    with transaction.atomic():
        push([alice, bob], "hello")
        thread = threading.Thread(target=delete)
        thread.start()
        thread.join(20)
    assert inbox(bob) == ["hello"]


@pytest.mark.django_db(transaction=True)
def test_async_twins(alice: Any, told: Any) -> None:
    said = async_to_sync(apush)(alice, "hello")
    async_to_sync(aemit)(alice, "typing", {"x": 1})
    assert said is not None and inbox(alice) == ["hello"]
    assert told[1][1]["data"] == {"x": 1} and told[1][1]["recipients"] == [alice.pk]
    assert apush.__doc__ == "See push()."


def test_events_are_checked(alice: Any) -> None:
    with pytest.raises(ValueError, match="name must not be empty"):
        emit(alice, "")
    with pytest.raises(ValueError, match="data is not JSON"):
        emit(alice, "x", object())
    with pytest.raises(ValueError, match="data has 524289 bytes"):
        emit(alice, "x", bytes(512 * 1024 + 1))
    with pytest.raises(TypeError, match="Not an audience"):
        emit("", "x")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("named", ["one", "queryset", "slice", "everyone but one"])
def test_a_push_that_fails_half_way_has_said_nothing(alice: Any, named: str, request: Any) -> None:
    heard: list[Any] = []

    def hear(**kwargs: Any) -> None:
        heard.append(kwargs)

    def fail(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "live_notify_receipt" in sql:
            raise OperationalError("the disk is full")
        return execute(sql, params, many, context)

    to = {"one": alice, "queryset": users(), "slice": users()[:1]}.get(named, EVERYONE)
    signals.pushed.connect(hear)
    request.addfinalizer(lambda: signals.pushed.disconnect(hear))
    with connection.execute_wrapper(fail), pytest.raises(OperationalError):
        push(to, "hello", exclude=alice if to is EVERYONE else None)
    assert not Notification.objects.exists() and not heard


def test_an_address_loses_what_no_browser_sends(alice: Any) -> None:
    said = push(alice, "hello", url=" /a\n\x00b\u200b/ ")
    assert said is not None and said.url == "/ab/"


@pytest.mark.parametrize("by", ["sql", "model"])
@pytest.mark.parametrize("values", ["defaults", "everything"])
def test_what_is_returned_is_what_is_stored(
    alice: Any, bob: Any, values: str, by: str, request: Any
) -> None:
    if by == "model":
        post_save.connect(_listen, sender=Notification)
        request.addfinalizer(lambda: post_save.disconnect(_listen, sender=Notification))
    everything = {
        "body": "body",
        "url": "/there/",
        "level": "error",
        "kind": "order",
        "icon": "/icon.png",
        "data": {"a": [1, None]},
        "actions": [Action("accept", "Accept")],
        "params": {"n": 1},
        "actor": bob,
        "target": bob,
        "tag": "order-1",
        "idempotency_key": "order-1",
        "expires": timedelta(days=1),
    }
    said = push(alice, "100%% sure", **(everything if values == "everything" else {}))
    assert said is not None and not said._state.adding
    kept = Notification.objects.get()
    fields = [field.attname for field in Notification._meta.concrete_fields]
    assert [getattr(said, name) for name in fields] == [getattr(kept, name) for name in fields]


def _listen(**kwargs: Any) -> None:
    pass


def test_who_listens_to_the_model_hears_of_each_push(alice: Any, request: Any) -> None:
    heard: list[tuple[int, bool]] = []

    def hear(instance: Notification, created: bool, **kwargs: Any) -> None:
        heard.append((instance.pk, created))

    post_save.connect(hear, sender=Notification)
    request.addfinalizer(lambda: post_save.disconnect(hear, sender=Notification))
    said = push(alice, "hello")
    assert said is not None and heard == [(said.pk, True)]
