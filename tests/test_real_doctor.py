"""``tmibff_discover`` and ``tmibff_doctor`` against real providers, databases and caches."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.real.browser import Browser
from tests.real.clocks import clock_off_by
from tests.real.demo import Demo
from tests.real.gunicorn import Gunicorn, migrate
from tests.real.manage import Ended, manage, manage_at_terminal
from tests.real.oidc_provider import ALL_SCOPE, MAIL, ORDERS, OidcProvider
from tests.real.redis import Redis
from tests.real.session import COOKIE, databases, refresh_token
from tests.real.toolkit import StockDemo

pytestmark = pytest.mark.real

UNKNOWN = "https://api.example/unknown"
ALICE = ("--json", "--user", "alice")
COSTLY = ("rotation", "narrower-scope", "resource", "revocation")


class Site:
    """The test project, its settings as ``tmibff_discover`` found them, and its provider."""

    def __init__(self, app: Gunicorn, provider: OidcProvider, client_id: str) -> None:
        self.app = app
        self.provider = provider
        self.client_id = client_id

    def discovered(self) -> dict[str, Any]:
        """Return the settings block, with the credentials of the client filled in."""
        block = manage({}, "tmibff_discover", self.provider.issuer)
        assert (block.status, block.err) == (0, "")
        return {
            **block.settings,
            "OIDC_RP_CLIENT_ID": self.client_id,
            "OIDC_RP_CLIENT_SECRET": f"{self.client_id}-secret",
        }

    def doctor(self, *arguments: str, env: Any = None, **changed: Any) -> Ended:
        """Return what the doctor says, with these settings changed."""
        return manage({**self.app.settings, **changed}, "tmibff_doctor", *arguments, env=env)


def start_site(folder: Path, running: ExitStack, vendor: str, client_id: str) -> Site:
    app = Gunicorn(folder, workers=1, threads=4)
    provider = running.enter_context(OidcProvider(app.origin, folder))
    site = Site(app, provider, client_id)
    app.settings = {
        **site.discovered(),
        "DATABASES": running.enter_context(databases(vendor, folder)),
        "OIDC_RP_SCOPES": ALL_SCOPE,
        "OIDC_USERNAME_ALGO": "testproject.views.username",
        "TMIBFF_RESOURCES": [ORDERS, MAIL],
    }
    if vendor == "postgresql":
        redis = running.enter_context(Redis(folder))
        app.settings["CACHES"] = redis.settings()
        app.settings["TMIBFF_STORE"] = "django_tmibff.stores.cache"
    migrate(app.settings)
    running.enter_context(app)
    return site


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A site with all tokens in SQLite, and one with all of them in Redis beside PostgreSQL."""
    with ExitStack() as running:
        yield start_site(tmp_path_factory.mktemp("site"), running, request.param, "rotate")


@pytest.fixture
def alice(site: Site) -> Iterator[Browser]:
    """A browser in which alice has just signed in."""
    with Browser() as browser:
        arrived = browser.sign_in(f"{site.app.origin}/oidc/authenticate/", "alice")
        assert "data-signed-in" in arrived.text
        yield browser


def token(site: Site, browser: Browser) -> dict[str, Any]:
    answer: dict[str, Any] = browser.fetch(f"{site.app.origin}/.well-known/bff-token").json()
    return answer


class TestDiscover:
    def test_the_block_is_what_the_metadata_says(self, site: Site) -> None:
        found = site.discovered()
        wanted = site.provider.django_settings("rotate")
        assert {name: found[name] for name in wanted if name != "OIDC_RP_SCOPES"} == {
            name: value for name, value in wanted.items() if name != "OIDC_RP_SCOPES"
        }
        assert found["OIDC_RP_SCOPES"] == "openid email profile offline_access"

    def test_check_agrees(self, site: Site) -> None:
        checked = manage(site.app.settings, "tmibff_discover", site.provider.issuer, "--check")
        assert checked.status == 0
        assert checked.out == "The settings are what the metadata says.\n"

    def test_check_names_what_differs(self, site: Site) -> None:
        changed = {"OIDC_OP_TOKEN_ENDPOINT": "https://op.example/token"}
        settings = {**site.app.settings, **changed}
        checked = manage(settings, "tmibff_discover", site.provider.issuer, "--check")
        assert checked.status == 1
        assert "Not what the metadata says: OIDC_OP_TOKEN_ENDPOINT." in checked.err

    def test_another_name_of_the_same_server_is_another_issuer(self, site: Site) -> None:
        issuer = site.provider.issuer.replace("127.0.0.1", "localhost")
        refused = manage({}, "tmibff_discover", issuer)
        assert (refused.status, refused.out) == (1, "")
        assert "equal to the letter" in refused.err


