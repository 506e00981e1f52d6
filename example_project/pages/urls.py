from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from . import views, wall, wechat

urlpatterns = [
    path("", views.home, name="home"),
    path("lab/", views.lab, name="lab"),
    path("chat/", views.chat, name="chat"),
    path("wall/", wall.wall, name="wall"),
    path("wall/cards/", wall.cards, name="cards"),
    path("wall/follow/", wall.follow_wall, name="follow-wall"),
    path("login/", views.SignInView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("wechat/log-in/", wechat.log_in, name="wechat-log-in"),
]
