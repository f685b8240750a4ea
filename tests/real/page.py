"""A page of the test project in its user's browser."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from tests.real.browser import Browser, cookie_domain
from tests.real.gunicorn import Gunicorn
from tests.real.session import COOKIE, refresh_token


class Page:
    """A page of that site, in a browser that may be shared by pages of others."""

    def __init__(self, app: Gunicorn, browser: Browser) -> None:
        """Take the site and the browser."""
        self.app = app
        self.browser = browser

    def fetch(self, path: str, **headers: str | None) -> requests.Response:
        """Return the answer to the page's own ``fetch(path)``."""
        return self.browser.fetch(f"{self.app.origin}{path}", **headers)

    def post(self, path: str) -> requests.Response:
        """Return the answer to the page's own ``fetch(path, {method: "POST"})``."""
        return self.browser.fetch(f"{self.app.origin}{path}", method="POST")

    def token(self, query: str = "", **headers: str | None) -> dict[str, Any]:
        """Return the token answer, which must be a success."""
        answer = self.fetch(f"/.well-known/bff-token{query}", **headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def refusal(self, query: str = "", **headers: str | None) -> str:
        """Return the error that bff-token answers."""
        answer = self.fetch(f"/.well-known/bff-token{query}", **headers)
        assert answer.status_code == 400, answer.text
        return str(answer.json()["error"])

    def is_signed_in(self) -> bool:
        """Return whether the site's page says so."""
        return "data-signed-in" in self.browser.navigate(f"{self.app.origin}/").text

    def kept_refresh_token(self) -> str:
        """Return the refresh token that the site keeps for the session."""
        return refresh_token(self.app.settings, self.cookie)

    @property
    def cookie(self) -> str:
        """The session's cookie."""
        domain = cookie_domain(self.app.origin)
        return str(self.browser.cookies.get(COOKIE, domain=domain))


def refused(token: str) -> dict[str, str]:
    """Return the header that says that a resource server refused the token (T6)."""
    digest = hashlib.sha256(token.encode()).digest()
    return {"TMIBFF-Refused": base64.urlsafe_b64encode(digest).decode().rstrip("=")}


@contextmanager
def signed_in_page(app: Gunicorn, path: str = "/oidc/authenticate/") -> Iterator[Page]:
    """Yield a page of that site in a browser of its own, into which alice has signed in."""
    with Browser() as browser:
        arrived = browser.sign_in(f"{app.origin}{path}", "alice")
        assert "data-signed-in" in arrived.text, arrived.url
        yield Page(app, browser)
