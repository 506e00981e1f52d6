"""The example project's wall: cards of a model, the same on every page that has it open."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.pages import FAST, LOOKS, Page, expect_accessible
from tests.proxy import Proxy
from tests.servers import ROOT, Site, wait_until

pytestmark = pytest.mark.browser

SETTINGS = FAST

SCREENSHOTS = ROOT / "test-artifacts" / "wall"

XSS = "<img src=x onerror=alert(1)> & <b>now</b>"
IMPORTS = "from pages.models import CheckIn\n"


@pytest.fixture(autouse=True)
def empty_wall(site: Site, empty_log: None) -> None:
    site.shell(IMPORTS + "CheckIn.objects.all().delete()")


@pytest.fixture
def open_wall(site: Site, open_page: Any) -> Any:
    """Return a function that opens the wall as a user."""

    def open_wall(name: str, place: Site = site, **options: Any) -> Page:
        page: Page = open_page(place, **options).sign_in(name)
        page.goto("/wall/")
        return settled(page)

    return open_wall


def settled(page: Page) -> Page:
    """Wait until the page has joined the topic, and has fetched the cards after it."""
    wait_until(lambda: page.page.inner_text("#fetched"), "the first cards")
    return page


def check_in(page: Page, text: str, mood: str = "good") -> None:
    page.page.select_option("#id_mood", mood)
    page.page.fill("#id_text", text)
    with page.page.expect_navigation():
        page.page.press("#id_text", "Enter")


def cards(page: Page) -> list[str]:
    texts: list[str] = page.page.locator("#cards p").all_inner_texts()
    return texts


def expect_cards(page: Page, *texts: str) -> None:
    wait_until(lambda: cards(page) == list(texts), lambda: f"{texts}, there are {cards(page)}")


def fetches(page: Page) -> int:
    """Return how often the page has fetched the cards."""
    url = f"{page.site.url}/wall/cards/"
    count: int = page.page.evaluate("url => performance.getEntriesByName(url).length", url)
    return count


def test_a_check_in_is_on_every_page_at_once_as_text_and_in_one_order(open_wall: Any) -> None:
    alice, bob, admin = (open_wall(name) for name in ("alice", "bob", "admin"))
    assert admin.page.is_visible(".empty")
    check_in(alice, XSS, "busy")
    expect_cards(bob, XSS)
    check_in(bob, "two")
    check_in(alice, "three", "tired")
    for page in (alice, bob, admin):
        expect_cards(page, "three", "two", XSS)
        assert page.problems == []
    assert admin.page.inner_text("#cards li:last-child b") == "alice"
    assert "busy" in admin.page.inner_text("#cards li:last-child .mood")
    assert not admin.page.is_visible(".empty")


def test_cards_that_are_there_stay_as_they_are(open_wall: Any) -> None:
    alice, bob = open_wall("alice"), open_wall("bob")
    check_in(alice, "one")
    expect_cards(bob, "one")
    bob.page.evaluate("window.first = document.querySelector('#cards li')")
    bob.page.fill("#id_text", "half a sente")
    check_in(alice, "two")
    expect_cards(bob, "two", "one")
    assert bob.page.evaluate("window.first === document.querySelector('#cards li:last-child')")
    assert bob.page.input_value("#id_text") == "half a sente"


def test_what_was_missed_without_a_connection_is_there_after_it(
    open_wall: Any, proxy: Proxy, distant: Site
) -> None:
    alice, bob = open_wall("alice", distant), open_wall("bob")
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: "no connection" in alice.page.inner_text("#connection"), "the loss")
    check_in(bob, "missed")
    assert cards(alice) == []
    proxy.accept()
    expect_cards(alice, "missed")
    wait_until(lambda: alice.page.inner_text("#connection") == "", "nothing more to tell")
    check_in(bob, "live")
    expect_cards(alice, "live", "missed")


def test_two_tabs_of_a_browser_show_the_same_after_a_restart(
    open_wall: Any, open_page: Any, site: Site
) -> None:
    alice, bob = open_wall("alice"), open_wall("bob")
    other = settled(open_page(site, beside=bob).goto("/wall/"))
    site.stop()
    for page in (alice, bob, other):
        wait_until(lambda page=page: page.client("status") != "live", "the loss")
    site.shell(IMPORTS + "CheckIn.objects.create(user=alice, text='meanwhile')")
    site.start()
    for page in (bob, other):
        expect_cards(page, "meanwhile")
    check_in(alice.until_live(), "after")
    for page in (alice, bob, other):
        expect_cards(page, "after", "meanwhile")


def test_the_newest_fifty_are_shown(open_wall: Any, site: Site) -> None:
    many = "CheckIn.objects.bulk_create(CheckIn(user=alice, text=f'{n}') for n in range(51))"
    site.shell(IMPORTS + many)
    bob, alice = open_wall("bob"), open_wall("alice")
    expect_cards(bob, *(str(number) for number in range(50, 0, -1)))
    check_in(alice, "new")
    expect_cards(bob, "new", *(str(number) for number in range(50, 1, -1)))


def test_a_storm_of_changes_is_two_requests(open_wall: Any) -> None:
    bob, alice = open_wall("bob"), open_wall("alice")

    before = fetches(bob)
    bob.page.evaluate(
        """() => {
            for (let n = 0; n < 20; n++)
                document.dispatchEvent(new CustomEvent("live-notify:emitted:wall.changed"));
        }"""
    )
    wait_until(lambda: fetches(bob) >= before + 2, "the one that runs, and one for the rest")
    check_in(alice, "one more")
    expect_cards(bob, "one more")
    assert fetches(bob) == before + 3


def test_what_is_too_long_is_refused_and_kept(open_wall: Any) -> None:
    alice = open_wall("alice")
    text = "x" * 141
    check_in(alice, text)
    assert "at most 140 characters" in alice.page.inner_text("#id_text_error")
    assert alice.page.input_value("#id_text") == text
    assert cards(alice) == []
    assert alice.problems == []


def test_the_wall_works_without_javascript(site: Site, open_page: Any) -> None:
    bob = open_page(site, java_script_enabled=False)
    bob.page.goto(f"{site.url}/login/?next=/wall/")
    bob.page.click("button:has-text('Sign in as bob')")
    assert bob.page.is_visible(".empty")
    check_in(bob, "by hand")
    assert cards(bob) == ["by hand"]
    assert not bob.page.is_visible(".empty")
    bob.page.click("text='Follow'")
    bob.page.click("text='Unfollow'")
    assert bob.page.is_visible("text='Follow'")


def test_followers_hear_of_a_check_in_on_every_page_until_they_unfollow(
    open_wall: Any, site: Site
) -> None:
    alice, bob = open_wall("alice"), open_wall("bob")
    for page in (alice, bob):
        page.page.click("text='Follow'")
        page.page.wait_for_selector("text='Unfollow'")
    bob.goto("/")
    check_in(alice, "one", "away")
    bob.expect_toast("alice has checked in: away soon")
    bob.expect_badge("1")
    assert alice.until_live().badge == "", "who checks in knows it"
    bob.goto("/wall/").page.click("text='Unfollow'")
    bob.page.wait_for_selector("text='Follow'")
    settled(bob)
    check_in(alice, "two")
    expect_cards(bob, "two", "one")
    bob.expect_badge("1")
    titles = "print(list(Notification.objects.for_user(bob).values_list('body', flat=True)))"
    assert site.shell(titles).splitlines()[-1] == "['one']"
    assert alice.problems == [] and bob.problems == []


def test_who_is_signed_out_is_told_so_and_keeps_the_cards(
    open_wall: Any, open_page: Any, site: Site
) -> None:
    bob = open_wall("bob")
    check_in(bob, "mine")
    other = settled(open_page(site, beside=bob).goto("/wall/"))
    bob.page.click("button:has-text('Sign out')")
    wait_until(lambda: "sign in" in other.page.inner_text("#connection"), "the end to be told")
    before = fetches(other)
    other.page.evaluate(
        "document.dispatchEvent(new CustomEvent('live-notify:emitted:wall.changed'))"
    )
    wait_until(lambda: fetches(other) > before, "the page of the log-in instead of the cards")
    settled(other)
    assert cards(other) == ["mine"]
    assert "sign in" in other.page.inner_text("#connection")


def test_the_example_has_its_migrations(site: Site) -> None:
    assert "No changes detected" in site.manage("makemigrations", "--check", "--dry-run")


@pytest.mark.parametrize("look", LOOKS)
def test_the_wall_is_accessible_and_keeps_the_policy(open_wall: Any, axe: str, look: str) -> None:
    alice, bob = open_wall("alice"), open_wall("bob", **LOOKS[look])
    expect_accessible(bob, axe)
    check_in(alice, "On the 4th floor, with tea", "good")
    check_in(alice, "", "tired")
    check_in(alice, "A_word_that_does_not_end_" * 5, "busy")
    check_in(alice, "Until Monday", "away")
    wait_until(lambda: bob.page.locator("#cards li").count() == 4, "four cards")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{look}.png"
    bob.page.screenshot(path=path, animations="disabled", full_page=True)
    expect_accessible(bob, axe)
    width = bob.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0, "nothing is wider than the screen"
    check_in(bob, "x" * 141)
    expect_accessible(bob, axe)
    assert bob.problems == []
