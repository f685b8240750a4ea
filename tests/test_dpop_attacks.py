"""DPoP under attack: what somebody tries who has proofs of others, or a key of their own."""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from django_tmibff import dpop, tokens
from django_tmibff.conf import settings as our_settings
from django_tmibff.contents import TokenKey
from django_tmibff.exceptions import AuthorizationServerRefused, BearerRefused, InvalidDpopProof
from django_tmibff.models import Note
from tests.dpop_site import BOUND, ORDERS, ask, refused
from tests.page import Page
from tests.proofs import PageKey, claims_in, claims_of, encoded, header_of, signed
from tests.sealed import contents_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("dpop_required")]

# The order of P-256's group (SEC 2).
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# And the prime of its field.
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def with_spare_bits(proof: str, part: int) -> Iterator[str]:
    """Yield the proof with other letters at the end of one part, which mean the same bytes."""
    parts = proof.split(".")
    for letter in ALPHABET:
        other = parts[part][:-1] + letter
        if other != parts[part] and decoded(other) == decoded(parts[part]):
            yield ".".join([*parts[:part], other, *parts[part + 1 :]])


class TestBearerInDisguise:
    """With ``required`` no token is handed out that works without the key."""

    def test_one_that_was_given_for_a_proof_while_it_was_allowed(
        self, signed_in: Any, authorization_server: Any, settings: Any, key: PageKey
    ) -> None:
        settings.TMIBFF_DPOP = "allowed"
        page = signed_in()
        authorization_server.gives(access_token="bearer", token_type="Bearer", expires_in=3600)
        assert json.loads(ask(page, key.proof()).content)["access_token"] == "bearer"
        settings.TMIBFF_DPOP = "required"
        authorization_server.gives(access_token="bound", **BOUND)
        assert json.loads(ask(page, key.proof()).content)["access_token"] == "bound"

    @pytest.mark.parametrize("asked", [TokenKey(), TokenKey.of([ORDERS]), TokenKey.of((), ["a"])])
    def test_an_operators_renewal_is_bound_to_a_key_that_nobody_has(
        self,
        signed_in: Any,
        authorization_server: Any,
        key: PageKey,
        token_set: Any,
        asked: TokenKey,
    ) -> None:
        page = signed_in()
        authorization_server.gives(access_token="nobodys", **BOUND)
        assert tokens.renew(token_set(), asked).token_type == "DPoP"
        dpop.verified(authorization_server.headers[0]["DPoP"], our_settings.provider())
        kept = contents_of(token_set())
        assert (kept.access_tokens, kept.jkt) == ([], None)
        authorization_server.gives(access_token="bound", **BOUND)
        assert json.loads(ask(page, key.proof()).content)["access_token"] == "bound"

    def test_an_operator_gets_none_either_of_a_server_that_ignores_proofs(
        self, signed_in: Any, authorization_server: Any, key: PageKey, token_set: Any
    ) -> None:
        page = signed_in()
        authorization_server.gives(
            access_token="canary", token_type="Bearer", refresh_token="rotated"
        )
        with pytest.raises(BearerRefused):
            tokens.renew(token_set())
        kept = contents_of(token_set())
        assert (kept.access_tokens, kept.refresh_token) == ([], "rotated")
        assert ask(page, None).status_code == 400
        authorization_server.gives(access_token="bound", **BOUND)
        assert json.loads(ask(page, key.proof()).content)["access_token"] == "bound"

    def test_where_it_is_allowed_an_operators_renewal_is_the_pages_that_has_no_key(
        self, signed_in: Any, authorization_server: Any, settings: Any, token_set: Any
    ) -> None:
        settings.TMIBFF_DPOP = "allowed"
        page = signed_in()
        tokens.renew(token_set())
        assert "DPoP" not in authorization_server.headers[0]
        assert page.token()["access_token"] == "fresh-1"

    def test_nobody_but_the_authorization_server_gets_what_is_exchanged(
        self, signed_in: Any, authorization_server: Any, settings: Any, key: PageKey, token_set: Any
    ) -> None:
        """RFC 8693: the subject token is a bearer token."""
        settings.TMIBFF_PROVIDERS = {"default": {"resource_request": "token_exchange"}}
        page = signed_in()
        authorization_server.gives(access_token="subject", token_type="Bearer", expires_in=3600)
        authorization_server.gives(access_token="exchanged", **BOUND)
        answer = ask(page, key.proof(), resource=ORDERS)
        assert json.loads(answer.content)["access_token"] == "exchanged"
        assert authorization_server.requests[1]["subject_token"] == ["subject"]
        assert [token.value for token in contents_of(token_set()).access_tokens] == [
            "subject",
            "exchanged",
        ]
        assert ask(page, None).status_code == 400
        with pytest.raises(InvalidDpopProof):
            tokens.get(token_set())
        authorization_server.gives(access_token="bound", **BOUND)
        assert json.loads(ask(page, key.proof()).content)["access_token"] == "bound"
        authorization_server.gives(access_token="nobodys", **BOUND)
        assert tokens.renew(token_set()).value == "nobodys"


