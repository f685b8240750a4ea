"""The testing kit: docs/testing.md word for word, and what its fixtures cost and need."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from django.conf import settings as django_settings

from django_tmibff import tokens
from django_tmibff.testing import DPoPKey, sign_in, wire
from django_tmibff.testing.live import LiveAuthorizationServer
from django_tmibff.testing.provider import LiveOpenIDProvider
from tests.page import SESSION_INFO, Page
from tests.proofs import ath_of
from tests.real.http import send

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "testing.md"
CODE = re.compile(r"```python\n# (?P<file>\w+\.py)\n(?P<code>.*?)```", re.DOTALL)
TIMEOUT_SECONDS = 120


def run(folder: Path, *arguments: str) -> str:
    """Run Python in that folder, where this app is installed; return what it printed."""
    path = os.pathsep.join([str(declared_plugins(folder / "installed")), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "TEST_DATABASE": "sqlite"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def declared_plugins(folder: Path) -> Path:
    """Return a folder with the metadata of an installed package, as pyproject.toml declares it."""
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    plugins = declared["entry-points"]["pytest11"]
    metadata = folder / "django_tmibff_of_this_test-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: django_tmibff_of_this_test\nVersion: 1\n"
    )
    lines = [f"{name} = {module}" for name, module in plugins.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines]))
    return folder


class TestDocumentation:
    def test_its_examples_pass_as_they_stand_there(self, tmp_path: Path) -> None:
        files = [match["file"] for match in CODE.finditer(PAGE.read_text())]
        for match in CODE.finditer(PAGE.read_text()):
            (tmp_path / match["file"]).write_text(match["code"])
        (tmp_path / "pytest.ini").write_text("[pytest]\ndjango_find_project = false\n")
        printed = run(tmp_path, "-m", "pytest", "--ds=tests.settings", *files)
        assert len(files) == 5
        assert re.search(r"\b11 passed", printed)


def test_no_site_loads_what_is_for_tests(tmp_path: Path) -> None:
    """Whatever it serves and checks, and whichever command it runs."""
    (tmp_path / "program.py").write_text(
        "import os, pkgutil, sys\n"
        "from importlib import import_module\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings_fast_path'\n"
        "import django; django.setup()\n"
        "from django.core.management import call_command, get_commands, load_command_class\n"
        "from django.core.wsgi import get_wsgi_application\n"
        "get_wsgi_application()\n"
        "for name, app in get_commands().items():\n"
        "    if app == 'django_tmibff':\n"
        "        load_command_class(app, name)\n"
        "import django_tmibff.otel, django_tmibff.urls, django_tmibff.checks, django_tmibff.admin\n"
        "ours = {name for name in sys.modules if name.startswith('django_tmibff.')}\n"
        "assert 'django_tmibff.views' in ours and 'django_tmibff.doctor' in ours\n"
        "for_tests = ('testing', 'conformance', 'pytest_plugin')\n"
        "print('loaded:', [n for n in sorted(ours) if n.split('.')[1] in for_tests])\n"
    )
    assert run(tmp_path, "program.py").strip() == "loaded: []"


class TestPlugin:
    """What pytest loads wherever this app is installed."""

    def test_it_costs_others_nothing(self, tmp_path: Path) -> None:
        """Neither Django nor anything of ours but the plugin itself is imported."""
        (tmp_path / "test_nothing.py").write_text(
            "import sys\n"
            "def test_nothing():\n"
            "    assert 'django_tmibff.pytest_plugin' in sys.modules\n"
            "    ours = {name for name in sys.modules if name.startswith('django_tmibff')}\n"
            "    assert ours == {'django_tmibff', 'django_tmibff.pytest_plugin'}\n"
            "    assert not {'django', 'requests', 'requests_mock'} & {*sys.modules}\n"
        )
        plugins = ("django", "requests_mock", "schemathesis", "xdist", "cov")
        others = [part for name in plugins for part in ("-p", f"no:{name}")]
        assert "1 passed" in run(tmp_path, "-m", "pytest", *others)

    def test_what_is_missing_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "requests_mock.py").write_text("raise ImportError('none')")
        code = (
            "import django; django.setup()\n"
            "try:\n"
            "    import django_tmibff.testing.wire\n"
            "except ImportError as error:\n"
            "    print(error)\n"
        )
        (tmp_path / "program.py").write_text(
            f"import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'\n{code}"
        )
        assert "pip install 'django-tmibff[testing]'" in run(tmp_path, "program.py")


def test_a_proof_for_an_api_names_its_request_and_the_token() -> None:
    """RFC 9449 §4.2."""
    proof = DPoPKey().proof_for_api("PUT", "https://api.example/orders/1?all=1", "a token")
    claims = jwt.decode(proof, options={"verify_signature": False})
    assert (claims["htm"], claims["htu"]) == ("PUT", "https://api.example/orders/1")
    assert claims["ath"] == ath_of("a token")


@pytest.mark.django_db
class TestSignIn:
    def test_a_session_with_tokens_as_a_sign_in_leaves_it(self, page: Page, user: Any) -> None:
        token_set = sign_in(page, user, access_token="one", scope="a b", claims={"sub": "alice"})
        assert (page.token()["access_token"], page.token()["scope"]) == ("one", "a b")
        assert page.session[tokens.SESSION_KEY] == token_set.handle
        assert (token_set.user_id, token_set.subject) == (user.pk, "alice")

    def test_the_session_ends_with_its_grant(
        self, page: Page, user: Any, authorization_server: wire.AuthorizationServer
    ) -> None:
        sign_in(page, user, expires_in=-1)
        authorization_server.refuses("invalid_grant")
        assert page.refusal()["error"] == "invalid_grant"
        assert page.refusal()["error"] == "invalid_session"

    def test_none_leaves_a_member_out(self, page: Page, user: Any) -> None:
        sign_in(page, user, scope=None, expires_in=None, refresh_token=None)
        assert set(page.token()) == {"access_token", "token_type"}

    def test_session_refresh_lets_it_be(self, page: Page, user: Any, settings: Any) -> None:
        """mozilla-django-oidc's middleware sends to the provider who has been there long ago."""
        settings.MIDDLEWARE = [
            *settings.MIDDLEWARE,
            "mozilla_django_oidc.middleware.SessionRefresh",
        ]
        sign_in(page, user, backend=django_settings.AUTHENTICATION_BACKENDS[0])
        assert page.elsewhere().get("/", secure=True).status_code == 200

    def test_another_provider(self, page: Page, user: Any, settings: Any) -> None:
        settings.TMIBFF_PROVIDERS = {"partner": {"token_endpoint": "https://partner.example/t"}}
        assert sign_in(page, user, provider="partner").provider == "partner"


