"""What a browser sends and keeps: cookies, navigations, forms, and a page's own fetch()."""

from html.parser import HTMLParser
from typing import Self
from urllib.parse import urljoin, urlsplit

import requests

TIMEOUT_SECONDS = 30
MOST_REDIRECTS = 20
MOST_FORMS = 3
NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
FETCH: dict[str, str | None] = {
    "Accept": "*/*",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Site": "same-origin",
}
# From nearest to farthest; a redirect never brings a request nearer again.
SITES = ("same-origin", "same-site", "cross-site")


def cookie_domain(url: str) -> str:
    """Return the domain under which that URL's cookies are kept."""
    host = urlsplit(url).hostname or ""
    # The standard library files the cookies of localhost under localhost.local.
    return host if "." in host else f"{host}.local"


class Browser:
    """One user's browser, with its own cookies.

    Cookies ignore ports: an app and an OpenID Provider on the same host would get each other's.
    Let the app be ``localhost`` and the provider ``127.0.0.1``. Ask ``cookies`` for those of
    ``cookie_domain(url)``.
    """

    def __init__(self) -> None:
        """Start without cookies."""
        self._session = requests.Session()
        # A proxy from the environment could not reach this machine's loopback.
        self._session.trust_env = False

    def __enter__(self) -> Self:
        """Return this browser."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the connections."""
        self._session.close()

    @property
    def cookies(self) -> requests.cookies.RequestsCookieJar:
        """Return the cookies of all hosts."""
        return self._session.cookies

    def sign_in(self, start_url: str, login: str) -> requests.Response:
        """Follow the app's link to sign in, do so at the provider, return the app's final page."""
        page = self._load("GET", start_url, _origin(start_url))
        for _ in range(MOST_FORMS):
            if _origin(page.url) == _origin(start_url):
                return page
            # Each provider has its own name for it.
            page = self.submit_form(page, login=login, username=login, password="any")
        raise AssertionError(f"The sign-in did not end at the app but at {page.url}.")

    def navigate(self, url: str) -> requests.Response:
        """Open a URL as if typed; follow redirects, which ``history`` of the answer lists."""
        return self._load("GET", url)

    def follow(self, url: str) -> requests.Response:
        """Open a URL by a link on a page of its own site; follow redirects."""
        return self._load("GET", url, _origin(url))

    def post_form(self, url: str, **fields: str) -> requests.Response:
        """Submit a form of the app's own page with Django's CSRF token; follow redirects."""
        token = self.cookies.get("csrftoken", domain=cookie_domain(url)) or ""
        return self._load("POST", url, _origin(url), {"csrfmiddlewaretoken": token, **fields})

    def submit_form(self, page: requests.Response, **fields: str) -> requests.Response:
        """Submit the page's first form with those fields added; follow redirects."""
        form = _Form(page)
        return self._load("POST", form.action, _origin(page.url), {**form.fields, **fields})

    def fetch(self, url: str, *, method: str = "GET", **headers: str | None) -> requests.Response:
        """Fetch the URL as the app's own page does, without redirects; None leaves a header out."""
        return self._session.request(
            method,
            url,
            headers={**FETCH, **headers},
            allow_redirects=False,
            timeout=TIMEOUT_SECONDS,
        )

    def _load(
        self,
        method: str,
        url: str,
        initiator: str | None = None,
        data: dict[str, str] | None = None,
    ) -> requests.Response:
        headers = {**NAVIGATION, "Origin": initiator} if data is not None else NAVIGATION
        request = self._session.prepare_request(requests.Request(method, url, headers, data=data))
        site = SITES[0]
        redirects: list[requests.Response] = []
        while True:
            site = max(site, _site(initiator, str(request.url)), key=SITES.index)
            request.headers["Sec-Fetch-Site"] = site if initiator else "none"
            page = self._session.send(request, allow_redirects=False, timeout=TIMEOUT_SECONDS)
            if page.next is None:
                page.history = redirects
                return page
            redirects.append(page)
            if len(redirects) > MOST_REDIRECTS:
                raise requests.TooManyRedirects(f"{url} leads from one redirect to the next.")
            request = page.next


class _Form(HTMLParser):
    """The first form of a page: where it goes, and the fields that it brings."""

    def __init__(self, page: requests.Response) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self._page = page
        self.feed(page.text)
        if not self.action:
            raise AssertionError(f"{page.url} answered {page.status_code}, no form: {page.text}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form" and not self.action:
            self.action = urljoin(self._page.url, found.get("action") or "")
        elif tag == "input" and found.get("name"):
            self.fields[str(found["name"])] = found.get("value") or ""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _site(initiator: str | None, url: str) -> str:
    if initiator is None or initiator == _origin(url):
        return "same-origin"
    # A site knows no ports.
    return "same-site" if urlsplit(initiator).hostname == urlsplit(url).hostname else "cross-site"
