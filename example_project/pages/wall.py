"""A wall of cards: stored by the site, announced by `emit()`, told to its followers by `push()`.

The event says that there is something new, not what: `emit()` may be lost, and events may arrive
in another order than that of the database. A page that fetches the cards has the order of the
database, and has what it missed by fetching them once more when its connection is back. Content
in the event would spare a request, at the price of both.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from django_live_notify import Topic, emit, follow, push, unfollow
from django_live_notify.models import Follow

from .models import CheckIn

WALL = Topic("wall")
MAX_CARDS = 50  # the newest ones


class CheckInForm(forms.ModelForm):
    class Meta:
        model = CheckIn
        fields = ["mood", "text"]
        widgets = {"text": forms.TextInput(attrs={"autocomplete": "off"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Browsers cut off what is pasted beyond it, without a word; the form says so instead.
        del self.fields["text"].widget.attrs["maxlength"]

    def check_in(self, user: User) -> None:
        """Put a card on the wall, and say so. All three happen, or none of them."""
        self.instance.user = user
        with transaction.atomic():
            card = self.save()
            # Sent after the commit: a page that fetches the cards finds this one.
            emit(WALL, "wall.changed")
            title = f"{user.username} has checked in: {card.get_mood_display()}"
            push(WALL, title, body=card.text, url="/wall/", actor=user, exclude=user)


@login_required
def wall(request: HttpRequest) -> HttpResponse:
    """The cards, and a form that adds one, with and without JavaScript."""
    assert isinstance(request.user, User)
    form = CheckInForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.check_in(request.user)
        return redirect("wall")
    follows = Follow.objects.filter(user=request.user, topic=WALL.name, until=None).exists()
    context = {"form": form, "follows": follows, "cards": _newest(), "max_cards": MAX_CARDS}
    return render(request, "pages/wall.html", context)


@login_required
@require_GET
def cards(request: HttpRequest) -> HttpResponse:
    """The cards alone, as a page fetches them when the wall has changed."""
    return render(request, "pages/cards.html", {"cards": _newest()})


@login_required
@require_POST
def follow_wall(request: HttpRequest) -> HttpResponse:
    """Follow the wall, or follow it no more: its check-ins then reach the bell, on every page."""
    change = follow if request.POST.get("follow") else unfollow
    change(request.user, WALL)
    return redirect("wall")


def _newest() -> QuerySet[CheckIn]:
    return CheckIn.objects.select_related("user").order_by("-pk")[:MAX_CARDS]
