from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import User

from django_live_notify import EVERYONE, Action, push
from django_live_notify.models import Notification


class PushForm(forms.Form):
    """A notification to somebody, to oneself or to everyone."""

    to = forms.ChoiceField(label="To")
    title = forms.CharField(max_length=255, initial="Tea is ready")
    body = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 2}))
    url = forms.CharField(label="Link", required=False, help_text="A path such as /lab/")
    level = forms.ChoiceField(choices=Notification.Level.choices)
    ask = forms.BooleanField(label="Add Approve and Reject", required=False)

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        others = (
            User.objects.filter(is_active=True)
            .exclude(pk=user.pk)
            .order_by("is_superuser", "username")[:50]
        )
        self.fields["to"].choices = [
            *((other.username, other.username) for other in others),
            (user.username, f"{user.username} (yourself)"),
            ("*", "everyone"),
        ]

    @property
    def audience(self) -> str:
        """Whom it goes to, as the form calls them."""
        return dict(self.fields["to"].choices)[self.cleaned_data["to"]]

    def push(self) -> None:
        """Push what the form says. What push() refuses becomes an error of the form."""
        values = dict(self.cleaned_data)
        name = values.pop("to")
        if values.pop("ask"):
            values["actions"] = [Action("approve", "Approve"), Action("reject", "Reject")]
        to = EVERYONE if name == "*" else User.objects.get(username=name)
        try:
            push(to, values.pop("title"), actor=self.user, **values)
        except ValueError as error:
            self.add_error(None, str(error))