class TestOperator:
    def test_a_renewal_of_theirs_repeats_with_the_nonce_that_is_wanted(
        self, signed_in: Any, authorization_server: Any, token_set: Any
    ) -> None:
        """RFC 9449 §8: a page would; the refresh token is not used up."""
        signed_in()
        authorization_server.answers(
            status_code=400, json={"error": "use_dpop_nonce"}, headers={"DPoP-Nonce": "n-1"}
        )
        authorization_server.gives(access_token="nobodys", **BOUND)
        tokens.renew(token_set())
        claims = [claims_in(headers["DPoP"]) for headers in authorization_server.headers]
        assert [claim.get("nonce") for claim in claims] == [None, "n-1"]
        assert token_set().last_error == ""

    def test_where_there_is_no_proof_there_is_nothing_to_repeat(
        self, signed_in: Any, authorization_server: Any, settings: Any, token_set: Any
    ) -> None:
        settings.TMIBFF_DPOP = "off"
        signed_in()
        authorization_server.refuses("use_dpop_nonce")
        with pytest.raises(AuthorizationServerRefused):
            tokens.renew(token_set())
        assert authorization_server.calls == 1

    def test_but_once(self, signed_in: Any, authorization_server: Any, token_set: Any) -> None:
        signed_in()
        for number in range(3):
            authorization_server.answers(
                status_code=400,
                json={"error": "use_dpop_nonce"},
                headers={"DPoP-Nonce": f"n-{number}"},
            )
        with pytest.raises(AuthorizationServerRefused):
            tokens.renew(token_set())
        assert authorization_server.calls == 2


class TestReplay:
    """RFC 9449 §11.1: a proof is good once, wherever it is sent."""

    def test_to_another_session(
        self, signed_in: Any, authorization_server: Any, key: PageKey, user: Any
    ) -> None:
        proof = key.proof()
        authorization_server.gives(access_token="bound", **BOUND)
        assert ask(signed_in(), proof).status_code == 200
        other = Page()
        other.sign_in(user)
        other.store()
        assert "used before" in refused(other, proof)["error_description"]
        assert authorization_server.calls == 1

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_by_another_way_through_the_house(
        self, signed_in: Any, authorization_server: Any, key: PageKey, method: str
    ) -> None:
        """GET has the fast path, POST does not."""
        page = signed_in()
        authorization_server.gives(access_token="bound", **BOUND)
        assert ask(page, key.proof()).status_code == 200
        proof = key.proof()
        other = "POST" if method == "GET" else "GET"
        assert page.fetch(method=method, headers={"DPoP": proof}).status_code == 200
        assert page.fetch(method=other, headers={"DPoP": proof}).status_code == 400

    def test_with_another_signature_that_is_as_good(self, key: PageKey) -> None:
        """Whoever has (r, s) has (r, -s) too: another text, and the same proof."""
        proof = key.proof()
        text, _, signature = proof.rpartition(".")
        r, s = decoded(signature)[:32], int.from_bytes(decoded(signature)[32:])
        other = f"{text}.{encoded(r + (ORDER - s).to_bytes(32))}"
        dpop.use_up(dpop.verified(proof, our_settings.provider()))
        again = dpop.verified(other, our_settings.provider())
        with pytest.raises(InvalidDpopProof, match="used before"):
            dpop.use_up(again)

    @pytest.mark.parametrize("part", [0, 1, 2])
    def test_with_other_letters_for_the_same_bytes(self, key: PageKey, part: int) -> None:
        """Base64url's last letter may have bits that mean nothing."""
        longer = ("x" * length for length in range(3))
        proofs = [key.proof(header={"kid": more}, more=more) for more in longer]
        proof, others = next(
            (proof, others) for proof in proofs if (others := [*with_spare_bits(proof, part)])
        )
        dpop.use_up(dpop.verified(proof, our_settings.provider()))
        for other in others:
            with pytest.raises(InvalidDpopProof):
                dpop.use_up(dpop.verified(other, our_settings.provider()))

    def test_what_is_remembered_of_old_ones_goes_after_the_answer(
        self, signed_in: Any, authorization_server: Any, key: PageKey, monkeypatch: Any
    ) -> None:
        """Pages that ask all day leave no more behind than they can bring in some minutes."""
        monkeypatch.setattr(dpop, "_SWEEPS_ONE_IN", 1)
        page = signed_in()
        authorization_server.gives(access_token="bound", **BOUND)
        for _ in range(5):
            Note.objects.update(expires_at=Now() - timedelta(minutes=3))
            assert ask(page, key.proof()).status_code == 200
        assert Note.objects.count() <= 1


