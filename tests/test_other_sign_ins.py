"""docs/other-sign-ins.md: its code, in a new project, against a certified provider."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests

from tests.real.browser import Browser, cookie_domain
from tests.real.oidc_provider import OidcProvider
from tests.real.processes import Server, free_port, wait_until
from tests.real.project import Project, paste, section

PAGE = "other-sign-ins.md"
SECRET = "other-sign-ins-secret"
LIFETIME_SECONDS = 2
CALLBACKS = {"allauth": "/accounts/oidc/op/login/callback/", "Authlib": "/sign-in/callback/"}
REVOCATION = "POST /token/revocation"


@dataclass
class Site:
    """A new project with the page's code for one library, and its OpenID Provider."""

    origin: str
    server: Server
    provider: OidcProvider

    def sign_in(self, browser: Browser, login: str) -> requests.Response:
        """Sign in where a page is sent to, and return the page that comes of it."""
        page = browser.follow(f"{self.origin}/bff/login?next=/tea%3Fa%3Db")
        for _ in range(5):
            if page.url == f"{self.origin}/tea?a=b":
                break
            page = browser.submit_form(page, login=login, password="any")
        return page

    def fetch(self, browser: Browser, path: str = "bff-token", **options: str) -> requests.Response:
        """Return the answer to the page's own call."""
        return browser.fetch(f"{self.origin}/.well-known/{path}", **options)

    def token(self, browser: Browser) -> str:
        """Return the access token that the page gets."""
        answer = self.fetch(browser)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def revocations(self) -> int:
        """Return how many tokens the provider was asked to revoke."""
        return int(self.provider.seen()["requests"].get(REVOCATION, 0))

    def forget_at_provider(self, browser: Browser) -> None:
        """Let the browser be nobody's at the provider any more."""
        browser.cookies.clear(domain=cookie_domain(self.provider.issuer))


@pytest.fixture(scope="module", params=sorted(CALLBACKS))
def library(request: pytest.FixtureRequest) -> str:
    """The library that signs people in."""
    return str(request.param)


@pytest.fixture(scope="module")
def site(library: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page's code at work."""
    folder = tmp_path_factory.mktemp("site")
    port = free_port()
    origin = f"http://localhost:{port}"
    client = {
        "client_id": "other",
        "client_secret": SECRET,
        "redirect_uris": [f"{origin}{CALLBACKS[library]}"],
    }
    provider = OidcProvider(origin, folder, access_token_ttl=LIFETIME_SECONDS, clients=[client])
    project = Project(folder)
    with provider:
        write(project, library, provider)
        project.manage("migrate", "--verbosity=0")
        project.manage("check", "--fail-level=WARNING")
        with project.runserver(port) as server:
            site = Site(origin, server, provider)
            for login in ("alice", "bob"):
                with Browser() as browser:
                    site.sign_in(browser, login)
            yield site


def write(project: Project, library: str, provider: OidcProvider) -> None:
    """Put the page's code into the project."""
    found = provider.metadata()
    replacements = {
        "https://op.example/token/": found["token_endpoint"],
        "https://op.example/revoke/": found["revocation_endpoint"],
        "https://op.example/logout/": found["end_session_endpoint"],
        "https://op.example/.well-known/jwks.json": found["jwks_uri"],
        "https://op.example": provider.issuer,
        "your-client-id": "other",
        "your-client-secret": SECRET,
    }
    for heading in ("What all of them need", library):
        assert paste(project.package, section(PAGE, heading), replacements)
    with (project.package / "settings.py").open("a") as settings:
        # Whoever is new has to fill in a form of allauth's first.
        settings.write("SOCIALACCOUNT_AUTO_SIGNUP = False\n")


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Somebody's browser."""
    with Browser() as browser:
        yield browser


@pytest.mark.real
def test_a_whole_round(site: Site, browser: Browser) -> None:
    """X8, R12, B4: sent to sign in, a token, another one when it is over, and all ends."""
    assert site.fetch(browser).json()["login_url"] == "/bff/login"
    assert site.sign_in(browser, "alice").url == f"{site.origin}/tea?a=b"
    info = site.fetch(browser, "bff-sessioninfo").json()
    assert (info["iss"], info["sub"]) == (site.provider.issuer, "alice")
    answer = site.fetch(browser).json()
    first = answer["access_token"]
    assert set(answer["scope"].split()) == {"openid", "email", "profile"}
    assert site.provider.introspect(first)["active"]

    wait_until(lambda: not site.provider.introspect(first)["active"], 10, "the token is over")
    # The site's clock may still be in the second before.
    wait_until(lambda: site.token(browser) != first, 10, "another token")
    second = site.token(browser)
    assert site.provider.introspect(second)["active"]
    assert site.provider.seen()["refresh_token_reused"] == 0

    before = site.revocations()
    signed_out = browser.fetch(f"{site.origin}/bff/logout", method="POST")
    assert signed_out.json()["logout_url"].startswith(f"{site.provider.issuer}/session/end?")
    assert "id_token_hint=" in signed_out.json()["logout_url"]
    assert site.fetch(browser).json()["error"] == "invalid_session"
    wait_until(lambda: site.revocations() == before + 1, 10, "the refresh token is revoked")


@pytest.mark.real
def test_a_first_sign_in_gets_tokens_that_are_renewed(site: Site, browser: Browser) -> None:
    """allauth's own page comes between, where the token response is not at hand any more."""
    site.sign_in(browser, "carol")
    assert site.fetch(browser, "bff-sessioninfo").json()["sub"] == "carol"
    first = site.token(browser)
    wait_until(lambda: site.token(browser) != first, 10, "another token")


@pytest.mark.real
def test_another_user_in_the_same_browser_gets_their_own_and_the_first_ones_are_revoked(
    site: Site, browser: Browser
) -> None:
    site.sign_in(browser, "alice")
    of_alice = site.token(browser)
    before = site.revocations()
    site.forget_at_provider(browser)
    site.sign_in(browser, "bob")
    assert site.fetch(browser, "bff-sessioninfo").json()["sub"] == "bob"
    assert site.token(browser) != of_alice
    wait_until(lambda: site.revocations() == before + 1, 10, "alice's token is revoked")


@pytest.mark.real
def test_the_session_ends_when_the_provider_says_that_its_grant_is_dead(
    site: Site, browser: Browser
) -> None:
    """X6: the sign-in has made the session."""
    site.sign_in(browser, "alice")
    site.provider.stop()
    site.provider.start()  # It remembers nothing, and has new keys of the same names.
    answers: list[requests.Response] = []

    def is_refused() -> bool:
        answers.append(site.fetch(browser))
        return answers[-1].status_code == 400

    wait_until(is_refused, 10, "the token is over")
    assert answers[-1].json()["error"] == "invalid_grant"
    assert site.fetch(browser).json()["error"] == "invalid_session"
    site.server.stop()
    site.server.start()  # Authlib keeps a provider's keys for as long as the process lives.
