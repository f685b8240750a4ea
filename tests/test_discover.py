"""``manage.py tmibff_discover``: metadata as settings, and metadata that lies."""

import io
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from django_tmibff.conf import settings as our_settings
from tests.metadata import (
    ISSUER,
    JWKS,
    OF_PROVIDER,
    OF_SERVER,
    SOUND,
    Published,
    changed,
    ec_key,
    rsa_key,
    settings_in,
)
from tests.real.raw_server import RawServer, http
from tests.terminal import Terminal

PAGE = Path(__file__).resolve().parents[1] / "docs" / "doctor.md"
MEMBERS = {
    "issuer": ISSUER,
    "token_endpoint": f"{ISSUER}/token",
    "jwks_endpoint": JWKS,
    "revocation_endpoint": f"{ISSUER}/revoke",
    "end_session_endpoint": f"{ISSUER}/sign-out",
    "client_auth": {"method": "client_secret_post"},
    "signing_alg": "RS256",
}
KNOWN_WORDS = {"openid", "email", "profile", "offline_access"}


@pytest.fixture
def published() -> Iterator[Published]:
    """What the provider publishes."""
    with requests_mock.Mocker() as mocker:
        yield Published(mocker)


class Printed:
    """What the command printed; ``failed`` with what it ended."""

    def __init__(self, *arguments: str, **options: Any) -> None:
        out, err = io.StringIO(), io.StringIO()
        self.failed = ""
        try:
            call_command("tmibff_discover", *arguments, stdout=out, stderr=err, **options)
        except CommandError as error:
            self.failed = str(error)
        self.out, self.err = out.getvalue(), err.getvalue()

    @property
    def settings(self) -> dict[str, Any]:
        """The block, as Python reads it."""
        return settings_in(self.out)


def discover(issuer: str = ISSUER) -> Printed:
    return Printed(issuer)


def refusal(issuer: str = ISSUER) -> str:
    """Return why the metadata was refused; nothing was printed then."""
    printed = Printed(issuer)
    assert printed.out == printed.err == ""
    assert printed.failed
    return printed.failed