class TestDeployment:
    def test_nothing_is_wrong(self, site: Site) -> None:
        examined = site.doctor("--json")
        assert examined.status == 0, examined.out
        assert examined.outcomes == {
            "check": "warning",  # SESSION_COOKIE_SECURE, on plain http.
            **dict.fromkeys(["store", "lease", "processes"], "ok"),
            **dict.fromkeys(["metadata", "settings", "clock", "keys"], "ok"),
            "tls": "note",
            **dict.fromkeys(["refresh-token", *COSTLY], "not tried"),
        }

    def test_a_cache_that_processes_do_not_share(self, site: Site) -> None:
        backend = "django.core.cache.backends.locmem.LocMemCache"
        examined = site.doctor(
            "--json",
            CACHES={"default": {"BACKEND": backend}},
            TMIBFF_STORE="django_tmibff.stores.cached_db",
        )
        assert examined.status == 1
        failed = {
            one["probe"]: one["settings"] for one in examined.verdicts if one["outcome"] == "failed"
        }
        assert set(failed) == {"check", "processes"}
        assert {"CACHES", "TMIBFF_CACHE_ALIAS"} <= set(failed["processes"])

    def test_a_host_whose_clock_is_an_hour_ahead(self, site: Site) -> None:
        examined = site.doctor("--json", env=clock_off_by("+1h"))
        clock = next(one for one in examined.verdicts if one["probe"] == "clock")
        assert clock["outcome"] == "failed"
        assert "ahead of" in clock["finding"]
        # SQLite has the host's own clock.
        has_own = "postgresql" in site.app.settings["DATABASES"]["default"]["ENGINE"]
        assert examined.outcomes["lease"] == ("warning" if has_own else "ok")

    @pytest.mark.parametrize(
        ("name", "value", "probes"),
        [
            ("OIDC_OP_ISSUER", "http://127.0.0.1:1", {"metadata", "tls"}),
            ("OIDC_OP_JWKS_ENDPOINT", "http://127.0.0.1:1/jwks", {"settings", "tls", "keys"}),
            ("OIDC_OP_TOKEN_ENDPOINT", "http://op.example/token", {"settings", "tls"}),
            ("OIDC_RP_SIGN_ALGO", "ES512", {"settings", "keys"}),
            ("OIDC_OP_JWKS_ENDPOINT", None, {"check", "settings", "keys"}),
            ("TMIBFF_CLIENT_AUTH", {"method": "magic"}, {"check", "settings"}),
        ],
    )
    def test_a_misconfigured_provider_is_named_by_its_setting(
        self, site: Site, name: str, value: Any, probes: set[str]
    ) -> None:
        examined = site.doctor("--json", **{name: value})
        assert examined.status == 1
        failed = [one for one in examined.verdicts if one["outcome"] == "failed"]
        assert {one["probe"] for one in failed} == probes
        assert all(name in one["settings"] for one in failed)


class TestCertifiedProvider:
    def test_it_rotates_keeps_the_grant_accepts_resources_and_revokes(
        self, site: Site, alice: Browser
    ) -> None:
        before = site.provider.seen()["refresh_token_reused"]
        examined = site.doctor(*ALICE, "--yes")
        assert examined.status == 0, examined.out
        assert examined.answers == {
            "refresh-token": "given",
            "rotation": "rotates",
            "narrower-scope": "keeps",
            "resource": "accepts",
            "revocation": "revokes",
        }
        found = {one["subject"] for one in examined.verdicts if one["probe"] == "resource"}
        assert found == {ORDERS, MAIL}
        assert token(site, alice)["error"] == "invalid_session"
        assert site.provider.seen()["refresh_token_reused"] == before

    def test_a_refused_resource_consumes_the_refresh_token(
        self, site: Site, alice: Browser
    ) -> None:
        examined = site.doctor(*ALICE, "--yes", TMIBFF_RESOURCES=[UNKNOWN, ORDERS])
        assert examined.status == 1
        unknown, orders = (one for one in examined.verdicts if one["probe"] == "resource")
        assert (unknown["outcome"], unknown["answer"]) == ("failed", "consumes")
        assert {"TMIBFF_RESOURCES", "TMIBFF_PROVIDERS"} <= set(unknown["settings"])
        assert orders["outcome"] == examined.outcomes["revocation"] == "not tried"
        assert token(site, alice)["error"] == "invalid_session"

    def test_without_a_terminal_the_session_is_left_alone(self, site: Site, alice: Browser) -> None:
        before = token(site, alice)
        asked = len(site.provider.seen()["token_requests"])
        examined = site.doctor(*ALICE)
        assert {examined.outcomes[name] for name in COSTLY} == {"not tried"}
        assert len(site.provider.seen()["token_requests"]) == asked
        assert token(site, alice)["access_token"] == before["access_token"]

    def test_at_a_terminal_it_asks_and_the_session_goes_on(
        self, site: Site, alice: Browser
    ) -> None:
        before = site.provider.seen()["refresh_token_reused"]
        examined = manage_at_terminal(
            site.app.settings, "tmibff_doctor", "--user", "alice", typed="y\ny\ny\nn\n"
        )
        assert examined.status == 0, examined.out
        assert examined.out.count("Try it? [y/N]") == len(COSTLY)
        assert "\x1b[32;1mok         rotation" in examined.out
        assert "\x1b[36mnot tried  revocation" in examined.out
        answer = token(site, alice)
        assert site.provider.introspect(answer["access_token"])["active"]
        kept = refresh_token(site.app.settings, str(alice.cookies.get(COOKIE)))
        assert site.provider.introspect(kept)["active"]
        assert kept not in examined.out
        assert answer["access_token"] not in examined.out
        assert site.provider.seen()["refresh_token_reused"] == before

    def test_a_wrong_client_secret_is_found_and_the_session_suffers_nothing(
        self, site: Site, alice: Browser
    ) -> None:
        kept = refresh_token(site.app.settings, str(alice.cookies.get(COOKIE)))
        examined = site.doctor(*ALICE, "--yes", OIDC_RP_CLIENT_SECRET="wrong")
        rotation = next(one for one in examined.verdicts if one["probe"] == "rotation")
        assert rotation["outcome"] == "failed"
        assert "OIDC_RP_CLIENT_SECRET" in rotation["settings"]
        assert "wrong" not in rotation["finding"]
        assert site.provider.introspect(kept)["active"]

    def test_a_revocation_endpoint_that_is_none(self, site: Site, alice: Browser) -> None:
        elsewhere = f"{site.provider.issuer}/no-such-place"
        examined = site.doctor(*ALICE, "--yes", OIDC_OP_REVOCATION_ENDPOINT=elsewhere)
        found = [one for one in examined.verdicts if one["outcome"] == "failed"]
        assert {one["probe"] for one in found} == {"settings", "revocation"}
        assert all("OIDC_OP_REVOCATION_ENDPOINT" in one["settings"] for one in found)


