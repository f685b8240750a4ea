"""A provider whose settings point to another server by now: it gets nothing of the old one's."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone

from django_tmibff import revocation, tokens
from django_tmibff.exceptions import BackendNotReady
from django_tmibff.models import TokenSet
from tests.openid_provider import ISSUER, OpenIDProvider
from tests.page import Page
from tests.sealed import contents_of

pytestmark = pytest.mark.django_db

ELSEWHERE = "https://new.example"
# As Entra ID's metadata has it for all tenants at once.
OF_ANY_TENANT = "https://login.example/{tenantid}/v2.0"
REFRESH_TOKEN = "canary-refresh-of-alice"


@pytest.fixture
def provider(authorization_server: Any, settings: Any) -> OpenIDProvider:
    settings.OIDC_OP_END_SESSION_ENDPOINT = "https://op.example/end"
    return OpenIDProvider(authorization_server)


@pytest.fixture
def expired(page: Page, provider: OpenIDProvider) -> Page:
    """A page whose access token has expired; the test has counted no call yet."""
    provider.tokens = {"expires_in": 0}
    provider.sign_in(page)
    provider.server.requests.clear()
    return page


@pytest.fixture
def commit(django_capture_on_commit_callbacks: Any) -> Any:
    return django_capture_on_commit_callbacks


class TestRenewal:
    def test_x3_the_user_has_to_sign_in_again(
        self, expired: Page, provider: OpenIDProvider, settings: Any, caplog: Any, token_set: Any
    ) -> None:
        settings.OIDC_OP_ISSUER = ELSEWHERE
        refusal = expired.refusal()
        assert (refusal["error"], refusal["login_url"]) == ("backend_not_ready", "/bff/login")
        assert "another authorization server" in refusal["error_description"]
        assert "provider default gets no token of another issuer than OIDC_OP_ISSUER" in caplog.text
        assert token_set().last_error == "backend_not_ready"
        with pytest.raises(BackendNotReady):
            tokens.renew(token_set())
        assert provider.server.calls == 0

    def test_what_is_stored_is_served_while_it_works(
        self, page: Page, provider: OpenIDProvider, settings: Any
    ) -> None:
        provider.tokens = {"expires_in": 20}
        provider.sign_in(page)
        settings.OIDC_OP_ISSUER = ELSEWHERE
        assert page.token()["access_token"] == "canary-access-of-alice"

    @pytest.mark.parametrize("issuer", [None, OF_ANY_TENANT, ISSUER, f"{ISSUER}/"])
    def test_an_issuer_that_is_not_known_is_no_other(
        self, expired: Page, settings: Any, issuer: str | None
    ) -> None:
        settings.OIDC_OP_ISSUER = issuer
        assert expired.token()["access_token"].startswith("fresh")

    def test_nor_is_one_that_the_sign_in_has_not_named(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        page = signed_in(expires_in=0)
        settings.OIDC_OP_ISSUER = ELSEWHERE
        assert page.token()["access_token"] == "fresh-1"

    def test_a_sign_in_there_begins_anew(
        self, expired: Page, settings: Any, provider: OpenIDProvider, commit: Any
    ) -> None:
        """It gives no refresh token; and the old server's would be sent to the new one."""
        settings.OIDC_OP_ISSUER = ELSEWHERE
        provider.id_token = {"iss": ELSEWHERE}
        provider.tokens = {"refresh_token": ...}
        with commit(execute=True):
            provider.sign_in(expired)
        old, new = TokenSet.objects.order_by("pk")
        assert old.end_reason == "replaced"
        assert contents_of(new).refresh_token is None
        assert contents_of(new).claims["iss"] == ELSEWHERE
        assert provider.server.revoked == []


class TestEnd:
    def test_b4_nothing_is_revoked_there_but_it_stays_owed_should_the_old_one_come_back(
        self, expired: Page, provider: OpenIDProvider, settings: Any, token_set: Any, commit: Any
    ) -> None:
        settings.OIDC_OP_ISSUER = ELSEWHERE
        with commit(execute=True):
            tokens.end(token_set(), "test")
        assert provider.server.revoked == []
        settings.OIDC_OP_ISSUER = ISSUER
        TokenSet.objects.update(revoke_at=timezone.now())
        assert revocation.settle(token_set().handle)
        assert provider.server.revoked == [REFRESH_TOKEN]

    def test_b4_nor_what_was_owed_before(
        self,
        expired: Page,
        provider: OpenIDProvider,
        settings: Any,
        token_set: Any,
        commit: Any,
        caplog: Any,
    ) -> None:
        settings.TMIBFF_OUTAGE_SECONDS = 0
        provider.server.answers(status_code=503)
        with commit(execute=True):
            tokens.end(token_set(), "test")
        provider.server.revoked.clear()
        TokenSet.objects.update(revoke_at=timezone.now())
        settings.OIDC_OP_ISSUER = ELSEWHERE
        assert not revocation.settle(token_set().handle)
        assert provider.server.revoked == []
        assert "not revoked: backend_not_ready" in caplog.text
        assert "provider default gets no token of another issuer" in caplog.text

    @pytest.mark.parametrize("issuer", [None, OF_ANY_TENANT, ISSUER])
    def test_an_issuer_that_is_not_known_is_no_other(
        self,
        expired: Page,
        provider: OpenIDProvider,
        settings: Any,
        token_set: Any,
        issuer: str | None,
        commit: Any,
    ) -> None:
        settings.OIDC_OP_ISSUER = issuer
        with commit(execute=True):
            tokens.end(token_set(), "test")
        assert provider.server.revoked == [REFRESH_TOKEN]


class TestSigningOutThere:
    def hints(self, page: Page) -> list[str]:
        answer = json.loads(page.fetch("/bff/logout", method="POST").content)
        query = parse_qs(urlsplit(answer["logout_url"]).query)
        assert query["client_id"] == ["client"]
        return query.get("id_token_hint", [])

    def test_b5_the_id_token_is_not_sent_there(self, expired: Page, settings: Any) -> None:
        settings.OIDC_OP_ISSUER = ELSEWHERE
        assert self.hints(expired) == []

    @pytest.mark.parametrize("issuer", [None, OF_ANY_TENANT, ISSUER])
    def test_b5_it_is_where_the_issuer_is_no_other(
        self, expired: Page, settings: Any, issuer: str | None
    ) -> None:
        settings.OIDC_OP_ISSUER = issuer
        assert len(self.hints(expired)) == 1
