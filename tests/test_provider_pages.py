"""docs/providers.md and the recipes beside it: what they say is what happens."""

import base64
import re
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import mozilla_django_oidc
import pytest
from django.conf import settings as django_settings
from django.core.checks import WARNING

import django_tmibff
from django_tmibff.backends import OIDCAuthenticationBackend
from django_tmibff.checks import CHECKS
from django_tmibff.conf import settings as our_settings
from tests.named import named_tests
from tests.page import Page

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "providers.md"
RECIPES = sorted((DOCS / "providers").glob("*.md"))

# Beside what the page says: the run's store, and what is read once, when the paths are imported.
KEPT = {"TMIBFF_STORE", "OIDC_AUTHENTICATE_CLASS", "OIDC_CALLBACK_CLASS"}
HEADINGS = [
    "Settings",
    "At the provider",
    "What a page asks, and what is sent for it",
    "What to know",
    "Not sure",
    "Sources",
]
LONGEST_PAGE = 90  # lines


def section(page: str, title: str) -> str:
    """Return what is under that heading of the second level."""
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


class TestQuirks:
    """Each row of the table names the tests that prove it."""

    LINE = re.compile(r"^\|(?! what a server does|---).*$", re.MULTILINE)
    ROW = re.compile(r"^\| (?P<what>[^|]+) \|(?:[^|]+\|){3} (?P<tests>[^|]+) \|$")

    @classmethod
    def rows(cls) -> dict[str, list[str]]:
        lines = cls.LINE.findall(section(PAGE.read_text(), "Quirks"))
        found = [cls.ROW.fullmatch(line) for line in lines]
        return {row["what"]: re.findall(r"`([^`]+)`", row["tests"]) for row in found if row}

    def test_each_line_is_a_row_that_names_tests(self) -> None:
        rows = self.rows()
        assert len(rows) == len(self.LINE.findall(section(PAGE.read_text(), "Quirks"))) > 0
        assert [what for what, tests in rows.items() if not tests] == []

    def test_there_are_such_tests(self) -> None:
        there_are = named_tests()
        unknown = {what: set(tests) - there_are for what, tests in self.rows().items()}
        assert {what: tests for what, tests in unknown.items() if tests} == {}


@dataclass(frozen=True)
class Recipe:
    """A page of docs/providers/."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text()

    def block(self, language: str) -> str:
        """Return the page's only block in that language."""
        [block] = re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.DOTALL | re.MULTILINE)
        return str(block)

    def settings(self, folder: Path) -> dict[str, Any]:
        """Return what the page's settings set, run from a file in ``folder``."""
        file = folder / "settings.py"
        file.write_text(self.block("python"))
        named = runpy.run_path(str(file))
        return {name: named[name] for name in named if name.startswith(("OIDC_", "TMIBFF_"))}

    @property
    def asked(self) -> str:
        """The path that the page's script fetches."""
        [path] = re.findall(r'await fetch\("(.+)"\);', self.block("js"))
        return str(path)


@pytest.fixture(params=RECIPES, ids=lambda path: path.stem)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return Recipe(request.param)


@pytest.fixture
def said(recipe: Recipe, settings: Any, tmp_path: Path) -> dict[str, Any]:
    """Let the site have the recipe's settings and no other, and return them."""
    for name in dir(django_settings):
        if name.startswith(("OIDC_", "TMIBFF_")) and name not in KEPT:
            delattr(settings, name)
    # The demo's own policy names the end-session endpoint, which not every provider has.
    policy = "testproject.middleware.content_security_policy"
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != policy]
    said = recipe.settings(tmp_path)
    for name, value in said.items():
        setattr(settings, name, value)
    return said


def written(request: Any) -> str:
    """Return the request as the recipes write it."""
    lines = [f"{request.method} {request.url}"]
    if "Authorization" in request.headers:
        encoded = request.headers["Authorization"].removeprefix("Basic ")
        lines.append(f"Authorization: Basic {base64.b64decode(encoded).decode()}")
    for name, value in sorted(parse_qsl(request.text)):
        lines.append(f"{name}={'…' if name in ('refresh_token', 'subject_token') else value}")
    return "\n".join([*lines, ""])


