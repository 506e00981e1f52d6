"""What may be said, and how it reads: checks at push time, rendering at read time.

Every check raises at once, so that a mistake shows where it was made and nothing is stored.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import (
    gettext,
    gettext_lazy,
    ngettext,
    ngettext_lazy,
    npgettext,
    npgettext_lazy,
    override,
    pgettext_lazy,
)

from .conf import conf

TITLE_LENGTH = 255
# In characters: a frame has to fit into what may wait for a client.
BODY_LENGTH = 64 * 1024
URL_LENGTH = 2000
NAME_LENGTH = 100
KEY_LENGTH = 200
DATA_BYTES = 16 * 1024
# More buttons fit into no bell.
MAX_ACTIONS = 5

_HOLE = re.compile(r"(?<!%)%\((\w+)\)")

_NAMELESS = re.compile(r"%(?!\()")

# Between a context and its message, as gettext writes it; and between a singular, its plural and
# their number, which is one or names the parameter that is.
_CONTEXT = "\x04"
_PLURAL = "\x1f"

# The only key of what stands for a lazy parameter: its value is a message, as gettext looks it up.
_LAZY = "\x05"

# The integers of django.contrib.messages; DEBUG has no level of its own here.
_MESSAGE_LEVELS = {10: "info", 20: "info", 25: "success", 30: "warning", 40: "error"}


@dataclass(frozen=True)
class Action:
    """A button of a notification: a name for the site, and a label, lazy or not, for the reader."""

    name: str
    label: Any


def check_level(level: Any, choices: list[str]) -> str:
    """Return the name of a level given by name or by an integer of `django.contrib.messages`."""
    name = _MESSAGE_LEVELS.get(level, level) if isinstance(level, int) else level
    if name not in choices:
        raise ValueError(
            f"Unknown level {level!r}: expected one of {', '.join(map(repr, choices))},"
            " or an integer level of django.contrib.messages."
        )
    return str(name)


def check_url(url: Any, what: str = "url") -> str:
    """Return a url that is safe as a link: relative to the site, or http(s)."""
    if not isinstance(url, (str, Promise)):
        raise TypeError(f"{what} must be a string, not {type(url).__name__}.")
    # Browsers drop control characters from addresses, so "java\nscript:" must not pass.
    text = str(url)
    if not text.isprintable():
        text = "".join(c for c in text if c.isprintable())
    cleaned = text.strip()
    if not cleaned:
        return ""
    if len(cleaned) > URL_LENGTH:
        raise ValueError(f"{what} has {len(cleaned)} characters; at most {URL_LENGTH} are allowed.")
    allowed = f"{what} {url!r} is not allowed: expected a path of this site, or http:// or https://"
    # "//host" and "/\host" leave the site although they look like paths.
    if "\\" in cleaned or cleaned.startswith("//"):
        raise ValueError(f"{allowed}, without // at its start and without backslashes.")
    try:
        parts = urlsplit(cleaned)
    except ValueError as error:
        raise ValueError(f"{allowed} ({error}).") from None
    if parts.scheme not in ("", "http", "https") or (parts.scheme and not parts.netloc):
        raise ValueError(f"{allowed}.")
    return cleaned


def check_json(value: Any, what: str = "data") -> Any:
    """Return a value as it will be read back, if it is JSON of at most 16 KiB."""
    if value is None:
        return None
    try:
        encoded = json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{what} is not JSON: {error}.") from None
    size = len(encoded.encode())
    if size > DATA_BYTES:
        raise ValueError(f"{what} has {size} bytes as JSON; at most {DATA_BYTES} are allowed.")
    decoded = json.loads(encoded)
    check_storable(decoded, what)
    return decoded


def check_bytes(value: bytes, what: str = "data") -> bytes:
    """Return bytes that an event may carry."""
    limit = conf.LIMITS["binary"]
    if len(value) > limit:
        raise ValueError(f"{what} has {len(value)} bytes; at most {limit} are allowed.")
    return value


def check_text(value: Any, what: str, length: int | None = None) -> str:
    """Return a text that every database stores."""
    if not isinstance(value, (str, Promise)):
        raise TypeError(f"{what} must be a string, not {type(value).__name__}.")
    text = str(value)
    if length is not None and len(text) > length:
        raise ValueError(f"{what} has {len(text)} characters; at most {length} are allowed.")
    check_storable(text, what)
    return text


def check_storable(value: Any, what: str) -> None:
    """Refuse what PostgreSQL stores neither as text nor as JSON."""
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError(f"{what} contains a NUL character, which databases do not store.")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{what} contains half of a surrogate pair.") from None
    elif isinstance(value, dict):
        for key, entry in value.items():
            check_storable(key, what)
            check_storable(entry, what)
    elif isinstance(value, list):
        for entry in value:
            check_storable(entry, what)


def check_name(value: Any, what: str, *, may_be_empty: bool = False) -> str:
    """Return a short text such as a kind, a tag or the name of an event."""
    text = check_text(value, what, NAME_LENGTH)
    if not text and not may_be_empty:
        raise ValueError(f"{what} must not be empty.")
    return text


def check_params(params: Any) -> dict[str, Any]:
    """Return the parameters of a title or body as they are stored: lazy ones by their message."""
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise TypeError(f"params must be a dictionary, not {type(params).__name__}.")
    values = {
        key: {_LAZY: _message_id(value)} if isinstance(value, Promise) else value
        for key, value in params.items()
    }
    checked: dict[str, Any] = check_json(values, "params")
    return checked


def check_message(
    value: Any, what: str, params: Mapping[str, Any], length: int | None = None
) -> tuple[str, bool]:
    """Return a title or body as it is stored, and whether it is translated for each reader."""
    translated = isinstance(value, Promise)
    text = check_text(_message_id(value) if translated else value, what, length)
    try:
        # A plain text may be anybody's words; a hole in a message id was meant to be filled.
        if translated and not params and (hole := _HOLE.search(text)):
            raise KeyError(hole[1])
        for form in _forms(text, params) if translated else [text]:
            _interpolate(form, params)
    except KeyError as error:
        raise ValueError(
            f"{what} {text!r} needs the parameter {error}: pass it in params."
        ) from None
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{what} {text!r} cannot be formatted with params: {error}."
            " Parameters look like %(name)s, and a percent sign is written %%."
        ) from None
    return text, translated


def check_actions(actions: Iterable[Action], params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the buttons of a notification as they are stored."""
    if isinstance(actions, Action) or not isinstance(actions, Iterable):
        raise TypeError(f"actions must be a list of Actions, not {type(actions).__name__}.")
    checked: list[dict[str, Any]] = []
    for action in actions:
        if not isinstance(action, Action):
            raise TypeError(f"actions must be Actions, not {action!r:.100}.")
        name = check_name(action.name, "the name of an action")
        label, translated = check_message(action.label, "label", params, NAME_LENGTH)
        if not label.strip():
            raise ValueError(f"The action {name!r} needs a label: it is what the reader sees.")
        if any(name == other["name"] for other in checked):
            raise ValueError(f"There are two actions named {name!r}.")
        checked.append({"name": name, "label": label, "label_translated": translated})
    if len(checked) > MAX_ACTIONS:
        raise ValueError(f"There are {len(checked)} actions; at most {MAX_ACTIONS} are allowed.")
    return checked


