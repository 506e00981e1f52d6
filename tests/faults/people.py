"""Makes the readers of a trial, and tells at its end what each of them must have.

python -m tests.faults.people make 40     → one JSON object: name → key and session
python -m tests.faults.people truth       → one JSON object: key → inbox, addressed, unread
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django

FOLLOWED = "news"


def make(count: int) -> dict[str, Any]:
    """Create readers who are signed in; two in three follow a topic."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore

    from django_live_notify import Topic, follow

    people = {}
    for number in range(count):
        user = User(username=f"reader-{number}")
        user.set_unusable_password()
        user.save()
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        if number % 3:
            follow(user, Topic(FOLLOWED))
        people[user.username] = {"key": str(user.pk), "session": session.session_key}
    return people


def truth() -> dict[str, Any]:
    """Return what the database has for each reader."""
    from django.contrib.auth.models import User

    from django_live_notify.models import Notification

    told = {}
    for user in User.objects.filter(username__startswith="reader-"):
        inbox = Notification.objects.for_user(user)
        told[str(user.pk)] = {
            "inbox": {
                row.pk: {"read": row.read_at is not None, "archived": row.archived_at is not None}
                for row in inbox
            },
            # Also what was retracted or replaced since: it may have been told before.
            "addressed": list(Notification.objects.addressed_to(user).values_list("pk", flat=True)),
            "unread": inbox.unread().count_capped(),
        }
    return told


if __name__ == "__main__":
    django.setup()
    print(json.dumps(make(int(sys.argv[2])) if sys.argv[1] == "make" else truth()))
