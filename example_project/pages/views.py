from __future__ import annotations

import shlex
import sys

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from .chat import MAX_TEXT
from .forms import PushForm
from .management.commands.create_demo_users import DEMO_USERS


class SignInView(LoginView):
    template_name = "pages/login.html"
    redirect_authenticated_user = True
    extra_context = {"demo_users": DEMO_USERS}


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """A form that pushes, and a page that receives."""
    assert isinstance(request.user, User)
    form = PushForm(request.user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.push()
        if form.is_valid():
            messages.success(request, f"Pushed to {form.audience}.")
            return redirect("home")
    return render(request, "pages/home.html", {"form": form, "manage": _manage_command()})


def _manage_command() -> str:
    """Return how a shell runs manage.py, wherever it is: with the Python that has Django."""
    # Absolute, since demo.py starts the server in another directory than its own.
    return shlex.join([sys.executable, str(settings.BASE_DIR / "manage.py")])


@login_required
def lab(request: HttpRequest) -> HttpResponse:
    """What happens on the wire, as it happens, and what can be tried there."""
    return render(request, "pages/lab.html")


@login_required
def chat(request: HttpRequest) -> HttpResponse:
    """A chat that keeps nothing: its pages hear a topic."""
    return render(request, "pages/chat.html", {"max_length": MAX_TEXT})
