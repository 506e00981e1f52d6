from __future__ import annotations

from django.conf import settings
from django.db import models


class CheckIn(models.Model):
    """A card on the wall: who was there, and how they are."""

    class Mood(models.TextChoices):
        GOOD = "good", "fine"
        BUSY = "busy", "busy"
        TIRED = "tired", "tired"
        AWAY = "away", "away soon"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    mood = models.CharField(max_length=10, choices=Mood.choices, default=Mood.GOOD)
    text = models.CharField(max_length=140, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.user}: {self.get_mood_display()}"
