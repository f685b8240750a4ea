"""What django-oauth-toolkit does not remember: a token's sign-in, and the key it is bound to."""

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


class Binding(models.Model):
    """The key that an access token is bound to, by its thumbprint (RFC 9449 §6)."""

    access_token = models.OneToOneField(
        AccessToken, on_delete=models.CASCADE, primary_key=True, related_name="binding"
    )
    jkt = models.CharField(max_length=43)

    def __str__(self) -> str:
        """Return the thumbprint."""
        return self.jkt
