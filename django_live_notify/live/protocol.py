"""The wire `live-notify.v1`: frames, cursors, verdicts. Pure functions, no state of their own.

Text frames hold one JSON object each, told apart by `type`. Unknown keys are ignored. In a binary
frame such an object is the header, behind its length in two bytes, and `data` follows as it is.
"""

from __future__ import annotations

import datetime
import json
import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from ..content import render, render_actions

if TYPE_CHECKING:
    from ..models import Notification
    from .log import Resume

logger = logging.getLogger("django_live_notify")

SUBPROTOCOL = "live-notify.v1"
VERSION = 1

# Items of one frame of a replay; a frame of more would hold up a ping behind it.
ITEMS_PER_FRAME = 50

# Ids of one state frame: as many as a client may name in one command.
IDS_PER_FRAME = 1_000

# Times before are nobody's, and the first ones leave no room for a window before them.
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class Verdict(IntEnum):
    """Why the server closes. Clients go by the range, so a new code works with old clients."""

    # 4000–4399: retry with back-off.
    RESTARTING = 4000
    NO_PONG = 4001
    TOO_SLOW = 4002
    TOO_OLD = 4003
    TOO_MANY_CONNECTIONS = 4029
    # 4400–4499: retry after doing something.
    REFRESH = 4401
    NO_HELLO = 4408
    # 4500–4999: stop.
    NO_COMMON_VERSION = 4500
    BROKEN_PROTOCOL = 4501
    NOT_LOGGED_IN = 4510
    LOGGED_OUT = 4511
    FORBIDDEN = 4512

    @property
    def retry(self) -> bool:
        return self < 4500


REASONS = {
    Verdict.RESTARTING: "The server is restarting.",
    Verdict.NO_PONG: "No answer to a ping.",
    Verdict.TOO_SLOW: "The connection cannot keep up.",
    Verdict.TOO_OLD: "The connection has lasted long enough.",
    Verdict.TOO_MANY_CONNECTIONS: "Too many connections.",
    Verdict.REFRESH: "The session must be refreshed.",
    Verdict.NO_HELLO: "No hello was received.",
    Verdict.NO_COMMON_VERSION: "No common version of the protocol.",
    Verdict.BROKEN_PROTOCOL: "The protocol was broken.",
    Verdict.NOT_LOGGED_IN: "Not logged in.",
    Verdict.LOGGED_OUT: "Logged out, or somebody else is logged in.",
    Verdict.FORBIDDEN: "Not allowed.",
}

# The last key of an object: what ends the text of an object is not inside of a string.
LAST_REF = re.compile(r'"ref":(\d{1,15})\}\Z')


class CommandError(Exception):
    """A command that is answered by an `error` frame."""

    def __init__(self, code: str, message: str, ref: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.ref = ref


@dataclass(frozen=True)
class Cursor:
    """How far a client got: `"1.<epoch>.<id>"`, opaque to everybody else."""

    epoch: str
    id: int

    @classmethod
    def parse(cls, text: Any) -> Cursor | None:
        """Return the cursor of a client, or None for anything that is none."""
        if not isinstance(text, str) or len(text) > 100:
            return None
        version, _, rest = text.partition(".")
        epoch, _, number = rest.rpartition(".")
        if version != "1" or not number.isascii() or not number.isdigit():
            return None
        # Ids are 64 bits wide, and a database refuses to compare with more.
        return cls(epoch, min(int(number), 2**63 - 1))

    def __str__(self) -> str:
        return f"1.{self.epoch}.{self.id}"


def encode(frame: Mapping[str, Any]) -> str:
    """Return a frame as it is sent."""
    return json.dumps(frame, cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":"))


def encode_binary(header: Mapping[str, Any], data: bytes) -> bytes:
    """Return a binary frame as it is sent."""
    encoded = encode(header).encode()
    return len(encoded).to_bytes(2, "big") + encoded + data


def load(text: str | bytes, what: str) -> Any:
    """Return what a client says in JSON; `what` names it where it is refused.

    Raises CommandError for what is no JSON in UTF-8, and for what could neither be stored nor
    answered: numbers that are infinite, and halves of surrogate pairs.
    """
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        value = json.loads(decoded, parse_constant=_refuse_constant, parse_float=_parse_float)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise CommandError("invalid", f"{what} contains half of a surrogate pair.") from None
    except (ValueError, RecursionError):
        raise CommandError("invalid", f"{what} must be JSON.") from None
    return value


def parse(
    text: str | None, data: bytes | None, limit: int, binary_limit: int = 0
) -> dict[str, Any]:
    """Return a client's command. Raises CommandError for whatever is none.

    The limits are in bytes: of JSON, and of binary data behind it.
    """
    if text is None:
        return _parse_binary(data or b"", limit, binary_limit)
    try:
        return _parse_text(text, limit)
    except CommandError as error:
        # What cannot be read, or is too much to be read, is still the answer to somebody.
        found = LAST_REF.search(text, max(0, len(text) - 40))
        error.ref = int(found[1]) if found else None
        raise


