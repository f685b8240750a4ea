"""The demo's paths, and where RFC 8414 has its metadata."""

from django.urls import include, path
from oauth2_provider import urls

from testproject.idp.urls import protocol
from testproject.idp.urls import urlpatterns as of_demo

urlpatterns = [
    path("", include(([*urls.metadata_urlpatterns, *protocol], "oauth2_provider"))),
    *of_demo,
]
