"""What a provider publishes about itself: fetched within limits, judged before it is believed.

OpenID Connect Discovery 1.0 §4, RFC 8414 §3, RFC 7517 §5. Everything that leaves this room was
checked: URLs hold characters of URLs only, lists hold strings.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests
from django.utils.http import parse_http_date_safe

from . import strict_json, transport
from .conf import settings
from .hosts import is_loopback

# What of the metadata is used here, and checked therefore; the rest is not looked at.
ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "userinfo_endpoint",
    "jwks_uri",
    "revocation_endpoint",
    "end_session_endpoint",
)
_REQUIRED = ("authorization_endpoint", "token_endpoint")
_LISTS = (
    "code_challenge_methods_supported",
    "dpop_signing_alg_values_supported",
    "grant_types_supported",
    "id_token_signing_alg_values_supported",
    "response_types_supported",
    "scopes_supported",
    "token_endpoint_auth_methods_supported",
    "token_endpoint_auth_signing_alg_values_supported",
)
_FLAGS = (
    "backchannel_logout_supported",
    "require_pushed_authorization_requests",
    "require_signed_request_object",
)
_ALIASES = "mtls_endpoint_aliases"

# RFC 3986, as far as a URL of http has it, and no fragment.
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+")
_LONGEST_URL = 2000
_LONGEST_QUOTE = 100


class MetadataRefused(Exception):
    """What a provider publishes cannot be had, or must not be believed; the text says why."""


class _NotThereError(MetadataRefused):
    pass


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a provider says of itself, as far as it was checked.

    ``endpoints`` and ``mtls_endpoints`` (RFC 8705 §5) go by ``ENDPOINTS``; ``lists`` and ``flags``
    have what the provider has named. ``clock_ahead``: by how many seconds its clock is ahead of
    this host's, ``None`` where it does not tell the time. ``remarks``: what is odd, for people.
    """

    issuer: str
    endpoints: Mapping[str, str]
    mtls_endpoints: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]
    flags: frozenset[str]
    clock_ahead: float | None
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a call may take in all, in seconds, and the setting that says so."""

    seconds: float
    setting: str


@dataclass(frozen=True, slots=True)
class _Document:
    url: str
    members: dict[str, Any]
    media_type: str
    clock_ahead: float | None


def fetch(
    issuer: str, *, verify: bool | str = True, proxies: Mapping[str, str] | None = None
) -> Metadata:
    """Return the metadata of ``issuer``, from both of the places where it may be.

    What the OpenID Provider's own document leaves out is taken from RFC 8414's: some have the
    revocation endpoint only there. ``verify`` and ``proxies`` are requests'. Raises
    ``MetadataRefused``.
    """
    if not _is_issuer(issuer):
        raise MetadataRefused(
            f"{_quoted(issuer)} is no issuer: that is a URL with https and a host, without query"
            " and fragment; http is for this very machine only."
        )
    of_provider, of_server = _places(issuer)
    read = partial(_document, issuer=issuer, verify=verify, proxies=proxies)
    try:
        documents = [read(of_provider)]
    except _NotThereError as error:
        documents = [_only(read, of_server, error)]
    else:
        documents += _beside(read, of_server)
    return _metadata(issuer, documents)


def key_set(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    limit: Limit | None = None,
    verify: bool | str = True,
    proxies: Mapping[str, str] | None = None,
) -> list[Any]:
    """Return the keys that are published at ``url``; raises ``MetadataRefused``."""
    answer = answer_of(url, headers=headers, limit=limit, verify=verify, proxies=proxies)
    data = _parsed(url, answer)
    keys = data.get("keys") if isinstance(data, dict) else None
    if not isinstance(keys, list):
        raise MetadataRefused(f"{url} has no key set (RFC 7517).")
    return keys


def answer_of(
    url: str,
    *,
    certificate: transport.Certificate | None = None,
    headers: Mapping[str, str] | None = None,
    limit: Limit | None = None,
    verify: bool | str = True,
    proxies: Mapping[str, str] | None = None,
) -> transport.Answer:
    """Return whatever is at ``url``; raises ``MetadataRefused``, with the reason for people.

    ``limit``: ``TMIBFF_AS_TIMEOUT`` where it is not given.
    """
    limit = limit or Limit(settings.as_timeout, "TMIBFF_AS_TIMEOUT")
    started_at = time.monotonic()
    try:
        return transport.get(
            url,
            certificate=certificate,
            headers=headers,
            seconds=limit.seconds,
            verify=verify,
            proxies=proxies,
        )
    except Exception as error:
        # requests lets many kinds through. A call whose time was over has been hung up.
        took_all = time.monotonic() - started_at >= limit.seconds
        reason = _too_slow(limit) if took_all else _reason(error, limit)
        raise MetadataRefused(f"{url} cannot be read: {reason}.") from error


def origin_of(url: str) -> str | None:
    """Return the origin of ``url``; ``None`` where it is no URL of a server."""
    parts = _split(url)
    return None if parts is None else f"{parts.scheme}://{parts.netloc}"


def is_safe(url: str) -> bool:
    """Return whether nobody can listen on the way: https, or on this very machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def _places(issuer: str) -> tuple[str, str]:
    origin, path = origin_of(issuer), urlsplit(issuer).path.rstrip("/")
    return (
        f"{origin}{path}/.well-known/openid-configuration",
        f"{origin}/.well-known/oauth-authorization-server{path}",
    )


