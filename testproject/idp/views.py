"""What this provider's endpoints know beside django-oauth-toolkit's: fresh sign-ins, and DPoP."""

import hashlib
import json
import time
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, JsonResponse
from oauth2_provider import views
from oauth2_provider.models import get_access_token_model

from testproject import proofs
from testproject.idp.models import Binding


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


class TokenView(views.TokenView):
    """Binds an access token to the key whose proof has come along (RFC 9449 §5)."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return tokens; what a proof is wrong with is refused before they are made."""
        if "DPoP" not in request.headers:
            return self._tokens(request, *args, **kwargs)
        try:
            jkt = proofs.verified(request, settings.DEMO_IDP)
        except proofs.ProofRefused:
            return JsonResponse({"error": "invalid_dpop_proof"}, status=400)
        response = self._tokens(request, *args, **kwargs)
        if response.status_code == 200:
            data = json.loads(response.content)
            Binding.objects.create(access_token=_access_token(data["access_token"]), jkt=jkt)
            response.content = json.dumps({**data, "token_type": "DPoP"}).encode()
        return response

    def _tokens(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().post(request, *args, **kwargs)
        return response


def _access_token(value: str) -> Any:
    checksum = hashlib.sha256(value.encode()).hexdigest()
    return get_access_token_model().objects.get(token_checksum=checksum)


class IntrospectTokenView(views.IntrospectTokenView):
    """Tells an API when the token's user signed in (RFC 9470 §6.2), and the token's key."""

    @staticmethod
    def get_token_response(token_value: str | None = None) -> JsonResponse:
        """Return what is known of the token."""
        response: JsonResponse = views.IntrospectTokenView.get_token_response(token_value)
        data = json.loads(response.content)
        if not data.get("active"):
            return response
        token = _access_token(token_value or "")
        known = {**data, "auth_time": int(token.user.last_login.timestamp())}
        binding = Binding.objects.filter(access_token=token).first()
        return JsonResponse({**known, "cnf": {"jkt": binding.jkt}} if binding else known)
