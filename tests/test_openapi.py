"""docs/openapi.yaml describes the endpoints, and schemathesis holds the one to the other.

Its pytest plugin stays out (see pyproject.toml): loading it costs each process a second.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
import pytest
import yaml
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import DatabaseError, close_old_connections
from django.http import HttpResponse, JsonResponse
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup

from django_tmibff import authorization, http, logout, oauth, policy, states, tokens, urls, views
from django_tmibff.exceptions import TokenError
from django_tmibff.models import TokenSet
from tests.authorization_server import AuthorizationServer
from tests.openapi import (
    DESCRIPTION,
    FILE,
    LOGIN,
    MAIL,
    ORDERS,
    ORIGIN,
    check,
    errors_of,
    followed,
    of_this_site,
    operations,
    parameter,
    responses,
)
from tests.openid_provider import OpenIDProvider
from tests.page import FETCH, NAVIGATION, Page
from tests.proofs import PageKey
from tests.sealed import plant
from tests.test_backchannel import claims

pytestmark = pytest.mark.django_db

PARTNER = "https://partner.example"
SCHEMA = of_this_site()
OPERATIONS = operations(SCHEMA)
A_PAGES = {"Sec-Fetch-Site": "same-origin"}
CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}
HTML = {"Content-Type": "text/html"}
FORM = "application/x-www-form-urlencoded"

EACH_OPERATION = pytest.mark.parametrize("name", OPERATIONS)
# What differs between the variants of the unit tests has tests of its own.
ONCE = pytest.mark.real


@dataclass
class Site:
    """The tests' site, a page of it, and who is asked for tokens."""

    page: Page
    signed_in: Callable[..., Page]
    server: AuthorizationServer
    provider: OpenIDProvider
    settings: Any
    monkeypatch: pytest.MonkeyPatch

    def answer(self, case: Any) -> Any:
        """Return the answer to ``case``, sent by the page's browser."""
        cookies = {name: cookie.value for name, cookie in self.page.cookies.items()}
        usual = (
            {"Origin": ORIGIN} if case.method == "POST" else A_PAGES if case.path == LOGIN else {}
        )
        headers = {**usual, **case.headers}
        with connection_kept():
            return case.call(app=closing_app, base_url=ORIGIN, cookies=cookies, headers=headers)

    def check(self, case: Any) -> None:
        """Raise unless somebody who is signed in gets an answer that is described."""
        if not self.page.session.get("_auth_user_id"):
            self.signed_in()
        check(case, self.answer(case))


def closing_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer as Django does, and close the answer as servers do: only then the request is over."""
    response = WSGIHandler()(environ, start_response)
    with closing(response):
        return [b"".join(response)]


@contextmanager
def connection_kept() -> Iterator[None]:
    """Let no request close the connection that the test's own transaction is on."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    try:
        yield
    finally:
        for signal in signals:
            signal.connect(close_old_connections)