def _only(read: "partial[_Document]", url: str, nothing: _NotThereError) -> _Document:
    try:
        return read(url)
    except _NotThereError as error:
        raise MetadataRefused(f"{nothing} {error}") from error


def _beside(read: "partial[_Document]", url: str) -> list[_Document]:
    """Return RFC 8414's document, if there is a sound one: nobody has to have both."""
    try:
        return [read(url)]
    except MetadataRefused:
        return []


def _document(
    url: str, *, issuer: str, verify: bool | str, proxies: Mapping[str, str] | None
) -> _Document:
    before = time.time()
    answer = answer_of(url, verify=verify, proxies=proxies)
    clock_ahead = _clock_ahead(answer.headers, before, time.time())
    members = _parsed(url, answer)
    if not isinstance(members, dict):
        raise MetadataRefused(f"{url} is JSON, but no metadata.")
    _check(url, members, issuer)
    media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return _Document(url, members, media_type, clock_ahead)


def _parsed(url: str, answer: transport.Answer) -> Any:
    if 300 <= answer.status < 400:
        raise MetadataRefused(
            f"{url} redirects (status {answer.status}), and no redirect is followed: name what it"
            " leads to."
        )
    if 400 <= answer.status < 500 and answer.status != 429:
        raise _NotThereError(f"{url} is not there (status {answer.status}).")
    if answer.status != 200:
        raise MetadataRefused(f"{url} answers with status {answer.status}.")
    try:
        return strict_json.loads(answer.body)
    except ValueError:
        raise MetadataRefused(f"{url} is not JSON.") from None


def _check(url: str, members: Mapping[str, Any], issuer: str) -> None:
    """Raise ``MetadataRefused`` unless all that is used of the metadata can be relied on."""
    if members.get("issuer") != issuer:
        raise MetadataRefused(
            f"{url} is the metadata of the issuer {_quoted(members.get('issuer'))}, not of"
            f" {_quoted(issuer)}: they must be equal to the letter (RFC 8414, section 3.3)."
        )
    aliases = members.get(_ALIASES) or {}
    if not isinstance(aliases, dict):
        raise MetadataRefused(f"{url} has {_ALIASES} that are no object.")
    for name in _REQUIRED:
        if not (members.get(name) or aliases.get(name)):
            raise MetadataRefused(f"{url} names no {name}.")
    _check_endpoints(url, members, issuer)
    _check_endpoints(url, aliases, issuer)
    for name in _LISTS:
        if not _are_texts(members.get(name) or []):
            raise MetadataRefused(f"{url} has {name} that is no list of strings.")