def check_expires(expires: Any, said_at: datetime) -> datetime | None:
    """Return the time of expiry, given as a datetime or as a timedelta from when it is said."""
    if expires is None:
        return None
    expires = check_time(expires, "expires", said_at)
    if expires <= said_at:
        raise ValueError(
            f"expires {expires.isoformat()} is not in the future"
            f" of what is said {said_at.isoformat()}."
        )
    return expires


def check_time(value: Any, what: str, now: datetime) -> datetime:
    """Return a time as the site's USE_TZ has it, given as a datetime or as a timedelta from now."""
    if isinstance(value, timedelta):
        try:
            return now + value
        except OverflowError:
            raise ValueError(
                f"{what} is {value.days} days away: that is beyond all years."
            ) from None
    if not isinstance(value, datetime):
        raise TypeError(f"{what} must be a datetime or a timedelta, not {type(value).__name__}.")
    if settings.USE_TZ and timezone.is_naive(value):
        return timezone.make_aware(value)
    if not settings.USE_TZ and timezone.is_aware(value):
        return timezone.make_naive(value)
    return value


def restore_message(text: str, *, translated: bool) -> Any:
    """Return a title or body as `check_message()` was given it: lazy again, or plain."""
    if not translated:
        return text
    context, separator, message = text.rpartition(_CONTEXT)
    if _PLURAL in message:
        singular, plural, number = message.split(_PLURAL)
        counted: Any = int(number) if number.isdecimal() else number
        if separator:
            return npgettext_lazy(context, singular, plural, counted)
        return ngettext_lazy(singular, plural, counted)
    return pgettext_lazy(context, message) if separator else gettext_lazy(message)


