"""PROTOCOL S and B: who is signed in, and what surrounds the endpoints."""

import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from .endpoints import login_page, not_json
from .rules import NotTestable, Strength, rule
from .site import ANOTHER_ORIGIN, SESSION_INFO, TOKEN, Answer, Call, Site, shown

_LOGOUT = Call("/bff/logout", method="POST")
_CLAIMS = {"iss": str, "sub": str, "exp": int, "auth_time": int}


@rule("S1", Strength.MUST, "bff-sessioninfo gives a JSON object.")
def an_object(site: Site) -> Iterator[str]:
    answer = site.ask(Call(SESSION_INFO))
    if answer.status != 200:
        yield f"{answer.call.words}: {answer.words}, where 200 was due."
    yield from not_json(answer)


@rule("S2", Strength.DECISION, "It tells sub, and of iss, exp and auth_time what is known.")
def claims(site: Site) -> Iterator[str]:
    data = site.ask(Call(SESSION_INFO)).data or {}
    if "sub" not in data:
        yield "There is no sub."
    for name, kind in _CLAIMS.items():
        if name in data and type(data[name]) is not kind:
            yield f"{name} is {shown(data[name])}."
    if isinstance(data.get("exp"), int) and data["exp"] < time.time():
        yield "exp is in the past."


@rule("S4", Strength.DECISION, "Asking for it does not prolong the session.")
def not_prolonged(site: Site) -> Iterator[str]:
    if site.ask(Call(TOKEN)).set_cookies:
        raise NotTestable("This site prolongs its sessions with every request.")
    if site.ask(Call(SESSION_INFO)).set_cookies:
        yield "The answer sets a cookie."


@rule("B1", Strength.MUST, "The sign-in is the authorization code grant with PKCE.")
def code_grant_with_pkce(site: Site) -> Iterator[str]:
    login = login_page(site)
    if login is None or not 300 <= login.status < 400:
        raise NotTestable("No login_url leads to the authorization server.")
    if not urlsplit(login.headers.get("Location", "")).netloc:
        raise NotTestable("People sign in on a page of the site's own.")
    asked = _query(login)
    wanted = {"response_type": "code", "code_challenge_method": "S256"}
    for name, value in wanted.items():
        if asked.get(name) != value:
            yield f"The authorization request's {name} is {shown(asked.get(name))}."
    if not asked.get("code_challenge"):
        yield "The authorization request has no code_challenge."


@rule("B5", Strength.DECISION, "The page can sign out, and no other site's can.")
def sign_out(site: Site) -> Iterator[str]:
    if not site.options.sign_out:
        raise NotTestable("It would end the session: --sign-out.")
    headers = (("Origin", ANOTHER_ORIGIN), ("Sec-Fetch-Site", "cross-site"))
    forged = Call(_LOGOUT.path, method="POST", headers=headers, how="from another site")
    status = site.ask_again(forged).status
    if status != 403 or site.ask_again(Call(TOKEN)).token is None:
        yield f"{forged.words}: {status}, where 403 was due and the session was to live on."
    answer = site.ask_again(_LOGOUT)
    if answer.status != 200 or "logout_url" not in (answer.data or {}):
        yield f"{answer.call.words}: {answer.words}, where 200 with logout_url was due."
    if site.ask_again(Call(TOKEN)).token is not None:
        yield "The session lives on after the sign-out."


def _query(answer: Answer) -> dict[str, str]:
    query = parse_qs(urlsplit(answer.headers.get("Location", "")).query)
    return {name: values[0] for name, values in query.items()}
