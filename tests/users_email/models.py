"""A user model whose key is the address, with neither `date_joined` nor an `is_active` column."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **values: Any) -> User:
        user = self.model(email=email, **values)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **values: Any) -> User:
        return self.create_user(email, password, is_superuser=True, **values)


class User(AbstractBaseUser, PermissionsMixin):
    email = models.EmailField(primary_key=True)

    USERNAME_FIELD = "email"

    objects: ClassVar[UserManager] = UserManager()

    @property
    def is_staff(self) -> bool:
        return bool(self.is_superuser)