def restore_actions(stored: list[dict[str, Any]]) -> list[Action]:
    """Return the buttons of a notification as `check_actions()` was given them."""
    return [
        Action(one["name"], restore_message(one["label"], translated=one["label_translated"]))
        for one in stored
    ]


def render_actions(stored: list[dict[str, Any]], params: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the buttons of a notification in the language that is active."""
    return [
        {
            "name": one["name"],
            "label": render(one["label"], translated=one["label_translated"], params=params),
        }
        for one in stored
    ]


def render(text: str, *, translated: bool, params: Mapping[str, Any]) -> str:
    """Return a stored title or body in the language that is active."""
    candidates = _translate(text, params) if translated and text else [text]
    # A translator's slip, or a row that nobody checked, must not take it from its reader.
    for candidate in candidates:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            return _interpolate(candidate, params)
    return candidates[-1]


def _translate(text: str, params: Mapping[str, Any]) -> list[str]:
    """Return a message in the language that is active, and as it was written."""
    context, separator, message = text.rpartition(_CONTEXT)
    if _PLURAL not in message:
        translation = gettext(text)
        return [message if translation == text else translation, message]
    singular, plural, number = message.split(_PLURAL)
    count = int(number) if number.isdecimal() else params.get(number)
    if not isinstance(count, int):
        return [plural]
    if separator:
        translation = npgettext(context, singular, plural, count)
    else:
        translation = ngettext(singular, plural, count)
    return [translation, singular if count == 1 else plural]


def _forms(text: str, params: Mapping[str, Any]) -> list[str]:
    """Return what a message may read, before it is translated."""
    message = text.rpartition(_CONTEXT)[2]
    if _PLURAL not in message:
        return [message]
    singular, plural, number = message.split(_PLURAL)
    if not number.isdecimal() and not isinstance(params[number], int):
        raise ValueError(f"{number} must be a whole number")
    return [singular, plural]


def _message_id(value: Promise) -> str:
    """Return what gettext looks up for a lazy text; a context is kept as gettext writes it."""
    # Promises tell their function and arguments only by the pickle protocol.
    _, (function, arguments, *rest) = cast(tuple[Any, tuple[Any, ...]], value.__reduce__())
    name = getattr(function, "__name__", "")
    if name == "pgettext" and len(arguments) == 2:
        return _CONTEXT.join(map(str, arguments))
    if name in ("ngettext", "npgettext"):
        keys = next(entry for entry in rest if isinstance(entry, dict))
        number = keys.get("number", rest[0])
        if number is None:
            raise ValueError(
                f"{keys['plural']!r} does not say what it counts: name the parameter, as in"
                ' ngettext_lazy("%(count)d reply", "%(count)d replies", "count").'
            )
        message = _PLURAL.join(map(str, (keys["singular"], keys["plural"], number)))
        return _CONTEXT.join((keys["context"], message)) if "context" in keys else message
    with override(None):
        return str(value).replace(_PLURAL, " ")


def _interpolate(text: str, params: Mapping[str, Any]) -> str:
    if not params:
        return text
    if _NAMELESS.search(text.replace("%%", "")):
        # It would be filled with all parameters at once.
        raise ValueError("a parameter has no name")
    return text % {name: _translate_param(value, params) for name, value in params.items()}


def _translate_param(value: Any, params: Mapping[str, Any]) -> Any:
    is_lazy = isinstance(value, dict) and value.keys() == {_LAZY}
    if not is_lazy or not isinstance(message := value[_LAZY], str):
        return value
    return _translate(message, params)[0]
