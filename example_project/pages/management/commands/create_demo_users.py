"""The users that can sign in to the example: their passwords are their names."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand

DEMO_USERS = ["alice", "bob", "admin"]


class Command(BaseCommand):
    help = "Creates the users alice, bob and admin (a superuser), if they are not there."

    def handle(self, *args: Any, **options: Any) -> None:
        for name in DEMO_USERS:
            if User.objects.filter(username=name).exists():
                continue
            create = User.objects.create_superuser if name == "admin" else User.objects.create_user
            create(name, password=name, first_name=name.title())
