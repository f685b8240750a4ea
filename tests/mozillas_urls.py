"""The tests' paths, with mozilla-django-oidc's own callback."""

from django.urls import path
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView

from tests.urls import urlpatterns as usual

urlpatterns = [path("oidc/callback/", OIDCAuthenticationCallbackView.as_view()), *usual]
