"""Whatever a request brings for a DPoP proof: it is refused in words, before anybody is asked."""

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from django_tmibff import dpop
from django_tmibff.conf import settings as our_settings
from django_tmibff.exceptions import InvalidDpopProof
from tests.addresses import TOKEN_ENDPOINT
from tests.page import TOKEN
from tests.proofs import PageKey, claims_of, encoded, header_of, signed

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("dpop_required")]

KEY = PageKey()
ABSENT = st.just(...)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
JWKS = st.fixed_dictionaries(
    {},
    optional={name: VALUES | st.just(KEY.jwk.get(name)) for name in ("kty", "crv", "x", "y", "d")},
)


def _json(members: dict[str, Any]) -> bytes:
    return json.dumps(members).encode()


# --- what nobody has signed -----------------------------------------------------------------------

HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "typ": VALUES | st.just("dpop+jwt"),
        "alg": VALUES | st.sampled_from(["ES256", "none", "HS256"]),
        "jwk": VALUES | JWKS | st.just(KEY.jwk),
        "b64": VALUES,
    },
)
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "htm": VALUES | st.just("POST"),
        "htu": VALUES | st.just(TOKEN_ENDPOINT),
        "iat": VALUES | st.builds(time.time),
        "jti": VALUES | st.text(min_size=1),
    },
)
MADE = st.builds(
    lambda header, claims, signature: ".".join(
        encoded(part) for part in (_json(header), _json(claims), signature)
    ),
    HEADERS | st.just(header_of(KEY)),
    CLAIMS,
    st.binary(max_size=70),
)


# --- what somebody has signed, and is sound but for this ------------------------------------------


def but(right: Any) -> Any:
    """Draw anything else, or leave the member out."""
    return ABSENT | VALUES.filter(lambda value: value != right)


def some(**members: Any) -> Any:
    """Draw what at least one of those members is in."""
    return st.fixed_dictionaries({}, optional=members).filter(bool)


def is_name(value: Any) -> bool:
    """Return whether it would do for a ``jti``, but for its length."""
    is_visible = isinstance(value, str) and value.isascii() and value.isprintable()
    return is_visible and bool(value) and " " not in value


# Half a minute is for the test itself.
TIMES = st.floats(61, 1e6).map(lambda ago: time.time() - ago) | st.floats(90, 1e6).map(
    lambda ahead: time.time() + ahead
)
NAMES = VALUES.filter(lambda value: not is_name(value)) | st.text("abc", min_size=257, max_size=300)
WRONG_PURPOSE = {"htm": but("POST"), "htu": but(TOKEN_ENDPOINT)}
WRONG_USE = {"iat": ABSENT | VALUES | TIMES, "jti": ABSENT | NAMES}
# Otherwise what is looked at last would hardly be reached.
WRONG_CLAIMS = some(**WRONG_USE) | some(**WRONG_PURPOSE, **WRONG_USE)
WRONG_KEY = {"jwk": but(KEY.jwk) | JWKS.filter(lambda jwk: jwk != KEY.jwk)}
WRONG_HEADERS = some(**WRONG_KEY) | some(
    typ=but("dpop+jwt"), alg=but("ES256"), crit=VALUES, **WRONG_KEY
)
# Of which none says what the key is, or the signature.
MEMBERS = ["b64", "cty", "htm", "iat", "jku", "kid", "nonce", "x5c", "x5u", "zip"]
MORE = st.dictionaries(st.sampled_from(MEMBERS) | st.text(), VALUES, max_size=3).map(
    lambda more: {name: more[name] for name in more.keys() - {"typ", "alg", "jwk", "crit"}}
)


def proof_with(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Return a proof that has those members in place of the usual ones, soundly signed."""
    return signed(KEY, _json(header_of(KEY, **header)), _json(claims_of(**claims)))


SIGNED = st.builds(proof_with, st.just({}) | MORE, WRONG_CLAIMS) | st.builds(
    proof_with, WRONG_HEADERS, st.just({}) | WRONG_CLAIMS
)


class TestAnyInput:
    @given(text=st.text() | st.from_regex(dpop._JWT, fullmatch=True) | MADE)
    def test_is_refused_in_words(self, text: str) -> None:
        with pytest.raises(InvalidDpopProof):
            dpop.verified(text, our_settings.provider())

    @given(text=SIGNED)
    def test_also_where_its_signature_is_sound(self, text: str) -> None:
        with pytest.raises(InvalidDpopProof):
            dpop.verified(text, our_settings.provider())

    @given(header=MORE, nonce=VALUES)
    def test_what_else_it_says_makes_it_no_other_keys(
        self, header: dict[str, Any], nonce: Any
    ) -> None:
        text = proof_with(header, {"nonce": nonce, "jti": "a"})
        with suppress(InvalidDpopProof):
            proof = dpop.verified(text, our_settings.provider())
            assert (proof.jkt, proof.jti) == (dpop.thumbprint(KEY.jwk), "a")

    @given(text=st.text(st.characters(codec="latin-1")) | MADE | SIGNED)
    @given_settings(max_examples=30)
    def test_never_makes_an_error_page_nor_reaches_the_authorization_server(
        self, signed_in: Any, authorization_server: Any, text: str
    ) -> None:
        page = signed_in()
        answer = page.generic(
            "GET",
            TOKEN,
            secure=True,
            headers={"sec-fetch-site": "same-origin"},
            HTTP_DPOP=text,
        )
        assert answer.status_code == 400
        assert json.loads(answer.content)["error"] == "invalid_dpop_proof"
        assert authorization_server.calls == 0
