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
        return self.UserModel.objects.create_user(nickname=claims["sub"])
