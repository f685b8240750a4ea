"""django-allauth, which keeps tokens in a table of its own."""

from datetime import timedelta

from allauth.socialaccount.models import SocialAccount, SocialToken
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.cache import never_cache

from benchmarks.stored import ACCESS_TOKEN, CLAIMS, REFRESH_TOKEN, SECONDS


@never_cache
@login_required
def token(request: HttpRequest) -> JsonResponse:
    """Answer with the user's token, and when it expires."""
    found = SocialToken.objects.get(account__user=request.user, account__provider="op")
    return JsonResponse({"access_token": found.token, "expires_at": found.expires_at})


def keep(request: HttpRequest) -> None:
    """Do what django-allauth does at sign-in with ``SOCIALACCOUNT_STORE_TOKENS``."""
    account = SocialAccount.objects.create(
        user=request.user, provider="op", uid=str(request.user.pk), extra_data=CLAIMS
    )
    SocialToken.objects.create(
        account=account,
        token=ACCESS_TOKEN,
        token_secret=REFRESH_TOKEN,
        expires_at=timezone.now() + timedelta(seconds=SECONDS),
    )


urlpatterns = [path("token", token)]
