"""Buttons of notifications: that each reader's choice reaches the site once.

The receipt decides, in the transaction in which the site's function runs: of two tabs or devices
one is first, and what fails, or dies halfway, was never done. Whoever asks again for what was done
is told that it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction

from .conf import conf
from .content import check_name
from .inbox import call_and_wait, refusal
from .live import log, protocol
from .live.protocol import CommandError
from .models import Notification, Receipt


@dataclass(frozen=True)
class Act:
    """A button that was pressed."""

    id: int
    name: str


def parse_act(keys: Any) -> Act:
    """Return which button is meant. Raises CommandError for whatever says nothing clear."""
    number, name = (keys.get("id"), keys.get("name")) if isinstance(keys, Mapping) else (None, None)
    if not isinstance(number, int) or protocol.parse_id(number) is None:
        raise CommandError("invalid", "id must be the id of a notification.")
    try:
        return Act(number, check_name(name, "name"))
    except (TypeError, ValueError):
        raise CommandError("invalid", "name must be the name of an action.") from None


def act(user: Any, wanted: Act) -> None:
    """Carry out an action of a user's own notification by LIVE_NOTIFY_ON_ACTION, once.

    An action that was carried out before is not carried out again, and nothing is raised: whoever
    got no answer may ask again. Raises CommandError where there is no such notification or action,
    where another action was taken already, and where the site's function refuses. What else that
    raises is raised: then nothing was done either.
    """
    try:
        _carry_out(user, wanted)
    except CommandError:
        # After the transaction, whose snapshot may be older than another's choice. What the site
        # has retracted since then was done all the same.
        choice = Receipt.objects.using(log.alias()).filter(
            recipient_id=user.pk, notification_id=wanted.id, action=wanted.name
        )
        if not choice.exists():
            raise


def _carry_out(user: Any, wanted: Act) -> None:
    function = conf.ON_ACTION
    if function is None:
        raise CommandError("forbidden", "This site takes no actions.")
    using = log.alias()
    mine = Notification.objects.using(using).for_user(user).by_row().filter(pk=wanted.id)
    notification = mine.select_related("actor").first()
    if notification is None:
        raise CommandError("not_found", "There is no such notification.")
    if all(action["name"] != wanted.name for action in notification.actions):
        raise CommandError("unknown_action", "The notification has no such action.")
    try:
        with transaction.atomic(using=using):
            if not mine.take_action(wanted.name):
                raise CommandError("done", "An action was taken already.")
            call_and_wait(function, user, notification, wanted.name)
    except (PermissionDenied, ValidationError) as error:
        raise refusal(error) from None
