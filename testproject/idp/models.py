"""What django-oauth-toolkit does not remember: the sign-in from which tokens come."""

from django.db import models
from oauth2_provider.models import AccessToken, RefreshToken


class SignInManager(models.Manager["SignIn"]):
    """Ends sign-ins."""

    def end_revoked(self) -> None:
        """Delete the sign-ins of which no refresh token is left, and their access tokens."""
        alive = RefreshToken.objects.filter(revoked=None).values("token_family")
        ended = self.exclude(token_family__in=alive)
        AccessToken.objects.filter(sign_in__in=ended).delete()
        ended.delete()


class SignIn(models.Model):
    """The family of refresh tokens of one sign-in, and what was granted then."""

    token_family = models.UUIDField(primary_key=True)
    scope = models.TextField()
    resources = models.JSONField(default=list)
    access_tokens = models.ManyToManyField(AccessToken, related_name="sign_in")

    objects = SignInManager()

    def __str__(self) -> str:
        """Return what tells it from others."""
        return str(self.token_family)
