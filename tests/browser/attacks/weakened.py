"""The endpoints without what guards them: the battery has to find that out."""

from typing import Any

from django.http import JsonResponse

from django_tmibff import http


def install() -> None:
    """Take away the guard, and the headers that no middleware can weaken."""
    http._check_site = lambda request: None
    http._response = _response


def _response(data: Any, *, status: int, headers: Any) -> JsonResponse:
    return JsonResponse(data, status=status, headers=headers)
