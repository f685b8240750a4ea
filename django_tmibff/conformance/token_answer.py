"""PROTOCOL R: what comes with a token."""

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

from .endpoints import refusals, successes_and_errors
from .rules import NotTestable, Strength, rule
from .site import SESSION_INFO, TOKEN, Answer, Call, Site, shown

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")
_SECRETS = ("refresh_token", "id_token", "client_secret", "code_verifier")
_TEMPTING = "grant_type=refresh_token&response_type=id_token&include=refresh_token"
# Long enough for a countdown to be seen; what ends sooner may be renewed meanwhile.
_WAIT_SECONDS = 1.2
_SOON_SECONDS = 90


@rule("R1", Strength.MUST, "200 with access_token.")
def access_token(site: Site) -> Iterator[str]:
    answer = site.ask(Call(TOKEN))
    if answer.status != 200 or answer.token is None:
        yield f"{answer.call.words}: {answer.words}, where 200 with access_token was due."


@rule("R2", Strength.MUST, "expires_in is what is left now, in whole seconds.")
def expires_in(site: Site) -> Iterator[str]:
    first = _token_answer(site)
    left = (first.data or {}).get("expires_in")
    if left is None:
        raise NotTestable("The answer has none: the authorization server may have told none.")
    if type(left) is not int or left < 0:
        yield f"expires_in is {shown(left)}."
        return
    time.sleep(max(0.0, first.at + _WAIT_SECONDS - time.monotonic()))
    second = site.ask_again(Call(TOKEN))
    left_then = (second.data or {}).get("expires_in")
    passed = second.at - first.at
    if second.token != first.token:
        raise NotTestable("Each call gets another token: see R6.")
    if type(left_then) is not int or not passed - 1 <= left - left_then <= passed + 1:
        yield f"expires_in was {left}, and {shown(left_then)} after {passed:.1f} seconds."


@rule("R3", Strength.MUST, "scope is a scope, where it is sent.")
def scope(site: Site) -> Iterator[str]:
    data = _token_answer(site).data or {}
    if "scope" not in data:
        raise NotTestable("The answer has none: it may be what was asked for.")
    if not isinstance(data["scope"], str) or not _SCOPE.fullmatch(data["scope"]):
        yield f"scope is {shown(data['scope'])}."


@rule("R4", Strength.DECISION, "token_type is sent.")
def token_type(site: Site) -> Iterator[str]:
    kind = (_token_answer(site).data or {}).get("token_type")
    if not isinstance(kind, str) or not kind:
        yield f"token_type is {shown(kind)}."


@rule("R5", Strength.MUST, "Never a refresh token, an ID token or a client secret.")
def nothing_else(site: Site) -> Iterator[str]:
    tempted = [site.ask(Call(path, _TEMPTING)) for path in (TOKEN, SESSION_INFO)]
    for answer in (*successes_and_errors(site), *refusals(site), *tempted):
        for name, value in _members(answer.data):
            if name.lower() in _SECRETS:
                yield f"{answer.call.words}: the answer has a member {shown(name)}."
            elif name != "access_token" and isinstance(value, str) and _JWT.fullmatch(value):
                yield f"{answer.call.words}: the answer's {shown(name)} is a JWT."


@rule("R6", Strength.MUST, "A stored token that fits is served.")
def stored_tokens(site: Site) -> Iterator[str]:
    first, second = _token_answer(site), site.ask_again(Call(TOKEN))
    _lives_for_long(first)
    if second.token != first.token:
        yield "The second call did not get the token that the first one got."


@rule("R7", Strength.SHOULD, "A wider token is not passed off as the narrower one.")
def narrower_scope(site: Site) -> Iterator[str]:
    narrower = site.options.scope
    if not narrower:
        raise NotTestable("It takes a narrower scope than the sign-in's: --scope.")
    usual, answer = _token_answer(site), site.ask(Call(TOKEN, urlencode({"scope": narrower})))
    if answer.token is None and answer.error is None:
        yield f"{answer.call.words}: {answer.words}, where a token or an error was due."
    named = (answer.data or {}).get("scope")
    if answer.token is not None and answer.token == usual.token and named in (None, narrower):
        yield f"{answer.call.words}: the default token, without its real scope."


@rule("R8", Strength.DECISION, "Order and repetition of scope values do not matter.")
def order_of_scopes(site: Site) -> Iterator[str]:
    usual = _token_answer(site)
    _lives_for_long(usual)
    values = str((usual.data or {}).get("scope", "")).split()
    if len(values) < 2:
        raise NotTestable("It takes a token of two scope values.")
    for order in (values, values[::-1], [*values, values[0]]):
        answer = site.ask(Call(TOKEN, urlencode({"scope": " ".join(order)}), how="(reordered)"))
        if answer.token != usual.token:
            yield f"The token of {len(values)} scopes is not served for the same in another order."
            return


@rule("R11", Strength.MUST, "A stored token keeps scope, expiry and type.")
def kept_members(site: Site) -> Iterator[str]:
    first, second = _token_answer(site), site.ask_again(Call(TOKEN))
    if second.token != first.token:
        raise NotTestable("Each call gets another token: see R6.")
    for name in ("scope", "token_type"):
        if (first.data or {}).get(name) != (second.data or {}).get(name):
            yield f"{name} differs from one answer with the same token to the next."
    if ("expires_in" in (first.data or {})) != ("expires_in" in (second.data or {})):
        yield "expires_in is sent with one answer with the same token, and not with the next."


def _token_answer(site: Site) -> Answer:
    answer = site.ask(Call(TOKEN))
    if answer.token is None:
        raise NotTestable("It takes a token: see R1.")
    return answer


def _lives_for_long(answer: Answer) -> None:
    left = (answer.data or {}).get("expires_in")
    if isinstance(left, int) and left < _SOON_SECONDS:
        raise NotTestable("The token ends so soon that it may be renewed meanwhile.")


def _members(value: Any) -> Iterable[tuple[str, Any]]:
    """Yield all members of JSON objects, however deep."""
    found = value.items() if isinstance(value, dict) else ()
    for name, member in found:
        yield name, member
        yield from _members(member)
    for member in value if isinstance(value, list) else ():
        yield from _members(member)
