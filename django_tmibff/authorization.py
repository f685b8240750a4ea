"""What a sign-in may ask of the provider: parsed, allowed, and put together.

A page of ours may name scopes and resources, and how the user is to be asked. A navigation from
elsewhere may say where to go afterwards and nothing else, for whoever sent the user here must not
choose as whom, or with what consent, they sign in.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from posixpath import normpath
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

from django.http import HttpRequest
from django.urls import Resolver404
from django.utils.http import url_has_allowed_host_and_scheme

from . import http, policy, resource_requests, tokens
from .client_auth import Parameters
from .conf import DEFAULT_PROVIDER, Provider
from .exceptions import InvalidRequest

# OpenID Connect Core §3.1.2.1.
_PROMPTS = frozenset({"none", "login", "consent", "select_account"})
_ACR_VALUES = re.compile(r"[\x21-\x7E]+(?: [\x21-\x7E]+)*")
_ERROR = re.compile(r"[a-z_]{1,64}")
_MAX_AGE = re.compile(r"[0-9]{1,9}")
_LONGEST_TEXT = 1000
# Says that another site has sent the user: it only ever takes something away.
_FROM_ELSEWHERE = "from_elsewhere"


@dataclass(frozen=True, slots=True)
class SignInRequest:
    """What somebody asks for who is sent to sign in; ``next`` is a path of this site, or empty.

    ``max_age``: how old the user's authentication at the provider may be, in seconds.
    """

    next: str = ""
    by_own_page: bool = False
    provider: str = DEFAULT_PROVIDER
    resources: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    acr_values: str = ""
    max_age: int | None = None
    prompt: str = ""
    login_hint: str = ""


def parse(request: HttpRequest) -> SignInRequest:
    """Return what is asked for; of a request that no page of ours has sent nothing but ``next``.

    Raises ``InvalidRequest``, ``InvalidTarget`` and ``InvalidScope`` for what is malformed.
    """
    next_path = path_on(request, _single(request, "next"))
    if not http.is_from_own_page(request) or _FROM_ELSEWHERE in request.GET:
        return SignInRequest(next=next_path)
    resources = tuple(filter(None, request.GET.getlist("resource")))
    policy.check_resources(resources)
    return SignInRequest(
        next=next_path,
        by_own_page=True,
        provider=_single(request, "provider") or DEFAULT_PROVIDER,
        resources=resources,
        scopes=tuple(policy.split_scope(_single(request, "scope"))),
        acr_values=_acr_values(_single(request, "acr_values")),
        max_age=_max_age(_single(request, "max_age")),
        prompt=_prompt(_single(request, "prompt")),
        login_hint=_login_hint(_single(request, "login_hint")),
    )


def from_our_own_site(request: HttpRequest, asked: SignInRequest) -> str:
    """Return the path where the same is asked for, and counts as asked for by another site."""
    query = {"next": asked.next} if asked.next else {}
    return f"{request.path}?{urlencode({**query, _FROM_ELSEWHERE: '1'})}"


def parameters(
    request: HttpRequest, provider: Provider, asked: SignInRequest
) -> tuple[Mapping[str, Any], Parameters]:
    """Return what the authorization request says: parameters sent once, and those repeated.

    ``scope`` is what a sign-in asks for, what this session has been granted, and what is asked for
    now, and so are resources: the new tokens take the old ones' place. Raises ``InvalidTarget`` and
    ``InvalidScope`` for what the site does not allow (T5).
    """
    granted, named = tokens.granted(request, provider.name)
    usual = [*provider.scope.split(), *granted.split()]
    policy.check_listed(asked.resources, asked.scopes, usual)
    scopes, repeated = resource_requests.at_sign_in(
        provider, asked.resources, asked.scopes, named_before=named
    )
    said = {
        "acr_values": asked.acr_values,
        "max_age": None if asked.max_age is None else str(asked.max_age),
        "prompt": asked.prompt,
        "login_hint": asked.login_hint,
        "scope": " ".join(_without_repetition([*usual, *scopes])),
    }
    sent = {name: value for name, value in said.items() if value}
    return {**provider.authorization_params, **sent}, repeated


def for_token(resources: Collection[str], scope: str) -> Parameters:
    """Return what a sign-in has to ask for so that the page gets this token (X8)."""
    key = policy.default_key()
    if not resources and not scope:
        resources, scope = key.resources, " ".join(key.scopes)
    named = [("resource", resource) for resource in resources]
    return [*named, ("scope", scope)] if scope else named


def error_of(request: HttpRequest) -> str:
    """Return the callback's error as a word that may be shown (RFC 6749 §4.1.2.1)."""
    error = request.GET.get("error", "")
    return error if _ERROR.fullmatch(error) else "server_error"


def with_error(path: str, error: str) -> str:
    """Return that path of this site with the error for its page to read."""
    parts = urlsplit(path)
    query = "&".join(filter(None, [parts.query, urlencode({"bff_error": error})]))
    return urlunsplit(parts._replace(query=query))


def path_on(request: HttpRequest, url: str) -> str:
    """Return the path, with query and fragment, of a URL of this very origin; else nothing.

    Only the path is kept: there is no host in it that anybody could argue about.
    """
    is_ours = url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=False)
    if not is_ours or not url.isprintable():
        return ""
    parts = urlsplit(url)
    if parts.scheme and parts.scheme != request.scheme:
        return ""
    whole = parts.path or ("/" if parts.netloc else "")
    path = urlunsplit(("", "", whole, parts.query, parts.fragment))
    # A path of several slashes, or with a backslash, is a host to some browsers.
    is_path = path.startswith("/") and url_has_allowed_host_and_scheme(path, None)
    return path if is_path and len(path) <= _LONGEST_TEXT and not _begins_sign_in(path) else ""


def _begins_sign_in(path: str) -> bool:
    """Return whether it would be our own page that leads on to there, with whatever is in it.

    Where the callback's page has reloaded itself, a browser takes what follows for that (E9).
    """
    # Browsers leave dots out, proxies repeated slashes, and Django adds the last one.
    shortest = normpath(unquote(urlsplit(path).path))
    return any(map(_leads_to_sign_in, (shortest, f"{shortest}/")))


def _leads_to_sign_in(path: str) -> bool:
    try:
        return http.begins_oidc_sign_in(path)
    except Resolver404:
        return False


def _single(request: HttpRequest, name: str) -> str:
    values = [value for value in request.GET.getlist(name) if value]
    if len(values) > 1:
        raise InvalidRequest(f"{name} may be sent only once.")
    return values[0] if values else ""


def _acr_values(value: str) -> str:
    if value and (len(value) > _LONGEST_TEXT or not _ACR_VALUES.fullmatch(value)):
        raise InvalidRequest("acr_values is a list of values with one space between them.")
    return value


def _max_age(value: str) -> int | None:
    if value and not _MAX_AGE.fullmatch(value):
        raise InvalidRequest("max_age is a number of seconds.")
    return int(value) if value else None


def _prompt(value: str) -> str:
    values = set(value.split(" ")) if value else set()
    if not values <= _PROMPTS or ("none" in values and len(values) > 1):
        raise InvalidRequest(f"prompt is one of {', '.join(sorted(_PROMPTS))}.")
    return value


def _login_hint(value: str) -> str:
    if len(value) > _LONGEST_TEXT or not value.isprintable():
        raise InvalidRequest("login_hint is a short text.")
    return value


def _without_repetition(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
