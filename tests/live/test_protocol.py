"""Frames, cursors and verdicts."""

from __future__ import annotations

import json

import pytest

from django_live_notify.live import protocol
from django_live_notify.live.log import Resume
from django_live_notify.live.protocol import CommandError, Cursor, Verdict


def test_a_cursor_reads_back() -> None:
    assert Cursor.parse(str(Cursor("abc", 42))) == Cursor("abc", 42)
    assert str(Cursor("abc", 42)) == "1.abc.42"


@pytest.mark.parametrize(
    "text",
    [None, 7, "", "1", "1.abc", "2.abc.4", "1.abc.-4", "1.abc.x", "1.abc.٤", "1." + "9" * 200],
)
def test_what_is_no_cursor_is_none(text: object) -> None:
    assert Cursor.parse(text) is None


def test_a_cursor_stays_within_what_databases_compare() -> None:
    cursor = Cursor.parse("1.abc." + "9" * 60)
    assert cursor is not None and cursor.id == 2**63 - 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "junk",
        "[]",
        "null",
        "{}",
        '{"type": 1}',
        '{"type": "read", "ref": {}}',
        '{"type": "read", "x": NaN}',
        '{"type": "message", "data": "\\ud800"}',
        '{"type": "message", "data": "\ud800"}',
        '{"type": "message", "data": [{"\\udc00": 1}]}',
        '{"type": "message", "data": -Infinity}',
        '{"type": "message", "data": [1e999]}',
        "[" * 10_000,
        '{"type": "x", "n": ' + "9" * 5_000 + "}",
    ],
)
def test_junk_is_refused_as_invalid(text: str) -> None:
    with pytest.raises(CommandError) as caught:
        protocol.parse(text, None, 16 * 1024)
    assert caught.value.code == "invalid"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "It must be JSON."),
        ("NaN", "It must be JSON."),
        ("-1e400", "-1e400 is too large a number."),
        ('{"\\ud83d": 1}', "It contains half of a surrogate pair."),
        (b'"\xed\xa0\x80"', "It must be JSON."),
        ('"a"'.encode("utf-16"), "It must be JSON."),
    ],
)
def test_what_is_refused_is_told_why(text: str | bytes, message: str) -> None:
    with pytest.raises(CommandError) as caught:
        protocol.load(text, "It")
    assert (caught.value.code, caught.value.message) == ("invalid", message)


def test_all_other_json_is_taken() -> None:
    said = {"é": [1.5, -1e300, 10**30, None, True, {}], "pair": "\U0001f600"}
    assert protocol.load(json.dumps(said), "It") == said
    assert protocol.load(json.dumps(said, ensure_ascii=False).encode(), "It") == said


def test_a_binary_frame_is_a_header_and_bytes() -> None:
    frame = protocol.encode_binary({"type": "message", "name": "é", "ref": 7}, b"\x00\xff")
    assert protocol.parse(None, frame, 100, 2) == {
        "type": "message",
        "name": "é",
        "ref": 7,
        "data": b"\x00\xff",
    }


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00",
        b"{}",
        b"\xff\xff{}",
        b"\x00\x02\xff\xfe",
        b"\x00\x02[]",
        b'\x00\x0f{"type":"read"}1',
    ],
)
def test_binary_junk_is_refused_as_invalid(frame: bytes) -> None:
    with pytest.raises(CommandError) as caught:
        protocol.parse(None, frame, 16 * 1024, 16 * 1024)
    assert caught.value.code == "invalid"


def test_the_limit_of_binary_data_is_its_own_and_its_refusal_finds_who_asked() -> None:
    def frame(size: int) -> bytes:
        return protocol.encode_binary({"type": "message", "name": "x", "ref": 3}, bytes(size))

    assert len(protocol.parse(None, frame(200), 100, 200)["data"]) == 200
    with pytest.raises(CommandError) as caught:
        protocol.parse(None, frame(201), 100, 200)
    assert (caught.value.code, caught.value.ref) == ("too_large", 3)
    with pytest.raises(CommandError) as caught:
        protocol.parse(None, frame(0), 10, 200)
    assert caught.value.code == "too_large"


def test_the_limit_counts_bytes() -> None:
    text = json.dumps({"type": "message", "data": "é" * 60}, ensure_ascii=False)
    assert protocol.parse(text, None, len(text.encode()))["type"] == "message"
    with pytest.raises(CommandError) as caught:
        protocol.parse(text, None, len(text.encode()) - 1)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    ("text", "code", "ref"),
    [
        ('{"type":"message","data":"' + "x" * 200 + '","ref":3}', "too_large", 3),
        ('{"type":"message","data":"\\ud800","ref":3}', "invalid", 3),
        ('{"type":"message","data":1e999,"ref":12}', "invalid", 12),
        ('{"type":"message","data":{"ref":4},"x":"' + "x" * 200 + '"}', "too_large", None),
        ('{"ref":3,"data":{"x":1e999,"ref":4}}', "invalid", None),
        ('{"data":1e999,"x":"\\"ref\\":4}"}', "invalid", None),
        ('{"data":1e999,"ref":' + "1" * 5_000 + "}", "invalid", None),
    ],
)
def test_who_asked_is_told_where_a_frame_cannot_be_read(
    text: str, code: str, ref: int | None
) -> None:
    with pytest.raises(CommandError) as caught:
        protocol.parse(text, None, 100 if code == "too_large" else 10_000)
    assert (caught.value.code, caught.value.ref) == (code, ref)


def test_only_the_last_frame_of_a_replay_carries_the_cursor() -> None:
    items = [{"id": number} for number in range(protocol.ITEMS_PER_FRAME + 1)]
    frames = list(protocol.notifications(items, replay=True, cursor=Cursor("e", 9)))
    assert ["cursor" in frame for frame in frames] == [False, True]
    assert [item for frame in frames for item in frame["items"]] == items


def test_verdicts_tell_by_their_range_whether_to_retry() -> None:
    assert {verdict for verdict in Verdict if verdict.retry} == {
        verdict for verdict in Verdict if verdict < 4500
    }
    assert all(verdict in protocol.REASONS for verdict in Verdict)


def test_times_are_utc_and_aware_or_nothing() -> None:
    parsed = protocol.parse_time("2026-01-02T03:04:05.678+02:00")
    assert parsed is not None
    assert protocol.format_time(parsed) == "2026-01-02T01:04:05.678000Z"
    for text in (
        "2026-01-02T03:04:05",
        "yesterday",
        "2026-13-01T00:00:00Z",
        5,
        None,
        "0001-01-01T00:00:00+14:00",
    ):
        assert protocol.parse_time(text) is None


def test_two_polls_that_tell_the_same_are_known_by_the_same() -> None:
    def known(unread: int, *frames: dict[str, object]) -> object:
        found = Resume("e", False, unread=unread, frames=list(frames))
        return protocol.polled(found, Cursor("e", 1), protocol.now())["known"]

    read = {"type": "state", "action": "read", "ids": [1, 2]}
    gone = {"type": "retracted", "ids": [3]}
    # What changed at the same time comes in any order.
    assert known(1, read, gone) == known(1, gone, {**read, "ids": [2, 1]})
    assert len({known(1, read), known(2, read), known(1, gone), known(1)}) == 4
