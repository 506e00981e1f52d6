"""What happened, told after the commit.

The signals are sent by `send_robust()`: a receiver that raises is logged and harms nobody.
Live delivery is one receiver among others; sites may add e-mail, web push or metrics.
"""

from __future__ import annotations

from django.dispatch import Signal

# A notification was committed.
# notification: Notification; recipients: list of user keys where the caller named the users one by
# one, else None (a queryset, a Group, a Topic, EVERYONE).
pushed = Signal()

# A reader's state for notifications was changed.
# reader: the user's key; action: "read", "unread", "seen", "archive", "unarchive" or "action" (a
# button was used; name: which);
# ids: list of notification ids, or None; up_to: the id up to which everything changed, or None;
# changed_at: the time that was stored with it.
state_changed = Signal()

# A reader muted a topic, or ended that before its time.
# reader: the user's key; topic: str; until: datetime, or None where it was ended;
# changed_at: the time that was stored with it.
muted = Signal()

# Notifications were taken back.
# ids: list of notification ids.
retracted = Signal()

# An ephemeral event was emitted.
# name: str; data: JSON or bytes; topic: str ("" unless it was emitted to a topic or to everyone);
# recipients: list of user keys, or None where there is a topic; excluded: list of user keys.
emitted = Signal()