class TestRecipes:
    def test_all_have_the_same_shape_and_say_where_they_are_from(self, recipe: Recipe) -> None:
        assert re.findall(r"^## (.+)$", recipe.text, re.MULTILINE) == HEADINGS
        assert recipe.text.splitlines()[2].startswith("**From documentation, not run here.**")
        assert len(recipe.text.splitlines()) <= LONGEST_PAGE

    def test_the_settings_are_complete_and_every_check_is_silent(
        self, said: dict[str, Any]
    ) -> None:
        messages = [message for check, _options in CHECKS for message in check(None)]
        # Not all of them can revoke (I003).
        assert [one for one in messages if one.is_serious(WARNING) and not one.is_silenced()] == []
        assert OIDCAuthenticationBackend().OIDC_OP_JWKS_ENDPOINT
        provider = our_settings.provider()
        assert provider.client_secret == "your-client-secret"
        endpoints = [name for name in said if name.startswith("OIDC_OP_") and "METHOD" not in name]
        assert {urlsplit(said[name]).scheme for name in endpoints} == {"https"}

    def test_there_are_such_settings(self, said: dict[str, Any]) -> None:
        packages = (Path(module.__file__).parent for module in (django_tmibff, mozilla_django_oidc))
        code = "".join(file.read_text() for folder in packages for file in folder.rglob("*.py"))
        assert [name for name in said if f'"{name}"' not in code] == []

    @pytest.mark.django_db
    def test_the_sign_in_asks_for_what_they_say(self, said: dict[str, Any], page: Page) -> None:
        redirect = page.get("/oidc/authenticate/", secure=True)
        url, _, query = redirect["Location"].partition("?")
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        assert url == said["OIDC_OP_AUTHORIZATION_ENDPOINT"]
        assert asked["scope"] == said["OIDC_RP_SCOPES"]
        assert asked["code_challenge_method"] == "S256"
        assert said.get("OIDC_AUTH_REQUEST_EXTRA_PARAMS", {}).items() <= asked.items()

    @pytest.mark.django_db
    def test_the_sign_in_names_resources_where_they_say_so(
        self, said: dict[str, Any], page: Page
    ) -> None:
        named = our_settings.provider().resources_at_sign_in
        view = "django_tmibff.views.OIDCRequestView"
        assert (said.get("OIDC_AUTHENTICATE_CLASS") == view) is named
        redirect = page.get("/oidc/authenticate/", secure=True)
        [resource] = our_settings.resources if named else [None]
        asked = dict(parse_qsl(urlsplit(redirect["Location"]).query))
        assert resource is None or asked[our_settings.provider().resource_request] == resource

    @pytest.mark.django_db
    def test_a_renewal_sends_what_the_page_shows(
        self, recipe: Recipe, said: dict[str, Any], page: Page, user: Any, authorization_server: Any
    ) -> None:
        requests = authorization_server.mocker
        new = {"access_token": "new", "token_type": "Bearer", "expires_in": 300}
        requests.post(said["OIDC_OP_TOKEN_ENDPOINT"], json=new)
        page.sign_in(user)
        page.store({"expires_in": 0, "scope": said["OIDC_RP_SCOPES"]})
        answer = page.fetch(recipe.asked)
        assert (answer.status_code, answer.json()["access_token"]) == (200, "new")
        assert written(requests.request_history[-1]) == recipe.block("text")

    @pytest.mark.django_db
    def test_signing_out_revokes_and_goes_on_where_there_is_an_endpoint(
        self,
        said: dict[str, Any],
        page: Page,
        user: Any,
        authorization_server: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        revocation = said.get("OIDC_OP_REVOCATION_ENDPOINT")
        end_session = said.get("OIDC_OP_END_SESSION_ENDPOINT")
        if revocation is not None:
            authorization_server.mocker.post(revocation)
        page.sign_in(user)
        page.store()
        with django_capture_on_commit_callbacks(execute=True):
            answer = page.fetch("/bff/logout", method="POST").json()
        asked = [request.url for request in authorization_server.mocker.request_history]
        assert asked == ([] if revocation is None else [revocation])
        assert ("OIDC_OP_LOGOUT_URL_METHOD" in said) is (end_session is not None)
        assert answer["logout_url"].partition("?")[0] == (end_session or "/")


class TestOverview:
    """The table of the recipes."""

    ROW = re.compile(
        r"^\| \[(?P<name>[^]]+)\]\(providers/(?P<file>[^)]+)\) \|[^|]+\|"
        r" (?P<revocation>[^|]+) \| (?P<end_session>[^|]+) \|[^|]+\|$",
        re.MULTILINE,
    )

    def test_it_names_every_recipe(self) -> None:
        rows = self.ROW.finditer(section(PAGE.read_text(), "Recipes"))
        named = {row["file"]: row["name"] for row in rows}
        assert named == {path.name: path.read_text().splitlines()[0][2:] for path in RECIPES}

    def test_what_it_says_of_signing_out_is_what_their_settings_have(self, tmp_path: Path) -> None:
        rows = list(self.ROW.finditer(section(PAGE.read_text(), "Recipes")))
        assert rows
        for row in rows:
            said = Recipe(DOCS / "providers" / row["file"]).settings(tmp_path)
            assert (row["revocation"] == "yes") is ("OIDC_OP_REVOCATION_ENDPOINT" in said)
            assert (row["end_session"] == "yes") is ("OIDC_OP_END_SESSION_ENDPOINT" in said)
