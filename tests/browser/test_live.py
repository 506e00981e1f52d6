"""Two people, two browsers, several tabs: what they see when something is pushed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import BELL, FAST, LOOKS, TOAST
from tests.servers import Site, wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.parametrize("site", ["daphne", "uvicorn"], indirect=True, scope="module"),
    pytest.mark.usefixtures("empty_log"),
]

SETTINGS = FAST


def test_a_push_from_a_view_appears_at_once(site: Site, open_page: Any) -> None:
    alice, bob = open_page(site).sign_in("alice"), open_page(site).sign_in("bob")
    alice.push("bob", "Tea is ready", body="Earl Grey", level="success")
    bob.expect_toast("Tea is ready")
    bob.expect_badge("1")
    bob.expect_heard("Tea is ready")
    alice.until_live()
    assert alice.badge == "" and alice.toasts == []
    assert alice.problems == [] and bob.problems == []


def test_a_push_with_buttons_is_answered(site: Site, open_page: Any) -> None:
    alice, bob = open_page(site).sign_in("alice"), open_page(site).sign_in("bob")
    alice.page.get_by_label("Add Approve and Reject").check()
    alice.push("bob", "May I leave?", level="warning")
    bob.page.click(f"{TOAST} button:has-text('Approve')")
    alice.until_live()
    alice.expect_toast("bob approved “May I leave?”")
    assert alice.problems == [] and bob.problems == []


def test_a_push_from_a_shell_appears_by_the_sweep(site: Site, open_page: Any) -> None:
    bob = open_page(site).sign_in("bob")
    site.shell("push(bob, 'from a shell'); push(EVERYONE, 'to everyone')")
    bob.expect_heard("from a shell", "to everyone")
    bob.expect_badge("2")


def test_the_command_of_the_front_page_can_be_pasted(
    site: Site, open_page: Any, tmp_path: Path
) -> None:
    bob = open_page(site).sign_in("bob")
    command = bob.page.inner_text("pre")
    # Another Python comes first here, as for whoever has not activated the environment.
    environment = {**site.environment, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    bob.expect_heard("Hello from a shell")


def test_a_push_from_the_admin_appears(site: Site, open_page: Any) -> None:
    bob, admin = open_page(site).sign_in("bob"), open_page(site).sign_in("admin")
    admin.page.goto(f"{site.url}/admin/live_notify/notification/add/")
    admin.page.select_option("#id_audience", "everyone")
    admin.page.fill("#id_title", "From the admin")
    admin.page.click("input[name=_save]")
    bob.expect_toast("From the admin")
    bob.expect_badge("1")
    assert admin.problems == []


def test_a_warning_is_logged_once(site: Site, open_page: Any) -> None:
    bob = open_page(site).sign_in("bob")
    bob.page.goto(f"{site.url}/not-a-page/")
    bob.goto()
    site.shell("from django_live_notify.models import LogState; LogState.current().renew()")
    wait_until(lambda: "The log was replaced" in site.tail(), site.tail)
    # The second of two handlers writes at once.
    bob.until_live()
    for line in ("Not Found: /not-a-page/", "The log was replaced"):
        assert site.tail().count(line) == 1, site.tail()


def test_a_phone_shows_whose_page_it_is(site: Site, open_page: Any) -> None:
    phone = open_page(site, **LOOKS["phone"])
    phone.page.goto(f"{site.url}/login/")
    assert phone.page.is_visible(".brand")
    phone.sign_in("bob")
    assert phone.page.locator(".bar .name:visible").inner_text() == "bob"
    name, nav = (phone.page.locator(f".bar {part}").bounding_box() for part in (".name", "nav"))
    assert name["y"] < nav["y"] + nav["height"], "in one line with the pages"
    assert name["x"] + name["width"] < 375


def test_a_page_has_the_direction_of_its_own_language_and_the_bell_that_of_the_reader(
    site: Site, open_page: Any
) -> None:
    bob = open_page(site, locale="ar").sign_in("bob")
    direction = "(place) => getComputedStyle(place).direction"
    assert bob.page.locator("main").evaluate(direction) == "ltr"
    assert bob.page.locator(BELL).evaluate(direction) == "rtl"


def test_read_on_one_tab_is_read_on_the_other(site: Site, open_page: Any) -> None:
    bob = open_page(site).sign_in("bob")
    other = open_page(site, beside=bob).goto()
    site.shell("push(bob, 'one'); push(bob, 'two')")
    for tab in (bob, other):
        tab.expect_badge("2")
        tab.open_bell()
        wait_until(lambda tab=tab: tab.listed_unread == ["two", "one"], "both unread")
    bob.page.click("live-notify-bell li:has-text('one') .open")
    for tab in (bob, other):
        tab.expect_badge("1")
        wait_until(lambda tab=tab: tab.listed_unread == ["two"], "one read")
    other.page.click("live-notify-bell button:has-text('Mark all as read')")
    for tab in (bob, other):
        tab.expect_badge("")
        wait_until(lambda tab=tab: tab.listed_unread == [], "all read")


def test_a_toast_is_shown_once_in_a_browser(site: Site, open_page: Any) -> None:
    bob = open_page(site).sign_in("bob")
    other = open_page(site, beside=bob).goto()
    site.shell("push(bob, 'once', level='error'); push(bob, 'and again', level='error')")
    bob.expect_heard("once", "and again")
    other.expect_heard("once", "and again")
    wait_until(lambda: "and again" in bob.toasts + other.toasts, "the second toast")
    assert sorted(bob.toasts + other.toasts) == ["and again", "once"]


def test_a_restart_of_the_server_loses_and_doubles_nothing(site: Site, open_page: Any) -> None:
    alice, bob = open_page(site).sign_in("alice"), open_page(site).sign_in("bob")
    site.shell("push(EVERYONE, 'before')")
    for page in (alice, bob):
        page.expect_heard("before")
    site.stop()
    for page in (alice, bob):
        wait_until(lambda page=page: page.client("status") != "live", "the outage to be noticed")
    site.shell("push(bob, 'for bob'); push(EVERYONE, 'meanwhile')")
    site.start()
    site.shell("push(EVERYONE, 'after')")
    alice.expect_heard("before", "meanwhile", "after")
    bob.expect_heard("before", "for bob", "meanwhile", "after")
    alice.expect_badge("3")
    bob.expect_badge("4")


def test_what_was_missed_between_two_pages_appears_on_the_next(site: Site, open_page: Any) -> None:
    bob = open_page(site).sign_in("bob")
    site.shell("push(bob, 'seen here')")
    bob.expect_toast("seen here")
    bob.page.goto("about:blank")
    site.shell("push(bob, 'missed')")
    bob.goto()
    bob.expect_toast("missed")
    assert "seen here" not in bob.toasts
    bob.goto("/lab/")
    bob.expect_badge("2")
    assert bob.toasts == []


def test_a_retracted_notification_disappears(site: Site, open_page: Any) -> None:
    bob = open_page(site).sign_in("bob")
    site.shell("push(bob, 'oops', level='error')")
    bob.expect_toast("oops")
    site.shell("Notification.objects.filter(title='oops').retract()")
    bob.expect_badge("")
    wait_until(lambda: bob.toasts == [], "the toast to go")


def test_texts_are_shown_as_text(site: Site, open_page: Any) -> None:
    bob = open_page(site).sign_in("bob")
    site.shell("push(bob, '<img src=x onerror=alert(1)>', body='<b>bold</b>', level='error')")
    bob.expect_toast("<img src=x onerror=alert(1)>")
    bob.open_bell()
    bob.expect_listed("<img src=x onerror=alert(1)>")
    assert bob.problems == []


def test_signing_out_closes_the_sockets_of_the_session_only(site: Site, open_page: Any) -> None:
    bob = open_page(site).sign_in("bob")
    other_tab = open_page(site, beside=bob).goto()
    elsewhere = open_page(site).sign_in("bob")
    bob.page.click("button:has-text('Sign out')")
    wait_until(lambda: other_tab.client("status") == "stopped", "the other tab to stop")
    site.shell("push(bob, 'still here')")
    elsewhere.expect_heard("still here")
    assert other_tab.heard == []


def test_messages_go_both_ways(site: Site, open_page: Any) -> None:
    bob = open_page(site).sign_in("bob").goto("/lab/")
    assert bob.page.text_content("#status") == "live"
    bob.page.fill("#data", '{"n": 42}')
    bob.page.click("#send button")
    wait_until(lambda: '"n": 42' in bob.page.text_content("#answer"), "the answer")
    assert '"from": "bob"' in bob.page.text_content("#answer")
    bob.page.fill("#name", "nonsense")
    bob.page.click("#send button")
    wait_until(lambda: "invalid" in bob.page.text_content("#answer"), "the refusal")
    bob.page.click("#stop")
    wait_until(lambda: bob.page.text_content("#status") == "stopped", "the stop")
    bob.page.click("#start")
    bob.until_live()
    assert bob.problems == []


def test_what_is_muted_is_in_the_list_without_a_toast(site: Site, open_page: Any) -> None:
    bob = open_page(site).sign_in("bob")
    site.shell(
        "from datetime import timedelta\n"
        "for name in ('muted', 'other'): follow(bob, Topic(name))\n"
        "mute(bob, Topic('muted'), until=timedelta(hours=1))\n"
        "push(Topic('muted'), 'silent', level='error')\n"
        "push(Topic('other'), 'loud', level='error')\n"
    )
    bob.expect_heard("silent", "loud")
    bob.expect_toast("loud")
    assert bob.toasts == ["loud"]
    bob.expect_badge("1")
    bob.open_bell()
    bob.expect_listed("loud", "silent")


def test_a_later_one_of_a_tag_takes_the_place_of_the_toast(site: Site, open_page: Any) -> None:
    bob = open_page(site).sign_in("bob")
    site.shell("push(bob, '40 %', tag='import', level='error')")
    bob.expect_toast("40 %")
    site.shell("push(bob, '80 %', tag='import', level='error'); push(bob, 'other', level='error')")
    bob.expect_toast("other")
    assert sorted(bob.toasts) == ["80 %", "other"]
    bob.page.click(".toast:has-text('80 %') button")
    site.shell("push(bob, '100 %', tag='import', level='error'); push(bob, 'last', level='error')")
    bob.expect_toast("last")
    assert sorted(bob.toasts) == ["last", "other"], "dismissed once for all of the tag"
    bob.expect_badge("3")
