"""The OpenID Provider's paths."""

from django.contrib.auth.views import LoginView
from django.urls import include, path
from django.views.generic import TemplateView
from oauth2_provider import views

from testproject.idp.views import AuthorizationView, IntrospectTokenView, TokenView

# Not all of oauth2_provider.urls: there, whoever has signed in may register clients.
protocol = [
    path(
        ".well-known/openid-configuration",
        views.ConnectDiscoveryInfoView.as_view(),
        name="oidc-connect-discovery-info",
    ),
    # Only here it tells where to revoke.
    path(
        ".well-known/oauth-authorization-server",
        views.OAuthServerMetadataView.as_view(),
        name="oauth-server-metadata",
    ),
    path(".well-known/jwks.json", views.JwksInfoView.as_view(), name="jwks-info"),
    path("authorize/", AuthorizationView.as_view(), name="authorize"),
    path("token/", TokenView.as_view(), name="token"),
    path("revoke/", views.RevokeTokenView.as_view(), name="revoke-token"),
    path("introspect/", IntrospectTokenView.as_view(), name="introspect"),
    path("userinfo/", views.UserInfoView.as_view(), name="user-info"),
    path("sign-out/", views.RPInitiatedLogoutView.as_view(), name="rp-initiated-logout"),
]

urlpatterns = [
    path("", TemplateView.as_view(template_name="idp/home.html"), name="home"),
    path("sign-in/", LoginView.as_view(template_name="idp/sign_in.html"), name="sign-in"),
    path("", include((protocol, "oauth2_provider"))),
]
