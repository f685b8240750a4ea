"""What a sign-in needs that django-oauth-toolkit does not tell by itself."""

from collections.abc import Callable

from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.common import Request


class Validator(OAuth2Validator):
    """Tells the e-mail address; all else is as it comes."""

    def get_additional_claims(self) -> dict[str, Callable[[Request], str]]:
        """Return the claims beside ``sub``."""
        return {"email": lambda request: request.user.email}