def _check_endpoints(url: str, members: Mapping[str, Any], issuer: str) -> None:
    for name in ENDPOINTS:
        value = members.get(name)
        if not value:
            continue
        if not isinstance(value, str) or _split(value) is None:
            raise MetadataRefused(f"{url} has {name} {_quoted(value)}, which is no URL.")
        if not is_safe(value) or _is_less_safe(value, issuer):
            raise MetadataRefused(f"{url} has {name} {_quoted(value)}, which is not https.")


def _is_issuer(issuer: str) -> bool:
    return _split(issuer) is not None and "?" not in issuer and is_safe(issuer)


def _is_less_safe(url: str, issuer: str) -> bool:
    return issuer.startswith("https:") and not url.startswith("https:")


def _split(url: str) -> SplitResult | None:
    """Return the parts of ``url``; ``None`` where it is no URL of a server."""
    if len(url) > _LONGEST_URL or not _URL.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        # A port that is none raises.
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if has_place and "@" not in parts.netloc else None


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _metadata(issuer: str, documents: list[_Document]) -> Metadata:
    members: dict[str, Any] = {}
    for document in reversed(documents):
        members |= {name: value for name, value in document.members.items() if value}
    return Metadata(
        issuer=issuer,
        endpoints=_only_endpoints(members),
        mtls_endpoints=_only_endpoints(members.get(_ALIASES, {})),
        lists={name: tuple(members[name]) for name in _LISTS if name in members},
        flags=frozenset(name for name in _FLAGS if members.get(name) is True),
        clock_ahead=documents[0].clock_ahead,
        remarks=(*_mislabelled(documents[0]), *_contradictions(documents)),
    )


def _only_endpoints(members: Mapping[str, Any]) -> dict[str, str]:
    return {name: members[name] for name in ENDPOINTS if members.get(name)}


def _mislabelled(document: _Document) -> list[str]:
    if document.media_type == "application/json":
        return []
    return [f"{document.url} is not labelled as application/json, but as something else."]


def _contradictions(documents: list[_Document]) -> list[str]:
    first, *others = documents
    return [
        f"{first.url} and {other.url} name different places as {name}: the first is believed."
        for other in others
        for name in ENDPOINTS
        if first.members.get(name) and other.members.get(name)
        if first.members[name] != other.members[name]
    ]


def _clock_ahead(headers: Mapping[str, str], before: float, after: float) -> float | None:
    """Return by how much the server's clock is surely ahead; negative: behind; 0 within a second.

    RFC 9110 §6.6.1; a copy from a cache is as old as RFC 9111 §5.1 says.
    """
    date = parse_http_date_safe(headers.get("Date", ""))
    if date is None:
        return None
    age = headers.get("Age", "")
    earliest = date + (int(age) if age.isdecimal() and len(age) < 10 else 0)
    # The header has whole seconds.
    return max(0.0, earliest - after) + min(0.0, earliest + 1 - before)


def _reason(error: Exception, limit: Limit) -> str:
    match error:
        case requests.exceptions.SSLError():
            return "its certificate is not trusted (OIDC_VERIFY_SSL may be a file with the CA's)"
        case transport.AnswerTooLargeError():
            return f"it is larger than {transport.MAX_ANSWER_BYTES} bytes"
        case requests.exceptions.ProxyError():
            return "the proxy does not lead there (OIDC_PROXY)"
        case requests.Timeout():
            return _too_slow(limit)
        case requests.ConnectionError():
            return "nobody answers there"
        case OSError() if not isinstance(error, requests.RequestException):
            return "a file of certificates cannot be read (OIDC_VERIFY_SSL, TMIBFF_CLIENT_AUTH)"
    return type(error).__name__


def _too_slow(limit: Limit) -> str:
    return f"no complete answer came within {limit.seconds:g} seconds ({limit.setting})"


def _quoted(value: object) -> str:
    """Return a text from outside as it may be shown, whatever is in it."""
    if not isinstance(value, str):
        return "that is no text"
    shown = ascii(value[:_LONGEST_QUOTE])
    return shown if len(value) <= _LONGEST_QUOTE else f"{shown}..."
