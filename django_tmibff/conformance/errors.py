"""PROTOCOL X: errors."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from .endpoints import MALFORMED, refusals, successes_and_errors
from .rules import NotTestable, Strength, rule
from .site import BOTH, TOKEN, Answer, Call, Cookie, Site, shown

# RFC 6749 §5.2.
_ERROR = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]+")


@rule("X1", Strength.MUST, "An error is 400 with error, and error_description where there is one.")
def errors(site: Site) -> Iterator[str]:
    anonymous = [site.ask(Call(path, cookie=Cookie.NONE)) for path in BOTH]
    for answer in (*anonymous, site.ask(MALFORMED)):
        if answer.status != 400:
            yield f"{answer.call.words}: {answer.words}, where 400 was due."
        yield from _malformed(answer)


@rule("X2", Strength.MUST, "No session is invalid_session, at both endpoints.")
def no_session(site: Site) -> Iterator[str]:
    for path in BOTH:
        for cookie in (Cookie.NONE, Cookie.MADE_UP):
            answer = site.ask(Call(path, cookie=cookie))
            if answer.error != "invalid_session":
                yield f"{answer.call.words}: {answer.words}, where invalid_session was due."


@rule("X3", Strength.MUST, "A session without tokens is backend_not_ready.")
def no_tokens(site: Site) -> Iterator[str]:
    if not site.options.cookie_without_tokens:
        raise NotTestable("It takes a session without tokens: --cookie-without-tokens.")
    answer = site.ask(Call(TOKEN, cookie=Cookie.WITHOUT_TOKENS, how="of a session without tokens"))
    if (answer.status, answer.error) != (400, "backend_not_ready"):
        yield f"{answer.call.words}: {answer.words}, where 400 ('backend_not_ready') was due."


@rule("X8", Strength.DECISION, "login_url is a path of the site, without next.")
def login_url(site: Site) -> Iterator[str]:
    url = (site.ask(Call(TOKEN, cookie=Cookie.NONE)).data or {}).get("login_url")
    if url is None:
        raise NotTestable("There is none: the site may have no page where people sign in.")
    if not isinstance(url, str) or not re.fullmatch(r"/([^/\\].*)?", url):
        yield f"login_url is {shown(url)}."
    elif "next" in parse_qs(urlsplit(url).query):
        yield "login_url has a next of its own."


@rule("X9", Strength.MUST, "No error holds a token or the session's cookie.")
def no_secrets(site: Site) -> Iterator[str]:
    site.ask(Call(TOKEN))
    found = [one for one in (*successes_and_errors(site), *refusals(site)) if one.status >= 300]
    for answer in found:
        if site.secrets_in(answer):
            yield f"{answer.call.words}: the answer holds a token, or the session's cookie."


def _malformed(answer: Answer) -> Iterator[str]:
    for name in ("error", "error_description"):
        value = (answer.data or {}).get(name)
        if value is None and name == "error_description":
            continue
        if not isinstance(value, str) or not _ERROR.fullmatch(value):
            yield f"{answer.call.words}: {name} is {shown(value)}."
