from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from . import views, wechat

urlpatterns = [
    path("", views.home, name="home"),
    path("connection/", views.connection, name="connection"),
    path("chat/", views.chat, name="chat"),
    path("login/", views.SignInView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("wechat/log-in/", wechat.log_in, name="wechat-log-in"),
]
