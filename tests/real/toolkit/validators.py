"""Who people are: the one thing that django-oauth-toolkit leaves to each site."""

from collections.abc import Callable

from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.common import Request


class Validator(OAuth2Validator):
    """Tells the claims that an app signs people in by."""

    def get_additional_claims(self) -> dict[str, Callable[[Request], str]]:
        """Return the claims beside ``sub``."""
        return {
            "email": lambda request: request.user.email,
            "preferred_username": lambda request: request.user.get_username(),
        }
