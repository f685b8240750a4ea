"""The paths, to be included at the site's root (E1)."""

from django.urls import path

from . import views

urlpatterns = [
    path(".well-known/bff-token", views.bff_token, name="tmibff-token"),
    path(".well-known/bff-sessioninfo", views.bff_sessioninfo, name="tmibff-sessioninfo"),
    path("bff/login", views.OIDCRequestView.as_view(), name="tmibff-login"),
    path(
        "bff/callback/<str:provider>",
        views.OIDCCallbackView.as_view(),
        name="tmibff-callback",
    ),
    path("bff/logout", views.bff_logout, name="tmibff-logout"),
    path("bff/backchannel-logout", views.backchannel_logout, name="tmibff-backchannel-logout"),
]
