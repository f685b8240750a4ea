"""PROTOCOL T: how a token is asked for."""

import base64
import hashlib
import secrets
from collections.abc import Iterator
from urllib.parse import quote

from .rules import NotTestable, Strength, rule
from .site import FORM, TOKEN, Answer, Call, Site

_POST = Call(TOKEN, method="POST", headers=(("Content-Type", FORM),), body=b"scope=&resource=")
_MALFORMED_RESOURCES = ("orders", "/orders", "https://api.example/#part", "//api.example")
_MALFORMED_SCOPES = ('"', "\\", "\x7f", "ä")


@rule("T1", Strength.MUST, "GET gives a token; POST too, or says that it is not known.")
def get_and_post(site: Site) -> Iterator[str]:
    if site.ask(Call(TOKEN)).token is None:
        yield "GET gives no token."
    answer = site.ask(_POST)
    if answer.token is None and answer.status not in (403, 404, 405):
        yield f"{answer.call.words}: {answer.words}, where a token or 405 was due."


@rule("T1", Strength.DECISION, "A POST with another media type is invalid_request.")
def another_media_type(site: Site) -> Iterator[str]:
    if site.ask(_POST).token is None:
        raise NotTestable("This site takes no POST.")
    headers = (("Content-Type", "application/json"),)
    call = Call(TOKEN, method="POST", headers=headers, body=b"{}", how="with JSON")
    yield from _not(site.ask(call), "invalid_request")


@rule("T2", Strength.MUST, "A malformed resource is invalid_target.")
def malformed_resources(site: Site) -> Iterator[str]:
    for resource in _MALFORMED_RESOURCES:
        yield from _not(site.ask(Call(TOKEN, f"resource={quote(resource)}")), "invalid_target")


@rule("T3", Strength.MUST, "A malformed scope is invalid_scope, a repeated one invalid_request.")
def malformed_scopes(site: Site) -> Iterator[str]:
    for scope in _MALFORMED_SCOPES:
        yield from _not(site.ask(Call(TOKEN, f"scope={quote(scope)}")), "invalid_scope")
    yield from _not(site.ask(Call(TOKEN, "scope=a&scope=a")), "invalid_request")


@rule("T4", Strength.MUST, "A parameter without a value counts as absent.")
def empty_parameters(site: Site) -> Iterator[str]:
    usual, answer = site.ask(Call(TOKEN)), site.ask(Call(TOKEN, "scope=&resource="))
    if answer.status != usual.status:
        yield f"{answer.call.words}: {answer.words}, and {usual.words} without."


# Tried late: a site that asks its authorization server about these may lose the session by it.
@rule("T5", Strength.DECISION, "What the site does not list is refused, without login_url.")
def unlisted(site: Site) -> Iterator[str]:
    name = f"not-listed-{secrets.token_hex(8)}"
    asked = (
        (f"resource=https://{name}.example/", "invalid_target"),
        (f"scope={name}", "invalid_scope"),
    )
    for query, error in asked:
        answer = site.ask(Call(TOKEN, query))
        yield from _not(answer, error)
        if "login_url" in (answer.data or {}):
            yield f"{answer.call.words}: login_url, where nobody can help by signing in."


@rule("T6", Strength.DECISION, "A token that a resource server refused is renewed, and no other.")
def refused_tokens(site: Site) -> Iterator[str]:
    if not site.options.renew:
        raise NotTestable("It would have the site renew its token: --renew.")
    stored = site.ask_again(Call(TOKEN))
    if stored.token is None:
        raise NotTestable("It takes a token.")
    if _refused(site, "another token").token != stored.token:
        yield "The stored token was not served, though another one was refused."
    if _refused(site, stored.token).token in (None, stored.token):
        yield "The refused token was not renewed (it is at most once in 10 seconds)."


def _refused(site: Site, token: str) -> Answer:
    digest = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).decode()
    return site.ask_again(Call(TOKEN, headers=(("TMIBFF-Refused", digest.rstrip("=")),)))


def _not(answer: Answer, error: str) -> Iterator[str]:
    if (answer.status, answer.error) != (400, error):
        yield f"{answer.call.words}: {answer.words}, where 400 ({error!r}) was due."