class TestPin:
    def test_a_request_from_before_a_sign_in_does_not_pin_its_key_after_it(
        self, signed_in: Any, authorization_server: Any, key: PageKey, token_set: Any
    ) -> None:
        """Its proof was sent for the tokens that are gone: it gets none, and nothing has failed."""
        page = signed_in()

        def sign_in() -> None:
            page.store({"refresh_token": "second"}, lifts_pin=True)

        authorization_server.before_answering = sign_in
        authorization_server.gives(access_token="late", refresh_token="late", **BOUND)
        assert refused(page, key.proof())["error"] == "temporarily_unavailable"
        kept = contents_of(token_set())
        assert (kept.jkt, kept.access_tokens, kept.refresh_token) == (None, [], "second")
        assert token_set().last_error == ""
        authorization_server.before_answering = lambda: None
        authorization_server.gives(access_token="bound", **BOUND)
        assert ask(page, PageKey().proof()).status_code == 200

    def test_a_sign_in_that_nobody_sees_keeps_it_through_a_renewal_too(
        self, signed_in: Any, authorization_server: Any, key: PageKey, token_set: Any
    ) -> None:
        page = signed_in()
        authorization_server.gives(access_token="bound", **{**BOUND, "expires_in": 0})
        assert ask(page, key.proof()).status_code == 200
        authorization_server.before_answering = lambda: page.store({"refresh_token": "second"})
        assert refused(page, key.proof())["error"] == "temporarily_unavailable"
        assert contents_of(token_set()).jkt == dpop.thumbprint(key.jwk)

    def test_another_session_of_the_user_has_its_own(
        self, signed_in: Any, authorization_server: Any, key: PageKey, user: Any
    ) -> None:
        page, other = signed_in(), Page()
        other.sign_in(user)
        other.store()
        for number, (one, used) in enumerate([(page, key), (other, PageKey())]):
            authorization_server.gives(access_token=f"bound-{number}", **BOUND)
            assert ask(one, used.proof()).status_code == 200
        other.store(lifts_pin=True)
        assert refused(page, PageKey().proof())["error"] == "invalid_dpop_proof"

    def test_code_on_the_server_cannot_bring_another_key_either(
        self, signed_in: Any, authorization_server: Any, key: PageKey, token_set: Any
    ) -> None:
        page = signed_in()
        authorization_server.gives(access_token="bound", **BOUND)
        assert ask(page, key.proof()).status_code == 200
        with pytest.raises(InvalidDpopProof):
            tokens.get(token_set(), proof=PageKey().proof())


def twice(members: dict[str, Any], name: str, value: Any) -> str:
    """Return that object's JSON with one member before all others, in addition."""
    return f"{{{json.dumps(name)}: {json.dumps(value)}, {json.dumps(members)[1:]}"