class TestBlock:
    def test_all_settings_of_sound_metadata(self, published: Published) -> None:
        printed = discover()
        assert printed.settings == {
            "OIDC_OP_ISSUER": ISSUER,
            "OIDC_OP_AUTHORIZATION_ENDPOINT": f"{ISSUER}/authorize",
            "OIDC_OP_TOKEN_ENDPOINT": f"{ISSUER}/token",
            "OIDC_OP_USER_ENDPOINT": f"{ISSUER}/userinfo",
            "OIDC_OP_JWKS_ENDPOINT": JWKS,
            "OIDC_OP_REVOCATION_ENDPOINT": f"{ISSUER}/revoke",
            "OIDC_OP_END_SESSION_ENDPOINT": f"{ISSUER}/sign-out",
            "OIDC_OP_LOGOUT_URL_METHOD": "django_tmibff.logout.end_session_url",
            "OIDC_RP_CLIENT_ID": "your-client-id",
            "OIDC_RP_CLIENT_SECRET": "your-client-secret",
            "OIDC_RP_SIGN_ALGO": "RS256",
            "OIDC_RP_SCOPES": "openid email profile offline_access",
            "OIDC_USE_PKCE": True,
            "OIDC_AUTHENTICATE_CLASS": "django_tmibff.views.OIDCRequestView",
            "OIDC_CALLBACK_CLASS": "django_tmibff.views.OIDCCallbackView",
            "OIDC_TOKEN_USE_BASIC_AUTH": True,
        }
        assert printed.err == ""
        [block] = re.findall("```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        assert settings_in(block) == printed.settings

    def test_the_settings_of_this_project_are_not_in_it(self, published: Published) -> None:
        assert "canary" not in discover().out

    @pytest.mark.parametrize(
        ("offered", "wanted"),
        [
            (["openid"], "openid"),
            (["email", "offline_access"], "openid email offline_access"),
            (..., "openid email profile"),
        ],
    )
    def test_scopes_that_are_offered(self, published: Published, offered: Any, wanted: str) -> None:
        published.says(scopes_supported=offered)
        assert discover().settings["OIDC_RP_SCOPES"] == wanted

    @pytest.mark.parametrize(
        ("offered", "keys", "alg"),
        [
            (["ES256", "RS256"], [rsa_key()], "RS256"),
            (["ES256", "RS256"], [ec_key()], "ES256"),
            (["RS512"], [rsa_key(alg="RS512")], "RS512"),
            (["RS512"], [rsa_key()], None),  # mozilla-django-oidc would take it for RS256.
            (["RS512"], [rsa_key(alg="RS256")], None),
            (["RS256"], [rsa_key(use="enc"), "no key", {}, None, {"kty": "oct"}], None),
            (["HS256", "none"], [], "HS256"),
            (["EdDSA", "none"], [], None),
            (..., [ec_key()], "ES256"),
        ],
    )
    def test_an_algorithm_for_which_there_is_a_key(
        self, published: Published, offered: Any, keys: Any, alg: str | None
    ) -> None:
        published.says(id_token_signing_alg_values_supported=offered)
        published.keys(*keys)
        printed = discover()
        assert printed.settings.get("OIDC_RP_SIGN_ALGO") == alg
        assert ("OIDC_RP_SIGN_ALGO" in printed.err) is (alg in (None, "HS256"))

    @pytest.mark.parametrize(
        ("offered", "setting", "value"),
        [
            (..., "OIDC_TOKEN_USE_BASIC_AUTH", True),
            (["client_secret_post", "private_key_jwt"], "OIDC_TOKEN_USE_BASIC_AUTH", False),
            (
                ["private_key_jwt", "client_secret_jwt"],
                "TMIBFF_CLIENT_AUTH",
                {"method": "private_key_jwt", "key": "your-private-key", "alg": "PS256"},
            ),
            (
                ["client_secret_jwt"],
                "TMIBFF_CLIENT_AUTH",
                {"method": "client_secret_jwt", "alg": "HS256"},
            ),
            (
                ["tls_client_auth"],
                "TMIBFF_CLIENT_AUTH",
                {
                    "method": "tls_client_auth",
                    "certificate": "/path/to/your/certificate-and-key.pem",
                },
            ),
        ],
    )
    def test_client_authentication_that_is_offered(
        self, published: Published, offered: Any, setting: str, value: Any
    ) -> None:
        published.says(
            token_endpoint_auth_methods_supported=offered,
            token_endpoint_auth_signing_alg_values_supported=["RS256", "PS256", "none", "x"],
        )
        printed = discover()
        assert printed.settings[setting] == value
        names = {"OIDC_TOKEN_USE_BASIC_AUTH", "TMIBFF_CLIENT_AUTH"}
        assert names & set(printed.settings) == {setting}
        assert ("TMIBFF_CLIENT_AUTH" in printed.err) is (setting == "TMIBFF_CLIENT_AUTH")

    def test_the_endpoints_for_mutual_tls(self, published: Published) -> None:
        published.says(
            token_endpoint_auth_methods_supported=["self_signed_tls_client_auth"],
            mtls_endpoint_aliases={
                "token_endpoint": "https://mtls.op.example/token",
                "revocation_endpoint": "https://mtls.op.example/revoke",
                "userinfo_endpoint": "https://mtls.op.example/userinfo",
            },
        )
        printed = discover()
        assert printed.settings["OIDC_OP_TOKEN_ENDPOINT"] == "https://mtls.op.example/token"
        assert printed.settings["OIDC_OP_REVOCATION_ENDPOINT"] == "https://mtls.op.example/revoke"
        assert printed.settings["OIDC_OP_USER_ENDPOINT"] == f"{ISSUER}/userinfo"
        assert "OIDC_OP_TOKEN_ENDPOINT is the one for mutual TLS" in printed.err

    def test_an_endpoint_that_is_there_for_mutual_tls_only(self, published: Published) -> None:
        aliases = {"revocation_endpoint": "https://mtls.op.example/revoke"}
        published.says(revocation_endpoint=..., mtls_endpoint_aliases=aliases)
        printed = discover()
        assert printed.settings["OIDC_OP_REVOCATION_ENDPOINT"] == aliases["revocation_endpoint"]
        assert "OIDC_OP_REVOCATION_ENDPOINT needs that" in printed.err

    def test_an_issuer_with_a_path(self, published: Published) -> None:
        issuer = f"{ISSUER}/realms/tea"
        place = f"{issuer}/.well-known/openid-configuration"
        published.mocker.get(place, json=changed(issuer=issuer))
        published.mocker.get(f"{OF_SERVER}/realms/tea", status_code=404)
        assert discover(issuer).settings["OIDC_OP_ISSUER"] == issuer

    def test_an_issuer_that_ends_with_a_slash(self, published: Published) -> None:
        published.says(issuer=f"{ISSUER}/")
        assert discover(f"{ISSUER}/").settings["OIDC_OP_ISSUER"] == f"{ISSUER}/"

    def test_quotes_in_a_url_stay_inside_of_it(self, published: Published) -> None:
        url = f"{ISSUER}/token'+__import__('os').system('true')+'"
        published.says(token_endpoint=url)
        assert discover().settings["OIDC_OP_TOKEN_ENDPOINT"] == url


class TestBothPlaces:
    """RFC 8414 §3, OpenID Connect Discovery 1.0 §4."""

    @pytest.mark.parametrize("status", [404, 403, 410])
    def test_a_server_that_is_no_openid_provider(self, published: Published, status: int) -> None:
        published.metadata(status_code=status, text="not here")
        published.server_metadata(json=changed(userinfo_endpoint=...))
        printed = discover()
        assert printed.settings["OIDC_OP_TOKEN_ENDPOINT"] == f"{ISSUER}/token"
        assert "userinfo_endpoint" in printed.err

    def test_what_the_first_leaves_out_comes_from_the_second(self, published: Published) -> None:
        published.says(revocation_endpoint=..., grant_types_supported=...)
        published.server_metadata(json=changed(grant_types_supported=["authorization_code"]))
        printed = discover()
        assert printed.settings["OIDC_OP_REVOCATION_ENDPOINT"] == f"{ISSUER}/revoke"
        assert "refresh_token grant is not offered" in printed.err

    def test_where_they_contradict_each_other_the_first_is_believed(
        self, published: Published
    ) -> None:
        published.server_metadata(json=changed(token_endpoint="https://op.example/other"))
        printed = discover()
        assert printed.settings["OIDC_OP_TOKEN_ENDPOINT"] == f"{ISSUER}/token"
        assert "name different places as token_endpoint" in printed.err

    @pytest.mark.parametrize(
        "second",
        [
            {"json": changed(issuer="https://evil.example", revocation_endpoint="https://e.e/r")},
            {"json": changed(revocation_endpoint="http://op.example/r")},
            {"text": "<html>"},
            {"status_code": 503},
            {"exc": requests.ConnectionError},
        ],
    )
    def test_a_second_that_is_not_sound_is_not_used(
        self, published: Published, second: dict[str, Any]
    ) -> None:
        published.says(revocation_endpoint=...)
        published.server_metadata(**second)
        printed = discover()
        assert not printed.failed
        assert "OIDC_OP_REVOCATION_ENDPOINT" not in printed.settings

    def test_in_neither_place(self, published: Published) -> None:
        published.metadata(status_code=404)
        said = refusal()
        assert OF_PROVIDER in said
        assert OF_SERVER in said

    def test_a_second_that_lies_where_there_is_no_first(self, published: Published) -> None:
        published.metadata(status_code=404)
        published.server_metadata(json=changed(issuer="https://evil.example"))
        assert "the issuer 'https://evil.example'" in refusal()


class TestWarnings:
    @pytest.mark.parametrize(
        ("members", "said"),
        [
            ({"code_challenge_methods_supported": ["plain"]}, "OIDC_USE_PKCE"),
            ({"code_challenge_methods_supported": ...}, "OIDC_USE_PKCE"),
            ({"grant_types_supported": ["authorization_code"]}, "refresh_token grant"),
            ({"response_types_supported": ["id_token"]}, "authorization code flow"),
            ({"revocation_endpoint": ...}, "OIDC_OP_REVOCATION_ENDPOINT"),
            ({"revocation_endpoint": ""}, "OIDC_OP_REVOCATION_ENDPOINT"),
            ({"end_session_endpoint": None}, "OIDC_OP_END_SESSION_ENDPOINT"),
            ({"backchannel_logout_supported": False}, "back-channel logout"),
            ({"backchannel_logout_supported": "yes"}, "back-channel logout"),
            ({"userinfo_endpoint": ...}, "userinfo_endpoint"),
            ({"jwks_uri": ...}, "names no jwks_uri"),
            ({"token_endpoint_auth_methods_supported": ["magic"]}, "TMIBFF_CLIENT_AUTH"),
            ({"require_pushed_authorization_requests": True}, "pushed authorization requests"),
            ({"require_signed_request_object": True}, "signed request objects"),
        ],
    )
    def test_what_is_missing_is_said(
        self, published: Published, members: dict[str, Any], said: str
    ) -> None:
        published.says(**members)
        printed = discover()
        assert said in printed.err
        assert printed.settings["OIDC_OP_ISSUER"] == ISSUER

    def test_a_wrong_media_type(self, published: Published) -> None:
        published.metadata(json=SOUND, headers={"Content-Type": "text/html"})
        assert "not labelled as application/json" in discover().err

    def test_a_right_one_with_a_character_set(self, published: Published) -> None:
        published.metadata(json=SOUND, headers={"Content-Type": "Application/JSON;charset=UTF-8"})
        assert discover().err == ""

    def test_certificates_that_are_not_checked(self, published: Published, settings: Any) -> None:
        settings.OIDC_VERIFY_SSL = False
        assert "OIDC_VERIFY_SSL" in discover().err

    def test_none_for_who_wants_none(self, published: Published) -> None:
        published.says(revocation_endpoint=...)
        assert Printed(ISSUER, verbosity=0).err == ""

    def test_coloured_on_a_terminal_only(self, published: Published) -> None:
        published.says(revocation_endpoint=...)
        terminal = Terminal()
        call_command(
            "tmibff_discover", ISSUER, stdout=io.StringIO(), stderr=terminal, force_color=True
        )
        assert "\x1b[" in terminal.getvalue()
        assert "\x1b[" not in discover().err


class TestLies:
    @pytest.mark.parametrize(
        ("members", "said"),
        [
            ({"issuer": "https://evil.example"}, "the issuer 'https://evil.example'"),
            ({"issuer": f"{ISSUER}/"}, "equal to the letter"),
            ({"issuer": "https://OP.example"}, "equal to the letter"),
            ({"issuer": ...}, "equal to the letter"),
            ({"issuer": ["https://op.example"]}, "equal to the letter"),
            ({"issuer": "\x1b[31m\u202e"}, r"'\x1b[31m\u202e'"),
            ({"token_endpoint": ...}, "names no token_endpoint"),
            ({"authorization_endpoint": None}, "names no authorization_endpoint"),
            ({"token_endpoint": "http://op.example/token"}, "which is not https"),
            ({"token_endpoint": "http://localhost/token"}, "which is not https"),
            ({"jwks_uri": "http://op.example/jwks"}, "which is not https"),
            ({"jwks_uri": "file:///etc/passwd"}, "which is no URL"),
            ({"jwks_uri": 5}, "which is no URL"),
            ({"jwks_uri": "https:///jwks"}, "which is no URL"),
            ({"jwks_uri": "https://op.example:port/"}, "which is no URL"),
            ({"jwks_uri": "https://[::1/"}, "which is no URL"),
            ({"revocation_endpoint": "//op.example/revoke"}, "which is no URL"),
            ({"userinfo_endpoint": "https://op.example/#x"}, "which is no URL"),
            ({"userinfo_endpoint": "https://op.example/a b"}, "which is no URL"),
            ({"userinfo_endpoint": "https://op.example/\n"}, "which is no URL"),
            ({"userinfo_endpoint": "https://op.example/'\nX = 1"}, "which is no URL"),
            ({"userinfo_endpoint": 'https://op.example/"'}, "which is no URL"),
            ({"userinfo_endpoint": "https://op.example/\\"}, "which is no URL"),
            ({"userinfo_endpoint": "https://me:secret@op.example/"}, "which is no URL"),
            ({"userinfo_endpoint": "https://op.example/" + "x" * 3000}, "which is no URL"),
            ({"scopes_supported": "openid"}, "scopes_supported that is no list of strings"),
            ({"scopes_supported": [{}]}, "scopes_supported that is no list of strings"),
            ({"mtls_endpoint_aliases": ["x"]}, "mtls_endpoint_aliases that are no object"),
            ({"mtls_endpoint_aliases": {"token_endpoint": "http://x.example/"}}, "not https"),
        ],
    )
    def test_refused_with_the_reason(
        self, published: Published, members: dict[str, Any], said: str
    ) -> None:
        published.says(**members)
        assert said in refusal()

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            ({"text": "<html>Welcome</html>"}, "is not JSON"),
            ({"text": '{"issuer": NaN}'}, "is not JSON"),
            ({"text": "[" * 100_000}, "is not JSON"),
            ({"content": b"\xff\xfe"}, "is not JSON"),
            ({"text": ""}, "is not JSON"),
            ({"json": []}, "is JSON, but no metadata"),
            ({"json": "text"}, "is JSON, but no metadata"),
            ({"status_code": 302, "headers": {"Location": "/elsewhere"}}, "redirects (status 302)"),
            ({"status_code": 500}, "status 500"),
            ({"status_code": 429}, "status 429"),
            ({"status_code": 204}, "status 204"),
            ({"text": " " * 300_000}, "is larger than 262144 bytes"),
            ({"exc": requests.exceptions.SSLError}, "OIDC_VERIFY_SSL"),
            ({"exc": requests.exceptions.ProxyError}, "OIDC_PROXY"),
            ({"exc": requests.exceptions.ReadTimeout}, "TMIBFF_AS_TIMEOUT"),
            ({"exc": requests.exceptions.ConnectionError}, "nobody answers"),
            ({"exc": requests.exceptions.InvalidSchema}, "InvalidSchema"),
            ({"exc": UnicodeError}, "UnicodeError"),
            ({"exc": OSError}, "a file of certificates"),
        ],
    )
    def test_no_metadata(self, published: Published, answer: dict[str, Any], said: str) -> None:
        published.metadata(**answer)
        assert said in refusal()

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            ({"text": "<html>"}, "is not JSON"),
            ({"json": {}}, "has no key set"),
            ({"json": {"keys": {}}}, "has no key set"),
            ({"json": [1]}, "has no key set"),
            ({"status_code": 404}, "is not there"),
            ({"status_code": 301}, "redirects"),
            ({"json": {"keys": ["x" * 300_000]}}, "is larger than 262144 bytes"),
        ],
    )
    def test_no_key_set(self, published: Published, answer: dict[str, Any], said: str) -> None:
        published.key_set(**answer)
        assert said in refusal()
        assert JWKS in refusal()

    @pytest.mark.parametrize(
        "issuer",
        [
            "op.example",
            "http://op.example",
            "https://op.example?x=1",
            "https://op.example?",
            "https://op.example#x",
            "https://",
            "https://me@op.example",
            "ftp://op.example",
            "https://op.example/\x1b[31m",
            "",
        ],
    )
    def test_what_is_no_issuer(self, published: Published, issuer: str) -> None:
        said = refusal(issuer)
        assert "is no issuer" in said
        assert "\x1b" not in said
        assert not published.mocker.called

    def test_a_redirect_is_not_followed(self, published: Published) -> None:
        elsewhere = published.mocker.get("https://evil.example/", json=SOUND)
        published.metadata(status_code=302, headers={"Location": "https://evil.example/"})
        refusal()
        assert not elsewhere.called

    def test_nothing_secret_is_sent(self, published: Published) -> None:
        discover()
        for request in published.mocker.request_history:
            assert (request.method, request.body) == ("GET", None)
            assert "canary" not in str(request.headers)

    def test_a_setting_that_cannot_be_used(self, published: Published, settings: Any) -> None:
        settings.TMIBFF_CLIENT_AUTH = {"method": "magic"}
        assert "TMIBFF_CLIENT_AUTH" in refusal()