def _parse_text(text: str, limit: int) -> dict[str, Any]:
    if len(text) > limit or len(text.encode(errors="replace")) > limit:
        raise CommandError("too_large", f"A frame may have at most {limit} bytes.")
    frame = load(text, "A frame")
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise CommandError("invalid", "A frame must be a JSON object with a type.")
    if not isinstance(frame.get("ref"), (str, int, type(None))):
        raise CommandError("invalid", "ref must be a string or a number.")
    return frame


def parse_id(value: Any) -> int | None:
    """Return an id, as a number or in digits, or None for anything that is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value < 2**63 else None


def parse_time(text: Any) -> datetime.datetime | None:
    """Return a time in ISO 8601 with its offset, or None for anything that is none."""
    if not isinstance(text, str) or len(text) > 64:
        return None
    try:
        value = parse_datetime(text)
        if value is None or timezone.is_naive(value):
            return None
        # As the database has times: naive on a site without time zones.
        utc = value.astimezone(datetime.timezone.utc)
        if utc < EPOCH:
            return None
        return utc if settings.USE_TZ else timezone.make_naive(utc)
    except (ValueError, OverflowError):
        return None


def now() -> str:
    """Return the server's time as it is written on the wire."""
    return format_time(timezone.now())


def format_time(value: datetime.datetime) -> str:
    """Return a time as it is written on the wire: ISO 8601, UTC."""
    if timezone.is_naive(value):
        value = timezone.make_aware(value)
    utc = value.astimezone(datetime.timezone.utc)
    return utc.isoformat(timespec="microseconds").replace("+00:00", "Z")


def pack(notification: Notification) -> dict[str, Any]:
    """Return the content of a notification as hints carry it: JSON, not yet in a language."""
    return {
        "id": notification.pk,
        "kind": notification.kind,
        "level": str(notification.level),
        "title": notification.title,
        "title_translated": notification.title_translated,
        "body": notification.body,
        "body_translated": notification.body_translated,
        "params": notification.params,
        "url": notification.url,
        "icon": notification.icon,
        "data": notification.data,
        "actions": notification.actions,
        "actor": _pack_actor(notification.actor),
        "topic": notification.topic,
        "tag": notification.tag,
        "created_at": format_time(notification.created_at),
        "expires_at": notification.expires_at and format_time(notification.expires_at),
    }


class Touched(NamedTuple):
    """What a reader has done with a notification, and whether its topic is muted."""

    seen: bool = False
    read: bool = False
    archived: bool = False
    muted: bool = False
    # The name of the action that they took.
    acted: str = ""

    @classmethod
    def of(
        cls, seen_at: Any, read_at: Any, archived_at: Any, action: str | None, *, muted: bool
    ) -> Touched:
        """Return what a receipt says, which may not be there."""
        seen, read, archived = (at is not None for at in (seen_at, read_at, archived_at))
        return cls(seen, read, archived, muted, action or "")


def item(packed: Mapping[str, Any], touched: Touched = Touched()) -> dict[str, Any]:  # noqa: B008
    """Return a packed notification as clients get it, in the language that is active."""
    item = {key: value for key, value in packed.items() if key not in _INTERNAL}
    for name in ("title", "body"):
        item[name] = render(
            packed[name], translated=packed[f"{name}_translated"], params=packed["params"]
        )
    item["actions"] = render_actions(packed["actions"], packed["params"])
    return {**item, **touched._asdict()}


def item_of(notification: Any) -> dict[str, Any]:
    """Return a notification of `for_user()` as its reader gets it."""
    state = (notification.seen_at, notification.read_at, notification.archived_at)
    touched = Touched.of(*state, notification.acted, muted=notification.muted)
    return item(pack(notification), touched)


