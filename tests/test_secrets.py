"""X9: marked tokens are planted, and searched for wherever they must not be."""

import json
import logging
import sys
import traceback
from contextlib import suppress
from typing import Any

import jwt
import pytest
import requests
from django.apps import apps
from django.contrib.auth.signals import user_logged_in
from django.core.cache import caches
from django.core.signals import got_request_exception
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from django_tmibff import own_key, sign_in, signals, states, stores, tokens
from django_tmibff.backends import OIDCAuthenticationBackend
from django_tmibff.conf import settings as our_settings
from django_tmibff.exceptions import TemporarilyUnavailable, forgets_locals
from django_tmibff.models import TokenSet
from tests.openid_provider import ISSUER, OpenIDProvider
from tests.page import SESSION_INFO, TOKEN, Page, ProvingPage

pytestmark = pytest.mark.django_db

ALL_SIGNALS = (
    signals.tokens_stored,
    signals.tokens_renewed,
    signals.renewal_failed,
    signals.session_ended,
    signals.token_served,
    signals.token_refused,
    signals.lease_waited,
    signals.revocation_tried,
)
FRESH = {
    "access_token": "canary-fresh",
    "refresh_token": "canary-rotated",
    "expires_in": 600,
    "token_type": "DPoP",
}


@pytest.fixture(params=[True, False], ids=["debug", "no-debug"])
def debug(request: Any, settings: Any) -> bool:
    settings.DEBUG = request.param
    return request.param


@pytest.fixture(params=["bearer", "dpop", "dpop-bound"])
def page(request: Any, settings: Any, provider: OpenIDProvider) -> Page:
    """A page of a site that binds tokens to its key, as a bound client or not, or does not."""
    if request.param == "bearer":
        return Page()
    settings.TMIBFF_DPOP = "required"
    if request.param == "dpop-bound":
        settings.TMIBFF_PROVIDERS = {"default": {"dpop_bound_access_tokens": True}}
        provider.tokens = {"token_type": "DPoP"}
    return ProvingPage()


def proof(page: Page) -> str | None:
    """Return what code on the server has to bring along."""
    return page.key.proof() if isinstance(page, ProvingPage) else None


@pytest.fixture
def provider(authorization_server: Any) -> OpenIDProvider:
    return OpenIDProvider(authorization_server)


@pytest.fixture
def heard() -> Any:
    """What our signals say."""
    sent: list[str] = []

    def listen(**arguments: Any) -> None:
        arguments.pop("request", None)
        sent.append(str(arguments))

    for signal in ALL_SIGNALS:
        signal.connect(listen, weak=False, dispatch_uid="canary")
    yield sent
    for signal in ALL_SIGNALS:
        signal.disconnect(dispatch_uid="canary")


def database_dump() -> str:
    rows = [model.objects.values_list() for model in apps.get_models()]
    return str([tuple(map(_legible, row)) for table in rows for row in table])


def cache_dump() -> str:
    """Return keys and values of this process's cache."""
    return str(caches["default"]._cache)


def _legible(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


@pytest.fixture
def private_keys(monkeypatch: Any) -> list[str]:
    """The private halves of all keys that are made, as a JWK has them."""
    made: list[str] = []
    generate = own_key.ec.generate_private_key

    def remember(curve: Any) -> Any:
        key = generate(curve)
        made.append(json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key))["d"])
        return key

    monkeypatch.setattr(own_key.ec, "generate_private_key", remember)
    return made


def live_a_whole_life(page: Page, provider: OpenIDProvider) -> None:
    server = provider.server
    provider.sign_in(page)
    page.token()
    page.fetch(SESSION_INFO)
    claims = {"iss": ISSUER, "sub": "alice", "aud": "client"}
    server.gives(**FRESH, id_token=provider.signed(claims))
    page.token(scope="openid")
    provider.sign_in(page)
    for answer in (
        {"status_code": 500, "text": "canary-page"},
        {"status_code": 400, "json": {"error": "invalid_scope", "canary": "canary"}},
        {"text": '{"access_token": "canary-truncated'},
    ):
        server.answers(**answer)
        page.refusal(scope="email")
        TokenSet.objects.update(lease_until=0)
    page.logout()


