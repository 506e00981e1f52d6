"""The form by which staff compose a notification."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib.admin.widgets import AutocompleteSelectMultiple
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import models
from django.utils.translation import gettext_lazy as _

from .api import push
from .audiences import EVERYONE
from .models import Notification


class Audience(models.TextChoices):
    USERS = "users", _("chosen users")
    GROUPS = "groups", _("members of groups")
    EVERYONE = "everyone", _("everyone")


class ComposeForm(forms.ModelForm):  # type: ignore[type-arg]
    """What to say and to whom.

    Cleaning it pushes, since what push() refuses is an error of the form; the admin's transaction
    is around it.
    """

    audience = forms.ChoiceField(label=_("To"), choices=Audience.choices, initial=Audience.USERS)
    users: Any = forms.ModelMultipleChoiceField(
        label=_("Users"), queryset=None, required=False, help_text=_("For “chosen users”.")
    )
    groups: Any = forms.ModelMultipleChoiceField(
        label=_("Groups"),
        queryset=None,
        required=False,
        help_text=_("For “members of groups”."),
    )

    class Meta:
        model = Notification
        fields = ["title", "body", "level", "url", "expires_at"]

    def __init__(
        self, *args: Any, actor: Any, admin_site: Any, may_notify_everyone: bool, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        User = get_user_model()
        self.actor = actor
        self.notification: Notification | None = None
        users = cast("forms.ModelMultipleChoiceField[Any]", self.fields["users"])
        users.queryset = User._default_manager.all()
        if _can_complete(admin_site, User):
            # Any number of users: the browser asks for those that it shows.
            field = Notification._meta.get_field("actor")
            users.widget = AutocompleteSelectMultiple(field, admin_site)
            users.widget.choices = users.choices
        groups = cast("forms.ModelMultipleChoiceField[Any]", self.fields["groups"])
        groups.queryset = Group.objects.all()
        if not may_notify_everyone:
            choices = [choice for choice in Audience.choices if choice[0] != Audience.EVERYONE]
            cast(forms.ChoiceField, self.fields["audience"]).choices = choices

    def clean(self) -> dict[str, Any]:
        super().clean()
        audience = self.cleaned_data.get("audience")
        if audience in ("users", "groups") and not self.cleaned_data.get(audience):
            self.add_error(audience, _("Choose at least one."))
        if not self.errors:
            self._push(audience)
        return self.cleaned_data

    def save_m2m(self) -> None:
        """Nothing is left to save: the push wrote what there is."""

    def _push(self, audience: Any) -> None:
        cleaned = self.cleaned_data
        try:
            self.notification = push(
                EVERYONE if audience == Audience.EVERYONE else cleaned[audience],
                cleaned["title"],
                body=cleaned["body"],
                level=cleaned["level"],
                url=cleaned["url"],
                expires=cleaned["expires_at"],
                actor=self.actor,
            )
        except ValueError as error:
            self.add_error(None, str(error))
            return
        if self.notification is None:
            self.add_error(audience, _("Nobody among these is active: nothing was sent."))


def _can_complete(admin_site: Any, model: Any) -> bool:
    return admin_site.is_registered(model) and bool(admin_site.get_model_admin(model).search_fields)