@pytest.mark.django_db
class TestWire:
    def test_the_settings_endpoints_answer(
        self, page: Page, user: Any, requests_mock: Any, settings: Any
    ) -> None:
        settings.OIDC_OP_TOKEN_ENDPOINT = "https://other.example/token"
        server = wire.AuthorizationServer(requests_mock)
        sign_in(page, user, expires_in=-1)
        assert page.token()["access_token"] == "fresh-1"
        assert server.calls == 1

    def test_a_rotated_refresh_token_is_the_next_one_sent(
        self, page: Page, user: Any, authorization_server: wire.AuthorizationServer
    ) -> None:
        sign_in(page, user, expires_in=-1, refresh_token="first")
        authorization_server.rotates(expires_in=0)
        page.fetch()
        page.fetch()
        sent = [request["refresh_token"] for request in authorization_server.requests]
        assert sent == [["first"], ["rotated-1"]]

    def test_whose_key_a_token_is_bound_to(
        self, page: Page, user: Any, authorization_server: wire.AuthorizationServer, settings: Any
    ) -> None:
        settings.TMIBFF_DPOP = "allowed"
        sign_in(page, user, expires_in=-1)
        key = DPoPKey()
        page.fetch(headers={"DPoP": key.proof(nonce="n-1")})
        page.fetch()
        assert authorization_server.jkts == [key.jkt, None]

    @pytest.mark.parametrize("fault", ["hangs", "is_down"])
    def test_one_that_gives_no_answer(
        self, page: Page, user: Any, authorization_server: wire.AuthorizationServer, fault: str
    ) -> None:
        sign_in(page, user, expires_in=-1)
        getattr(authorization_server, fault)()
        assert page.refusal()["error"] == "temporarily_unavailable"
        assert page.token()["access_token"] == "fresh-2"


