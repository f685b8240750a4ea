"""What this OpenID Provider does otherwise than django-oauth-toolkit."""

from collections.abc import Callable
from typing import Any

from django.utils import timezone
from oauth2_provider.models import AccessToken, Grant, RefreshToken
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.common import Request
from oauthlib.oauth2.rfc6749.errors import CustomOAuth2Error

from testproject.idp.models import Binding, SignIn


class Validator(OAuth2Validator):
    """Tells the user's claims; a refresh neither narrows the grant nor ends older access tokens.

    As it comes, django-oauth-toolkit takes the scope and the resources of the last refresh for the
    grant (against RFC 6749 §6), and what a sign-in names for what each of its tokens is for. It
    deletes the access token of the sign-in as soon as another one is given, and answers
    ``prompt=none`` with a 500.
    """

    def get_additional_claims(self) -> dict[str, Callable[[Request], str]]:
        """Return the claims beside ``sub``; each is given to those who have its scope."""
        return {
            "email": lambda request: request.user.email,
            "name": lambda request: request.user.get_full_name(),
            "preferred_username": lambda request: request.user.get_username(),
        }

    def validate_silent_login(self, request: Request) -> bool:
        """Return whether a sign-in may be tried without a page (``prompt=none``).

        The view answers ``login_required`` where nobody is signed in.
        """
        return True

    def validate_silent_authorization(self, request: Request) -> bool:
        """Return whether that needs no consent: the demo's app is ours."""
        return True

    def get_original_scopes(self, refresh_token: str, request: Request, *args: Any) -> str:
        """Return the scope that was granted at the sign-in."""
        return _sign_in_of(request).scope

    def _check_and_set_request_resource(self, request: Request) -> None:
        # Only what this very request names: a sign-in for one resource must still give a token for
        # the whole API, and one that opens userinfo, where the app learns who has signed in.
        request.resource = [value for name, value in request.decoded_body if name == "resource"]
        request.granted_resources = _granted_resources(request)
        if not set(request.resource) <= set(request.granted_resources):
            raise CustomOAuth2Error(
                error="invalid_target",
                description="The sign-in has not named this resource.",
                request=request,
            )

    def validate_bearer_token(self, token: str, scopes: list[str], request: Request) -> bool:
        """Return whether userinfo may be told to whoever has the token: not if a key is wanted."""
        is_valid = bool(super().validate_bearer_token(token, scopes, request))
        return is_valid and not Binding.objects.filter(access_token=request.access_token).exists()

    def validate_refresh_token(self, *args: Any, **kwargs: Any) -> bool:
        """Return whether the token may be used; its reuse ends all tokens of the sign-in."""
        is_valid = super().validate_refresh_token(*args, **kwargs)
        if not is_valid:
            SignIn.objects.end_revoked()
        return is_valid

    def revoke_token(self, *args: Any, **kwargs: Any) -> None:
        """Revoke the token; with a refresh token, all tokens of the sign-in (RFC 7009 §2.1)."""
        super().revoke_token(*args, **kwargs)
        SignIn.objects.end_revoked()

    def _save_bearer_token(self, token: dict[str, Any], request: Request, *args: Any) -> None:
        used = getattr(request, "refresh_token_instance", None)
        if used is not None:
            # Rotation deletes the access token that the refresh token points to.
            RefreshToken.objects.filter(pk=used.pk).update(access_token=None)
        super()._save_bearer_token(token, request, *args)

    def _create_refresh_token(
        self, request: Request, code: str, access_token: AccessToken, *args: Any
    ) -> RefreshToken:
        refresh_token = super()._create_refresh_token(request, code, access_token, *args)
        sign_in, _ = SignIn.objects.get_or_create(
            pk=refresh_token.token_family,
            defaults={"scope": access_token.scope, "resources": request.granted_resources},
        )
        sign_in.access_tokens.filter(expires__lte=timezone.now()).delete()
        sign_in.access_tokens.add(access_token)
        return refresh_token


def _granted_resources(request: Request) -> list[str]:
    if request.grant_type == "authorization_code":
        granted: list[str] = Grant.objects.get(code=request.code).resource
        return granted
    return _sign_in_of(request).resources


def _sign_in_of(request: Request) -> SignIn:
    return SignIn.objects.get(pk=request.refresh_token_instance.token_family)
