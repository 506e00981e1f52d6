"""Fills the database of a trial, and tells at its end what each reader must have.

Reads commands, a JSON object a line: { "do": "prepare", "count": 40 }, { "do": "truth" }, and
answers each with a line: name → key and session, or key → inbox, addressed, unread.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django

FOLLOWED = "news"


def prepare(count: int) -> dict[str, Any]:
    """Create the tables, and readers who are signed in; two in three follow a topic."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.management import call_command

    from django_live_notify import Topic, follow

    call_command("migrate", verbosity=0)
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
            "unread": inbox.count_unread(),
        }
    return told


def main() -> None:
    django.setup()
    from django.db import connection

    commands = {"prepare": prepare, "truth": truth}
    for line in sys.stdin:
        keys = json.loads(line)
        print(json.dumps(commands[keys.pop("do")](**keys)), flush=True)
        # The server is restarted before it is asked again.
        connection.close()


if __name__ == "__main__":
    main()
