"""The tests' paths, with our callback for the default provider too."""

from django.urls import path

from django_tmibff.views import OIDCCallbackView
from tests.urls import urlpatterns as usual

urlpatterns = [path("oidc/callback/", OIDCCallbackView.as_view()), *usual]
