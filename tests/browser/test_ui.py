"""The elements: bell, list and toasts, as people with eyes, keyboards and screen readers use them.

Screenshots of what is told here are kept in test-artifacts/ui/.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.pages import BELL, TOAST, Page, expect_accessible
from tests.servers import ROOT, Site, running, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("empty_log")]

SCREENSHOTS = ROOT / "test-artifacts" / "ui"

# No beat while a test moves the clock of a page.
SETTINGS = '{"SWEEP_INTERVAL": 0.3, "POLL_INTERVAL": 0.5, "HEARTBEAT": 3000}'

PANEL = f"{BELL} .panel"
ROWS = f"{BELL} li"
MORE = "live-notify-toasts .more"
BUTTONS = "actions=[Action('approve', 'Approve'), Action('reject', 'Reject')]"

# How people look at a page: the options of a browser.
LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "arabic": {"locale": "ar"},
    "phone": {"viewport": {"width": 390, "height": 760}, "is_mobile": True, "has_touch": True},
}

# What a browser itself was asked for, told by window.told.
TELL = """
    window.told = [];
    const create = AudioContext.prototype.createOscillator;
    AudioContext.prototype.createOscillator = function () {
        window.told.push("tone");
        return create.call(this);
    };
    const play = HTMLMediaElement.prototype.play;
    HTMLMediaElement.prototype.play = function () {
        window.told.push(`play ${new URL(this.src).pathname}`);
        return play.call(this);
    };
    const request = Notification.requestPermission;
    Notification.requestPermission = function () {
        window.told.push("ask");
        return request.call(Notification);
    };
    window.Notification = new Proxy(Notification, {
        construct(target, [title, options]) {
            window.told.push(`desktop ${title} ${options.tag}`);
            return new target(title, options);
        },
    });
    document.addEventListener("securitypolicyviolation", (event) => {
        window.told.push(`violation ${event.violatedDirective} ${event.blockedURI}`);
    });
"""


@pytest.fixture
def open_bob(site: Site, open_page: Any) -> Any:
    """Return a function that opens bob's page in a browser of its own."""

    def open_bob(*, clock: bool = False, **options: Any) -> Page:
        page: Page = open_page(site, **options)
        page.page.add_init_script(TELL)
        if clock:
            page.page.clock.install()
        return page.sign_in("bob")

    return open_bob


