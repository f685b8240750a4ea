"""docs/other-sign-ins.md: its code, in a new project, against a certified provider."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from django.contrib.auth import get_user_model

from tests.authorization_server import AuthorizationServer
from tests.page import SESSION_INFO
from tests.page import Page as ClientsPage
from tests.real.browser import Browser, cookie_domain
from tests.real.certificates import make_certificate, public_key
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
            assert page.ok, page.text
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
def test_a_sign_out_at_the_provider_ends_the_session(site: Site, browser: Browser) -> None:
    """B5: by the session's id, which was among the claims."""
    site.sign_in(browser, "alice")
    assert site.fetch(browser).status_code == 200
    endpoint = site.provider.metadata()["end_session_endpoint"]
    browser.submit_form(browser.navigate(f"{endpoint}?client_id=other"), logout="yes")
    wait_until(lambda: site.fetch(browser).status_code == 400, 10, "the session is over")
    assert site.fetch(browser).json()["error"] == "invalid_session"


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


TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [
                ("django.template.loaders.locmem.Loader", {"registration/login.html": "Who?"})
            ]
        },
    }
]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate, for its key."""
    return make_certificate(tmp_path)


@pytest.fixture
def form(
    page: ClientsPage,
    user: Any,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    certificate: tuple[Path, Path],
    authorization_server: AuthorizationServer,
) -> Iterator[ClientsPage]:
    """A page of a site with the password form's code; its token service is at the wire."""
    package = tmp_path / "form_site"
    package.mkdir()
    (package / "urls.py").write_text("from django.urls import path\n\nurlpatterns = []\n")
    (package / "settings.py").write_text("from pathlib import Path\n")
    replacements = {"/etc/site/assertion-key.pem": str(certificate[1])}
    assert len(paste(package, section(PAGE, "A password form"), replacements)) == 3
    monkeypatch.syspath_prepend(tmp_path)
    found: dict[str, Any] = {}
    exec((package / "settings.py").read_text(), found)  # noqa: S102  # the page's own
    for name in ("LOGIN_URL", "ASSERTION_KEY"):
        setattr(settings, name, found[name])
    del settings.OIDC_OP_AUTHORIZATION_ENDPOINT
    settings.TEMPLATES = TEMPLATES
    settings.LOGIN_REDIRECT_URL = "/"
    settings.ROOT_URLCONF = "form_site.urls"
    yield page
    for name in [name for name in sys.modules if name.partition(".")[0] == "form_site"]:
        del sys.modules[name]


def fill_in(page: ClientsPage, username: str = "alice") -> Any:
    """Submit the password form."""
    fields = {"username": username, "password": "wonderland", "next": "/tea"}
    return page.post("/sign-in/", fields, secure=True)


class TestPasswordForm:
    def test_a_whole_round(
        self,
        form: ClientsPage,
        authorization_server: AuthorizationServer,
        certificate: tuple[Path, Path],
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        """X8, R12, B4: sent to sign in, a token, another one when it is over, and all ends."""
        assert json.loads(form.fetch().content)["login_url"] == "/bff/login"
        there = form.navigate("/bff/login", {"next": "/tea"})
        assert there["Location"] == "/sign-in/?next=/tea"
        authorization_server.gives(access_token="a", refresh_token="r", expires_in=0)
        assert fill_in(form)["Location"] == "/tea"
        [assertion] = authorization_server.requests[0]["assertion"]
        said = jwt.decode(
            assertion,
            public_key(certificate[0]),
            algorithms=["ES256"],
            audience="https://op.example/token",
        )
        assert (said["iss"], said["sub"]) == ("client", "alice")
        assert json.loads(form.fetch(SESSION_INFO).content)["preferred_username"] == "alice"
        assert form.token()["access_token"] == "fresh-2"
        assert authorization_server.requests[1]["refresh_token"] == ["r"]
        with django_capture_on_commit_callbacks(execute=True):
            form.fetch("/bff/logout", method="POST")
        assert authorization_server.revoked == ["r"]
        assert form.refusal()["error"] == "invalid_session"

    def test_without_a_refresh_token_the_form_is_spared_who_is_signed_in(
        self, form: ClientsPage, authorization_server: AuthorizationServer
    ) -> None:
        authorization_server.gives(access_token="a", expires_in=0)
        fill_in(form)
        assert form.refusal()["error"] == "backend_not_ready"
        assert form.navigate("/sign-in/", {"next": "/tea"})["Location"] == "/tea"
        assert form.token()["access_token"] == "fresh-2"

    def test_while_the_token_service_is_down_people_are_signed_in_without_tokens(
        self, form: ClientsPage, authorization_server: AuthorizationServer, caplog: Any
    ) -> None:
        authorization_server.is_down()
        assert fill_in(form)["Location"] == "/tea"
        assert "no tokens for user" in caplog.text
        assert form.refusal()["error"] == "backend_not_ready"
        authorization_server.is_down()
        assert form.navigate("/sign-in/", {"next": "/tea"}).content == b"Who?"

    def test_x6_a_dead_grant_leaves_the_session_that_the_password_made(
        self, form: ClientsPage, authorization_server: AuthorizationServer
    ) -> None:
        authorization_server.gives(access_token="a", refresh_token="r", expires_in=0)
        fill_in(form)
        authorization_server.refuses("invalid_grant")
        assert form.refusal()["error"] == "invalid_grant"
        assert form.refusal()["error"] == "backend_not_ready"

    def test_the_tokens_of_another_user_are_revoked(
        self,
        form: ClientsPage,
        authorization_server: AuthorizationServer,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        get_user_model().objects.create_user("bob", password="wonderland")
        authorization_server.gives(access_token="a", refresh_token="r", expires_in=3600)
        fill_in(form)
        with django_capture_on_commit_callbacks(execute=True):
            fill_in(form, "bob")
        assert authorization_server.revoked == ["r"]
        assert form.token()["access_token"] == "fresh-2"
