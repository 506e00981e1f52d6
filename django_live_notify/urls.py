"""One `include()` gives the socket and the HTTP paths."""

from __future__ import annotations

from django.urls import path

from . import views
from .querysets import ACTIONS

app_name = "live_notify"

urlpatterns = [
    path("inbox/", views.inbox, name="inbox"),
    *[path(f"{action}/", views.change, {"action": action}, name=action) for action in ACTIONS],
    path("message/", views.message, name="message"),
    path("action/", views.action, name="action"),
    path("poll/", views.poll, name="poll"),
    path("events/", views.events, name="events"),
    path("socket/", views.socket, name="socket"),
]
