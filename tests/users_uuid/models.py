"""A user model with a UUID, which pushes from its own module."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models

# At module level on purpose: a site's user model may push.
from django_live_notify import push


class User(AbstractUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)

    def welcome(self) -> None:
        push(self, "Welcome")