def test_one_that_does_not_rotate_keeps_the_refresh_token_and_survives_a_refusal(
    tmp_path: Path,
) -> None:
    with ExitStack() as running:
        site = start_site(tmp_path, running, "sqlite", "norotate")
        browser = running.enter_context(Browser())
        browser.sign_in(f"{site.app.origin}/oidc/authenticate/", "alice")
        examined = site.doctor(*ALICE, "--yes", TMIBFF_RESOURCES=[UNKNOWN])
        assert examined.answers == {
            "refresh-token": "given",
            "rotation": "keeps",
            "narrower-scope": "keeps",
            "resource": "refuses",
            "revocation": "revokes",
        }


class TestDjangoOAuthToolkit:
    def examined(self, demo: Demo, *arguments: str, **changed: Any) -> Ended:
        """Let alice sign in; return what the doctor says of her session."""
        with Browser() as browser:
            form = browser.navigate(f"{demo.app}/oidc/authenticate/")
            browser.submit_form(form, username="alice", password=demo.users["alice"])
        # It refuses resources that the sign-in did not name: see test_real_toolkit.py.
        settings = {**demo.plan.app_settings(), "TMIBFF_RESOURCES": [], **changed}
        return manage(settings, "tmibff_doctor", *ALICE, "--yes", *arguments)

    def test_in_its_stock_configuration_narrowing_sticks(self, tmp_path: Path) -> None:
        with StockDemo(tmp_path) as demo:
            examined = self.examined(demo)
            warned = next(one for one in examined.verdicts if one["probe"] == "narrower-scope")
            again = self.examined(demo, TMIBFF_NARROWER_SCOPE="serve")
            block = manage({}, "tmibff_discover", demo.idp)
        assert examined.status == again.status == 0, examined.out
        assert (
            examined.answers
            == again.answers
            == {
                "refresh-token": "given",
                "rotation": "rotates",
                "narrower-scope": "sticks",
                "revocation": "revokes",
            }
        )
        assert warned["outcome"] == "warning"
        assert warned["settings"] == ["TMIBFF_NARROWER_SCOPE"]
        assert again.outcomes["narrower-scope"] == "ok"
        # Its two documents complete each other.
        wanted = demo.plan.app_settings()
        assert (
            block.settings["OIDC_OP_REVOCATION_ENDPOINT"] == wanted["OIDC_OP_REVOCATION_ENDPOINT"]
        )
        assert block.settings["OIDC_OP_USER_ENDPOINT"] == wanted["OIDC_OP_USER_ENDPOINT"]
        assert "back-channel logout" in block.err

    def test_as_the_demo_has_it_the_grant_stays_as_it_was(self, tmp_path: Path) -> None:
        with Demo(tmp_path) as demo:
            examined = self.examined(demo)
        assert examined.status == 0, examined.out
        assert examined.answers == {
            "refresh-token": "given",
            "rotation": "rotates",
            "narrower-scope": "keeps",
            "revocation": "revokes",
        }