class TestReading:
    """What is read here is what the authorization server reads, or it is refused."""

    def test_a_sound_one_is_taken(self, key: PageKey) -> None:
        text = signed(key, json.dumps(header_of(key)), json.dumps(claims_of(jti="a")))
        assert dpop.verified(text, our_settings.provider()).jti == "a"

    @pytest.mark.parametrize("name", ["typ", "alg", "jwk", "kid"])
    def test_a_header_that_says_something_twice(self, key: PageKey, name: str) -> None:
        """RFC 7515 §4: parsers differ about which of the two is meant."""
        header = header_of(key, kid="b")
        text = signed(key, twice(header, name, "a"), json.dumps(claims_of()))
        with pytest.raises(InvalidDpopProof):
            dpop.verified(text, our_settings.provider())

    @pytest.mark.parametrize("name", ["htm", "htu", "iat", "jti", "nonce"])
    def test_a_claim_that_is_there_twice(self, key: PageKey, name: str) -> None:
        claims = twice(claims_of(nonce="b"), name, "a")
        text = signed(key, json.dumps(header_of(key)), claims)
        with pytest.raises(InvalidDpopProof):
            dpop.verified(text, our_settings.provider())

    def test_a_key_with_two_coordinates_of_one_name(self, key: PageKey) -> None:
        jwk = twice(key.jwk, "x", PageKey().jwk["x"])
        header = json.dumps(header_of(key)).replace(json.dumps(key.jwk), jwk)
        assert jwk in header
        with pytest.raises(InvalidDpopProof):
            dpop.verified(signed(key, header, json.dumps(claims_of())), our_settings.provider())

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-32-be", "utf-8-sig"])
    def test_json_in_another_encoding(self, key: PageKey, encoding: str) -> None:
        """RFC 8259 §8.1; Python's parser guesses."""
        parts = [json.dumps(part).encode(encoding) for part in (header_of(key), claims_of())]
        with pytest.raises(InvalidDpopProof):
            dpop.verified(signed(key, *parts), our_settings.provider())

    @pytest.mark.parametrize(
        "claims",
        [
            '{"iat": NaN}',
            '{"iat": Infinity}',
            '{"iat": 1e999}',
            f'{{"iat": {"9" * 2000}}}',
            "[" * 1800,
            '{"a":' * 500,
            "null",
            "{} {}",
            '"text"',
        ],
        ids=len,
    )
    def test_what_only_python_takes_for_json_or_nobody(self, key: PageKey, claims: str) -> None:
        sound = json.dumps(claims_of())
        for text in (
            claims,
            claims.replace('"iat"', sound[1:-1].replace('"iat"', '"a"') + ', "iat"'),
        ):
            with pytest.raises(InvalidDpopProof):
                dpop.verified(
                    signed(key, json.dumps(header_of(key)), text), our_settings.provider()
                )

    def test_no_key_is_fetched_that_a_header_names(
        self, signed_in: Any, authorization_server: Any, key: PageKey
    ) -> None:
        """RFC 7515 §4.1.2, §4.1.5: it would be an attacker's word about where to look."""
        page = signed_in()
        authorization_server.gives(access_token="bound", **BOUND)
        elsewhere = {"jku": "https://evil.example/keys", "x5u": "https://evil.example/cert"}
        text = signed(key, json.dumps(header_of(key, **elsewhere)), json.dumps(claims_of()))
        assert ask(page, text).status_code == 200
        hosts = {request.hostname for request in authorization_server.mocker.request_history}
        assert hosts == {"op.example"}

    @pytest.mark.parametrize(
        "jwk",
        [
            {"x": "A" * 43, "y": "A" * 43},  # The origin.
            {"x": encoded(P.to_bytes(32))},
            {"x": encoded((P + 5).to_bytes(32))},
            {"x": "A" * 44},
            {"x": "A" * 42 + "="},
            {"x": 5, "y": 7},
            {"crv": "P-256K"},
            {"crv": "secp256k1"},
            {"kty": "EC2"},
            {"kty": "OKP", "crv": "Ed25519"},
            {"d": None},
            {"d": ""},
            {"k": "AAAA"},
        ],
        ids=str,
    )
    def test_a_key_that_is_none(self, key: PageKey, jwk: dict[str, Any]) -> None:
        header = header_of(key, jwk={**key.jwk, **jwk})
        text = signed(key, json.dumps(header), json.dumps(claims_of()))
        with pytest.raises(InvalidDpopProof):
            dpop.verified(text, our_settings.provider())

    @pytest.mark.parametrize(
        "header",
        [
            {"alg": "es256"},
            {"alg": ["ES256"]},
            {"alg": "ES256K"},
            {"alg": "none"},
            {"typ": "DPOP+JWT\u0000"},
            {"b64": False},
            {"crit": []},
        ],
        ids=str,
    )
    def test_a_header_that_wants_something_else(self, key: PageKey, header: dict[str, Any]) -> None:
        text = signed(key, json.dumps(header_of(key, **header)), json.dumps(claims_of()))
        with pytest.raises(InvalidDpopProof):
            dpop.verified(text, our_settings.provider())

    @pytest.mark.parametrize(
        "signature",
        [b"\0" * 64, b"\xff" * 64, ORDER.to_bytes(32) * 2, b"\0" * 63, b"\1" * 65, b"\1"],
    )
    def test_a_signature_that_is_none(self, key: PageKey, signature: bytes) -> None:
        """CVE-2022-21449: zeros were taken for a signature of everything."""
        text, _, _ = key.proof().rpartition(".")
        with pytest.raises(InvalidDpopProof):
            dpop.verified(f"{text}.{encoded(signature)}", our_settings.provider())

    @pytest.mark.parametrize(
        "around", [" {}", "{} ", "\t{}", "{}\n", "{}\0", "DPoP {}", "{},", "{}.", '"{}"']
    )
    def test_a_header_field_with_something_around_it(self, key: PageKey, around: str) -> None:
        with pytest.raises(InvalidDpopProof):
            dpop.verified(around.format(key.proof()), our_settings.provider())

    def test_digits_of_another_script(self, key: PageKey) -> None:
        """Python's own idea of a digit is wider than base64url's."""
        proof = key.proof()
        digit = next(letter for letter in proof if letter.isdecimal())
        other = proof.replace(digit, chr(0x0660 + int(digit)))
        with pytest.raises(InvalidDpopProof):
            dpop.verified(other, our_settings.provider())