@pytest.mark.usefixtures("new_pool")
class TestRealSockets:
    def test_a_server_that_drips_is_given_up_in_time(self, settings: Any) -> None:
        settings.TMIBFF_AS_TIMEOUT = 0.5
        stop = threading.Event()

        def script() -> Iterator[bytes]:
            yield b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
            while not stop.wait(0.05):
                yield b" "

        with RawServer(script) as server:
            said = refusal(server.url)
            stop.set()
        assert "TMIBFF_AS_TIMEOUT" in said

    @pytest.mark.parametrize("headers", ["Content-Length: 300000\r\n", "Connection: close\r\n"])
    def test_an_answer_without_end(self, headers: str) -> None:
        big = f"HTTP/1.1 200 OK\r\n{headers}\r\n".encode() + b" " * 300_000
        with RawServer(lambda: [big]) as server:
            assert "is larger than" in refusal(server.url)

    def test_nobody_listens(self) -> None:
        with RawServer(list) as server:
            pass
        assert "nobody answers" in refusal(server.url)

    def test_plain_http_on_this_very_machine(self) -> None:
        def script() -> Iterator[bytes]:
            members = changed(issuer=server.url, jwks_uri=...)
            yield http(json.dumps(members).encode(), headers="Content-Type: application/json\r\n")

        with RawServer(script) as server:
            assert discover(server.url).settings["OIDC_OP_ISSUER"] == server.url


