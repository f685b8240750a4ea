"""The application of the site under attack, which can be told to be weak."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application

REBOUND = "rebound.example"
WORKER = Path(__file__).with_name("worker.js")

_site = get_wsgi_application()

if settings.WEAKENED:
    from tests.browser.attacks import weakened

    weakened.install()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer as the site; or as the attacker's server, from which a name was rebound to here."""
    attackers = {"/": b"<!doctype html><body>", "/worker.js": WORKER.read_bytes()}
    path = environ["PATH_INFO"]
    if not environ["HTTP_HOST"].startswith(REBOUND) or path not in attackers:
        return _site(environ, start_response)
    content_type = "text/javascript" if path.endswith(".js") else "text/html"
    start_response("200 OK", [("Content-Type", content_type)])
    return [attackers[path]]
