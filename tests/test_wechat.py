"""WeChat: the log-in of the example project, and its mini-program against the real server.

The mini-program runs on the phone of tests/js/wx.js; its own tests are tests/js/wechat.test.js.
"""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.servers import DIRECT, ROOT, Site, find_node, running, wait_until

pytestmark = pytest.mark.servers

SECRET = "the-secret-of-the-mini-program"


class WeChat:
    """What WeChat's servers answer to `jscode2session`, and what they were asked."""

    def __init__(self) -> None:
        self.answer: Any = {}
        self.asked: list[dict[str, list[str]]] = []
        wechat = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wechat.asked.append(parse_qs(urlsplit(self.path).query))
                text = json.dumps(wechat.answer).encode()
                # As WeChat labels it.
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Phone:
    """The mini-program on a phone of a demo user."""

    def __init__(self, site: Site, user: str) -> None:
        self.process = subprocess.Popen(
            [find_node(), str(ROOT / "tests" / "js" / "wechat-phone.js"), site.url, user],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, name: str, *arguments: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def wait_until(self, **expected: Any) -> None:
        def is_so() -> bool:
            report = self.do("report")
            return all(report[key] == value for key, value in expected.items())

        wait_until(is_so, lambda: f"{expected}, not {self.do('report')}")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running(Site("uvicorn", settings='{"SWEEP_INTERVAL": 0.3}')) as site:
        yield site


@pytest.fixture
def phone(site: Site) -> Iterator[Phone]:
    site.shell("Notification.objects.all().delete()")
    phone = Phone(site, "bob")
    yield phone
    phone.close()


def request(site: Site, path: str, data: Any = None, token: str | None = None) -> tuple[int, Any]:
    """Return status and JSON of an answer; with data, of one to a POST."""
    body = data if isinstance(data, bytes) else None if data is None else json.dumps(data).encode()
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    asked = urllib.request.Request(site.url + path, body, headers)
    try:
        with DIRECT.open(asked, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def log_in(site: Site, code: Any) -> tuple[int, Any]:
    return request(site, "/wechat/log-in/", {"code": code})


def inbox(site: Site, token: str) -> tuple[int, Any]:
    return request(site, "/live-notify/inbox/", token=token)


# The mini-program


def test_a_push_arrives_once_and_after_a_restart_of_the_server_the_next_one_too(
    site: Site, phone: Phone
) -> None:
    site.shell("push(bob, 'before')")
    phone.do("launch")
    phone.wait_until(status="live", badge="1", shown=[["before", False]], told=[])
    site.shell("push(bob, 'one'); push(alice, 'to alice')")
    phone.wait_until(told=["one"], badge="2", shown=[["one", False], ["before", False]])
    site.kill()
    site.shell("push(bob, 'two')")
    site.start()
    phone.wait_until(told=["one", "two"], status="live", badge="3")
    phone.do("hide")
    phone.wait_until(sockets=0)
    site.shell("push(bob, 'three')")
    phone.do("show")
    phone.wait_until(told=["one", "two", "three"], status="live")
    phone.do("kill")
    site.shell("push(bob, 'four')")
    phone.do("launch")
    phone.wait_until(told=["one", "two", "three", "four"], status="live", badge="5")
    site.shell("push(bob, 'five')")
    phone.wait_until(told=["one", "two", "three", "four", "five"], sockets=1)


def test_what_is_read_on_the_phone_is_read_everywhere(site: Site, phone: Phone) -> None:
    site.shell("push(bob, 'one')")
    phone.do("launch")
    phone.wait_until(status="live", badge="1", shown=[["one", False]])
    phone.do("readAll")
    phone.wait_until(badge=None, shown=[["one", True]])
    unread = site.shell("print(Notification.objects.for_user(bob).unread().count())")
    assert unread.split()[-1] == "0"
    site.shell("Notification.objects.for_user(bob).mark_unread()")
    phone.wait_until(badge="1", shown=[["one", False]])


def test_a_button_on_the_phone_reaches_the_site(site: Site, phone: Phone) -> None:
    site.shell("push(bob, 'May I?', actor=alice, actions=[Action('approve', 'Yes')])")
    phone.do("launch")
    phone.wait_until(status="live", badge="1", shown=[["May I?", False]], done=[""])
    phone.do("tap", "approve")
    phone.wait_until(badge=None, shown=[["May I?", True]], done=["Yes"])
    answer = site.shell("print(Notification.objects.for_user(alice).newest_first().first().title)")
    assert answer.splitlines()[-1] == "bob approved “May I?”"


def test_what_the_phone_says_is_answered(phone: Phone) -> None:
    phone.do("launch")
    answer = phone.do("send", "echo", {"n": 1})
    assert (answer["echo"], answer["from"]) == ({"n": 1}, "bob")


def test_a_token_that_is_not_the_sites_stops_the_phone_and_the_next_launch_logs_in(
    phone: Phone,
) -> None:
    phone.do("launch")
    phone.wait_until(status="live")
    phone.do("kill")
    phone.do("spoilToken")
    phone.do("launch")
    phone.wait_until(status="stopped", closed=4510)
    phone.do("kill")
    phone.do("launch")
    phone.wait_until(status="live")


# The log-in


def test_a_code_of_the_demonstration_is_exchanged_for_a_token(site: Site) -> None:
    site.shell("push(alice, 'to alice')")
    status, answer = log_in(site, "demo:alice")
    assert status == 200
    assert answer["expires_in"] == 7 * 24 * 3600
    status, page = inbox(site, answer["token"])
    assert status == 200
    assert page["items"][0]["title"] == "to alice"


def test_codes_that_stand_for_nobody_are_refused(site: Site) -> None:
    site.shell("User.objects.create_user('carol')")
    for code in ("demo:", "demo:carol", "alice", "demo:alice\0", "071abcDEF"):
        status, answer = log_in(site, code)
        assert (status, answer) == (403, {"message": "This code stands for nobody."}), code


def test_what_is_no_code_is_a_400(site: Site) -> None:
    for body in (b"", b"junk", b"[]", b"{}", b'{"code": 7}', b'{"code": ""}', b"[" * 100_000):
        assert request(site, "/wechat/log-in/", body)[0] == 400, body[:20]
    assert log_in(site, "x" * 201)[0] == 400


def test_no_token_but_a_valid_one_signs_anybody_in(site: Site) -> None:
    token = log_in(site, "demo:alice")[1]["token"]
    pk, rest = token.split(":", 1)
    others = [f"{int(pk) + 1}:{rest}", f"{'9' * 30}:{rest}", f"²:{rest}", f"{token}x", pk, "", ":"]
    for other in others:
        status, answer = inbox(site, other)
        assert (status, answer["code"]) == (403, 4510), other


def test_a_token_ends_with_its_age_with_the_password_and_with_the_user(site: Site) -> None:
    tokens = site.shell(
        "import time\n"
        "from unittest.mock import patch\n"
        "from pages.tokens import MAX_AGE, make_token\n"
        "for age in (MAX_AGE - 600, MAX_AGE + 600):\n"
        "    with patch('django.core.signing.time.time', return_value=time.time() - age):\n"
        "        print(make_token(alice))\n"
    ).split()[-2:]
    assert [inbox(site, token)[0] for token in tokens] == [200, 403]
    for change in ("alice.set_password('new')", "alice.is_active = False"):
        token = log_in(site, "demo:alice")[1]["token"]
        assert inbox(site, token)[0] == 200
        site.shell(f"{change}; alice.save()")
        assert inbox(site, token)[0] == 403, change
    assert log_in(site, "demo:alice")[0] == 403, "who is locked gets no other one"
    site.shell("alice.set_password('alice'); alice.is_active = True; alice.save()")


def test_the_demonstration_lets_nobody_in_where_debug_is_off() -> None:
    with running(Site("uvicorn", environment={"DEMO_DEBUG": "0"})) as site:
        assert log_in(site, "demo:alice")[0] == 403


def test_with_a_key_wechat_is_asked_and_its_word_is_taken() -> None:
    wechat = WeChat()
    key = {"DEMO_WECHAT_APP_ID": "wx1", "DEMO_WECHAT_APP_SECRET": SECRET}
    with running(Site("uvicorn", environment={**key, "DEMO_WECHAT_API": wechat.url})) as site:
        wechat.answer = {"openid": "o6_bmjrPTlm6_2sgVt7hMZOPfL2M", "session_key": "k"}
        status, answer = log_in(site, "071abcDEF")
        assert status == 200, (answer, site.tail())
        assert inbox(site, answer["token"])[0] == 200
        assert wechat.asked == [
            {
                "appid": ["wx1"],
                "secret": [SECRET],
                "js_code": ["071abcDEF"],
                "grant_type": ["authorization_code"],
            }
        ]
        assert log_in(site, "other")[1]["user"] == answer["user"], "the same user the next time"
        assert log_in(site, "demo:alice")[1]["user"] == answer["user"], "no demonstration here"
        for number in (40029, 40163, 40226):
            wechat.answer = {"errcode": number, "errmsg": f"invalid {SECRET}"}
            assert log_in(site, "used")[0] == 403
        for fault in ({"errcode": -1}, {"errcode": 40125}, {}, []):
            wechat.answer = fault
            assert log_in(site, "code")[0] == 503, fault
        wechat.close()
        status, answer = log_in(site, "code")
        assert (status, answer) == (503, {"message": "WeChat cannot be reached."})
        log = site.tail()
    assert "WeChat refused a code (40029)." in log
    assert SECRET not in log