class TestAnotherProvider:
    def test_its_entry_in_the_settings(self, published: Published) -> None:
        found = Printed(ISSUER, "--provider=tea").settings
        assert found == {
            "TMIBFF_PROVIDERS": {
                "tea": {
                    "issuer": ISSUER,
                    "authorization_endpoint": f"{ISSUER}/authorize",
                    "token_endpoint": f"{ISSUER}/token",
                    "userinfo_endpoint": f"{ISSUER}/userinfo",
                    "jwks_endpoint": JWKS,
                    "revocation_endpoint": f"{ISSUER}/revoke",
                    "end_session_endpoint": f"{ISSUER}/sign-out",
                    "client_id": "your-client-id",
                    "client_secret": "your-client-secret",
                    "client_auth": {"method": "client_secret_basic"},
                    "signing_alg": "RS256",
                    "scope": "openid email profile offline_access",
                }
            }
        }

    def test_it_is_what_a_provider_has(self, published: Published, settings: Any) -> None:
        settings.TMIBFF_PROVIDERS = Printed(ISSUER, "--provider=tea").settings["TMIBFF_PROVIDERS"]
        assert our_settings.provider("tea").missing_for_sign_in == []
        checked = Printed(ISSUER, "--provider=tea", "--check")
        assert (checked.failed, checked.err) == ("", "")

    def test_check_names_its_settings(self, published: Published, settings: Any) -> None:
        settings.TMIBFF_PROVIDERS = {
            "tea": {"issuer": ISSUER, "userinfo_endpoint": None, "signing_alg": "ES512"}
        }
        checked = Printed(ISSUER, "--provider=tea", "--check")
        assert "TMIBFF_PROVIDERS['tea']['userinfo_endpoint']" in checked.failed
        assert "TMIBFF_PROVIDERS['tea']['signing_alg']" in checked.failed

    def test_what_only_its_sign_ins_would_need(self, published: Published, settings: Any) -> None:
        members = {**MEMBERS, "authorization_endpoint": None, "userinfo_endpoint": None}
        settings.TMIBFF_PROVIDERS = {"tea": members}
        assert not Printed(ISSUER, "--provider=tea", "--check").failed

    def test_warnings_name_its_settings(self, published: Published) -> None:
        published.says(revocation_endpoint=...)
        said = Printed(ISSUER, "--provider=tea").err
        assert "TMIBFF_PROVIDERS['tea']['revocation_endpoint']" in said

    def test_one_that_is_not_in_the_settings(self, published: Published) -> None:
        assert "no provider named 'tea'" in Printed(ISSUER, "--provider=tea", "--check").failed

    def test_a_name_of_any_characters_stays_a_name(self, published: Published) -> None:
        name = "'}}\nimport os #"
        assert list(Printed(ISSUER, "--provider", name).settings["TMIBFF_PROVIDERS"]) == [name]


