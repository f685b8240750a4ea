"""The paths: django-oauth-toolkit's own at the root, and where people sign in."""

from django.contrib.auth.views import LoginView
from django.urls import include, path

urlpatterns = [
    path("sign-in/", LoginView.as_view(), name="sign-in"),
    path("", include("oauth2_provider.urls")),
]