@pytest.mark.django_db
class TestLive:
    @pytest.fixture(autouse=True)
    def client_of(self, settings: Any, live: LiveAuthorizationServer) -> None:
        for name, value in live.django_settings().items():
            setattr(settings, name, value)

    @pytest.fixture
    def live(self) -> Any:
        with LiveAuthorizationServer() as server:
            yield server

    def test_what_is_queued_comes_first_and_costs_nothing(
        self, page: Page, user: Any, live: LiveAuthorizationServer
    ) -> None:
        sign_in(page, user, **{**live.new_family(), "expires_in": -1})
        live.refuses("temporarily_unavailable", 503)
        assert page.refusal()["error"] == "temporarily_unavailable"
        assert live.is_alive(page.token()["access_token"])
        assert (live.refreshes, live.reuses) == (1, 0)

    def test_one_that_hangs(
        self, page: Page, user: Any, live: LiveAuthorizationServer, settings: Any
    ) -> None:
        settings.TMIBFF_AS_TIMEOUT = 0.2
        sign_in(page, user, **{**live.new_family(), "expires_in": -1})
        live.hangs()
        assert page.refusal()["error"] == "temporarily_unavailable"

    def test_what_comes_for_a_proof_is_bound_to_its_key(
        self, page: Page, user: Any, live: LiveAuthorizationServer, settings: Any
    ) -> None:
        settings.TMIBFF_DPOP = "required"
        sign_in(page, user, **live.new_family())
        answer = page.fetch(headers={"DPoP": DPoPKey().proof()})
        assert json.loads(answer.content)["token_type"] == "DPoP"

    def test_it_starts_again_where_it_was(self, live: LiveAuthorizationServer) -> None:
        response = live.new_family()
        live.stop()
        live.start()
        address = django_settings.OIDC_OP_TOKEN_ENDPOINT
        assert send("POST", address).json() == {"error": "invalid_client"}
        assert live.is_alive(response["refresh_token"])


@pytest.mark.django_db
class TestSignInThere:
    @pytest.fixture
    def there(self, settings: Any) -> Any:
        with LiveOpenIDProvider() as server:
            for name, value in server.django_settings().items():
                setattr(settings, name, value)
            yield server

    def test_who_comes_is_who_it_says(self, page: Page, there: LiveOpenIDProvider) -> None:
        there.claims = {"sub": "bob", "email": "bob@op.example", "name": "Bob"}
        self.callback(page, there)
        info = json.loads(page.fetch(SESSION_INFO).content)
        assert (info["iss"], info["sub"], info["name"]) == (there.issuer, "bob", "Bob")
        assert there.is_alive(page.token()["access_token"])

    def test_it_refuses_where_it_is_told_to(self, page: Page, there: LiveOpenIDProvider) -> None:
        there.error = "access_denied"
        assert self.callback(page, there).status_code == 302
        assert page.refusal()["error"] == "invalid_session"

    def test_a_code_is_redeemed_once_and_by_who_asked_alone(
        self, page: Page, there: LiveOpenIDProvider, settings: Any
    ) -> None:
        """PKCE, RFC 7636 §4.6."""
        asked = page.navigate("/bff/login")["Location"]
        arrived = send("GET", asked, allow_redirects=False).headers["Location"]
        form = {
            "grant_type": "authorization_code",
            "code": parse_qs(urlsplit(arrived).query)["code"][0],
            "redirect_uri": arrived.partition("?")[0],
            "code_verifier": "a guess",
            "client_id": settings.OIDC_RP_CLIENT_ID,
            "client_secret": settings.OIDC_RP_CLIENT_SECRET,
        }
        for _ in range(2):
            answer = send("POST", settings.OIDC_OP_TOKEN_ENDPOINT, data=form)
            assert answer.json() == {"error": "invalid_grant"}

    def test_there_is_nothing_without_pkce_or_without_a_token(
        self, there: LiveOpenIDProvider
    ) -> None:
        assert send("GET", f"{there.issuer}/authorize?redirect_uri=x").status_code == 400
        assert send("GET", f"{there.issuer}/userinfo").status_code == 401
        assert send("GET", f"{there.issuer}/elsewhere").status_code == 404

    def callback(self, page: Page, there: LiveOpenIDProvider) -> Any:
        """Follow the app to the provider and back; return the callback's answer."""
        asked = page.navigate("/bff/login")["Location"]
        assert asked.startswith(there.issuer)
        back = urlsplit(send("GET", asked, allow_redirects=False).headers["Location"])
        return page.get(f"{back.path}?{back.query}", secure=True)