def test_x9_a_whole_life_leaves_no_token_outside_the_sealed_column(
    page: Page,
    provider: OpenIDProvider,
    debug: bool,
    caplog: Any,
    heard: list[str],
    private_keys: list[str],
    django_capture_on_commit_callbacks: Any,
) -> None:
    with caplog.at_level(logging.DEBUG), django_capture_on_commit_callbacks(execute=True):
        live_a_whole_life(page, provider)
    assert len(heard) >= 5
    assert "ended: logout" in caplog.text
    assert ("tmibff:" in cache_dump()) is stores.current().uses_cache
    for place in (caplog.text, *heard, database_dump(), cache_dump()):
        assert "canary-" not in place
        assert "eyJ" not in place  # No JWT either, nor a proof.
        assert not [key for key in private_keys if key in place]
    is_bound = our_settings.provider().dpop_bound_access_tokens
    assert bool(private_keys) is is_bound


@pytest.mark.parametrize("method", ["put", "get"])
def test_x9_an_error_page_and_an_error_tracker_show_no_token(
    page: Page, provider: OpenIDProvider, debug: bool, monkeypatch: Any, method: str, caplog: Any
) -> None:
    """A mistake deep inside, at a moment when tokens are in many frames."""
    provider.tokens |= {"expires_in": 0}
    provider.sign_in(page)
    reports: list[str] = []

    def report(request: Any, **kwargs: Any) -> None:
        reports.append(ExceptionReporter(request, *sys.exc_info()).get_traceback_html())

    def mistake(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a bug of ours")

    provider.server.gives(**FRESH)
    monkeypatch.setattr(type(stores.current()), method, mistake)
    page.raise_request_exception = False
    got_request_exception.connect(report)
    try:
        answer = page.fetch(TOKEN)
    finally:
        got_request_exception.disconnect(report)
    assert answer.status_code == 500
    [html] = reports
    assert "a bug of ours" in html
    assert "renewal.py" in html or method == "get"
    for place in (html, answer.content.decode(), caplog.text):
        assert "canary-" not in place


def canaries(reporter: ExceptionReporter) -> list[Any]:
    """Return the local variables that an error page would show of a planted token."""
    shown = [
        variable for frame in reporter.get_traceback_data()["frames"] for variable in frame["vars"]
    ]
    return [variable for variable in shown if "canary-" in str(variable)]


def test_x9_nor_does_one_of_the_sites_own_that_lets_our_errors_through(
    page: Page, provider: OpenIDProvider, debug: bool
) -> None:
    """The frames of requests hold the refresh token and the client secret as they are."""
    provider.tokens |= {"expires_in": 0}
    provider.sign_in(page)
    provider.server.answers(exc=requests.ConnectionError("no route"))
    with pytest.raises(TemporarilyUnavailable) as raised:
        tokens.get(TokenSet.objects.get(), proof=proof(page))
    reporter = ExceptionReporter(None, raised.type, raised.value, raised.tb)
    assert "requests/sessions.py" in reporter.get_traceback_text()
    assert canaries(reporter) == []


def test_x9_a_worker_that_is_told_to_exit_shows_no_token(
    page: Page, provider: OpenIDProvider, debug: bool
) -> None:
    """gunicorn's time-out is a SystemExit in the midst of a call."""
    provider.tokens |= {"expires_in": 0}
    provider.sign_in(page)
    provider.server.answers(exc=SystemExit(1))
    with pytest.raises(SystemExit) as raised:
        tokens.get(TokenSet.objects.get(), proof=proof(page))
    assert canaries(ExceptionReporter(None, raised.type, raised.value, raised.tb)) == []


def fails(error: Exception) -> None:
    """Raise ``error`` from a frame with a planted token in it."""
    secret = "canary-local"
    if secret:
        raise error


def failed(error: Exception) -> Exception:
    """Return ``error`` after it was raised."""
    with suppress(type(error)):
        fails(error)
    return error


def planted_frames(error: BaseException) -> list[dict[str, Any]]:
    """Return the local variables of the frames of ``fails`` in the error's traceback."""
    frames = [frame for frame, _line in traceback.walk_tb(error.__traceback__)]
    return [frame.f_locals for frame in frames if frame.f_code is fails.__code__]


@forgets_locals
def fails_in_all_shapes() -> None:
    """Raise a group with a cause, beside a context; the cause is its own."""
    context, cause = failed(KeyError()), failed(ValueError())
    group = ExceptionGroup("several", [failed(TypeError())])
    cause.__cause__ = cause
    try:
        raise context
    except KeyError:
        raise group from cause


def test_x9_errors_of_all_shapes_are_forgotten() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        fails_in_all_shapes()
    group = raised.value
    errors = (group.__cause__, group.__context__, *group.exceptions)
    assert [planted_frames(error) for error in errors] == [[{}], [{}], [{}]]


def mistake(*args: Any, **kwargs: Any) -> None:
    """Fail as a site's own code may, or the database."""
    raise RuntimeError("a bug of the site's")


class TestErrorInTheCallback:
    """The code may be good still, and with the verifier of PKCE anybody's who has the secret."""

    @pytest.fixture(autouse=True)
    def asks_with_pkce(self, settings: Any) -> None:
        settings.OIDC_USE_PKCE = True

    @pytest.fixture
    def reported(self, page: Page, provider: OpenIDProvider, monkeypatch: Any) -> Any:
        """Return the report of a sign-in that fails, and PKCE's verifier and nonce of it."""

        def report() -> tuple[str, list[str]]:
            reports: list[str] = []
            asked = provider.authorization_request(page)
            entry = page.session["oidc_states"][asked["state"]]
            monkeypatch.setattr(provider, "authorization_request", lambda page: asked)

            def listen(request: Any, **kwargs: Any) -> None:
                reports.append(ExceptionReporter(request, *sys.exc_info()).get_traceback_html())

            page.raise_request_exception = False
            got_request_exception.connect(listen)
            try:
                assert provider.sign_in(page).status_code == 500
            finally:
                got_request_exception.disconnect(listen)
            [html] = reports
            assert "a bug of the site" in html
            return html, [entry["code_verifier"], entry["nonce"]]

        return report

    def test_x9_before_the_user_is_known(
        self, reported: Any, debug: bool, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(OIDCAuthenticationBackend, "create_user", mistake)
        monkeypatch.setattr("tests.users.backends.MemberBackend.create_user", mistake)
        assert_hidden(*reported())

    def test_x9_when_the_tokens_are_stored(
        self, reported: Any, debug: bool, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(type(stores.current()), "add", mistake)
        assert_hidden(*reported())

    def test_x9_in_a_receiver_of_the_sites_own(self, reported: Any, debug: bool) -> None:
        user_logged_in.connect(mistake)
        try:
            report = reported()
        finally:
            user_logged_in.disconnect(mistake)
        assert_hidden(*report)

    def test_x9_before_anything_is_looked_at(
        self, reported: Any, debug: bool, monkeypatch: Any
    ) -> None:
        """The code is unused then."""
        monkeypatch.setattr(states, "is_known", mistake)
        assert_hidden(*reported())

    def test_x9_with_the_callback_of_mozilla_django_oidc(
        self, reported: Any, debug: bool, settings: Any
    ) -> None:
        settings.ROOT_URLCONF = "tests.mozillas_urls"
        user_logged_in.connect(mistake)
        try:
            html, _secrets = reported()
        finally:
            user_logged_in.disconnect(mistake)
        assert "canary-code" not in html


def test_x9_the_request_forgets_the_code_and_nothing_else() -> None:
    """gunicorn's access log is written after the answer, and wants its own name of the query."""
    query = "state=s&code=canary-code&session_state=a%20b&code=canary-again"
    request = RequestFactory().get(f"/oidc/callback/?{query}")
    request.META["RAW_URI"] = f"/oidc/callback/?{query}"
    request.scope = {"query_string": query.encode()}
    sign_in.forget_code(request)
    assert b"canary" not in request.scope["query_string"]
    assert request.GET.dict() == {"state": "s", "session_state": "a b"}
    assert request.get_full_path() == request.META["RAW_URI"]
    assert "canary" not in str(request.META)
    assert "REQUEST_URI" not in request.META


# Far from what fails: a report shows the lines around that.
def assert_hidden(html: str, secrets: list[str]) -> None:
    """Assert that the report shows neither a canary nor what this sign-in made."""
    assert "canary-" not in html
    assert not [one for one in secrets if one in html]