def keep(page: Page, name: str) -> None:
    """Keep a screenshot, once nothing moves any more."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")


def told(page: Page, kind: str) -> list[str]:
    everything: list[str] = page.page.evaluate("window.told")
    return [entry for entry in everything if entry.split()[0] == kind]


def focused(page: Page) -> str:
    """Return the text of what has the focus, inside the elements too."""
    return str(
        page.page.evaluate(
            """() => {
                let at = document.activeElement;
                while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
                return at.querySelector(".title")?.textContent
                    || at.getAttribute("aria-label") || at.textContent;
            }"""
        )
    )


def expect_focus(page: Page, text: str) -> None:
    wait_until(lambda: focused(page) == text, lambda: f"focus on {text!r}, it is {focused(page)!r}")


def expect_text(page: Page, selector: str, text: str) -> None:
    place = page.page.locator(selector)
    wait_until(
        lambda: place.count() == 1 and (place.text_content() or "").strip() == text,
        lambda: f"{text!r} in {selector}: {place.all_text_contents()}",
    )


def expect_toasts(page: Page, *titles: str) -> None:
    wait_until(lambda: page.toasts == list(titles), lambda: f"{titles}, there are {page.toasts}")


def hide(page: Page, hidden: bool = True) -> None:
    """Let the page believe that another tab is looked at."""
    page.page.evaluate(
        """hidden => {
            const looks = { visibilityState: hidden ? "hidden" : "visible", hidden };
            for (const [name, value] of Object.entries(looks)) {
                Object.defineProperty(document, name, { value, configurable: true });
            }
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def let_next_sound_be_due(page: Page) -> None:
    """Wait until no tab has just made a sound."""
    held = "navigator.locks.query().then(({ held }) => held.map(({ name }) => name))"
    wait_until(lambda: "live-notify-sound" not in page.page.evaluate(held), "the pause to end")
    page.page.evaluate("localStorage.removeItem('live-notify-sound')")


def stop_clock(page: Page) -> None:
    """Let no time pass in a page but what the test lets pass."""
    page.page.clock.pause_at(page.page.evaluate("Date.now() / 1000 + 1"))


# Looks


VARIETY = f"""
from datetime import timedelta
from django.utils import timezone
for number in range(12):
    push(bob, f"An older one, number {{number}}", body="With a second line.")
Notification.objects.for_user(bob).mark_read()
Notification.objects.update(created_at=timezone.now() - timedelta(hours=5))
push(bob, "Import", tag="import", data={{"progress": 0.4}}, level="success")
push(bob, "Your export is ready", body="orders.csv, 4 MB", url="/lab/", level="success")
push(bob, "The disk is almost full", body="93 % are in use.\\nClean up soon.", level="warning")
push(bob, "The payment failed", body="The card was declined.", level="error")
push(bob, "alice asks for leave", body="From 2 to 9 December", actor=alice, {BUTTONS})
"""


ARABIC = """
push(bob, "تعذّر الدفع", body="رُفضت البطاقة.", level="error")
push(bob, "تطلب أليس إجازة", body="من 2 إلى 9 ديسمبر، في المكتب C", actor=alice,
     actions=[Action("approve", "موافقة"), Action("reject", "رفض")])
"""


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing(look: str, site: Site, open_bob: Any, axe: str) -> None:
    bob = open_bob(reduced_motion="reduce", **LOOKS[look])
    expect_accessible(bob, axe)
    keep(bob, f"{look}-closed")
    bob.open_bell()
    wait_until(lambda: bob.page.locator(f"{BELL} .state").is_visible(), "the empty list")
    expect_accessible(bob, axe)
    keep(bob, f"{look}-empty")
    bob.page.keyboard.press("Escape")
    site.shell(VARIETY + (ARABIC if look == "arabic" else ""))
    wait_until(lambda: len(bob.toasts) == 3, lambda: f"three toasts, there are {bob.toasts}")
    wait_until(lambda: bob.page.locator(f"{BELL} .badge").text_content() != "", "the badge")
    expect_accessible(bob, axe)
    keep(bob, f"{look}-toasts")
    bob.open_bell()
    wait_until(lambda: len(bob.listed) >= 17, "the list")
    expect_accessible(bob, axe)
    keep(bob, f"{look}-open")
    bob.page.route("**/inbox/**", lambda route: route.abort())
    bob.goto()
    bob.open_bell()
    wait_until(lambda: bob.page.locator(f"{BELL} [role=alert]").is_visible(), "the error")
    expect_accessible(bob, axe)
    keep(bob, f"{look}-error")


@pytest.mark.parametrize("look", ["light", "phone"])
def test_the_panel_stays_inside_the_window(look: str, open_bob: Any) -> None:
    bob = open_bob(**LOOKS[look])
    width, height = bob.page.viewport_size["width"], bob.page.viewport_size["height"]
    for place in ("top left", "top right", "bottom left", "bottom right"):
        bob.page.evaluate(
            """place => {
                const bell = document.querySelector("live-notify-bell");
                for (const side of ["top", "right", "bottom", "left"]) {
                    bell.style[side] = place.includes(side) ? "4px" : "auto";
                }
                bell.style.position = "fixed";
            }""",
            place,
        )
        bob.open_bell()
        box = bob.page.locator(PANEL).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width, place
        assert box["y"] >= 0 and box["y"] + box["height"] <= height, place
        bob.page.keyboard.press("Escape")


def test_nothing_moves_for_those_who_asked_for_that(site: Site, open_bob: Any) -> None:
    bob = open_bob(reduced_motion="reduce")
    site.shell("push(bob, 'Import', tag='import', data={'progress': 0.4}, level='error')")
    bob.expect_toast("Import")
    bob.open_bell()
    wait_until(lambda: bob.listed == ["Import"], "the list")
    animation = "(place) => getComputedStyle(place).animationName"
    assert bob.page.locator(PANEL).evaluate(animation) == "none"
    duration = "(place) => getComputedStyle(place).transitionDuration"
    assert bob.page.locator(f"{BELL} .bar").evaluate(duration) == "0s"


def test_a_page_says_which_colours_there_are(open_bob: Any) -> None:
    """A light page stays light where the reader's system is dark, and the other way round."""
    bob = open_bob(color_scheme="dark")
    colour = "(place) => getComputedStyle(place).backgroundColor"
    bob.open_bell()
    dark = bob.page.locator(PANEL).evaluate(colour)
    bob.page.evaluate("document.documentElement.style.colorScheme = 'light'")
    assert bob.page.locator(PANEL).evaluate(colour) == "rgb(255, 255, 255)" != dark


def test_texts_and_numbers_are_in_the_readers_language(site: Site, open_bob: Any) -> None:
    bob = open_bob(locale="ar")
    for number in range(5):
        site.shell(f"push(bob, '{number}', level='error')")
    expect_text(bob, "live-notify-toasts .more", "وإشعاران آخران")
    bell = bob.page.locator(f"{BELL} .bell")
    assert bell.get_attribute("aria-label") in (
        "الإشعارات, 5 إشعارات غير مقروءة",
        "الإشعارات, ٥ إشعارات غير مقروءة",
    )
    bob.open_bell()
    wait_until(lambda: len(bob.listed) == 5, "the list")
    assert bob.page.locator(f"{BELL} time").first.text_content() == "الآن"


# The list


def test_older_ones_come_when_the_end_comes_near(site: Site, open_bob: Any) -> None:
    site.shell("[push(bob, f'{number}') for number in range(45)]")
    bob = open_bob()
    bob.open_bell()
    wait_until(lambda: len(bob.listed) == 20, "the first page")
    bob.page.locator(ROWS).nth(19).scroll_into_view_if_needed()
    wait_until(lambda: len(bob.listed) == 40, "the second page")
    bob.page.locator(ROWS).nth(39).scroll_into_view_if_needed()
    wait_until(lambda: len(bob.listed) == 45, "the last page")
    assert bob.listed == [str(number) for number in reversed(range(45))]
    assert bob.page.locator(f"{BELL} .older").is_hidden()
    assert bob.problems == []


def test_the_list_is_walked_with_the_keyboard(site: Site, open_bob: Any) -> None:
    site.shell("[push(bob, f'{number}') for number in range(25)]")
    bob = open_bob()
    press = bob.page.keyboard.press
    bob.page.focus(f"{BELL} .bell")
    press("Enter")
    wait_until(lambda: len(bob.listed) == 20, "the first page")
    for key, title in (("ArrowDown", "24"), ("ArrowDown", "23"), ("ArrowUp", "24"), ("End", "5")):
        press(key)
        expect_focus(bob, title)
    wait_until(lambda: len(bob.listed) == 25, "the second page")
    for key, title in (("ArrowDown", "4"), ("End", "0"), ("ArrowDown", "0"), ("Home", "24")):
        press(key)
        expect_focus(bob, title)
    press("Enter")
    wait_until(lambda: "24" not in bob.listed_unread, "the reading")
    expect_focus(bob, "24")
    press("Tab")
    expect_focus(bob, "Archive: 24")
    press("Enter")
    wait_until(lambda: bob.listed[0] == "23", "the archiving")
    expect_focus(bob, "23")
    press("Escape")
    assert bob.page.locator(PANEL).is_hidden()
    expect_focus(bob, "Notifications, 24 unread")


def test_older_ones_are_asked_for_by_hand_where_the_end_is_not_observed(
    site: Site, open_bob: Any
) -> None:
    site.shell("[push(bob, f'{number}') for number in range(25)]")
    bob = open_bob()
    bob.page.add_init_script("delete window.IntersectionObserver")
    bob.goto()
    bob.open_bell()
    wait_until(lambda: len(bob.listed) == 20, "the first page")
    bob.page.focus(f"{BELL} .older")
    bob.page.keyboard.press("Enter")
    wait_until(lambda: len(bob.listed) == 25, "the second page")
    expect_focus(bob, "4")


def test_a_list_that_is_loaded_anew_leaves_the_focus_where_it_is(site: Site, open_bob: Any) -> None:
    site.shell("[push(bob, f'{number}') for number in range(25)]")
    bob = open_bob()
    bob.page.add_init_script("delete window.IntersectionObserver")
    bob.goto()
    bob.open_bell()
    wait_until(lambda: bob.listed[:1] == ["24"], "the first page")
    site.shell("Notification.objects.for_user(bob).filter(title='24').archive()")
    wait_until(lambda: bob.listed[:1] == ["23"], "the archiving")
    bob.page.focus(f"{BELL} .older")
    site.shell("Notification.objects.for_user(bob).filter(title='24').unarchive()")
    wait_until(lambda: bob.listed[:2] == ["24", "23"], lambda: f"24, not {bob.listed}")
    expect_focus(bob, "Show older")


def test_what_cannot_be_loaded_is_tried_again(site: Site, open_bob: Any) -> None:
    site.shell("push(bob, 'one')")
    bob = open_bob()
    bob.page.route("**/inbox/**", lambda route: route.fulfill(status=500, body="no"))
    bob.open_bell()
    expect_text(bob, f"{BELL} [role=alert] strong", "Notifications could not be loaded.")
    bob.page.focus(f"{BELL} button:text-is('Try again')")
    site.shell("push(bob, 'two')")
    bob.expect_badge("2")
    expect_focus(bob, "Try again")
    bob.page.unroute("**/inbox/**")
    bob.page.keyboard.press("Enter")
    bob.expect_listed("two", "one")
    assert bob.page.locator(f"{BELL} .state").is_hidden()


class HeldPages:
    """Pages of the inbox that the server has answered, and that have not reached the list yet."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.held: list[tuple[Any, Any]] = []
        # A page gives up after 10 s, which a slow machine may need for what happens meanwhile.
        page.page.evaluate("AbortSignal.timeout = () => new AbortController().signal")
        page.page.route("**/inbox/?*limit=20*", self._hold)

    def _hold(self, route: Any) -> None:
        self.held.append((route, route.fetch()))

    def expect(self, count: int) -> None:
        # What reads from the page lets routes be handled.
        wait_until(lambda: self.page.listed is not None and len(self.held) == count, "a page")

    def lose(self, number: int) -> None:
        self.held[number][0].abort()

    def release(self, number: int) -> None:
        route, response = self.held[number]
        with self.page.page.expect_response("**/inbox/**"):
            route.fulfill(response=response)


def test_what_happens_while_the_list_loads_is_in_it(site: Site, open_bob: Any) -> None:
    site.shell("push(bob, 'one'); push(bob, 'two'); push(bob, 'three')")
    bob = open_bob()
    pages = HeldPages(bob)
    bob.open_bell()
    pages.expect(1)
    site.shell(
        "mine = Notification.objects.for_user(bob)\n"
        "push(bob, 'four')\n"
        "mine.filter(title='one').mark_read()\n"
        "mine.filter(title='two').retract()\n"
        "mine.filter(title='three').archive()\n"
        "push(bob, 'five')"
    )
    bob.expect_heard("four", "five")
    bob.expect_badge("2")
    pages.release(0)
    bob.expect_listed("five", "four", "one")
    assert bob.listed_unread == ["five", "four"]


def test_what_comes_out_of_the_archive_while_the_list_loads_is_in_it(
    site: Site, open_bob: Any
) -> None:
    site.shell("push(bob, 'one'); push(bob, 'two'); Notification.objects.for_user(bob).archive()")
    bob = open_bob()
    pages = HeldPages(bob)
    bob.open_bell()
    pages.expect(1)
    site.shell("Notification.objects.for_user(bob).filter(title='one').unarchive()")
    bob.expect_badge("1")
    pages.release(0)
    pages.expect(2)
    pages.release(1)
    bob.expect_listed("one")


def test_what_comes_out_of_the_archive_piece_by_piece_is_asked_for_twice_at_most(
    site: Site, open_bob: Any
) -> None:
    site.shell("[push(bob, f'{number}') for number in range(6)]")
    bob = open_bob()
    bob.open_bell()
    bob.expect_listed("5", "4", "3", "2", "1", "0")
    ids = "[...document.querySelector('live-notify-bell').shadowRoot.querySelectorAll('li')]"
    bob.page.evaluate(f"window.ids = {ids}.map((row) => Number(row.dataset.id))")
    bob.page.evaluate("document.querySelector('live-notify').client.archive(ids)")
    bob.expect_listed()
    pages = HeldPages(bob)
    unarchive = "ids.map((id) => document.querySelector('live-notify').client.unarchive(id))"
    bob.page.evaluate(f"Promise.all({unarchive})")
    bob.expect_badge("6")
    pages.expect(1)
    pages.release(0)
    wait_until(lambda: len(bob.listed) == 6 or len(pages.held) == 2, "all, or another page")
    for number in range(1, len(pages.held)):
        pages.release(number)
    bob.expect_listed("5", "4", "3", "2", "1", "0")
    assert len(pages.held) <= 2


def test_what_comes_out_of_the_archive_is_found_where_another_page_is_lost(
    site: Site, open_bob: Any
) -> None:
    site.shell("[push(bob, f'{number}') for number in range(25)]")
    site.shell("Notification.objects.for_user(bob).filter(title='24').archive()")
    bob = open_bob()
    bob.open_bell()
    wait_until(lambda: bob.listed[:1] == ["23"] and len(bob.listed) == 20, "the first page")
    pages = HeldPages(bob)
    bob.page.locator(ROWS).nth(19).scroll_into_view_if_needed()
    pages.expect(1)
    site.shell("Notification.objects.for_user(bob).filter(title='24').unarchive()")
    bob.expect_badge("25")
    pages.lose(0)
    pages.expect(2)
    pages.release(1)
    wait_until(lambda: bob.listed[:2] == ["24", "23"], lambda: f"24, not {bob.listed}")
    bob.page.locator(ROWS).nth(19).scroll_into_view_if_needed()
    pages.expect(3)
    pages.release(2)
    wait_until(lambda: len(bob.listed) == 25, lambda: f"all, not {bob.listed}")


def test_what_was_replaced_or_retracted_is_not_looked_for(site: Site, open_bob: Any) -> None:
    """Of all that was seen lately, a resume tells that it is not archived."""
    site.shell("[push(bob, f'{number}') for number in range(25)]")
    bob = open_bob()
    bob.open_bell()
    bob.page.locator(ROWS).nth(19).scroll_into_view_if_needed()
    wait_until(lambda: len(bob.listed) == 25, "the second page")
    for step in ("first", "second"):
        site.shell(f"push(bob, '{step}', tag='import'); push(bob, 'wrong {step}')")
        wait_until(lambda: bob.listed[:2] == [f"wrong {step}", step], step)  # noqa: B023
    wait_until(
        lambda: (
            "seen" in site.shell("Notification.objects.for_user(bob).unseen() or print('seen')")
        ),
        "what is shown to be seen",
    )
    site.shell("Notification.objects.for_user(bob).filter(title__startswith='wrong').retract()")
    wait_until(lambda: bob.listed[:2] == ["second", "24"], "the retraction")
    pages = HeldPages(bob)
    bob.page.evaluate("document.querySelector('live-notify').client.stop()")
    bob.page.evaluate("document.querySelector('live-notify').client.start()")
    bob.until_live()
    site.shell("push(bob, 'last')")
    wait_until(lambda: bob.listed[:2] == ["last", "second"], lambda: f"the last: {bob.listed}")
    assert pages.held == [] and len(bob.listed) == 27


def test_a_list_that_was_asked_for_before_a_reset_does_not_stand(open_page: Any) -> None:
    settings = '{"SWEEP_INTERVAL": 0.3, "REPLAY_LIMIT": 3}'
    with running(Site("uvicorn", settings=settings)) as site:
        site.shell("push(bob, 'zero')")
        bob = open_page(site).sign_in("bob")
        pages = HeldPages(bob)
        bob.open_bell()
        pages.expect(1)
        site.stop()
        site.shell("[push(bob, f'{number}') for number in range(5)]")
        site.start()
        pages.expect(2)
        site.shell("Notification.objects.for_user(bob).filter(title='zero').mark_read()")
        site.shell("push(bob, 'live')")
        bob.expect_heard("live")
        pages.release(1)
        bob.expect_listed("live", "4", "3", "2", "1", "0", "zero")
        assert "zero" not in bob.listed_unread
        pages.release(0)
        site.shell("push(bob, 'last')")
        bob.expect_listed("last", "live", "4", "3", "2", "1", "0", "zero")


def test_a_list_that_nobody_looks_at_is_loaded_after_a_reset_when_it_is_opened(
    open_page: Any,
) -> None:
    settings = '{"SWEEP_INTERVAL": 0.3, "REPLAY_LIMIT": 3}'
    with running(Site("uvicorn", settings=settings)) as site:
        site.shell("push(bob, 'zero')")
        bob = open_page(site).sign_in("bob")
        bob.open_bell()
        bob.expect_listed("zero")
        bob.close_bell()
        pages = HeldPages(bob)
        site.stop()
        site.shell("[push(bob, f'{number}') for number in range(5)]")
        site.start()
        bob.expect_badge("6")
        site.shell("push(bob, 'live')")
        bob.expect_heard("live")
        assert pages.held == []
        bob.open_bell()
        pages.expect(1)
        pages.release(0)
        bob.expect_listed("live", "4", "3", "2", "1", "0", "zero")


def test_a_bell_that_was_away_shows_what_came_meanwhile(site: Site, open_bob: Any) -> None:
    site.shell("push(bob, 'one')")
    bob = open_bob()
    bob.open_bell()
    bob.expect_listed("one")
    bob.page.evaluate(f"""() => {{
        window.bell = document.querySelector("{BELL}");
        window.place = bell.parentNode;
        bell.remove();
    }}""")
    site.shell("push(bob, 'two')")
    bob.expect_heard("two")
    bob.page.evaluate("place.append(bell)")
    bob.open_bell()
    bob.expect_listed("two", "one")


def test_a_reset_whose_list_cannot_be_loaded_is_loaded_by_hand(open_page: Any) -> None:
    settings = '{"SWEEP_INTERVAL": 0.3, "REPLAY_LIMIT": 3}'
    with running(Site("uvicorn", settings=settings)) as site:
        site.shell("[push(bob, f'{number}') for number in range(25)]")
        bob = open_page(site).sign_in("bob")
        bob.open_bell()
        wait_until(lambda: len(bob.listed) == 20, "the first page")
        bob.page.route("**/inbox/?*limit=20*", lambda route: route.abort())
        site.stop()
        site.shell("[push(bob, f'new {number}') for number in range(5)]")
        site.start()
        expect_text(bob, f"{BELL} [role=alert] strong", "Notifications could not be loaded.")
        bob.page.unroute("**/inbox/?*limit=20*")
        bob.page.click(f"{BELL} button:text-is('Try again')")
        wait_until(lambda: bob.listed[:6] == [f"new {n}" for n in (4, 3, 2, 1, 0)] + ["24"], "all")


def test_an_outage_is_told_and_over_when_it_is_over(open_page: Any) -> None:
    with running(Site("uvicorn", settings=SETTINGS)) as site:
        bob = open_page(site).sign_in("bob")
        bob.open_bell()
        site.stop()
        expect_text(bob, f"{BELL} .note", "Reconnecting…")
        keep(bob, "light-offline")
        site.start()
        wait_until(lambda: bob.client("status") == "live", "the connection")
        wait_until(lambda: bob.page.locator(f"{BELL} .note").is_hidden(), "the note to go")


def test_leaving_the_panel_closes_it(open_bob: Any) -> None:
    bob = open_bob()
    bob.open_bell()
    bob.page.click("h1")
    assert bob.page.locator(PANEL).is_hidden()
    bob.open_bell()
    for _ in range(4):
        bob.page.keyboard.press("Tab")
    assert bob.page.locator(PANEL).is_hidden()


def test_times_go_on(site: Site, open_bob: Any) -> None:
    bob = open_bob(clock=True)
    site.shell("push(bob, 'one', level='error')")
    bob.expect_toast("one")
    bob.open_bell()
    expect_text(bob, f"{BELL} time", "now")
    bob.page.clock.fast_forward(200_000)
    expect_text(bob, f"{BELL} time", "3 minutes ago")
    bob.page.clock.fast_forward(200_000)
    expect_text(bob, f"{BELL} time", "7 minutes ago")


# The tab


def test_the_title_of_the_page_counts(site: Site, open_bob: Any) -> None:
    bob = open_bob()
    title = bob.page.title()
    site.shell("push(bob, 'one'); push(bob, 'two'); push(bob, 'three')")
    wait_until(lambda: bob.page.title() == f"(3) {title}", lambda: bob.page.title())
    bob.page.evaluate("document.title = 'Another'")
    wait_until(lambda: bob.page.title() == "(3) Another", lambda: bob.page.title())
    site.shell("Notification.objects.for_user(bob).mark_read()")
    wait_until(lambda: bob.page.title() == "Another", lambda: bob.page.title())


def test_the_icon_of_the_page_has_a_dot(site: Site, open_bob: Any) -> None:
    def icon() -> str:
        return str(bob.page.evaluate("document.querySelector('link[rel=icon]').href"))

    bob = open_bob()
    own = icon()
    for option, unread in ((None, "/static/pages/icon-unread.svg"), ("", "data:image/png;base64")):
        if option is not None:
            bell = bob.page.locator(BELL)
            bell.evaluate("(bell, option) => bell.setAttribute('favicon', option)", option)
        site.shell("push(bob, 'one')")
        wait_until(lambda unread=unread: unread in icon(), icon)
        site.shell("Notification.objects.for_user(bob).mark_read()")
        wait_until(lambda: icon() == own, icon)
    assert bob.problems == [] and told(bob, "violation") == []


# Toasts


def test_a_storm_becomes_three_and_a_number(site: Site, open_bob: Any) -> None:
    bob = open_bob()
    site.shell("[push(bob, f'{number}', level='error') for number in range(15)]")
    expect_text(bob, "live-notify-toasts .more", "and 12 more")
    assert len(bob.toasts) == 3
    keep(bob, "light-storm")
    bob.page.click("live-notify-toasts .more")
    wait_until(lambda: len(bob.listed) == 15, "the list")
    expect_toasts(bob)
    assert bob.page.locator("live-notify-toasts .more").is_hidden()


def test_toasts_wait_while_they_are_touched(site: Site, open_bob: Any) -> None:
    bob = open_bob(clock=True)
    forward = bob.page.clock.fast_forward
    site.shell("push(bob, 'one'); push(bob, 'two')")
    expect_toasts(bob, "one", "two")
    bob.page.hover(f"{TOAST}:has-text('one')")
    forward(20_000)
    expect_toasts(bob, "one", "two")
    bob.page.mouse.move(10, 10)
    forward(4_000)
    expect_toasts(bob, "one", "two")
    bob.page.focus(f"{TOAST}:has-text('two') button")
    forward(20_000)
    expect_toasts(bob, "one", "two")
    bob.page.focus("#id_title")
    forward(7_000)
    expect_toasts(bob)


def test_errors_stay_until_they_are_dismissed(site: Site, open_bob: Any) -> None:
    bob = open_bob(clock=True)
    site.shell("push(bob, 'broken', level='error'); push(bob, 'as well', level='error')")
    expect_toasts(bob, "broken", "as well")
    bob.page.clock.fast_forward(60_000)
    expect_toasts(bob, "broken", "as well")
    bob.page.focus("#id_title")
    bob.page.focus(f"{TOAST}:has-text('broken') button")
    bob.page.keyboard.press("Escape")
    expect_toasts(bob, "as well")
    expect_focus(bob, "Dismiss: as well")
    bob.page.keyboard.press("Enter")
    expect_toasts(bob)
    assert bob.page.evaluate("document.activeElement.id") == "id_title"


def expect_count(page: Page, text: str) -> None:
    more = page.page.locator(MORE)
    wait_until(
        lambda: (more.text_content() if more.is_visible() else "") == text,
        lambda: f"the number {text!r}, it is {more.all_text_contents()}",
    )


def test_an_error_takes_the_place_of_what_would_go_by_itself(site: Site, open_bob: Any) -> None:
    bob = open_bob(clock=True)
    stop_clock(bob)
    forward = bob.page.clock.fast_forward
    site.shell("[push(bob, title) for title in ('one', 'two', 'three')]")
    expect_toasts(bob, "one", "two", "three")
    site.shell("push(bob, 'Broken', body='It fell down.', level='error')")
    expect_toasts(bob, "two", "three", "Broken")
    expect_count(bob, "and 1 more")
    keep(bob, "light-error-among-others")
    forward(6_500)
    expect_toasts(bob, "Broken", "one")
    expect_count(bob, "")
    site.shell("push(bob, 'four')")
    expect_toasts(bob, "Broken", "one", "four")
    site.shell(f"push(bob, 'May I?', {BUTTONS})")
    expect_toasts(bob, "Broken", "four", "May I?")
    forward(6_500)
    expect_toasts(bob, "Broken", "May I?", "one")
    forward(6_500)
    expect_toasts(bob, "Broken", "May I?")
    forward(60_000)
    expect_toasts(bob, "Broken", "May I?")
    expect_count(bob, "")


def test_what_stays_is_shown_before_anything_else_that_was_counted(
    site: Site, open_bob: Any
) -> None:
    bob = open_bob(clock=True)
    stop_clock(bob)
    site.shell("[push(bob, f'Broken {number}', level='error') for number in range(3)]")
    expect_toasts(bob, "Broken 0", "Broken 1", "Broken 2")
    site.shell("push(bob, 'Low', level='warning')")
    expect_count(bob, "and 1 more")
    site.shell("push(bob, 'Broken 3', level='error')")
    expect_count(bob, "and 2 more")
    bob.page.click(f"{TOAST}:has-text('Broken 1') .round")
    expect_toasts(bob, "Broken 0", "Broken 2", "Broken 3")
    expect_count(bob, "and 1 more")
    bob.page.click(f"{TOAST}:has-text('Broken 0') .round")
    expect_toasts(bob, "Broken 2", "Broken 3", "Low")
    expect_count(bob, "")
    bob.page.mouse.move(10, 10)
    bob.page.clock.fast_forward(7_000)
    expect_toasts(bob, "Broken 2", "Broken 3")


def test_a_storm_stays_counted_when_there_is_room(site: Site, open_bob: Any) -> None:
    bob = open_bob(clock=True)
    stop_clock(bob)
    site.shell("push(bob, 'Broken', level='error')")
    expect_toasts(bob, "Broken")
    site.shell("[push(bob, f'{number}') for number in range(8)]")
    expect_count(bob, "and 6 more")
    bob.page.clock.fast_forward(7_000)
    expect_toasts(bob, "Broken")
    expect_count(bob, "and 6 more")
    bob.page.click(f"{TOAST} .round")
    expect_toasts(bob)
    expect_count(bob, "")


def test_an_error_displaces_nothing_that_is_pointed_at_or_has_the_focus(
    site: Site, open_bob: Any
) -> None:
    bob = open_bob(clock=True)
    site.shell("push(bob, 'As before', level='error')")
    site.shell("[push(bob, title) for title in ('one', 'two')]")
    expect_toasts(bob, "As before", "one", "two")
    bob.page.focus(f"{TOAST}:has-text('one') button")
    # Near its upper edge: the number comes below the toasts and moves them up.
    bob.page.hover(f"{TOAST}:has-text('two')", position={"x": 40, "y": 6})
    site.shell("push(bob, 'Broken', level='error')")
    expect_count(bob, "and 1 more")
    expect_toasts(bob, "As before", "one", "two")
    expect_focus(bob, "Dismiss: one")
    bob.page.mouse.move(10, 10)
    expect_toasts(bob, "As before", "one", "Broken")
    expect_focus(bob, "Dismiss: one")
    site.shell("push(bob, 'Again', level='error')")
    expect_count(bob, "and 2 more")
    bob.page.focus("#id_title")
    expect_toasts(bob, "As before", "Broken", "Again")
    expect_count(bob, "and 2 more")


def test_what_was_counted_and_read_elsewhere_is_not_shown(site: Site, open_bob: Any) -> None:
    bob = open_bob()
    site.shell("[push(bob, f'Broken {number}', level='error') for number in range(5)]")
    expect_count(bob, "and 2 more")
    shown = bob.toasts
    assert len(shown) == 3
    site.shell(f"Notification.objects.for_user(bob).exclude(title__in={shown}).mark_read()")
    expect_count(bob, "")
    site.shell(f"Notification.objects.filter(title={shown[0]!r}).retract()")
    expect_toasts(bob, *shown[1:])


def test_screen_readers_are_told_once_and_errors_at_once(site: Site, open_bob: Any) -> None:
    bob = open_bob()
    bob.page.evaluate(
        """() => {
            window.spoken = [];
            for (const name of ["live-notify-bell", "live-notify-toasts"]) {
                const root = document.querySelector(name).shadowRoot;
                for (const voice of root.querySelectorAll("[role=status], [role=alert]")) {
                    const note = () => {
                        const { role, textContent } = voice;
                        if (textContent) window.spoken.push([role, textContent]);
                    };
                    new MutationObserver(note).observe(voice, { childList: true });
                }
            }
        }"""
    )
    site.shell("push(bob, 'Tea', body='Earl Grey')")
    bob.expect_toast("Tea")
    site.shell("push(bob, 'Broken', level='error')")
    bob.expect_toast("Broken")
    spoken = [["status", "Tea. Earl Grey"], ["alert", "Broken"]]
    wait_until(lambda: bob.page.evaluate("window.spoken") == spoken, "what is spoken")
    bob.open_bell()
    site.shell("push(bob, 'Cake')")
    bob.expect_listed("Cake", "Broken", "Tea")
    assert bob.page.evaluate("window.spoken.at(-1)") == ["status", "Cake"]
    assert bob.toasts == []


def test_a_sound_is_played_once_in_a_browser_that_was_touched(site: Site, open_page: Any) -> None:
    bob = open_page(site)
    bob.context.add_init_script(TELL)
    bob.sign_in("bob")
    other = open_page(site, beside=bob).goto()
    site.shell("push(bob, 'not heard', level='error')")
    wait_until(lambda: "not heard" in bob.toasts + other.toasts, "the toast")
    assert told(bob, "tone") + told(other, "tone") == []
    for page in (bob, other):
        page.page.click("h1")
        page.page.evaluate(
            """() => document.addEventListener("live-notify-toasts:sound", (event) => {
                window.told.push(`sound ${event.detail.title}`);
            })"""
        )
        # What another tab has written takes a while to be there.
        page.page.evaluate(
            """() => {
                const { getItem } = Storage.prototype;
                Storage.prototype.getItem = function (key) {
                    return key === "live-notify-sound" ? null : getItem.call(this, key);
                };
            }"""
        )
    # The first sound was due, if not heard: the next is a while later.
    let_next_sound_be_due(bob)
    site.shell("push(bob, 'heard', level='error'); push(bob, 'in its wake', level='error')")
    wait_until(lambda: len(bob.toasts + other.toasts) == 3, "the other toasts")
    wait_until(lambda: told(bob, "tone") + told(other, "tone"), "the sound")
    assert len(told(bob, "sound") + told(other, "sound")) == 1
    assert len(told(bob, "tone") + told(other, "tone")) == 2
    bob.page.evaluate(
        """() => {
            for (const toasts of document.querySelectorAll("live-notify-toasts")) {
                toasts.setAttribute("sound", "/static/pages/ping.mp3");
            }
        }"""
    )
    other.page.close()
    let_next_sound_be_due(bob)
    site.shell("push(bob, 'by a file')")
    wait_until(lambda: told(bob, "play") == ["play /static/pages/ping.mp3"], "the file")


def test_the_desktop_is_asked_for_by_a_click_alone(open_bob: Any) -> None:
    bob = open_bob()
    bob.open_bell()
    ask = bob.page.locator(f"{BELL} button:text-is('Show them on the desktop, too')")
    # Headless browsers say no by themselves.
    permit = """permission => {
        const answer = { value: permission, configurable: true };
        Object.defineProperty(Notification, "permission", answer);
    }"""
    bob.page.evaluate(permit, "default")
    bob.page.locator(BELL).evaluate("(bell) => bell.showFooter()")
    assert told(bob, "ask") == [] and ask.is_visible()
    bob.page.evaluate(permit, "denied")
    ask.click()
    wait_until(ask.is_hidden, "the button to go")
    assert told(bob, "ask") == ["ask"]


def test_a_page_that_nobody_looks_at_tells_the_desktop(site: Site, open_bob: Any) -> None:
    bob = open_bob()
    bob.context.grant_permissions(["notifications"], origin=site.url)
    hide(bob)
    site.shell("push(bob, 'Tea', level='error'); push(bob, 'Import', tag='import-7')")
    bob.expect_badge("2")
    wait_until(lambda: len(told(bob, "desktop")) == 2, lambda: str(told(bob, "desktop")))
    shown = told(bob, "desktop")
    assert shown[0].startswith("desktop Tea live-notify-")
    assert shown[1] == "desktop Import import-7"
    hide(bob, False)
    site.shell("push(bob, 'Cake', level='error')")
    expect_toasts(bob, "Cake")
    assert len(told(bob, "desktop")) == 2


def test_what_somebody_looks_at_is_not_told_to_the_desktop(site: Site, open_page: Any) -> None:
    bob = open_page(site)
    bob.context.add_init_script(TELL)
    bob.context.grant_permissions(["notifications"], origin=site.url)
    bob.sign_in("bob")
    other = open_page(site, beside=bob).goto()
    hide(other)
    site.shell("push(bob, 'Tea', level='error')")
    bob.expect_toast("Tea")
    bob.open_bell()
    bob.expect_listed("Tea")
    # What was seen is lost on its way, so that the other tab cannot learn it by that.
    bob.page.evaluate("document.querySelector('live-notify').client.markSeen = async () => {}")
    site.shell("push(bob, 'Cake', level='error')")
    bob.expect_listed("Cake", "Tea")
    other.expect_heard("Tea", "Cake")
    # Whoever looks at the other tab after that finds nothing new.
    hide(other, False)
    site.shell("push(bob, 'Milk', level='error')")
    wait_until(lambda: "Milk" in bob.listed, "the last one")
    other.expect_heard("Tea", "Cake", "Milk")
    assert told(other, "desktop") == [] and set(other.toasts) <= {"Milk"}


# Progress


def test_a_bar_moves_without_a_toast_for_each_step(site: Site, open_bob: Any) -> None:
    bob = open_bob(clock=True)
    say = "push(bob, 'Import: {0} %', tag='import', data=dict(progress={0} / 100))".format
    site.shell(say(10))
    bob.expect_toast("Import: 10 %")
    site.shell(say(40))
    expect_toasts(bob, "Import: 40 %")
    bar = bob.page.locator(f"{TOAST} [role=progressbar]")
    assert bar.get_attribute("aria-valuenow") == "40"
    keep(bob, "light-progress-toast")
    bob.page.clock.fast_forward(7_000)
    expect_toasts(bob)
    bob.open_bell()
    bob.expect_listed("Import: 40 %")
    bob.page.locator(f"{BELL} .bar").evaluate("(bar) => (bar.same = true)")
    site.shell("push(bob, 'Another')")
    bob.expect_listed("Another", "Import: 40 %")
    site.shell(say(70))
    bob.expect_listed("Import: 70 %", "Another")
    bar = bob.page.locator(f"{BELL} [role=progressbar]")
    assert bar.get_attribute("aria-valuenow") == "70"
    assert bob.page.locator(f"{BELL} .bar").evaluate("(bar) => bar.same")
    keep(bob, "light-progress")
    bob.page.keyboard.press("Escape")
    site.shell(say(90))
    bob.expect_heard("Import: 10 %", "Import: 40 %", "Another", "Import: 70 %", "Import: 90 %")
    assert bob.toasts == []
    bob.expect_badge("2")
    site.shell(say(100))
    bob.expect_toast("Import: 100 %")


def test_a_tag_is_told_again_when_it_comes_back_later(site: Site, open_bob: Any) -> None:
    bob = open_bob(clock=True)
    for number, told_again in (1, True), (2, False), (3, True):
        site.shell(f"push(bob, 'Message {number}', tag='chat')")
        wait_until(lambda number=number: f"Message {number}" in bob.heard, "the message")
        if told_again:
            bob.expect_toast(f"Message {number}")
        assert bool(bob.toasts) is told_again
        bob.page.clock.fast_forward(11_000 if number == 1 else 3_700_000)
        expect_toasts(bob)
        wait_until(lambda: bob.client("status") == "live", "the connection")


# Actions


def test_a_button_is_pressed_once_and_done_everywhere(site: Site, open_page: Any) -> None:
    alice = open_page(site).sign_in("alice")
    laptop, phone = (open_page(site) for _ in range(2))
    laptop.page.clock.install()
    for page in (laptop, phone):
        page.sign_in("bob")
    site.shell(f"push(bob, 'May I?', body='Please', actor=alice, {BUTTONS})")
    for page in (laptop, phone):
        page.expect_toast("May I?")
    laptop.page.clock.fast_forward(60_000)
    expect_toasts(laptop, "May I?")
    keep(laptop, "light-actions-toast")
    phone.open_bell()
    phone.expect_listed("May I?")
    keep(phone, "light-actions")
    laptop.page.click(f"{TOAST} button:text-is('Approve')")
    expect_text(laptop, f"{TOAST} .done", "Approve")
    expect_text(phone, f"{BELL} .done", "Approve")
    assert phone.page.locator(f"{BELL} .action").count() == 0
    keep(phone, "light-actions-done")
    laptop.page.mouse.move(10, 10)
    laptop.page.clock.fast_forward(7_000)
    expect_toasts(laptop)
    alice.expect_toast("bob approved “May I?”")
    for page in (laptop, phone):
        page.expect_badge("")
        page.goto().open_bell()
        expect_text(page, f"{BELL} .done", "Approve")
        assert page.problems == []


def test_what_the_site_refuses_is_told_beside_the_button(site: Site, open_bob: Any) -> None:
    bob = open_bob()
    site.shell(f"push(bob, 'May I?', actor=bob, {BUTTONS})")
    bob.expect_toast("May I?")
    bob.open_bell()
    bob.expect_listed("May I?")
    bob.page.focus(f"{BELL} button:text-is('Reject')")
    bob.page.keyboard.press("Enter")
    expect_text(bob, f"{BELL} .problem", "Somebody else has to answer this.")
    expect_focus(bob, "Reject")
    keep(bob, "light-actions-refused")
    bob.page.route("**/action/**", lambda route: route.abort())
    bob.page.evaluate("document.querySelector('live-notify').client.stop()")
    bob.page.click(f"{BELL} button:text-is('Approve')")
    expect_text(bob, f"{BELL} .problem", "That did not work. Please try again.")
    assert bob.listed_unread == ["May I?"]


# What a site changes


def test_a_site_lays_out_its_own_items(site: Site, open_bob: Any) -> None:
    bob = open_bob()
    bob.page.evaluate(
        """() => {
            const root = document.querySelector("live-notify");
            root.querySelector("live-notify-bell").remove();
            root.insertAdjacentHTML("afterbegin", `<live-notify-bell>
                <span slot="icon">📬</span>
                <b slot="title">Post</b>
                <p slot="empty">Nothing yet</p>
                <a slot="footer" href="/lab/">All of them</a>
                <template><a data-field="link" part="mine"><i data-field="title"></i>,
                    <s data-field="data.price"></s>, <u data-field="actor"></u></a>
                    <span data-field="actions"></span></template></live-notify-bell>`);
            const sheet = new CSSStyleSheet();
            sheet.replaceSync("live-notify-bell::part(mine) { color: rgb(1, 2, 3); }"
                + "live-notify-bell { --live-notify-surface: rgb(4, 5, 6); }");
            document.adoptedStyleSheets = [sheet];
        }"""
    )
    bob.page.click(f"{BELL} .bell")
    wait_until(lambda: bob.page.locator("p:text-is('Nothing yet')").is_visible(), "the slot")
    for text in ("📬", "Post", "All of them"):
        assert bob.page.get_by_text(text, exact=True).is_visible()
    site.shell(f"push(bob, 'Sold', actor=alice, data={{'price': 7}}, {BUTTONS})")
    row = bob.page.locator(ROWS)
    wait_until(lambda: row.count() == 1, "the row")
    assert " ".join(row.text_content().split()) == "Sold, 7, Alice ApproveReject"
    colour = "(place) => getComputedStyle(place).color"
    assert row.locator("[data-field=link]").evaluate(colour) == "rgb(1, 2, 3)"
    surface = "(place) => getComputedStyle(place).backgroundColor"
    assert bob.page.locator(PANEL).evaluate(surface) == "rgb(4, 5, 6)"
    row.locator("[data-field=link]").click()
    bob.expect_badge("")


def test_a_strict_policy_is_not_violated(open_page: Any) -> None:
    strict = {"DEMO_POLICY": "default-src 'self'"}
    with running(Site("uvicorn", settings=SETTINGS, environment=strict)) as site:
        bob = open_page(site)
        bob.page.add_init_script(TELL)
        bob.sign_in("bob")
        bob.page.click("h1")
        site.shell(f"push(bob, 'Import', tag='import', data={{'progress': 0.4}}, {BUTTONS})")
        bob.expect_toast("Import")
        site.shell("push(bob, 'Broken', level='error', icon='/static/pages/icon.svg')")
        bob.expect_toast("Broken")
        wait_until(lambda: "(2)" in bob.page.title(), "the title")
        bob.open_bell()
        bob.expect_listed("Broken", "Import")
        bob.page.click(f"{BELL} button:text-is('Approve')")
        wait_until(lambda: bob.page.locator(f"{BELL} .done").is_visible(), "the action")
        assert told(bob, "violation") == [] and bob.problems == []
        # The policy is in force: what is inline is refused.
        bob.page.evaluate("document.body.setAttribute('style', 'color: red')")
        wait_until(lambda: told(bob, "violation"), "a violation of our own")
