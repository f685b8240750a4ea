"""PROTOCOL E: both endpoints."""

import re
from collections.abc import Iterable, Iterator

from .rules import NotTestable, Strength, rule
from .site import (
    ANOTHER_ORIGIN,
    BOTH,
    FORM,
    SESSION_INFO,
    TOKEN,
    Answer,
    Call,
    Cookie,
    NoAnswerError,
    Site,
    shown,
)

MALFORMED = Call(TOKEN, 'scope="', how="(malformed)")

_CROSS_SITE = Call(
    TOKEN,
    headers=(("Sec-Fetch-Site", "cross-site"), ("Origin", ANOTHER_ORIGIN)),
    how="from another site",
)
_BLANK = tuple((name, None) for name in ("Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"))
_TOO_MANY_FIELDS = b"&".join(b"a=1" for _ in range(5000))

# What no page's own fetch() is, though the browser sends the cookie.
_FORGED: Iterable[tuple[str, tuple[tuple[str, str | None], ...]]] = (
    ("by a link on another site", (("Sec-Fetch-Site", "cross-site"),)),
    ("from another origin", (("Origin", ANOTHER_ORIGIN),)),
    ("from another origin, in an old browser", (*_BLANK, ("Origin", ANOTHER_ORIGIN))),
)
_NO_FETCH: Iterable[tuple[str, tuple[tuple[str, str | None], ...]]] = (
    ("from another subdomain", (("Sec-Fetch-Site", "same-site"),)),
    ("typed into the address bar", (("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate"))),
    ("by <script>", (("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "script"))),
    ("by <iframe>", (("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe"))),
    ("ahead of time", (("Sec-Purpose", "prefetch"),)),
    ("from a sandboxed frame", (("Origin", "null"),)),
)
_HEADERS = {
    "Cache-Control": {"no-cache", "no-store", "private"},
    "Pragma": {"no-cache"},
    "Cross-Origin-Resource-Policy": {"same-origin"},
    "Cross-Origin-Opener-Policy": {"same-origin"},
    "Content-Security-Policy": {"sandbox"},
    "X-Frame-Options": {"deny"},
    "Referrer-Policy": {"no-referrer"},
    "Vary": {"cookie"},
}


def successes_and_errors(site: Site) -> list[Answer]:
    """Return what the draft knows: both endpoints' successes and errors."""
    anonymous = [Call(path, cookie=Cookie.NONE) for path in BOTH]
    return [site.ask(call) for call in (Call(TOKEN), Call(SESSION_INFO), *anonymous, MALFORMED)]


def refusals(site: Site) -> list[Answer]:
    """Return what is answered to those who may not ask, and in a way that nobody may."""
    return [site.ask(_CROSS_SITE), *(site.ask(Call(path, method="DELETE")) for path in BOTH)]


@rule("E1", Strength.MUST, "Both endpoints are at the site's root.")
def at_the_root(site: Site) -> Iterator[str]:
    for path in BOTH:
        answer = site.ask(Call(path))
        if answer.status != 200:
            yield f"{answer.call.words}: {answer.words}, where 200 was due."


@rule("E2", Strength.MUST, "Plain http has no session.")
def over_https_only(site: Site) -> Iterator[str]:
    if site.is_on_own_machine:
        raise NotTestable("A developer's own machine may answer over plain http.")
    for path in BOTH:
        try:
            answer = site.ask_in_the_clear(Call(path, cookie=Cookie.NONE, how="over plain http"))
        except NoAnswerError:
            continue
        leads_to_https = answer.headers.get("Location", "").startswith("https://")
        if answer.error != "invalid_session" and not leads_to_https:
            yield f"{answer.call.words}: {answer.words}, where invalid_session was due."


@rule("E3", Strength.MUST, "A call is answered only inside a valid session.")
def inside_a_session_only(site: Site) -> Iterator[str]:
    for path in BOTH:
        for cookie in (Cookie.NONE, Cookie.MADE_UP):
            answer = site.ask(Call(path, cookie=cookie))
            if answer.status == 200:
                yield f"{answer.call.words}: {answer.words}, though there is no session."


@rule("E4", Strength.MUST, "Never reachable by CORS.")
def not_by_cors(site: Site) -> Iterator[str]:
    origin = (("Origin", ANOTHER_ORIGIN), ("Sec-Fetch-Site", "cross-site"))
    asks = (*origin, ("Access-Control-Request-Method", "GET"))
    preflights = [
        Call(path, method="OPTIONS", headers=asks, cookie=Cookie.NONE, how="as a preflight")
        for path in BOTH
    ]
    answers = [
        *successes_and_errors(site),
        *refusals(site),
        *map(site.ask, preflights),
        site.ask(Call(SESSION_INFO, headers=origin, how="from another site")),
    ]
    for answer in answers:
        opened = [name for name in answer.headers if name.lower().startswith("access-control-")]
        if opened:
            yield f"{answer.call.words}: the answer has {', '.join(map(shown, opened))}."


@rule("E5", Strength.SHOULD, "Another site's requests get neither token nor session.")
def not_from_another_site(site: Site) -> Iterator[str]:
    for path in BOTH:
        for how, headers in _FORGED:
            answer = site.ask(Call(path, headers=headers, how=how))
            if answer.status == 200:
                yield f"{answer.call.words}: {answer.words}, where a refusal was due."
    post = Call(TOKEN, method="POST", headers=_BLANK, how="as a form that says not from where")
    if site.ask(post).token is not None:
        yield f"{post.words}: a token, where a refusal was due."


@rule("E5", Strength.DECISION, "What is no page's own fetch() is refused: 403, invalid_request.")
def only_a_pages_own_fetch(site: Site) -> Iterator[str]:
    for path in BOTH:
        for how, headers in (*_FORGED, *_NO_FETCH):
            answer = site.ask(Call(path, headers=headers, how=how))
            if (answer.status, answer.error) != (403, "invalid_request"):
                yield f"{answer.call.words}: {answer.words}, where 403 ('invalid_request') was due."


@rule("E6", Strength.MUST, "Unrecognised parameters are ignored.")
def unknown_parameters(site: Site) -> Iterator[str]:
    for path in BOTH:
        usual = site.ask(Call(path))
        answer = site.ask(Call(path, "prompt=none&client_id=x&Scope=y&x="))
        if answer.status != usual.status:
            yield f"{answer.call.words}: {answer.words}, and {usual.words} without."


@rule("E7", Strength.MUST, "Answers are JSON objects, and say so.")
def json_objects(site: Site) -> Iterator[str]:
    for answer in successes_and_errors(site):
        yield from not_json(answer)


@rule("E7", Strength.SHOULD, "No answer's media type is guessed.")
def not_sniffed(site: Site) -> Iterator[str]:
    for answer in (*successes_and_errors(site), *refusals(site)):
        if answer.headers.get("X-Content-Type-Options", "").lower() != "nosniff":
            yield f"{answer.call.words}: X-Content-Type-Options is not nosniff."


@rule("E8", Strength.SHOULD, "No answer is cached, framed, or read by others; errors neither.")
def kept_from_others(site: Site) -> Iterator[str]:
    for answer in (*successes_and_errors(site), *refusals(site)):
        for name, wanted in _HEADERS.items():
            missing = wanted - {word.lower() for word in _words(answer.headers.get(name, ""))}
            if missing:
                yield f"{answer.call.words}: {name} lacks {', '.join(sorted(missing))}."


@rule("E9", Strength.SHOULD, "The session cookie is HttpOnly, SameSite and Secure.")
def safe_cookie(site: Site) -> Iterator[str]:
    set_cookies = [*_session_cookies(site, site.ask(Call(TOKEN)))]
    login = login_page(site)
    if login is not None:
        set_cookies += _session_cookies(site, login)
    if not set_cookies:
        raise NotTestable("No answer of these sets the session's cookie.")
    for line in set_cookies:
        attributes = {part.strip().lower() for part in line.split(";")[1:]}
        wanted = {"httponly"} if site.is_on_own_machine else {"httponly", "secure"}
        for attribute in sorted(wanted - attributes):
            yield f"The session cookie is set without {attribute}."
        if not attributes & {"samesite=lax", "samesite=strict"}:
            yield "The session cookie is set without SameSite=Lax or SameSite=Strict."


@rule("E10", Strength.DECISION, "Other methods get 405, with Allow.")
def other_methods(site: Site) -> Iterator[str]:
    for path in BOTH:
        for method in ("HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = site.ask(Call(path, method=method))
            if answer.status != 405 or "GET" not in answer.headers.get("Allow", ""):
                yield f"{answer.call.words}: {answer.words}, where 405 with Allow was due."


@rule("E11", Strength.DECISION, "No redirect, ever.")
def no_redirects(site: Site) -> Iterator[str]:
    for answer in (*successes_and_errors(site), *refusals(site)):
        if 300 <= answer.status < 400:
            yield f"{answer.call.words}: {answer.status} to somewhere else."


@rule("E12", Strength.DECISION, "What cannot be read is an error like others.")
def unreadable_requests(site: Site) -> Iterator[str]:
    headers = (("Content-Type", FORM),)
    call = Call(
        TOKEN, method="POST", headers=headers, body=_TOO_MANY_FIELDS, how="with 5000 fields"
    )
    answer = site.ask(call)
    if answer.status == 405:
        raise NotTestable("This site takes no POST.")
    if answer.status != 200 and (answer.status, answer.error) != (400, "invalid_request"):
        yield f"{call.words}: {answer.words}, where 400 ('invalid_request') was due."


def not_json(answer: Answer) -> Iterator[str]:
    """Yield what keeps an answer from being a JSON object that says so."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        yield f"{answer.call.words}: {answer.status}, and the media type is {shown(kind)}."
    if answer.data is None:
        yield f"{answer.call.words}: {answer.status}, and the body is no JSON object."


def login_page(site: Site) -> Answer | None:
    """Return where ``login_url`` leads somebody without a session; ``None`` without one (X8)."""
    url = (site.ask(Call(TOKEN, cookie=Cookie.NONE)).data or {}).get("login_url")
    if not isinstance(url, str) or not url.startswith("/") or url.startswith("//"):
        return None
    path, _, query = url.partition("?")
    navigation = (("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))
    return site.ask(Call(path, query, headers=navigation, cookie=Cookie.NONE))


def _session_cookies(site: Site, answer: Answer) -> Iterator[str]:
    for line in answer.set_cookies:
        name, _, value = line.partition(";")[0].partition("=")
        if name.strip() in site.cookie_names and value.strip('" '):
            yield line


def _words(value: str) -> Iterable[str]:
    return filter(None, re.split(r"[,;\s]+", value))
