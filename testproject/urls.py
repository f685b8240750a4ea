"""The project's paths."""

from django.contrib import admin
from django.urls import include, path

from testproject.views import dpop, home, provider, thief

urlpatterns = [
    path("", home, name="home"),
    path("demo/provider", provider, name="demo-provider"),
    path("demo/dpop", dpop, name="demo-dpop"),
    path("demo/thief", thief, name="demo-thief"),
    path("", include("django_tmibff.urls")),
    path("oidc/", include("mozilla_django_oidc.urls")),
    path("admin/", admin.site.urls),
]