# What a server might say in the place of a text, a list or an address.
_TEXTS = st.text(max_size=20) | st.sampled_from(
    [
        ISSUER,
        f"{ISSUER}/x",
        "http://op.example/",
        "https://evil.example/'\"",
        "RS256",
        "S256",
        "tls_client_auth",
        "private_key_jwt",
        "openid",
        "'\nimport os\n",
        "\x1b[2J",
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(
    [
        *SOUND,
        "mtls_endpoint_aliases",
        "require_signed_request_object",
        "token_endpoint_auth_signing_alg_values_supported",
    ]
)
_MEMBERS = st.dictionaries(_NAMES, _JSON | st.lists(_TEXTS, max_size=4) | _TEXTS, max_size=6)
_KEYS = st.lists(
    _JSON
    | st.dictionaries(
        st.sampled_from(["kty", "n", "e", "crv", "x", "y", "k", "kid", "alg", "use"]),
        _JSON | st.sampled_from(["RSA", "EC", "oct", "OKP", "P-256", "P-521", "AQAB", "sig"]),
    ),
    max_size=3,
)


class TestWhateverIsSaid:
    @given(members=_MEMBERS, keys=_KEYS)
    def test_no_traceback_and_no_line_of_unchecked_text(
        self, published: Published, members: dict[str, Any], keys: list[Any]
    ) -> None:
        published.says(**members)
        published.keys(*keys)
        self.assert_nothing_unchecked(discover())

    @given(data=_JSON)
    def test_nor_of_any_json(self, published: Published, data: Any) -> None:
        published.metadata(json=data)
        self.assert_nothing_unchecked(discover())

    @given(body=st.binary(max_size=200))
    def test_nor_of_any_bytes(self, published: Published, body: bytes) -> None:
        published.metadata(content=body)
        published.key_set(content=body)
        self.assert_nothing_unchecked(discover())

    def assert_nothing_unchecked(self, printed: Printed) -> None:
        for text in (printed.out, printed.err, printed.failed):
            assert all(line.isascii() and line.isprintable() for line in text.splitlines())
        assert bool(printed.out) is not bool(printed.failed)
        for name, value in printed.settings.items():
            assert name.startswith(("OIDC_", "TMIBFF_CLIENT_AUTH"))
            if name.startswith("OIDC_OP_") and name != "OIDC_OP_LOGOUT_URL_METHOD":
                assert value.startswith("https://")
        assert set(printed.settings.get("OIDC_RP_SCOPES", "").split()) <= KNOWN_WORDS


class TestCheck:
    @pytest.fixture(autouse=True)
    def as_published(self, settings: Any, published: Published) -> None:
        """The settings are those of the block."""
        for name, value in discover().settings.items():
            if not name.startswith("OIDC_RP_CLIENT"):
                setattr(settings, name, value)

    def test_settings_that_agree(self, published: Published) -> None:
        printed = Printed(ISSUER, "--check")
        assert not printed.failed
        assert printed.out == "The settings are what the metadata says.\n"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("OIDC_OP_ISSUER", f"{ISSUER}/"),
            ("OIDC_OP_ISSUER", None),
            ("OIDC_OP_AUTHORIZATION_ENDPOINT", "https://op.example/other"),
            ("OIDC_OP_AUTHORIZATION_ENDPOINT", None),
            ("OIDC_OP_TOKEN_ENDPOINT", "https://op.example/other"),
            ("OIDC_OP_USER_ENDPOINT", "https://op.example/other"),
            ("OIDC_OP_JWKS_ENDPOINT", None),
            ("OIDC_OP_REVOCATION_ENDPOINT", ""),
            ("OIDC_OP_END_SESSION_ENDPOINT", "https://op.example/other"),
            ("OIDC_RP_SIGN_ALGO", "HS256"),
            ("OIDC_USE_PKCE", False),
            ("OIDC_PKCE_CODE_CHALLENGE_METHOD", "S512"),
        ],
    )
    def test_each_that_differs_is_named(
        self, published: Published, settings: Any, name: str, value: Any
    ) -> None:
        setattr(settings, name, value)
        printed = Printed(ISSUER, "--check")
        assert printed.failed == f"Not what the metadata says: {name}."
        assert printed.out.startswith(name)

    def test_a_setting_that_is_not_there(self, published: Published, settings: Any) -> None:
        del settings.OIDC_OP_AUTHORIZATION_ENDPOINT
        assert "OIDC_OP_AUTHORIZATION_ENDPOINT" in Printed(ISSUER, "--check").failed

    def test_client_authentication_that_is_not_offered(
        self, published: Published, settings: Any
    ) -> None:
        published.says(token_endpoint_auth_methods_supported=["client_secret_post"])
        printed = Printed(ISSUER, "--check")
        assert printed.failed.endswith(": OIDC_TOKEN_USE_BASIC_AUTH.")
        settings.TMIBFF_CLIENT_AUTH = {"method": "client_secret_jwt"}
        assert Printed(ISSUER, "--check").failed.endswith(": TMIBFF_CLIENT_AUTH.")

    def test_what_the_site_changes_of_the_default_provider(
        self, published: Published, settings: Any
    ) -> None:
        settings.TMIBFF_PROVIDERS = {"default": {"token_endpoint": "https://op.example/other"}}
        printed = Printed(ISSUER, "--check")
        assert printed.failed.endswith(": TMIBFF_PROVIDERS['default']['token_endpoint'].")

    @pytest.mark.parametrize("choice", ["allowed", "required"])
    def test_proofs_that_the_provider_does_not_take(
        self, published: Published, settings: Any, choice: str
    ) -> None:
        settings.TMIBFF_DPOP = choice
        assert Printed(ISSUER, "--check").failed.endswith(": TMIBFF_DPOP.")
        published.says(dpop_signing_alg_values_supported=["RS256"])
        assert Printed(ISSUER, "--check").failed.endswith(": TMIBFF_DPOP.")
        published.says(dpop_signing_alg_values_supported=["RS256", "ES256"])
        assert not Printed(ISSUER, "--check").failed

    def test_several_at_once(self, published: Published, settings: Any) -> None:
        settings.OIDC_OP_TOKEN_ENDPOINT = settings.OIDC_OP_JWKS_ENDPOINT = "https://x.example/"
        printed = Printed(ISSUER, "--check")
        assert printed.failed.endswith(": OIDC_OP_TOKEN_ENDPOINT, OIDC_OP_JWKS_ENDPOINT.")

    def test_what_the_metadata_leaves_out_is_nobodys_mistake(self, published: Published) -> None:
        published.says(revocation_endpoint=..., code_challenge_methods_supported=...)
        assert not Printed(ISSUER, "--check").failed

    def test_the_endpoint_for_mutual_tls(self, published: Published, settings: Any) -> None:
        alias = "https://mtls.op.example/token"
        methods = ["client_secret_basic", "tls_client_auth"]
        published.says(
            token_endpoint_auth_methods_supported=methods,
            mtls_endpoint_aliases={"token_endpoint": alias},
        )
        assert not Printed(ISSUER, "--check").failed
        settings.TMIBFF_CLIENT_AUTH = {"method": "tls_client_auth", "certificate": "client.pem"}
        assert Printed(ISSUER, "--check").failed.endswith(": OIDC_OP_TOKEN_ENDPOINT.")
        settings.OIDC_OP_TOKEN_ENDPOINT = alias
        assert not Printed(ISSUER, "--check").failed

    def test_metadata_that_lies(self, published: Published) -> None:
        published.says(issuer="https://evil.example")
        printed = Printed(ISSUER, "--check")
        assert "equal to the letter" in printed.failed
        assert printed.out == ""

    def test_no_secret_is_shown(self, published: Published, settings: Any) -> None:
        settings.OIDC_OP_TOKEN_ENDPOINT = "https://op.example/other"
        printed = Printed(ISSUER, "--check")
        assert "canary" not in printed.out + printed.err + printed.failed