@pytest.fixture
def site(
    page: Page,
    signed_in: Callable[..., Page],
    authorization_server: AuthorizationServer,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Site:
    """A site with resources, scopes and providers to ask for."""
    settings.TMIBFF_RESOURCES = {ORDERS: {"origins": ["https://cdn.example"]}, MAIL: {}}
    settings.TMIBFF_SCOPES = ["calendar"]
    settings.TMIBFF_AS_CALLS_PER_MINUTE = 1_000_000
    endpoints = ("authorization", "token", "userinfo", "jwks")
    settings.TMIBFF_PROVIDERS = {
        "partner": {
            "issuer": PARTNER,
            **{f"{name}_endpoint": f"{PARTNER}/{name}" for name in endpoints},
            "client_id": "client-there",
            "client_secret": "canary-secret-there",
            "scope": "openid email",
        }
    }
    provider = OpenIDProvider(authorization_server)
    return Site(page, signed_in, authorization_server, provider, settings, monkeypatch)


class TestRequestsThatAreMadeUp:
    """By hypothesis, and the same ones each time."""

    @ONCE
    @EACH_OPERATION
    @pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
    def test_e6_e8_x1_sound_or_broken_the_answer_is_described(
        self, site: Site, name: str, mode: GenerationMode
    ) -> None:
        """What is sound is accepted, what is broken refused."""

        @hypothesis_settings(
            max_examples=40,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        )
        @given(case=_requests(OPERATIONS[name], mode))
        def each(case: Any) -> None:
            site.check(case)

        each()

    @ONCE
    @EACH_OPERATION
    def test_e10_so_it_is_at_the_edges(self, site: Site, name: str) -> None:
        """Boundary values, missing parts, other media types, methods that there are not."""
        for case in SCHEMA.iter_coverage_cases(
            OPERATIONS[name],
            generation_modes=list(GenerationMode),
            generation_config=SCHEMA.config.generation,
        ):
            site.check(case)


def _requests(operation: Any, mode: GenerationMode) -> Any:
    """Return requests of any headers, and of a page's own where there is more to vary."""
    any_headers = operation.as_strategy(generation_mode=mode)
    if not (len(operation.query) or len(operation.body)):
        return any_headers
    return any_headers | operation.as_strategy(generation_mode=mode, headers=_browsers(operation))


def _browsers(operation: Any) -> Mapping[str, str]:
    """Return the headers of ``operation`` that a browser adds by itself."""
    sent = NAVIGATION if "navigation" in operation.tags else FETCH
    declared = {parameter.name for parameter in operation.headers}
    named = {name.title(): value for name, value in sent.items()}
    return {name: value for name, value in named.items() if name in declared}


# How each answer that is described comes about.


def _nobody(site: Site) -> None:
    """Nobody is signed in."""


def _signed_in(site: Site) -> None:
    site.signed_in()


def _expired(site: Site) -> None:
    site.signed_in(expires_in=-1)


def _nothing_to_renew_with(site: Site) -> None:
    site.signed_in(refresh_token=..., expires_in=-1)


def _server_is_down(site: Site) -> None:
    _expired(site)
    site.server.is_down()


def _server_refuses(site: Site) -> None:
    _expired(site)
    site.server.refuses("consent_required")


def _bound(site: Site) -> None:
    site.settings.TMIBFF_DPOP = "required"
    site.signed_in()


def _server_wants_a_nonce(site: Site) -> None:
    _bound(site)
    site.server.answers(
        status_code=400, json={"error": "use_dpop_nonce"}, headers={"DPoP-Nonce": "n-1"}
    )


def _server_gives_bearer_tokens(site: Site) -> None:
    _bound(site)
    site.server.gives(access_token="a-bearer-token", token_type="Bearer")


def _database_is_down(site: Site) -> None:
    site.signed_in()

    def fails(*args: Any, **options: Any) -> None:
        raise DatabaseError("down")

    site.monkeypatch.setattr(tokens, "get", fails)
    site.monkeypatch.setattr(tokens, "describe", fails)
    site.monkeypatch.setattr(states, "make_room", fails)
    site.monkeypatch.setattr(logout, "end_session_url", fails)
    site.monkeypatch.setattr(logout, "back_channel", fails)


def _signed_in_at_the_provider(site: Site) -> None:
    site.settings.OIDC_OP_END_SESSION_ENDPOINT = "https://op.example/end"
    site.provider.sign_in(site.page)


def _its_tokens_are_lost(site: Site) -> None:
    _signed_in_at_the_provider(site)
    plant(TokenSet.objects.get(), b"what does not open")


def _strict_cookies(site: Site) -> None:
    site.settings.SESSION_COOKIE_SAMESITE = "Strict"


def _form(**members: Any) -> dict[str, Any]:
    return {"body": members, "media_type": FORM}


def _logout_token(site: Site) -> dict[str, Any]:
    return _form(logout_token=site.provider.signed(claims()))


def _proof(site: Site) -> dict[str, Any]:
    return {"headers": {**A_PAGES, "DPoP": PageKey().proof()}}


TOKEN_ANSWERS: dict[tuple[str, str], Any] = {
    ("200", ""): (_expired, {}),
    ("400", "invalid_session"): (_nobody, {}),
    ("400", "backend_not_ready"): (_nothing_to_renew_with, {}),
    ("400", "invalid_request"): (_signed_in, {"query": {"scope": ["openid", "email"]}}),
    ("400", "invalid_target"): (_signed_in, {"query": {"resource": ["https://other.example"]}}),
    ("400", "invalid_scope"): (_signed_in, {"query": {"scope": "admin"}}),
    ("400", "invalid_dpop_proof"): (_bound, {}),
    ("400", "use_dpop_nonce"): (_server_wants_a_nonce, _proof),
    ("400", "server_error"): (_server_gives_bearer_tokens, _proof),
    ("400", "temporarily_unavailable"): (_server_is_down, {}),
    ("400", "consent_required"): (_server_refuses, {}),
    ("403", "invalid_request"): (_signed_in, {"headers": CROSS_SITE}),
}
_THERE = {"path_parameters": {"provider": "partner"}}
ANSWERS: dict[tuple[str, str, str], Any] = {
    **{("getToken", *answer): given for answer, given in TOKEN_ANSWERS.items()},
    **{("postToken", *answer): given for answer, given in TOKEN_ANSWERS.items()},
    ("getSessionInfo", "200", ""): (_signed_in_at_the_provider, {}),
    ("getSessionInfo", "400", "invalid_session"): (_nobody, {}),
    ("getSessionInfo", "400", "temporarily_unavailable"): (_database_is_down, {}),
    ("getSessionInfo", "403", "invalid_request"): (_signed_in, {"headers": CROSS_SITE}),
    ("login", "302", ""): (_nobody, {"query": {"provider": "partner", "next": "/orders"}}),
    ("login", "200", ""): (_strict_cookies, {"headers": CROSS_SITE}),
    ("login", "400", "invalid_request"): (_nobody, {"query": {"max_age": "soon"}}),
    ("login", "400", "invalid_target"): (_nobody, {"query": {"resource": ["orders"]}}),
    ("login", "400", "invalid_scope"): (_nobody, {"query": {"scope": "admin"}}),
    ("login", "400", "temporarily_unavailable"): (_database_is_down, {}),
    ("login", "403", "invalid_request"): (_nobody, {"headers": {"Sec-Fetch-Mode": "cors"}}),
    ("login", "404", ""): (_nobody, {"query": {"provider": "nobody"}}),
    ("callback", "302", ""): (_nobody, _THERE),
    ("callback", "200", ""): (_nobody, {**_THERE, "headers": CROSS_SITE}),
    ("callback", "404", ""): (_nobody, {"path_parameters": {"provider": "nobody"}}),
    ("logout", "200", ""): (_signed_in_at_the_provider, {}),
    ("logout", "400", "invalid_session"): (_nobody, {}),
    ("logout", "400", "temporarily_unavailable"): (_database_is_down, {}),
    ("logout", "403", "invalid_request"): (_signed_in, {"headers": CROSS_SITE}),
    ("backchannelLogout", "200", ""): (_signed_in_at_the_provider, _logout_token),
    ("backchannelLogout", "400", "invalid_request"): (_nobody, _form(logout_token="a.b.c")),
    ("backchannelLogout", "400", "server_error"): (_its_tokens_are_lost, _logout_token),
    ("backchannelLogout", "400", "temporarily_unavailable"): (_database_is_down, _logout_token),
}


class TestAnswers:
    @pytest.mark.parametrize("answer", ANSWERS, ids=" ".join)
    def test_x1_each_that_is_described_is_given(
        self, site: Site, answer: tuple[str, str, str]
    ) -> None:
        """With the headers and the members that are described, and no others."""
        name, status, error = answer
        arrange, request = ANSWERS[answer]
        arrange(site)
        case = _case(site, name, request)
        given = site.answer(case)
        check(case, given)
        assert (str(given.status_code), _error_in(given)) == (status, error)
        if _is_json(given):
            assert _headers_of(given) <= _described_headers(name, status)
        assert ("retry-after" in given.headers) == (error == "temporarily_unavailable")
        assert ("dpop-nonce" in given.headers) == (error == "use_dpop_nonce")

    @pytest.mark.parametrize(
        ("prompt", "where"),
        [
            ("login", "/admin/login/?next=/orders"),
            ("none", "/orders?bff_error=interaction_required"),
        ],
    )
    def test_x8_without_openid_connect_login_leads_to_the_sites_own_sign_in(
        self, site: Site, prompt: str, where: str
    ) -> None:
        site.settings.OIDC_OP_AUTHORIZATION_ENDPOINT = None
        site.settings.LOGIN_URL = "admin:login"
        case = _case(site, "login", {"query": {"next": "/orders", "prompt": prompt}})
        given = site.answer(case)
        check(case, given)
        assert (given.status_code, given.headers["location"]) == (302, [where])

    def test_there_are_no_others(self) -> None:
        described = {
            (name, status, word)
            for name, status, response in responses()
            for word in errors_of(response) or [""]
        }
        # The authorization server's own words are any.
        theirs = {"consent_required", "use_dpop_nonce"}
        assert {answer for answer in ANSWERS if answer[2] not in theirs} == described


def _case(site: Site, name: str, request: Any) -> Any:
    """Return that request, sent by a page of the site unless it says otherwise."""
    parts = {"headers": A_PAGES, **(request(site) if callable(request) else request)}
    if name == "postToken" and "query" in parts:
        parts |= _form(**parts.pop("query"))
    return OPERATIONS[name].Case(**parts)


def _error_in(answer: Any) -> str:
    return json.loads(answer.content).get("error", "") if _is_json(answer) else ""


def _is_json(answer: Any) -> bool:
    return bool(answer.headers["content-type"] == ["application/json"])


def _headers_of(answer: Any) -> set[str]:
    """Return the headers beside those of any answer; only ours has no middleware's among them."""
    return set(answer.headers) - {"content-length", "content-type", "set-cookie"}


def _described_headers(name: str, status: str) -> set[str]:
    [response] = [found for *which, found in responses() if which == [name, status]]
    return {header.lower() for header in response.get("headers", {})}


class TestWhatIsFound:
    """An answer that is not described, or a description that says something else."""

    @pytest.mark.parametrize(
        "planted",
        [
            lambda: http.answer({"access_token": "t", "expires_in": "soon"}),
            lambda: http.answer({"access_token": "t", "refresh_token": "r"}),
            lambda: http.answer({"token_type": "Bearer"}),
            lambda: JsonResponse({"access_token": "t"}),
            lambda: HttpResponse("<p>t</p>", headers={**http.answer({}).headers, **HTML}),
            lambda: HttpResponse(status=204),
            lambda: 1 / 0,
        ],
        ids=["type", "member", "missing", "headers", "media type", "status", "failure"],
    )
    def test_a_wrong_answer(self, site: Site, planted: Callable[[], Any]) -> None:
        site.signed_in()
        case = OPERATIONS["getToken"].Case(headers=A_PAGES)
        check(case, site.answer(case))
        site.monkeypatch.setattr(views, "token_answer", lambda token: planted())
        with pytest.raises((FailureGroup, ZeroDivisionError)):
            check(case, site.answer(case))

    @pytest.mark.parametrize(
        ("wrong", "arrange"),
        [
            (lambda responses, parts: responses.pop("400"), _nobody),
            (lambda responses, parts: parts["Token"]["properties"].pop("scope"), _signed_in),
            (lambda responses, parts: parts["Token"]["required"].append("origins"), _signed_in),
            (lambda responses, parts: parts["LoginUrl"].update(type="integer"), _nobody),
        ],
        ids=["status", "unknown member", "required member", "type"],
    )
    def test_a_wrong_description(
        self, site: Site, wrong: Callable[..., None], arrange: Callable[[Site], None]
    ) -> None:
        arrange(site)
        description = yaml.safe_load(FILE.read_text())
        responses_there = description["paths"]["/.well-known/bff-token"]["get"]["responses"]
        wrong(responses_there, description["components"]["schemas"])
        case = operations(of_this_site(description))["getToken"].Case(headers=A_PAGES)
        with pytest.raises(FailureGroup):
            check(case, site.answer(case))


class TestDescription:
    """What it says of the code is what the code says."""

    def test_it_is_one_of_openapi(self) -> None:
        of_this_site().validate()
        assert DESCRIPTION["openapi"].startswith("3.1.")

    def test_its_version_is_the_packages(self) -> None:
        project = tomllib.loads((FILE.parents[1] / "pyproject.toml").read_text())["project"]
        assert DESCRIPTION["info"]["version"] == project["version"]

    def test_its_paths_are_all_there_are(self) -> None:
        routes = [str(one.pattern) for one in urls.urlpatterns]
        assert list(DESCRIPTION["paths"]) == [
            "/" + re.sub(r"<str:(\w+)>", r"{\1}", route) for route in routes
        ]

    def test_its_errors_are_all_that_the_app_has_words_for(self) -> None:
        named = [errors_of(found) for *which, found in responses() if which == ["getToken", "400"]]
        assert [sorted(words) for words in named] == [sorted(_our_words(TokenError))]

    def test_its_patterns_are_those_that_are_applied(self) -> None:
        parts = DESCRIPTION["components"]["schemas"]
        nonce = DESCRIPTION["components"]["headers"]["DPoP-Nonce"]["schema"]
        passed_on = parts["TokenRefusal"]["properties"]["error"]["anyOf"][1]
        assert parts["Scope"]["pattern"] == f"^({policy._SCOPE.pattern})?$"
        assert parts["Resources"]["items"]["pattern"] == f"^({policy._ABSOLUTE_URI.pattern})?$"
        assert passed_on["pattern"] == f"^{oauth._ERROR.pattern}$"
        prompt = parameter(DESCRIPTION, LOGIN, "prompt")["schema"]["pattern"]
        assert set(re.findall("[a-z_]+", prompt)) == authorization._PROMPTS
        assert nonce["pattern"] == f"^{oauth._NONCE.pattern}$"

    def test_its_examples_are_what_they_are_examples_of(self) -> None:
        named = set()
        for name, status, response in responses():
            content = response.get("content", {}).get("application/json", {})
            for title, example in content.get("examples", {}).items():
                _validate(followed(example)["value"], content["schema"])
                named.add((name, status, followed(example)["value"].get("error", title)))
        for name, status, response in responses():
            assert {(name, status, word) for word in errors_of(response)} <= named


def _our_words(error: type[TokenError]) -> set[str]:
    return {error.error}.union(*map(_our_words, error.__subclasses__()))


def _validate(value: Any, schema: Any) -> None:
    whole = {**schema, "components": DESCRIPTION["components"]}
    jsonschema_rs.validator_for(whole).validate(value)
