"""A process that says things at random, until its standard input ends.

    python -m tests.faults.writer <seed> <seconds that a transaction may stay open>

Prints that it is ready, and at its end what it did as one JSON object. Whether a commit that failed
took place after all is nobody's guess here: the database is asked at the end.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import django

# Acts of one thread a second, on average.
RATE = 6.0

# Threads with connections of their own, so that transactions overlap.
THREADS = 3


class Writer:
    def __init__(self, seed: str, longest: float, stop: threading.Event) -> None:
        from django.contrib.auth.models import User

        self.random = random.Random(seed)
        self.name = seed
        self.longest = longest
        self.stop = stop
        self.done: Counter[str] = Counter()
        self.readers = User.objects.filter(username__startswith="reader-")
        self.users = list(self.readers)
        self.said = 0

    def run(self) -> None:
        from django.db import Error, connection

        while not self.stop.is_set():
            (act,) = self.random.choices(list(ACTS), list(ACTS.values()))
            try:
                act(self)
                self.done[act.__name__] += 1
            except Error as error:
                self.done[type(error).__name__] += 1
                connection.close()
                self.stop.wait(0.2)
            self.stop.wait(self.random.expovariate(RATE))
        connection.close()

    # What it does

    def push_to_one(self) -> None:
        self.push(self.anybody())

    def push_to_some(self) -> None:
        self.push(self.random.sample(self.users, 3))

    def push_to_many(self) -> None:
        first = self.random.choice(self.users).pk
        self.push(self.readers.filter(pk__gte=first), exclude=self.anybody())

    def push_to_everyone(self) -> None:
        from django_live_notify import EVERYONE

        self.push(EVERYONE, exclude=self.random.choice([None, self.anybody()]))

    def push_to_followers(self) -> None:
        from django_live_notify import Topic
        from tests.faults.people import FOLLOWED

        self.push(Topic(FOLLOWED))

    def push_with_tag(self) -> None:
        self.push(self.anybody(), tag=f"tag-{self.random.randrange(3)}")

    def push_twice_with_a_key(self) -> None:
        key, user = f"{self.name}-{self.said}", self.anybody()
        self.push(user, idempotency_key=key)
        self.push(user, idempotency_key=key)

    def push_in_a_short_transaction(self) -> None:
        self.push_in_a_transaction(self.random.uniform(0, 0.3))

    def push_in_a_long_transaction(self) -> None:
        self.push_in_a_transaction(self.random.uniform(0, self.longest))

    def push_and_roll_back(self) -> None:
        self.push_in_a_transaction(self.random.uniform(0, 0.3), roll_back=True)

    def read_some(self) -> None:
        self.some_of_an_inbox().mark_read()

    def unread_some(self) -> None:
        self.some_of_an_inbox().mark_unread()

    def archive_some(self) -> None:
        self.some_of_an_inbox().archive()

    def unarchive_some(self) -> None:
        self.some_of_an_inbox().unarchive()

    def read_everything(self) -> None:
        from django_live_notify.models import Notification

        inbox = Notification.objects.all()
        inbox.mark_all(self.anybody(), "read", up_to=inbox.newest_id())

    def retract_one(self) -> None:
        from django_live_notify.models import Notification

        if newest := Notification.objects.newest_id():
            Notification.objects.filter(
                pk=self.random.randint(max(1, newest - 10), newest)
            ).retract()

    # How

    def push_in_a_transaction(self, seconds: float, *, roll_back: bool = False) -> None:
        from django.db import transaction

        with transaction.atomic():
            self.push(self.anybody())
            self.stop.wait(seconds)
            self.push(self.random.sample(self.users, 2))
            transaction.set_rollback(roll_back)

    def push(self, to: Any, **keys: Any) -> None:
        from django_live_notify import push

        self.said += 1
        push(to, f"{self.name} says {self.said}", **keys)

    def anybody(self) -> Any:
        return self.random.choice(self.users)

    def some_of_an_inbox(self) -> Any:
        from django_live_notify.models import Notification

        inbox = Notification.objects.for_user(self.anybody())
        newest = list(inbox.newest_first().values_list("pk", flat=True)[:8])
        return inbox.filter(pk__in=[pk for pk in newest if self.random.random() < 0.5])


ACTS: dict[Callable[[Writer], None], float] = {
    Writer.push_to_one: 30,
    Writer.push_to_some: 8,
    Writer.push_to_many: 3,
    Writer.push_to_everyone: 3,
    Writer.push_to_followers: 3,
    Writer.push_with_tag: 4,
    Writer.push_twice_with_a_key: 3,
    Writer.push_in_a_short_transaction: 12,
    Writer.push_in_a_long_transaction: 4,
    Writer.push_and_roll_back: 8,
    Writer.read_some: 6,
    Writer.unread_some: 3,
    Writer.archive_some: 3,
    Writer.unarchive_some: 2,
    Writer.read_everything: 1,
    Writer.retract_one: 2,
}


def main(seed: str, longest: float) -> None:
    django.setup()
    stop = threading.Event()
    writers = [Writer(f"{seed}.{number}", longest, stop) for number in range(THREADS)]
    threads = [threading.Thread(target=writer.run) for writer in writers]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    print(json.dumps(sum((writer.done for writer in writers), Counter())))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
