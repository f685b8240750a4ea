"""What a site with a user model of its own writes."""

from typing import Any

from django_tmibff.backends import OIDCAuthenticationBackend


class MemberBackend(OIDCAuthenticationBackend):
    """Signs members in, who have no e-mail address."""

    def filter_users_by_claims(self, claims: Any) -> Any:
        """Return the member of that name, if there is one."""
        return self.UserModel.objects.filter(nickname=claims["sub"])

    def create_user(self, claims: Any) -> Any:
        """Return a new member."""
        at_the_usual_one = self.provider is None or self.provider.is_default
        name = claims["sub"] if at_the_usual_one else self.get_username(claims)
        return self.UserModel.objects.create_user(nickname=name)
