"""What this provider's endpoints know beside django-oauth-toolkit's: how old a sign-in is."""

import hashlib
import json
import time
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, JsonResponse
from oauth2_provider import views
from oauth2_provider.models import get_access_token_model


class AuthorizationView(views.AuthorizationView):
    """Asks for the password again where the app wants a younger sign-in."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Take a sign-in that is older than ``max_age`` for none (OpenID Connect Core §3.1.2.1)."""
        if _is_too_old(request):
            query = request.GET.copy()
            del query["max_age"]
            return redirect_to_login(f"{request.path}?{query.urlencode()}")
        response: HttpResponse = super().dispatch(request, *args, **kwargs)
        return response


def _is_too_old(request: HttpRequest) -> bool:
    max_age = request.GET.get("max_age", "")
    if not max_age.isdecimal() or not request.user.is_authenticated:
        return False
    return time.time() - request.user.last_login.timestamp() > int(max_age)


class IntrospectTokenView(views.IntrospectTokenView):
    """Tells an API when the token's user signed in (RFC 9470 §6.2)."""

    @staticmethod
    def get_token_response(token_value: str | None = None) -> JsonResponse:
        """Return what is known of the token."""
        response: JsonResponse = views.IntrospectTokenView.get_token_response(token_value)
        data = json.loads(response.content)
        if not data.get("active"):
            return response
        checksum = hashlib.sha256((token_value or "").encode()).hexdigest()
        user = get_access_token_model().objects.get(token_checksum=checksum).user
        return JsonResponse({**data, "auth_time": int(user.last_login.timestamp())})