def notifications(
    items: list[dict[str, Any]], *, replay: bool, cursor: Cursor | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the frames for items; only the last one carries the cursor."""
    for start in range(0, len(items), ITEMS_PER_FRAME):
        frame: dict[str, Any] = {
            "type": "notifications",
            "items": items[start : start + ITEMS_PER_FRAME],
            "replay": replay,
        }
        if cursor is not None and start + ITEMS_PER_FRAME >= len(items):
            frame["cursor"] = str(cursor)
        yield frame


def states(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the `state` frames that bring a client up to date, whatever it knew before.

    A row is a receipt's state (`notification_id`, `seen_at`, `read_at`, `archived_at`, `action`), a
    topic that is muted or not (`topic`, `muted_until`), or a reader's watermarks (`read_to`,
    `seen_to`), which come first: receipts make exceptions.
    """
    ids: dict[str, list[int]] = {}
    # An exception from a mark, and the receipt that made it, may be the same row: read twice.
    receipts: dict[int, Mapping[str, Any]] = {}
    acted: dict[str, list[int]] = {}
    marks: list[dict[str, Any]] = []
    # A topic that was followed again and again has a row for each time.
    mutes: dict[str, dict[str, Any]] = {}
    for row in rows:
        if "muted_until" in row:
            is_over = row["muted_until"] <= timezone.now()
            mutes[row["topic"]] = muting(row["topic"], None if is_over else row["muted_until"])
            continue
        if "read_to" in row:
            for action, up_to in (("read", row["read_to"]), ("seen", row["seen_to"])):
                if up_to:
                    marks.append({"type": "state", "action": action, "up_to": up_to})
            continue
        receipts[row["notification_id"]] = row
    for number, row in receipts.items():
        ids.setdefault("read" if row["read_at"] else "unread", []).append(number)
        ids.setdefault("archive" if row["archived_at"] else "unarchive", []).append(number)
        if row["seen_at"]:
            ids.setdefault("seen", []).append(number)
        if row["action"]:
            acted.setdefault(row["action"], []).append(number)
    yield from marks
    yield from mutes.values()
    for action, changed in ids.items():
        yield from state(action, changed)
    for name, changed in acted.items():
        yield from state("action", changed, name=name)


def muting(topic: str, until: datetime.datetime | None) -> dict[str, Any]:
    """Return the `state` frame for a topic that is muted until a time, or not any more."""
    if until is None:
        return {"type": "state", "action": "unmute", "topic": topic}
    return {"type": "state", "action": "mute", "topic": topic, "until": format_time(until)}


def state(action: str, ids: list[int], **details: str) -> Iterator[dict[str, Any]]:
    """Yield the `state` frames for a change of these notifications."""
    for start in range(0, len(ids), IDS_PER_FRAME):
        part = ids[start : start + IDS_PER_FRAME]
        yield {"type": "state", "action": action, "ids": part, **details}


def bye(verdict: Verdict, after: tuple[float, float] = (0, 5)) -> dict[str, Any]:
    """Return the frame that comes before a deliberate close; `after` is in seconds."""
    return {
        "type": "bye",
        "code": int(verdict),
        "reason": REASONS[verdict],
        "retry": verdict.retry,
        "after": list(after),
    }


def event(text: str, cursor: str | None = None, retry: float | None = None) -> str:
    """Return a frame as it is sent over an event stream; `retry` is in seconds."""
    lines = [f"data: {text}\n\n"]
    if cursor is not None:
        lines.insert(0, f"id: {cursor}\n")
    if retry is not None:
        lines.insert(0, f"retry: {retry * 1000:.0f}\n")
    return "".join(lines)


def polled(found: Resume, cursor: Cursor, time: str) -> dict[str, Any]:
    """Return the answer to a poll, without the time of the next one.

    `known` stands for what is told by it: it is the same where nothing else would be told.
    """
    told: dict[str, Any] = {
        "items": found.items,
        "states": found.frames,
        "unread": found.unread,
        "reset": found.reset,
    }
    return {**told, "cursor": str(cursor), "time": time, "known": _fingerprint(told)}


def _fingerprint(told: Mapping[str, Any]) -> str:
    # Databases return what changed at the same time in any order.
    states = sorted(
        encode({**frame, "ids": sorted(frame["ids"])} if "ids" in frame else frame)
        for frame in told["states"]
    )
    text = encode({**told, "states": states})
    return blake2b(text.encode(errors="replace"), digest_size=12).hexdigest()


def error(code: str, message: str, ref: Any = None) -> dict[str, Any]:
    """Return the answer to a command that failed."""
    return {"type": "error", "ref": ref, "code": code, "message": message}


def user_key(user: Any) -> str:
    """Return a user's key as it is written on the wire and in hints, whatever its type."""
    return str(user.pk)


_INTERNAL = ("title_translated", "body_translated", "params")


def _pack_actor(actor: Any) -> dict[str, Any] | None:
    # A user who is deleted before the commit loses the key, and becomes nobody in the log.
    if actor is None or actor.pk is None:
        return None
    full_name = getattr(actor, "get_full_name", None)
    try:
        name = (full_name() if callable(full_name) else "") or actor.get_username()
    except Exception:
        # The site's own code, which must not keep a sweep from everybody else.
        logger.exception("An actor has no name.")
        name = ""
    return {"id": actor.pk if isinstance(actor.pk, int) else str(actor.pk), "name": str(name)}


def _parse_binary(frame: bytes, limit: int, binary_limit: int) -> dict[str, Any]:
    end = 2 + int.from_bytes(frame[:2], "big")
    if len(frame) < end:
        raise CommandError("invalid", "A binary frame is shorter than its header.")
    try:
        header = frame[2:end].decode()
    except UnicodeDecodeError:
        raise CommandError("invalid", "A header must be JSON.") from None
    command = parse(header, None, limit)
    if command["type"] != "message":
        raise CommandError("invalid", "Only a message takes binary data.", command.get("ref"))
    if len(frame) - end > binary_limit:
        problem = f"Binary data may have at most {binary_limit} bytes."
        raise CommandError("too_large", problem, command.get("ref"))
    return {**command, "data": frame[end:]}


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _parse_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise CommandError("invalid", f"{digits:.40} is too large a number.")
    return number
