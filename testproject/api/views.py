"""The orders of each user, kept in memory."""

import json
import threading
from collections import defaultdict

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods

from testproject.api.tokens import Caller, requires

LONGEST_ITEM = 100
MOST_ORDERS = 100
# What cannot be taken back takes a sign-in of the last minute (RFC 9470).
FRESH_SECONDS = 60

_lock = threading.Lock()
_orders: defaultdict[str, list[dict[str, object]]] = defaultdict(
    lambda: [{"number": 1, "item": "A pot of tea"}]
)


@require_GET
def health(request: HttpRequest) -> HttpResponse:
    """Say that the API is up."""
    return JsonResponse({"status": "ok"})


# No cookie is looked at, so there is nothing to forge.
@csrf_exempt
@never_cache
@require_http_methods(["GET", "POST"])
def orders(request: HttpRequest) -> HttpResponse:
    """Answer with the user's orders; ``POST {"item": "…"}`` adds one first."""
    return _list(request) if request.method == "GET" else _add(request)


@requires("orders:read")
def _list(request: HttpRequest, caller: Caller) -> HttpResponse:
    with _lock:
        return JsonResponse({"orders": _orders[caller.username]})


@requires("orders:write")
def _add(request: HttpRequest, caller: Caller) -> HttpResponse:
    item = _item(request.body)
    if item is None:
        return _error("invalid_request", f'Send {{"item": "…"}}, up to {LONGEST_ITEM} characters.')
    with _lock:
        mine = _orders[caller.username]
        if len(mine) >= MOST_ORDERS:
            return _error("too_many_orders", f"There are {MOST_ORDERS} already.")
        mine.append({"number": len(mine) + 1, "item": item})
        return JsonResponse({"orders": mine}, status=201)


@csrf_exempt
@never_cache
@require_http_methods(["POST"])
@requires("orders:cancel", max_age=FRESH_SECONDS)
def cancellation(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Cancel all orders of the user, who has just shown that it is them."""
    with _lock:
        _orders[caller.username] = []
        return JsonResponse({"orders": []})


def _item(body: bytes) -> str | None:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    item = data.get("item") if isinstance(data, dict) else None
    if not isinstance(item, str) or not 0 < len(item.strip()) <= LONGEST_ITEM:
        return None
    return item.strip()


def _error(error: str, description: str) -> HttpResponse:
    return JsonResponse({"error": error, "error_description": description}, status=400)
